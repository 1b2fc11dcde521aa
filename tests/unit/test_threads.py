"""The thread runner of these tests reports every kind of failure."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from support.threads import run_threads, until_done


def test_results_are_returned_in_order() -> None:
    assert run_threads([partial(int, i) for i in range(8)]) == list(range(8))


def test_an_exception_in_a_worker_is_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_threads([fail, lambda: None])


def test_a_worker_that_hangs_raises_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError):
        run_threads([release.wait], limit=0.2)
    release.set()
    assert "Thread" in capfd.readouterr().err


def test_watchers_run_until_the_work_is_done() -> None:
    seen: list[int] = []
    assert until_done(lambda: seen.append(1), lambda: None)[0] >= 1
    assert seen == [1]
