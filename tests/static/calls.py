"""Right and wrong calls, for mypy and pyright. `make lint` checks this file; it never runs.

A wrong call has an ignore comment that names mypy's error. Both checkers report an ignore comment
that they don't need, so both must find the error.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from array import array
from collections import UserDict
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, assert_type

from registry import (
    Backend,
    BackendStatus,
    BackendStatusValue,
    BackendType,
    BackendTypeValue,
    BackendView,
    Candidate,
    Change,
    ChangeKind,
    DiscoverySource,
    DiscoverySourceValue,
    Ejection,
    FleetFollower,
    Lease,
    Model,
    NoBackendAvailableError,
    Policy,
    PolicyValue,
    Reason,
    Registry,
    Requirements,
    Watch,
    follow_fleet,
    load_fleet,
    prefix_blocks,
    prefix_blocks_of_tokens,
    prefix_key,
)
from registry.testing import ManualClock


class Tenant(Registry):
    """A subclass, which the constructors must return."""


def right_values(
    registry: Registry,
    status: BackendStatusValue,
    policy: PolicyValue,
    text: str,
) -> None:
    """A member of an enum or its value, as a literal or as a variable of the exported type."""
    registry.update_status("b", "healthy")
    registry.update_status("b", BackendStatus.DRAINING)
    registry.update_status("b", status=status, error="boom")
    registry.update_status("b", BackendStatus(text))
    registry.acquire("m", policy="random")
    registry.acquire("m", policy=Policy.SMART)
    registry.select("m", policy=policy)
    registry.explain("m", policy=Policy(text))


def wrong_values(registry: Registry, text: str) -> None:
    """A str that is no value of the enum, any str, and a value of another enum."""
    registry.update_status("b", "helthy")  # type: ignore[arg-type]
    registry.update_status("b", status="static")  # type: ignore[arg-type]
    registry.update_status("b", text)  # type: ignore[arg-type]
    registry.update_status("b", None)  # type: ignore[arg-type]
    registry.acquire("m", policy="fastest")  # type: ignore[arg-type]
    registry.acquire("m", policy=text)  # type: ignore[arg-type]
    registry.select("m", policy="fastest")  # type: ignore[arg-type]
    registry.explain("m", policy="fastest")  # type: ignore[arg-type]


def right_definitions(kind: BackendTypeValue, source: DiscoverySourceValue, text: str) -> None:
    """The types that the constructor of `Backend` accepts, and the types of its fields."""
    backend = Backend("b", "b", "http://b", "vllm", [Model("m")], "mdns", {"zone": "a"}, 1, None, 2)
    assert_type(backend.backend_type, BackendType)
    assert_type(backend.discovery_source, DiscoverySource)
    assert_type(backend.models, tuple[Model, ...])
    assert_type(backend.max_pending, int | None)
    Backend(id="b", name="b", url="http://b", backend_type=kind, discovery_source=source)
    Backend("b", "b", "http://b", BackendType(text), models=(Model(name) for name in text))
    assert_type(Backend.from_json(text), Backend)
    assert_type(Model.from_json(text.encode()), Model)
    assert_type(load_fleet("fleet.toml"), list[Backend])
    Backend("b", "b", "http://b", settings={"timeouts": {"read": 5}, "hosts": ["a"]})
    assert_type(backend.settings, Mapping[str, Any])


class Message(TypedDict):
    """A chat message as SDKs declare it."""

    role: str
    content: str | None


def hashes_of_prompts(chat: list[Message]) -> None:
    """Texts, messages and token ids; and what is none of these."""
    assert_type(prefix_key("a"), int)
    assert_type(prefix_key(chat, length=5), int)
    assert_type(prefix_blocks([{"role": "a", "content": [{"type": "text"}]}]), list[int])
    assert_type(prefix_blocks((UserDict[str, str](),), block_chars=1), list[int])
    assert_type(prefix_blocks_of_tokens([1, 2], block_tokens=1), list[int])
    prefix_blocks_of_tokens(array("L"), block_tokens=1)
    prefix_key(b"a")  # type: ignore[arg-type]
    prefix_key(text="a")  # type: ignore[call-arg]
    prefix_blocks({"role": "a"})  # type: ignore[arg-type]
    prefix_blocks_of_tokens("a", block_tokens=1)  # type: ignore[arg-type]
    prefix_blocks_of_tokens([1])  # type: ignore[call-arg]


async def following(registry: Registry, source: DiscoverySourceValue, text: str) -> None:
    """A fleet file that is followed in either kind of block, and calls with wrong types."""
    with follow_fleet(registry, "fleet.toml") as follower:
        assert_type(follower, FleetFollower)
        assert_type(follower.reloads, int)
        assert_type(follower.last_error, Exception | None)
    async with follow_fleet(registry, Path("f"), source=source, allow_empty=True) as follower:
        assert_type(follower, FleetFollower)
    follow_fleet(registry, "fleet.toml", source="dns")  # type: ignore[arg-type]
    follow_fleet(registry, "fleet.toml", source=text)  # type: ignore[arg-type]
    follow_fleet(registry, "fleet.toml", DiscoverySource.MDNS)  # type: ignore[call-arg]
    follow_fleet("fleet.toml")  # type: ignore[call-arg, arg-type]


def wrong_definitions(text: str) -> None:
    """Wrong types for the same fields; and assigning to a field."""
    Backend("b", "b", "http://b", "vlm")  # type: ignore[arg-type]
    Backend("b", "b", "http://b", backend_type=text)  # type: ignore[arg-type]
    Backend("b", "b", "http://b", discovery_source="dns")  # type: ignore[arg-type]
    Backend("b", "b", "http://b", models=["m"])  # type: ignore[list-item]
    Backend("b", "b", "http://b", models="m")  # type: ignore[arg-type]
    Backend("b", "b", "http://b", metadata={"a": 1})  # type: ignore[dict-item]
    Backend("b", "b", "http://b", settings=["a"])  # type: ignore[arg-type]
    Backend("b", "b")  # type: ignore[call-arg]
    Backend("b", "b", "http://b").weight = 2  # type: ignore[misc]
    Model("m", context_length="8k")  # type: ignore[arg-type]
    Requirements(vison=True)  # type: ignore[call-arg]


def view_of(
    status: BackendStatusValue,
    kind: BackendTypeValue,
    source: DiscoverySourceValue,
) -> None:
    """A view made with the constructor, as users do in their tests."""
    now = datetime.now(UTC)
    view = BackendView("b", "b", "http://b", kind, status, now, None, [], 0, 0, 0, 0, source, {})
    assert_type(view.status, BackendStatus)
    assert_type(view.backend_type, BackendType)
    assert_type(view.discovery_source, DiscoverySource)
    assert_type(view.last_error, str | None)
    assert_type(view.serial, int)
    assert_type(view.draining, bool)
    assert_type(view.backend, Backend)
    view.status = BackendStatus.HEALTHY  # type: ignore[misc]
    view.metadata["zone"] = "b"  # type: ignore[index]
    view.backend.settings["zone"] = "b"  # type: ignore[index]
    assert view.settings  # type: ignore[attr-defined]
    BackendView(
        "b",
        "b",
        "http://b",
        "vlm",  # type: ignore[arg-type]
        "helthy",  # type: ignore[arg-type]
        now,
        None,
        [],
        priority=0,
        pending_requests=0,
        total_requests=0,
        avg_latency_ms=0,
        discovery_source="dns",  # type: ignore[arg-type]
        metadata={},
    )


def reads(registry: Registry, backend_id: str) -> None:
    """The types that queries return. A single backend may be None."""
    view = registry.get_backend(backend_id)
    assert_type(view, BackendView | None)
    print(view.url)  # type: ignore[union-attr]
    if view is not None:
        assert_type(view.url, str)
    assert_type(registry.get_all_backends(), list[BackendView])
    assert_type(registry.get_backends_for_model("m"), list[BackendView])
    assert_type(registry.find_by_mdns_instance("i"), str | None)
    assert_type(registry.remove_backend(backend_id), BackendView)
    assert_type(backend_id in registry, bool)
    assert_type(None in registry, bool)
    assert_type(len(registry), int)
    assert_type(list(registry), list[str])
    for each in registry:
        assert_type(each, str)
    registry[backend_id]  # type: ignore[index]


def counts(registry: Registry, ids: set[str]) -> None:
    """Counters return the new value, bulk operations a list of them."""
    assert_type(registry.increment_pending("b"), int)
    assert_type(registry.update_latency("b", 12), int)
    assert_type(registry.update_latency_many(ids, (1 for _ in ids)), list[int])
    registry.update_latency("b", 1.5)  # type: ignore[arg-type]
    assert_type(registry.wait_idle("b", 1.5, serial=7), bool)
    assert_type(registry.wait_idle("b", timeout=None), bool)
    registry.wait_idle("b", "1")  # type: ignore[arg-type]
    registry.wait_idle("b", 1, 7)  # type: ignore[call-arg]
    registry.increment_pending(backend_id="b")  # type: ignore[call-arg]
    registry.increment_pending_many([1])  # type: ignore[list-item]


def choices(registry: Registry, exclude: frozenset[str]) -> None:
    """The arguments of a choice, and the types that it returns."""
    need = Requirements(vision=True)
    lease = registry.acquire("m", require=need, exclude=exclude, allow_unknown=True)
    assert_type(lease, Lease)
    assert_type(lease.backend, Backend)
    assert_type(lease.release(), bool)
    assert_type(lease.release(12, failed=True), bool)
    assert_type(registry.select("m", exclude=["b"]), Backend)
    assert_type(registry.explain("m"), list[Candidate])
    assert_type(lease.release(1.5), bool)
    lease.release("1.5")  # type: ignore[arg-type]
    lease.active = False  # type: ignore[misc]
    registry.acquire(model_id="m")  # type: ignore[call-arg]
    registry.acquire("m", "random")  # type: ignore[call-arg]
    registry.acquire("m", require={"vision": True})  # type: ignore[arg-type]
    registry.acquire("m", exclude=None)  # type: ignore[arg-type]
    registry.acquire("m", allow_unknown=1)  # type: ignore[arg-type]


def held(registry: Registry) -> str:
    """A `with` block does not swallow exceptions, so this function always returns a str."""
    with registry.acquire("m") as lease:
        assert_type(lease, Lease)
        return lease.backend.url


async def held_by_a_task(registry: Registry) -> str:
    """The same for `async with`."""
    async with registry.acquire("m") as lease:
        assert_type(lease, Lease)
        assert_type(await registry.idle("b", 2, serial=None), bool)
        return lease.model_id


def refused(registry: Registry) -> dict[str, str]:
    """The attributes of a refusal."""
    try:
        registry.acquire("m").release()
    except NoBackendAvailableError as error:
        assert_type(error.unknown_model, bool)
        assert_type(error.kinds, dict[str, Reason])
        assert_type(error.retry_after, float | None)
        return {backend_id: reason.upper() for backend_id, reason in error.reasons.items()}
    return {}


def made() -> None:
    """Constructors of a subclass return the subclass."""
    assert_type(Tenant.from_fleet("fleet.toml"), Tenant)
    assert_type(Tenant().get_backend("b"), BackendView | None)
    Registry("fleet.toml")  # type: ignore[call-arg, arg-type]
    clock = ManualClock()
    clock.advance(0.5)
    assert_type(clock.now, float)
    rules = Ejection(consecutive_failures=None, base_s=5)
    assert_type(rules.failure_rate, float | None)
    Registry(ejection=rules, latency_ttl_s=None, clock=clock)
    Tenant.from_fleet("fleet.toml", ejection=None, latency_ttl_s=5, clock=clock)
    Registry(rules)  # type: ignore[call-arg]
    Registry(ejection=5)  # type: ignore[arg-type]
    Registry(clock=5)  # type: ignore[arg-type]
    Ejection(base_s="5")  # type: ignore[arg-type]
    clock.advance("5")  # type: ignore[arg-type]


def cooled_down(registry: Registry, lease: Lease, view: BackendView) -> None:
    """Outcomes, cool-downs, and what tells of them."""
    registry.cool_down("a", 5, serial=view.serial)
    registry.restore("a", serial=view.serial)
    assert_type(lease.first_token(), bool)
    assert_type(lease.release(abandoned=True), bool)
    lease.release(5, retry_after=2.5)
    assert_type(view.failed_requests, int)
    assert_type(view.avg_ttft_ms, int | None)
    assert_type(view.unavailable, Reason | None)
    assert_type(view.unavailable_until, datetime | None)
    for candidate in registry.explain("m"):
        assert_type(candidate.kind, Reason | None)
    registry.cool_down("a")  # type: ignore[call-arg]
    registry.cool_down("a", "5")  # type: ignore[arg-type]
    lease.release(retry_after="5")  # type: ignore[arg-type]
    lease.release(5, True)  # type: ignore[call-arg]


def watched(registry: Registry) -> None:
    """What a watch gives, and its arguments."""
    with registry.watch(limit=10) as watch:
        assert_type(watch, Watch)
        assert_type(watch.snapshot, tuple[BackendView, ...])
        assert_type(watch.get(timeout=0.5), Change | None)
        for change in watch:
            assert_type(change.kind, ChangeKind)
            assert_type(change.backend_id, str | None)
            assert_type(change.after, BackendView | None)
    registry.watch(10)  # type: ignore[call-arg]
    registry.watch(limit="10")  # type: ignore[arg-type]
    watch.get("1")  # type: ignore[arg-type]


async def watched_by_a_task(registry: Registry) -> None:
    """The same for tasks."""
    async with registry.watch() as watch:
        assert_type(watch, Watch)
        async for change in watch:
            assert_type(change, Change)
