"""Texts of backends and of their differences, for output with one line per backend.

Names and values come from files. Control characters are escaped, and whatever is not one plain word
is quoted, so a value can't look like another part of the line. Values of `settings` never appear,
because they may be secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from registry import Backend, Model
from registry._messages import printable

LIMIT = 10  # differences in one line
NONE, ARROW = "none", "->"

_SEPARATOR = re.compile(r'[\s,"]')
# The keys of a fleet file that differ from the names of the fields.
_KEYS = {"backend_type": "type"}


def word(text: str) -> str:
    """The text as one word: quoted as in JSON, unless it is plain."""
    plain = text.isprintable() and not _SEPARATOR.search(text) and text not in ("", NONE, ARROW)
    return text if plain else printable(json.dumps(text, ensure_ascii=False))


def counted(count: int, noun: str) -> str:
    """A number and its noun: `1 model`, `2,000 models`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def line(kind: str, backend_id: str, details: Iterable[str]) -> str:
    """One line about a backend: what happened, its id, and the first details."""
    every = list(details)
    shown = every[:LIMIT]
    if len(every) > LIMIT:
        shown.append(f"and {len(every) - LIMIT:,} more")
    return f"{kind:8} {word(backend_id)}  {', '.join(shown)}".rstrip()


def summary(backend: Backend) -> list[str]:
    """What to say of a backend that was added or removed."""
    return [word(backend.url), counted(len(backend.models), "model")]


def differences(before: Backend, after: Backend) -> list[str]:
    """A text for each difference between two definitions, such as `weight 1 -> 3`.

    The longest lists come last, because a line shows only its first details.
    """
    old, new = (_fields_of(backend) for backend in (before, after))
    texts = _each_field({key: old[key] for key in old if key not in _LISTS}, new)
    for key, texts_of in _LISTS.items():
        texts += texts_of(old[key], new[key])
    return texts


def from_to(key: str, old: Any, new: Any) -> str:
    """The text of one difference."""
    return f"{key} {_value(old)} {ARROW} {_value(new)}"


def _value(value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return str(value).lower()  # as in TOML
    return word(str(value))


def _fields_of(definition: Any) -> dict[str, Any]:
    """The fields of a definition, by their keys in a fleet file."""
    names = [field.name for field in fields(definition)]
    return {_KEYS.get(name, name): getattr(definition, name) for name in names}


def _each_field(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    return [
        from_to(f"{prefix}{key}", value, new[key])
        for key, value in old.items()
        if value != new[key]
    ]


def _settings(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [] if old == new else ["settings differ"]


def _metadata(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        from_to(f"metadata.{word(key)}", old.get(key), new.get(key))
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]


def _models(old: tuple[Model, ...], new: tuple[Model, ...]) -> list[str]:
    if old == new:
        return []
    was, now = ({model.id: model for model in models} for models in (old, new))
    kept = [model_id for model_id in was if model_id in now]
    texts = [f"model {word(model_id)} added" for model_id in now if model_id not in was]
    texts += [f"model {word(model_id)} removed" for model_id in was if model_id not in now]
    for model_id in kept:
        prefix = f"model {word(model_id)} "
        texts += _each_field(_fields_of(was[model_id]), _fields_of(now[model_id]), prefix)
    if kept != [model_id for model_id in now if model_id in was]:
        texts.append("models reordered")
    return texts


_LISTS: dict[str, Callable[[Any, Any], list[str]]] = {
    "settings": _settings,
    "metadata": _metadata,
    "models": _models,
}
