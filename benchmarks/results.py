"""What one run of the suite has measured, as it is kept in results/*.json."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.measure import Figure, figure

ROOT = Path(__file__).resolve().parents[1]
PER_SECOND = "1/s"  # the only unit of which more is better

Parameters = dict[str, int | float | str]


@dataclass(frozen=True)
class Row:
    """One operation of one side under these parameters, measured once a round."""

    section: str
    operation: str
    side: str
    unit: str
    values: list[float]
    parameters: Parameters = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for the same row of another run."""
        return self.section, self.operation, self.side, *sorted(self.parameters.items())

    @property
    def figure(self) -> Figure:
        """Median and range."""
        return figure(self.values)


@dataclass(frozen=True)
class Goal:
    """A row of the contract, or of the acquire issue, and what was measured."""

    what: str
    goal: str
    measured: Figure | str  # a str says why it was not
    met: bool | None  # None: no goal of its own


@dataclass(frozen=True)
class Machine:
    """Where it ran."""

    processor: str
    cores: int
    system: str
    interpreter: str
    gil: bool
    compiler: str
    commit: str

    def __str__(self) -> str:
        gil = "on" if self.gil else "off"
        return f"{self.processor}, {self.cores} cores; {self.interpreter}, GIL {gil}; {self.compiler}; {self.commit}"


@dataclass(frozen=True)
class Result:
    """One run."""

    when: str
    suite: str  # quick or full
    machine: Machine
    peers: Mapping[str, str]  # versions, or why a peer is missing
    rows: list[Row]
    goals: list[Goal] = field(default_factory=list)

    def find(
        self, section: str, operation: str = "", side: str = "", **parameters: int | float | str
    ) -> list[Row]:
        """The rows that agree with all that is given."""
        return [
            row
            for row in self.rows
            if row.section == section
            and operation in ("", row.operation)
            and side in ("", row.side)
            and parameters.items() <= row.parameters.items()
        ]


def save(result: Result, path: Path) -> None:
    """As JSON with a line for each row; five digits of a measurement are enough."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = msgspec.to_builtins(result)
    rows = [
        row | {"values": [float(f"{value:.5g}") for value in row["values"]]}
        for row in head.pop("rows")
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = json.dumps(head, indent=1).removesuffix("\n}")
    path.write_text(f'{text},\n "rows": [\n{lines}\n]}}\n')


def load(path: Path) -> Result:
    """ValueError with the file's name unless it is a result."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: not a result of this suite: {error}") from None


def now() -> str:
    """The time of a run."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def gil_is_on() -> bool:
    """Whether threads take turns."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def machine() -> Machine:
    """This one."""
    described = said("git", "describe", "--always", "--dirty", "--exclude=*")
    free_threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return Machine(
        processor=processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        interpreter=f"CPython {platform.python_version()}{free_threaded}",
        gil=gil_is_on(),
        compiler=said((sysconfig.get_config_var("CC") or "cc").split()[0], "--version")
        or platform.python_compiler(),
        commit=described or "no commit",
    )


def processor() -> str:
    """Its name; empty: unknown."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
    )


def said(*command: str) -> str:
    """The first line of what a command prints; empty: it can't be run."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.partition("\n")[0]
