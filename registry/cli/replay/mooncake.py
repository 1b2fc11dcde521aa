"""Traces in the format of Mooncake (Qin et al., FAST 2025): JSON lines, with hashes of the prompts.

Each line is an object with `timestamp` (milliseconds), `input_length` and `output_length` (tokens)
and `hash_ids`: a hash for each block of 512 tokens of the prompt. Equal hashes mean equal prompts
up to the end of that block.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from os import PathLike, fspath
from typing import Annotated

import msgspec

from registry._json import decode
from registry.cli.replay.inputs import FORMATS, Request, without_root
from registry.cli.terminal import InputError

SUFFIX = ".jsonl"
LATEST = 2**41  # ms, about 69 years: times since 1970 fit, and sums stay in reach of a ManualClock

Milliseconds = Annotated[float, msgspec.Meta(ge=0, le=LATEST)]
Tokens = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class _Line(msgspec.Struct):
    """A line of a trace. Other keys are ignored."""

    timestamp: Milliseconds
    input_length: Tokens
    output_length: Tokens
    hash_ids: list[int]


def is_mooncake(path: str | PathLike[str]) -> bool:
    """Whether a trace is in this format, by its name."""
    return fspath(path).lower().endswith(SUFFIX)


def read_trace(path: str | PathLike[str]) -> list[Request]:
    """The requests of a file, sorted by arrival; those of one time stay in the file's order.

    Blank lines are ignored. Raises `InputError`, which names the file, the line and the key.
    """
    with open(path, "rb") as file:
        content = file.read().removeprefix(BOM_UTF8)
    lines = [
        _line(f"{path}:{number}", line)
        for number, line in enumerate(content.split(b"\n"), 1)
        if line.strip()
    ]
    if not lines:
        raise InputError(f"{path}: expected at least one request, found none {FORMATS}")
    lines.sort(key=lambda line: line.timestamp)
    start = lines[0].timestamp
    return [
        Request(
            *((line.timestamp - start) / 1000, line.input_length, line.output_length),
            tuple(line.hash_ids),
        )
        for line in lines
    ]


def _line(place: str, text: bytes) -> _Line:
    try:
        line = decode(text.strip(), _Line)
    except ValueError as error:
        problem = without_root(error)
        is_other_format = not any(key in problem for key in _Line.__struct_fields__)
        raise InputError(f"{place}: {problem}{f' {FORMATS}' * is_other_format}") from None
    for index, block in enumerate(line.hash_ids):
        if not -(2**63) <= block < 2**64:
            raise InputError(f"{place}: hash_ids[{index}]: expected 64 bits, not {block!s:.40}")
    return line
