"""JSON by msgspec: strict, exact, and with errors that begin with the place (`$.models[2].context_length: ...`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

# The dataclasses' own messages begin with the field: `url must be ...`, `models[3].id must ...`.
_FIELD = re.compile(r"[^ ]+(?= must )")
_PLACE = re.compile(r"(?P<problem>.*) - at `(?P<place>[^`]*)`", re.DOTALL)
_encoder = msgspec.json.Encoder()


def locate(problem: str, place: str = "$") -> str:
    """The place that a dataclass's own message is about, in the document part at `place`."""
    field = _FIELD.match(problem)
    return f"{place}.{field[0]}" if field else place


def problem_and_place(error: msgspec.MsgspecError) -> tuple[str, str]:
    """What msgspec found wrong, and where: `$` is the whole document."""
    found = _PLACE.fullmatch(str(error))
    problem, place = (found["problem"], found["place"]) if found else (str(error), "$")
    return problem, locate(problem, place)


def decode(text: str | bytes, form: type[T]) -> T:
    """The document as an instance of `form`; ValueError that says where it does not fit."""
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"text must be str or bytes, not {type(text).__name__}")
    try:
        data = str.encode(text) if isinstance(text, str) else text
        return msgspec.json.decode(data, type=form)
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise ValueError(f"$: not UTF-8: {error.reason} at {error.start}") from None
    except RecursionError:
        raise ValueError("$: nested too deeply") from None
    except msgspec.MsgspecError as error:
        problem, place = problem_and_place(error)
        raise ValueError(f"{place}: {problem}") from None


def encode(value: Any) -> str:
    """The JSON of a dataclass."""
    return _encoder.encode(value).decode()


def encode_views(views: Sequence[Any]) -> str:
    """`{"backends": [...]}`."""
    return encode({"backends": views})
