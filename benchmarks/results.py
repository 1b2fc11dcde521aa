"""The result of one run of the suite, as stored in results/*.json."""

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
PER_SECOND = "1/s"  # the only unit in which more is better

Parameters = dict[str, int | float | str]


@dataclass(frozen=True)
class Row:
    """One operation of one side with certain parameters, measured once in each round."""

    section: str
    operation: str
    side: str
    unit: str
    values: list[float]
    parameters: Parameters = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """The identity of the row; the same row of another run has an equal key."""
        return self.section, self.operation, self.side, *sorted(self.parameters.items())

    @property
    def figure(self) -> Figure:
        """The median and the range of the rounds."""
        return figure(self.values)


@dataclass(frozen=True)
class Goal:
    """A goal, and what was measured for it."""

    what: str
    goal: str
    measured: Figure | str  # a str is the reason why it was not measured
    met: bool | None  # None if it was not measured, or is only there for comparison


@dataclass(frozen=True)
class Machine:
    """The machine, the interpreter and the build of a run."""

    processor: str
    cores: int
    system: str
    interpreter: str
    gil: bool
    compiler: str
    commit: str

    def __str__(self) -> str:
        gil = "on" if self.gil else "off"
        return (
            f"{self.processor}, {self.cores} cores; {self.interpreter}, GIL {gil}; "
            f"{self.compiler}; {self.commit}"
        )


@dataclass(frozen=True)
class Result:
    """The result of one run."""

    when: str
    suite: str  # quick or full
    machine: Machine
    peers: Mapping[str, str]  # the version of each peer, or why it is missing
    rows: list[Row]
    goals: list[Goal] = field(default_factory=list)

    def find(
        self, section: str, operation: str = "", side: str = "", **parameters: int | float | str
    ) -> list[Row]:
        """The rows that match all arguments."""
        return [
            row
            for row in self.rows
            if row.section == section
            and operation in ("", row.operation)
            and side in ("", row.side)
            and parameters.items() <= row.parameters.items()
        ]


def save(result: Result, path: Path) -> None:
    """Writes the result as JSON, one line for each row, with five digits of each measurement."""
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
    """Reads a result. Raises ValueError, which names the file, if the file is not a result."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Result)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path}: not a result of this suite: {error}") from None


def now() -> str:
    """The current time in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def gil_is_on() -> bool:
    """Whether the GIL is enabled."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def machine() -> Machine:
    """This machine."""
    commit = first_line("git", "describe", "--always", "--dirty", "--exclude=*")
    free_threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return Machine(
        processor=processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        interpreter=f"CPython {platform.python_version()}{free_threaded}",
        gil=gil_is_on(),
        compiler=first_line((sysconfig.get_config_var("CC") or "cc").split()[0], "--version")
        or platform.python_compiler(),
        commit=commit or "no commit",
    )


def processor() -> str:
    """The processor's name, or "" if it is unknown."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
    )


def first_line(*command: str) -> str:
    """The first line of a command's output, or "" if the command fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.partition("\n")[0]
