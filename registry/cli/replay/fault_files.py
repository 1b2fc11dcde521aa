"""The faults of a replay as input: TOML with a `[[faults]]` table for each, or the built-in set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from registry import Backend, FleetFileError
from registry.cli.replay._faults import (
    AnyFault,
    Down,
    ErrorRate,
    FastFailure,
    Fault,
    Moment,
    SlowStart,
    TimeOut,
    TooMany,
)
from registry.cli.replay.inputs import Request
from registry.fleet.file import misfit, parse_toml

_MOMENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(s|min)", re.ASCII)


class _FaultFile(msgspec.Struct, forbid_unknown_fields=True):
    faults: list[AnyFault]


def read_faults(file: str, fleet: Sequence[Backend]) -> list[Fault]:
    """The faults of a file.

    Raises `FleetFileError`, which names the file, the place and what was expected, and `OSError`.
    """
    with open(file, "rb") as opened:
        document = parse_toml(file, opened.read())
    try:
        faults = msgspec.convert(document, _FaultFile, dec_hook=_moment).faults
    except msgspec.ValidationError as error:
        raise misfit(file, error) from None
    ids = {backend.id for backend in fleet}
    for index, fault in enumerate(faults):
        place = f"faults[{index}]"
        if fault.backend not in ids:
            problem = f"expected the id of a backend of the fleet, not {fault.backend!r}"
            raise FleetFileError(file, f"{place}.backend", problem)
        if not fault.start < fault.end:
            raise FleetFileError(file, f"{place}.to", "expected a time after `from`")
    return list(faults)


def _moment(kind: type, value: Any) -> Moment:
    """Decodes a `Moment`, the only type of a file that msgspec doesn't know."""
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'expected a time such as "90 s" or "10 min", not {value!r:.60}')
    return kind(float(found[1]) * (60 if found[2] == "min" else 1))  # type: ignore[no-any-return]


def demo(fleet: Sequence[Backend], requests: Sequence[Request]) -> list[Fault]:
    """One fault of each kind, on the first backends of a fleet that have a model.

    They begin one after the other, each lasts a sixth of the time of the trace, and at most two
    hold at a time. Times are rounded to whole seconds, unless the trace is too short for that.
    """
    ids = [backend.id for backend in fleet if backend.models]
    step = requests[-1].arrival / 9
    if step >= 2:
        step = 2.0 * round(step / 2)
    kinds: list[tuple[type[Fault], dict[str, Any]]] = [
        (FastFailure, {}),
        (TimeOut, {"seconds": 30.0}),
        (ErrorRate, {"rate": 0.5}),
        (TooMany, {"retry_after": 20.0}),
        (SlowStart, {"requests": 1, "times": 50.0}),
        (Down, {}),
    ]
    return [
        kind(
            backend=ids[number % len(ids)],
            start=Moment(step * (number + 0.5)),
            end=Moment(step * (number + 2)),
            **given,
        )
        for number, (kind, given) in enumerate(kinds)
    ]
