"""One test for each defect that was found in the original registry.

The original was written in Rust. It kept its backends in one sharded map and its index of models in
another, each with locks of its own. Each docstring describes one defect of the original; the test
shows that this registry does not have it. Tests of races use real threads.
"""

from __future__ import annotations

import inspect
import subprocess
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from support.fleets import make_backend
from support.threads import run_threads, until_done

from registry import BackendNotFoundError, BackendStatus, DuplicateBackendError, Model, Registry
from registry._core.binding import STATUS_ERRORS

TOP = 2**32 - 1


def ids_for(registry: Registry, model_id: str) -> list[str]:
    """The ids of the backends that serve a model."""
    return [view.id for view in registry.get_backends_for_model(model_id)]


def test_defect_01_query_and_update_models_do_not_deadlock(registry: Registry) -> None:
    """The query and update_models took two locks in opposite orders, and could deadlock."""
    for backend_id in "ab":
        registry.add_backend(make_backend(backend_id, "m"))

    def update(backend_id: str) -> None:
        for number in range(1500):
            registry.update_models(backend_id, [Model("m"), Model(f"n{number % 2}")])

    def query() -> None:
        for number in range(1500):
            ids_for(registry, "m")
            ids_for(registry, f"n{number % 2}")

    run_threads([lambda: update("a"), lambda: update("b"), query, query], limit=60)


def test_defect_02_of_two_adds_of_one_id_one_succeeds(registry: Registry) -> None:
    """Adding checked for the id and then inserted it, so two concurrent calls could succeed."""

    def add() -> bool:
        try:
            registry.add_backend(make_backend("x", "m"))
        except DuplicateBackendError:
            return False
        return True

    for _ in range(200):
        assert run_threads([add] * 4).count(True) == 1
        assert ids_for(registry, "m") == ["x"]
        registry.remove_backend("x")


def test_defect_03_the_loser_of_an_add_leaves_nothing(registry: Registry) -> None:
    """Of two concurrent additions, the one that lost left its models in the index for good."""

    def add(model_id: str) -> bool:
        try:
            registry.add_backend(
                make_backend(
                    "x", model_id, url=f"http://{model_id}", metadata={"mdns_instance": model_id}
                )
            )
        except DuplicateBackendError:
            return False
        return True

    for _ in range(200):
        won = run_threads([lambda: add("m0"), lambda: add("m1")]).index(True)
        winner, loser = f"m{won}", f"m{1 - won}"
        assert (ids_for(registry, winner), ids_for(registry, loser)) == (["x"], [])
        assert (registry.find_by_mdns_instance(winner), registry.find_by_mdns_instance(loser)) == (
            "x",
            None,
        )
        assert not registry.has_backend_url(f"http://{loser}")
        assert registry.model_count() == 1
        registry.remove_backend("x")


def test_defect_04_an_id_added_while_the_index_is_cleaned_is_kept(registry: Registry) -> None:
    """Cleaning the index gave up its lock before it removed an empty entry.

    An id that was added in between was lost.
    """

    def churn(backend_id: str) -> None:
        for _ in range(1000):
            registry.add_backend(make_backend(backend_id, "m"))
            assert backend_id in ids_for(registry, "m")
            registry.remove_backend(backend_id)

    run_threads([lambda: churn("a"), lambda: churn("b")])
    assert (ids_for(registry, "m"), registry.model_count()) == ([], 0)


def test_defect_05_a_late_clean_up_spares_the_new_registration(registry: Registry) -> None:
    """A removal cleaned the index late, and could delete the entries of a new registration."""
    registry.add_backend(make_backend("x", "m"))

    def remove() -> None:
        for _ in range(3000):
            with suppress(BackendNotFoundError):
                registry.remove_backend("x")

    def add() -> None:
        with suppress(DuplicateBackendError):
            registry.add_backend(make_backend("x", "m"))

    until_done(remove, add, add)
    there = ["x"] if "x" in registry else []
    assert ids_for(registry, "m") == there


def test_defect_06_a_model_in_both_lists_is_never_without_its_backend(registry: Registry) -> None:
    """update_models emptied the index before it filled it again.

    So a model that was in the old and in the new list had no backend for a moment.
    """
    registry.add_backend(make_backend("a", "m"))

    def update() -> None:
        for number in range(3000):
            registry.update_models("a", [Model("n"), Model("m")] if number % 2 else [Model("m")])

    def query() -> None:
        assert ids_for(registry, "m") == ["a"]

    until_done(update, query, query)


def test_defect_07_counts_belong_to_one_registration(registry: Registry) -> None:
    """Counters knew a backend by its id alone, so old requests were counted for its successor."""
    registry.add_backend(make_backend("x"))
    registry.increment_pending("x")
    registry.remove_backend("x")
    registry.add_backend(make_backend("x"))
    assert registry.increment_pending("x") == 1
    assert registry.get_all_backends()[0].total_requests == 0


def test_defect_08_a_request_cancelled_midway_can_be_uncounted(registry: Registry) -> None:
    """A request that was cancelled between increment and decrement stayed counted for ever.

    The remedy here is a `finally` block: no operation can be interrupted half-way. Leases, which
    have tests of their own, need no such block.
    """
    registry.add_backend(make_backend("x"))

    def cancelled() -> None:
        registry.increment_pending("x")
        try:
            raise KeyboardInterrupt
        finally:
            registry.decrement_pending("x")

    for _ in range(100):
        with pytest.raises(KeyboardInterrupt):
            cancelled()
    assert registry.get_all_backends()[0].pending_requests == 0


def test_defect_09_an_average_of_zero_is_a_sample(registry: Registry) -> None:
    """An average of 0 was taken for 'no sample yet', so 100 after 0 gave 100, not 20."""
    registry.add_backend(make_backend("x"))
    assert [registry.update_latency("x", sample) for sample in (0, 100)] == [0, 20]


def test_defect_10_the_average_does_not_overflow(registry: Registry) -> None:
    """The average was computed in 32 bits, and overflowed at values of 2**30 or more."""
    registry.add_backend(make_backend("x"))
    for sample in (2**30, 2**31, TOP, TOP):
        last = registry.update_latency("x", sample)
    assert [registry.update_latency("x", TOP) for _ in range(200)][-1] > last > 2**30


COUNTER_AT_ITS_LIMIT = """
#include "store/counters.h"
#include <assert.h>
int main(void) {
    _Atomic uint64_t pending = UINT32_MAX - 1;
    uint32_t value;
    assert(counter_increment(&pending, &value) && value == UINT32_MAX);
    assert(!counter_increment(&pending, &value) && counter_in_flight(pending) == UINT32_MAX);
    assert(counter_decrement(&pending, &value) && value == UINT32_MAX - 1);
    return 0;
}
"""


def test_defect_11_in_flight_does_not_wrap(tmp_path: Path) -> None:
    """The requests in flight wrapped from 2**32 - 1 to 0: the busiest backend looked idle.

    Incrementing that often takes too long. The test therefore calls the counter's C code at its
    limit, and checks that the status which the code reports becomes an OverflowError.
    """
    (tmp_path / "top.c").write_text(COUNTER_AT_ITS_LIMIT)
    core = Path(__file__).parents[2] / "src_c"
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", "-Werror", f"-I{core}", "top.c", "-o", "top"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run(["./top"], cwd=tmp_path, check=True)
    errors = [
        str(make("gpu-1"))
        for make in STATUS_ERRORS.values()
        if isinstance(make("gpu-1"), OverflowError)
    ]
    assert errors == [f"pending_requests of 'gpu-1' is at its limit, {TOP}"]


def test_defect_12_a_model_id_twice_in_one_list_is_refused(registry: Registry) -> None:
    """A model id that was twice in one list made queries return the backend twice."""
    with pytest.raises(ValueError, match="twice"):
        make_backend("x", "m", "m")
    registry.add_backend(make_backend("x", "m"))
    with pytest.raises(ValueError, match="twice"):
        registry.update_models("x", [Model("n"), Model("n")])
    assert (ids_for(registry, "m"), ids_for(registry, "n")) == (["x"], [])


def test_defect_13_one_of_two_is_healthy_at_every_instant(registry: Registry) -> None:
    """The query for healthy backends read one shard of the map after the other.

    So it could find no healthy backend although one of two was healthy at every instant.
    """
    for backend_id in "ab":
        registry.add_backend(make_backend(backend_id))
    registry.update_status("a", BackendStatus.HEALTHY)

    def swap() -> None:
        for number in range(4000):
            new, old = ("b", "a") if number % 2 == 0 else ("a", "b")
            registry.update_status(new, BackendStatus.HEALTHY)
            registry.update_status(old, BackendStatus.UNHEALTHY)

    def query() -> None:
        assert registry.get_healthy_backends()

    until_done(swap, query, query, query)


def test_defect_14_check_then_act_is_not_needed(registry: Registry) -> None:
    """Callers had to check first and then act, and others could come in between.

    Here, adding reports whether the id was registered, and counting returns the new value.
    """
    registry.add_backend(make_backend("x"))
    seen = run_threads([lambda: [registry.increment_pending("x") for _ in range(500)]] * 8)
    assert Counter(value for values in seen for value in values) == Counter(range(1, 4001))


def test_defect_15_removal_does_not_scan_the_models_list(registry: Registry) -> None:
    """A removal searched the list of each of its models, so it was slow in a large fleet.

    Nothing is timed precisely: 20,000 removals, in the worst order for a search, must end within 30
    seconds.
    """
    for number in range(20_000):
        registry.add_backend(make_backend(f"b{number}", "m"))

    def remove_from_the_end() -> None:
        for number in reversed(range(20_000)):
            registry.remove_backend(f"b{number}")

    run_threads([remove_from_the_end], limit=30)
    assert ids_for(registry, "m") == []


def test_defect_16_concurrency_tests_run_on_threads() -> None:
    """The concurrency tests ran on a single thread, so they could not show any of these races."""
    source = inspect.getsource(run_threads)
    assert "threading.Thread(" in source
    assert "Barrier" in source
    assert len(set(run_threads([threading.get_ident] * 8))) == 8
