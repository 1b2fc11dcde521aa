"""The benchmark suite's table of operations and its peers: every side gives our answers."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.fleet import (
    busy,
    changes,
    filled,
    panicking,
    patient,
    starting,
    strict,
    trying,
    without_ejection,
)
from benchmarks.operations import BULK, OPERATIONS, SIZES, Operation, loop
from benchmarks.peers import OURS, Peer, dashmap_native, installed
from registry import Policy, Reason, Registry

pytestmark = pytest.mark.filterwarnings("ignore")  # of the peers' packages

SMALL = 12
NATIVE = [operation for operation in OPERATIONS if operation.native]


@pytest.mark.parametrize("peer", installed(), ids=lambda peer: peer.name)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_peer_gives_our_answer(operation: Operation, peer: Peer) -> None:
    registry, ids = peer.filled(SMALL)
    if operation.is_supported_by(registry):
        assert operation.ask(registry, ids) == operation.ask(*filled(SMALL))
    else:
        assert peer is not OURS


@pytest.mark.parametrize("operation", NATIVE, ids=lambda operation: operation.name)
def test_the_rust_program_gives_our_answer(operation: Operation) -> None:
    if dashmap_native.missing():
        pytest.skip(dashmap_native.missing())
    assert dashmap_native.answer(operation.native, SMALL) == operation.ask(*filled(SMALL))


def test_a_wrong_answer_is_found() -> None:
    class Forgetful(Registry):
        def get_backends_for_model(self, model_id: str, /) -> Any:
            return super().get_backends_for_model(model_id)[1:]

    query = next(one for one in OPERATIONS if one.name == "get_backends_for_model")
    assert query.ask(*filled(SMALL, Forgetful)) != query.ask(*filled(SMALL))


def test_every_peer_supports_the_basic_operations() -> None:
    supported = {
        peer.name: [one.name for one in OPERATIONS if one.is_supported_by(peer.filled(SMALL)[0])]
        for peer in installed()
    }
    assert supported.pop("registry") == [operation.name for operation in OPERATIONS]
    assert len(supported.pop("dict + Lock")) > 20
    assert supported.pop("LiteLLM", ["select"]) == ["select"]
    basic = {"get_backend", "get_backends_for_model", "increment_pending", "acquire and release"}
    for name, operations in supported.items():
        assert basic <= set(operations), name


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_operation_changes_nothing_but_counters(operation: Operation) -> None:
    names = operation.names(*filled(SMALL))
    registry, ids = names["registry"], names["ids"]  # some operations have a registry of their own
    before = states(registry)
    loop(operation.statement, names)(4)
    assert list(registry) == ids
    assert registry.model_count() == 10
    counted, unavailable = states(registry)
    assert unavailable == before[1]
    assert counted - before[0] == (4 if operation.name == "increment_pending" else 0)


def states(registry: Registry) -> tuple[int, list[Reason | None]]:
    """The requests in flight, and why which backend is unavailable."""
    views = registry.get_all_backends()
    return sum(view.pending_requests for view in views), [view.unavailable for view in views]


def test_the_table_has_every_method_of_a_registry() -> None:
    public = {name for name in dir(Registry) if not name.startswith("_")}
    public -= {"from_fleet", "idle", "acquire_async"}  # An event loop costs more than the call.
    assert public <= set().union(*(operation.needs for operation in OPERATIONS))


def test_the_table_has_every_policy() -> None:
    rows = {one.name: one for one in OPERATIONS if one.name.startswith("acquire")}
    others = (policy.name for policy in Policy if policy is not Policy.LEAST_PENDING)
    assert set(rows) == {
        "acquire and release",
        *(f"acquire and release, {name}" for name in others),
        "acquire and release, only one backend",
    }
    assert all(operation.sizes == SIZES for operation in rows.values())


def test_an_operation_needs_the_methods_that_it_calls() -> None:
    operation = Operation("x", "registry.a(id); registry.b(id)", setup="registry.c()")
    assert operation.needs == {"a", "b", "c"}
    assert Operation("x", "id in registry").needs == {"__contains__"}


def test_a_bulk_call_has_a_thousand_ids() -> None:
    assert BULK == 1000
    assert len(OPERATIONS[0].names(*filled(SMALL))["many"]) == BULK


@pytest.mark.parametrize(
    ("package", "module", "message"),
    [
        ("no-such-package", "locked_oracle", r"not installed \(pip install no-such-package\)"),
        ("pytest", "no_such_module", "cannot be imported"),
        ("", "locked_oracle", "^$"),
    ],
)
def test_a_missing_peer_gives_the_reason(package: str, module: str, message: str) -> None:
    assert re.search(message, Peer("x", package, module).missing())


def test_an_old_ft_utils_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler, pip installs 0.1, because 0.2 has no wheels."""
    old = SimpleNamespace(AtomicInt64=object, ConcurrentDict=object)
    monkeypatch.setitem(sys.modules, "ft_utils.concurrency", old)
    monkeypatch.setitem(sys.modules, "ft_utils", SimpleNamespace(concurrency=old))
    monkeypatch.delitem(sys.modules, "benchmarks.peers.ft_utils_map", raising=False)
    assert "ft_utils>=0.2" in Peer("ft_utils", "pytest", "ft_utils_map").missing()


def test_a_writer_adds_updates_and_removes() -> None:
    registry, ids = filled(SMALL)
    steps = changes(registry, SMALL)
    sizes = []
    for _ in range(6):
        next(steps)
        sizes.append(len(registry))
    assert sizes == [SMALL + 1, SMALL + 1, SMALL] * 2
    assert list(registry) == ids


def test_a_busy_fleet_has_no_idle_backend() -> None:
    assert [view.pending_requests for view in busy(SMALL).get_all_backends()] == [1] * SMALL


def fail(registry: Registry, count: int) -> list[Reason | None]:
    """Lets requests fail, one after the other, and returns why backends are unavailable."""
    for _ in range(count):
        registry.acquire("model-3").release(failed=True)
    return [reason for reason in states(registry)[1] if reason]


def test_a_patient_fleet_counts_failures_and_ejects_nobody() -> None:
    for registry in (patient(SMALL), without_ejection(SMALL)):
        assert fail(registry, 40 * SMALL) == []
        failed = [view.failed_requests for view in registry.get_all_backends()]
        assert failed == [40] * SMALL


def test_a_strict_fleet_ejects_at_the_first_failure() -> None:
    assert fail(strict(SMALL), 1) == [Reason.EJECTED]


def test_a_panicking_fleet_serves_though_all_are_ejected() -> None:
    registry = panicking(SMALL)
    assert states(registry) == (0, [Reason.EJECTED] * SMALL)
    registry.acquire("model-3").release(abandoned=True)
    assert states(registry) == (0, [Reason.EJECTED] * SMALL)


def test_each_request_of_a_trying_fleet_is_a_trial() -> None:
    registry = trying(SMALL)
    for _ in range(3):
        lease = registry.acquire("model-3")
        view = registry.get_backend(lease.backend.id)
        assert view is not None
        assert view.unavailable is Reason.ON_TRIAL
        lease.release(abandoned=True)


def test_one_backend_of_a_starting_fleet_gets_fewer_requests() -> None:
    registry = starting(SMALL)
    leases = [registry.acquire("model-3") for _ in range(10 * (SMALL - 1) + 1)]
    counts = [view.pending_requests for view in registry.get_all_backends()]
    assert counts == [10] * (SMALL - 1) + [1]
    for lease in leases:
        lease.release(abandoned=True)
