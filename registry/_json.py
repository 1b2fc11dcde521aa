"""Strict JSON, by msgspec. Errors begin with the place: `$.models[2].context_length: ...`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from registry import _checks

T = TypeVar("T")

# Messages of the dataclasses begin with the field: `url must be ...`, `models[3].id must ...`.
_FIELD = re.compile(r"[^ ]+(?= must )")
_PLACE = re.compile(r"(?P<problem>.*) - at `(?P<place>[^`]*)`", re.DOTALL)
_encoder = msgspec.json.Encoder()


def locate(problem: str, place: str = "$") -> str:
    """The place of a problem in an object at `place`: its field, if the message names one."""
    field = _FIELD.match(problem)
    return f"{place}.{field[0]}" if field else place


def problem_and_place(error: msgspec.MsgspecError) -> tuple[str, str]:
    """The problem that msgspec found, and its place: `$` is the whole document."""
    found = _PLACE.fullmatch(str(error))
    problem, place = (found["problem"], found["place"]) if found else (str(error), "$")
    return problem, locate(problem, place)


def _utf8(text: str | bytes) -> bytes:
    """The document as valid UTF-8. msgspec itself checks only the texts that it keeps."""
    try:
        if _checks.is_a(text, str):
            return str.encode(text)
        if not _checks.is_a(text, bytes):
            raise _checks.type_error("text", "a str or bytes", text)
        if not bytes.isascii(text):
            bytes.decode(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"$: not UTF-8: {error.reason} at character {error.start}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"$: not UTF-8: {error.reason} at byte {error.start}") from None
    return text


def decode(text: str | bytes, form: type[T]) -> T:
    """Decodes a document to an instance of `form`. Raises ValueError, which names the place."""
    try:
        return msgspec.json.decode(_utf8(text), type=form)
    except RecursionError:
        raise ValueError("$: nested too deeply") from None
    except msgspec.MsgspecError as error:
        problem, place = problem_and_place(error)
        raise ValueError(f"{place}: {problem}") from None


def encode(value: Any) -> str:
    """Encodes a dataclass, or a dict of them."""
    return _encoder.encode(value).decode()


def encode_views(views: Sequence[Any]) -> str:
    """Encodes views as `{"backends": [...]}`."""
    return encode({"backends": views})
