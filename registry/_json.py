"""JSON by msgspec: strict, exact, and with errors that begin with the place (`$.models[2].context_length: ...`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from registry import _checks

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


def _utf8(text: str | bytes) -> bytes:
    """The document in UTF-8, all of it valid: msgspec looks only at the texts that it keeps."""
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
    """The document as an instance of `form`; ValueError that says where it does not fit."""
    try:
        return msgspec.json.decode(_utf8(text), type=form)
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
