"""The benchmark suite's comparison of two builds in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import against
from benchmarks.against import BUSY, IDLE, Build, Case, Change
from benchmarks.operations import OPERATIONS
from benchmarks.results import ROOT

TINY = 1e-5  # seconds of a round


@pytest.fixture
def build() -> Iterator[Build]:
    with Build(ROOT, TINY) as made:
        yield made


@pytest.fixture
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against, "SECONDS", TINY)
    monkeypatch.setattr(against, "PROCESSES", 1)
    monkeypatch.setattr(against, "ROUNDS", 2)


def test_a_process_measures_an_operation(build: Build) -> None:
    count = build.ask(["get_backend", 10, IDLE])
    assert count >= 1
    assert build.ask(count) > 0


def test_an_operation_that_a_build_lacks_is_left_out(build: Build) -> None:
    assert build.ask(["no such operation", 10, IDLE]) is None
    assert against.measure(Case("no such operation", 10), build, build, 1) is None


@pytest.mark.parametrize(("state", "pending"), [(IDLE, 0), (BUSY, 1)])
def test_a_busy_fleet_has_a_request_on_every_backend(
    monkeypatch: pytest.MonkeyPatch, state: str, pending: int
) -> None:
    made: list[Any] = []

    def kept(_statement: str, names: dict[str, Any]) -> Callable[[int], None]:
        made.append(names["registry"])
        return lambda _count: None

    monkeypatch.setattr(against, "loop", kept)
    assert against.prepared(Case("get_backend", 5, state)) is not None
    assert [view.pending_requests for view in made[0].get_all_backends()] == [pending] * 5


def test_a_folder_without_the_package_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["against", str(tmp_path)]) == 2
    assert "has no package `registry`" in capsys.readouterr().err


def test_a_build_that_cannot_be_imported_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "registry.py").write_text("raise ImportError('not built')\n")
    assert command.main(["against", str(tmp_path)]) == 2
    assert "cannot be measured" in capsys.readouterr().err


def test_cases_are_chosen_by_parts_of_names() -> None:
    assert list(against.cases(["increment_total"])) == [
        Case("increment_total_requests", 10),
        Case("increment_total_requests", 1000),
    ]
    assert {case.state for case in against.cases(["RANDOM"])} == {IDLE, BUSY}
    assert {case.operation for case in against.cases([])} == {one.name for one in OPERATIONS}


@pytest.mark.parametrize(
    ("pairs", "slowdown", "is_slower"),
    [
        ([(10.0, 10.3)], 1.03, False),
        ([(10.0, 10.4)], 1.04, True),
        ([(10.0, 12.0), (11.0, 10.0)], 1.0, False),  # the best of all processes count
        ([(10.0, 5.0)], 0.5, False),
    ],
)
def test_a_build_is_slower_by_more_than_three_percent(
    pairs: list[tuple[float, float]], slowdown: float, is_slower: bool
) -> None:
    change = Change(Case("get_backend", 10), pairs)
    assert change.slowdown == pytest.approx(slowdown)
    assert change.is_slower is is_slower


@pytest.mark.usefixtures("_tiny")
@pytest.mark.parametrize(("after", "status"), [(1.0, 0), (2.0, 1)])
def test_the_command_fails_if_this_build_is_slower(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, after: float, status: int
) -> None:
    monkeypatch.setattr(against, "measure", lambda *_given: (1.0, after))
    assert command.main(["against", str(ROOT), "increment_total"]) == status
    shown = capsys.readouterr().out
    assert "increment_total_requests" in shown
    assert ("SLOWER" in shown) is bool(status)


@pytest.mark.usefixtures("_tiny")
def test_a_name_of_no_operation_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["against", str(ROOT), "no such operation"]) == 2
    assert "no operation of both builds" in capsys.readouterr().err


def test_two_builds_are_measured_in_turns() -> None:
    asked: list[tuple[str, object]] = []

    class Spy:
        def __init__(self, name: str, count: int) -> None:
            self.name, self.count = name, count

        def ask(self, request: object) -> float:
            asked.append((self.name, request))
            return self.count if isinstance(request, list) else 7.0

    case = Case("get_backend", 10)
    old: Any = Spy("old", 30)
    new: Any = Spy("new", 20)
    assert against.measure(case, old, new, 2) == (7.0, 7.0)
    assert asked[2:] == [("old", 20), ("new", 20)] * 2
