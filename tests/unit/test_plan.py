"""Basic tests of every operation, under the names that the original registry's plan gave them.

The first registry of this kind was written in Rust. Its plan named 45 tests, in six phases from
data types to stress tests. Keeping the names makes it easy to compare the two. Each docstring says
in full what its test requires.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fleets import make_backend
from support.threads import run_threads, until_done

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    BackendType,
    BackendView,
    DiscoverySource,
    DuplicateBackendError,
    Model,
    Registry,
)

# ---- Phase 1: data types.


def test_backend_type_serialization() -> None:
    """Backend types serialize as lowercase strings."""
    values = [
        "ollama",
        "vllm",
        "llamacpp",
        "exo",
        "openai",
        "lmstudio",
        "anthropic",
        "google",
        "generic",
    ]
    assert [member.value for member in BackendType] == values
    assert '"backend_type":"llamacpp"' in make_backend(backend_type=BackendType.LLAMACPP).to_json()


def test_backend_status_serialization(registry: Registry) -> None:
    """Backend statuses serialize as lowercase strings."""
    registry.add_backend(make_backend("b"))
    for status in BackendStatus:
        registry.update_status("b", status)
        assert f'"status":"{status.name.lower()}"' in registry.to_json()


def test_model_creation() -> None:
    """A Model can be made with all fields given, or with the id alone and defaults for the rest."""
    model = Model("m", "M", 8192, True, False, True, 1024)
    assert (model.id, model.name, model.context_length, model.max_output_tokens) == (
        "m",
        "M",
        8192,
        1024,
    )
    assert (model.supports_vision, model.supports_tools, model.supports_json_mode) == (
        True,
        False,
        True,
    )
    assert Model("m") == Model("m", "m", 4096, False, False, False, None)


def test_backend_creation() -> None:
    """A Backend can be made with all fields given."""
    backend = Backend(
        "b",
        "B",
        "http://h:1",
        BackendType.VLLM,
        [Model("m")],
        DiscoverySource.MDNS,
        {"zone": "eu"},
        -3,
    )
    assert (backend.id, backend.name, backend.url, backend.backend_type) == (
        "b",
        "B",
        "http://h:1",
        BackendType.VLLM,
    )
    assert (backend.models, backend.discovery_source) == ((Model("m"),), DiscoverySource.MDNS)
    assert (backend.metadata, backend.priority) == ({"zone": "eu"}, -3)


def test_backend_json_roundtrip(registry: Registry) -> None:
    """Backends and views survive a round trip through JSON."""
    backend = make_backend("b", "m1", "m2", metadata={"k": "ü"}, priority=5)
    assert Backend.from_json(backend.to_json()) == backend
    registry.add_backend(backend)
    registry.update_status("b", "unhealthy", "boom")
    view = registry.get_backend("b")
    assert view is not None
    assert BackendView.from_json(view.to_json()) == view


# ---- Phase 2: adding, removing and getting backends.


def test_add_backend_success(registry: Registry) -> None:
    """A new backend is stored, its health is unknown and its counters are 0."""
    before = datetime.now(UTC)
    # The contract promises None, so the test checks for it.
    assert registry.add_backend(make_backend("b", "m")) is None  # type: ignore[func-returns-value]
    view = registry.get_backend("b")
    assert view is not None
    assert (view.status, view.last_error, view.pending_requests) == (BackendStatus.UNKNOWN, None, 0)
    assert before <= view.last_health_check <= datetime.now(UTC)


def test_add_backend_duplicate_error(registry: Registry) -> None:
    """Adding an id that is registered fails, and changes nothing."""
    registry.add_backend(make_backend("gpu-1", "m"))
    with pytest.raises(DuplicateBackendError, match="^backend already exists: 'gpu-1'$") as caught:
        registry.add_backend(make_backend("gpu-1", "other"))
    assert caught.value.backend_id == "gpu-1"
    assert registry.get_backends_for_model("other") == []


def test_remove_backend_success(registry: Registry) -> None:
    """Removing a backend returns its last view."""
    registry.add_backend(make_backend("b", "m"))
    registry.increment_pending("b")
    view = registry.remove_backend("b")
    assert (view.id, view.pending_requests) == ("b", 1)
    assert registry.get_backend("b") is None


def test_remove_backend_not_found(registry: Registry) -> None:
    """Removing an id that is not registered fails."""
    with pytest.raises(BackendNotFoundError) as caught:
        registry.remove_backend("gpu-1")
    assert (str(caught.value), caught.value.backend_id) == ("backend not found: 'gpu-1'", "gpu-1")


def test_get_backend_found(registry: Registry) -> None:
    """The view of a backend has every field of its definition, except for the settings."""
    backend = make_backend("b", "m", metadata={"k": "v"})
    registry.add_backend(backend)
    view = registry.get_backend("b")
    assert view is not None
    assert all(
        getattr(view, name) == getattr(backend, name)
        for name in Backend.__dataclass_fields__
        if name != "settings"
    )


def test_get_backend_not_found(registry: Registry) -> None:
    """Getting an id that is not registered returns None."""
    assert registry.get_backend("b") is None


def test_get_all_backends(registry: Registry) -> None:
    """All backends are returned, in the order of registration."""
    for backend_id in "cab":
        registry.add_backend(make_backend(backend_id))
    assert [view.id for view in registry.get_all_backends()] == ["c", "a", "b"]


def test_backend_count(registry: Registry) -> None:
    """The count follows additions and removals."""
    assert registry.backend_count() == 0
    registry.add_backend(make_backend("a"))
    registry.add_backend(make_backend("b"))
    registry.remove_backend("a")
    assert registry.backend_count() == 1


# ---- Phase 3: the index of models, and queries.


def test_get_backends_for_model_single(registry: Registry) -> None:
    """A query by model returns only the backends that serve the model."""
    registry.add_backend(make_backend("a", "m1"))
    registry.add_backend(make_backend("b", "m2"))
    assert [view.id for view in registry.get_backends_for_model("m2")] == ["b"]


def test_get_backends_for_model_multiple(registry: Registry) -> None:
    """Backends that serve the same model are returned in the order of registration."""
    for backend_id in "cab":
        registry.add_backend(make_backend(backend_id, "m"))
    assert [view.id for view in registry.get_backends_for_model("m")] == ["c", "a", "b"]


def test_get_backends_for_model_none(registry: Registry) -> None:
    """A query for a model that no backend serves returns an empty list."""
    registry.add_backend(make_backend("a", "m"))
    assert registry.get_backends_for_model("other") == []


def test_get_healthy_backends(registry: Registry) -> None:
    """The query for healthy backends returns them all, in the order of registration."""
    for backend_id in "abc":
        registry.add_backend(make_backend(backend_id))
    for backend_id in "ca":
        registry.update_status(backend_id, BackendStatus.HEALTHY)
    assert [view.id for view in registry.get_healthy_backends()] == ["a", "c"]


def test_get_healthy_backends_excludes_unhealthy(registry: Registry) -> None:
    """An unhealthy backend is not returned as healthy."""
    registry.add_backend(make_backend("a"))
    registry.update_status("a", BackendStatus.HEALTHY)
    registry.update_status("a", BackendStatus.UNHEALTHY)
    assert registry.get_healthy_backends() == []


def test_get_healthy_backends_excludes_draining(registry: Registry) -> None:
    """A draining backend is not returned as healthy."""
    registry.add_backend(make_backend("a"))
    registry.update_status("a", BackendStatus.DRAINING)
    assert registry.get_healthy_backends() == []


def test_model_count(registry: Registry) -> None:
    """A model that several backends serve counts once."""
    registry.add_backend(make_backend("a", "m1", "m2"))
    registry.add_backend(make_backend("b", "m2", "m3"))
    assert registry.model_count() == 3
    registry.remove_backend("a")
    assert registry.model_count() == 2


def test_model_index_updated_on_add(registry: Registry) -> None:
    """The models of a backend are found once it is added."""
    registry.add_backend(make_backend("a", "m"))
    assert [view.id for view in registry.get_backends_for_model("m")] == ["a"]


def test_model_index_updated_on_remove(registry: Registry) -> None:
    """The models of a backend are gone once it is removed."""
    registry.add_backend(make_backend("a", "m"))
    registry.remove_backend("a")
    assert registry.get_backends_for_model("m") == []
    assert registry.model_count() == 0


# ---- Phase 4: updates of status and models.


def test_update_status_healthy_to_unhealthy(registry: Registry) -> None:
    """A status can change from healthy to unhealthy."""
    registry.add_backend(make_backend("a"))
    registry.update_status("a", BackendStatus.HEALTHY)
    registry.update_status("a", BackendStatus.UNHEALTHY)
    assert registry.get_all_backends()[0].status is BackendStatus.UNHEALTHY


def test_update_status_sets_timestamp(registry: Registry) -> None:
    """An update of the status sets the time of the last health check."""
    registry.add_backend(make_backend("a"))
    before = datetime.now(UTC)
    registry.update_status("a", BackendStatus.HEALTHY)
    assert before <= registry.get_all_backends()[0].last_health_check <= datetime.now(UTC)


def test_update_status_sets_error(registry: Registry) -> None:
    """An update of the status stores the error."""
    registry.add_backend(make_backend("a"))
    registry.update_status("a", BackendStatus.UNHEALTHY, error="connection refused")
    assert registry.get_all_backends()[0].last_error == "connection refused"


def test_update_status_clears_error(registry: Registry) -> None:
    """An error is cleared by a healthy status, and by an update without an error."""
    registry.add_backend(make_backend("a"))
    registry.update_status("a", BackendStatus.UNHEALTHY, "x")
    registry.update_status("a", BackendStatus.HEALTHY, "ignored")
    assert registry.get_all_backends()[0].last_error is None
    registry.update_status("a", BackendStatus.DRAINING, "y")
    registry.update_status("a", BackendStatus.DRAINING)
    assert registry.get_all_backends()[0].last_error is None


def test_update_status_not_found(registry: Registry) -> None:
    """Updating the status of an id that is not registered fails."""
    with pytest.raises(BackendNotFoundError):
        registry.update_status("a", BackendStatus.HEALTHY)


def test_update_models_replaces_list(registry: Registry) -> None:
    """An update of the models replaces the whole list."""
    registry.add_backend(make_backend("a", "m1", "m2"))
    registry.update_models("a", [Model("m3"), Model("m2", context_length=1)])
    assert registry.get_all_backends()[0].models == (Model("m3"), Model("m2", context_length=1))


def test_update_models_updates_index(registry: Registry) -> None:
    """An update of the models removes the old entries of the index and adds the new ones."""
    registry.add_backend(make_backend("a", "m1", "m2"))
    registry.update_models("a", [Model("m2"), Model("m3")])
    assert [len(registry.get_backends_for_model(model_id)) for model_id in ("m1", "m2", "m3")] == [
        0,
        1,
        1,
    ]


def test_update_models_not_found(registry: Registry) -> None:
    """Updating the models of an id that is not registered fails."""
    with pytest.raises(BackendNotFoundError):
        registry.update_models("a", [])


# ---- Phase 5: counters.


def test_increment_pending_success(registry: Registry) -> None:
    """An increment adds 1."""
    registry.add_backend(make_backend("a"))
    registry.increment_pending("a")
    assert registry.get_all_backends()[0].pending_requests == 1


def test_increment_pending_returns_new_value(registry: Registry) -> None:
    """An increment returns the new value."""
    registry.add_backend(make_backend("a"))
    assert [registry.increment_pending("a") for _ in range(3)] == [1, 2, 3]


def test_decrement_pending_success(registry: Registry) -> None:
    """A decrement subtracts 1 and returns the new value."""
    registry.add_backend(make_backend("a"))
    registry.increment_pending_many(["a"] * 3)
    assert registry.decrement_pending("a") == 2


def test_decrement_pending_clamps_to_zero(registry: Registry) -> None:
    """A decrement at 0 leaves 0."""
    registry.add_backend(make_backend("a"))
    assert [registry.decrement_pending("a") for _ in range(3)] == [0, 0, 0]
    assert registry.increment_pending("a") == 1


def test_decrement_pending_logs_warning_at_zero(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """A decrement at 0 logs one warning that names the backend."""
    registry.add_backend(make_backend("gpu-7"))
    registry.increment_pending("gpu-7")
    with caplog.at_level(logging.WARNING, "registry"):
        registry.decrement_pending("gpu-7")
        assert caplog.records == []
        registry.decrement_pending("gpu-7")
    assert [(record.name, record.levelname) for record in caplog.records] == [
        ("registry", "WARNING")
    ]
    assert "gpu-7" in caplog.text


def test_update_latency_first_sample(registry: Registry) -> None:
    """The first latency sample becomes the average."""
    registry.add_backend(make_backend("a"))
    assert registry.update_latency("a", 150) == 150


def test_update_latency_ema_calculation(registry: Registry) -> None:
    """The average is exponential: (sample + 4 * old) / 5, rounded down."""
    registry.add_backend(make_backend("a"))
    assert [registry.update_latency("a", sample) for sample in (100, 200, 7)] == [100, 120, 97]


def test_update_latency_zero_valid(registry: Registry) -> None:
    """A latency of 0 ms is a sample like any other."""
    registry.add_backend(make_backend("a"))
    assert [registry.update_latency("a", sample) for sample in (0, 100)] == [0, 20]


@given(count=st.integers(0, 300))
def prop_increment_decrement_balanced(count: int) -> None:
    """As many decrements as increments lead back to 0."""
    registry = Registry()
    registry.add_backend(make_backend("a"))
    assert [registry.increment_pending("a") for _ in range(count)] == list(range(1, count + 1))
    assert [registry.decrement_pending("a") for _ in range(count)] == list(reversed(range(count)))


@settings(max_examples=20, deadline=None)
@given(shares=st.lists(st.integers(0, 500), min_size=2, max_size=8))
def prop_concurrent_increments_correct(shares: list[int]) -> None:
    """Concurrent increments are all counted, and no two return the same value."""
    registry = Registry()
    registry.add_backend(make_backend("a"))

    def count(share: int) -> list[int]:
        return [registry.increment_pending("a") for _ in range(share)]

    seen = run_threads([partial(count, share) for share in shares])
    assert sorted(value for values in seen for value in values) == list(range(1, sum(shares) + 1))
    assert all(values == sorted(values) for values in seen)


@given(samples=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def prop_latency_bounded(samples: list[int]) -> None:
    """The average never exceeds the largest sample."""
    registry = Registry()
    registry.add_backend(make_backend("a"))
    average = None
    for index, sample in enumerate(samples, 1):
        average = sample if average is None else (sample + 4 * average) // 5
        assert registry.update_latency("a", sample) == average
        assert 0 <= average <= max(samples[:index])


# ---- Phase 6: stress tests, with real threads.


def test_concurrent_reads_no_deadlock(registry: Registry) -> None:
    """Concurrent reads finish, and each finds what it should."""
    for number in range(20):
        registry.add_backend(make_backend(f"b{number}", "m"))

    def read() -> int:
        found = 0
        for number in range(1250):
            found += registry.get_backend(f"b{number % 20}") is not None
            found += len(registry.get_backends_for_model("m")) == 20
        return found

    assert run_threads([read] * 8) == [2500] * 8


def test_concurrent_read_write_safe(registry: Registry) -> None:
    """Readers and writers at the same time see and leave a consistent registry."""
    registry.add_backend(make_backend("stays", "m"))

    def write(thread: int) -> None:
        for number in range(300):
            backend_id = f"t{thread}-{number % 7}"
            registry.add_backend(make_backend(backend_id, "m", f"own-{thread}"))
            registry.update_status(backend_id, "healthy")
            registry.increment_pending(backend_id)
            registry.update_models(backend_id, [Model("m"), Model("new")])
            assert registry.remove_backend(backend_id).pending_requests == 1

    def read() -> None:
        for _ in range(1000):
            views = registry.get_backends_for_model("m")
            assert "stays" in [view.id for view in views]
            registry.get_healthy_backends()

    run_threads([*(lambda t=t: write(t) for t in range(4)), *[read] * 4])
    assert list(registry) == ["stays"]
    assert registry.model_count() == 1


def test_concurrent_add_remove_same_id(registry: Registry) -> None:
    """Concurrent additions and removals of one id leave it registered once or not at all."""

    def churn() -> int:
        balance = 0
        for _ in range(500):
            try:
                registry.add_backend(make_backend("x", "m"))
                balance += 1
            except DuplicateBackendError:
                pass
            try:
                registry.remove_backend("x")
                balance -= 1
            except BackendNotFoundError:
                pass
        return balance

    balance = sum(run_threads([churn] * 8))
    assert balance in (0, 1)
    assert registry.backend_count() == len(registry.get_backends_for_model("m")) == balance


def test_concurrent_model_queries(registry: Registry) -> None:
    """A query by model stays complete while one backend's models change."""
    for backend_id in "ab":
        registry.add_backend(make_backend(backend_id, "m", "n"))

    def update() -> None:
        for number in range(1000):
            registry.update_models("a", [Model("m"), Model(f"x{number % 3}")])

    def query() -> None:
        views = registry.get_backends_for_model("m")
        assert [view.id for view in views] == ["a", "b"]
        assert all(any(model.id == "m" for model in view.models) for view in views)

    until_done(update, *[query] * 7)
