"""The registry does step by step what the oracle does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from conftest import make_backend
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oracle import OracleRegistry

from registry import Backend, BackendStatus, BackendView, Model, Registry

IDS = st.sampled_from(["a", "b", "c", "ü", "d\0", "d"])
MODEL_IDS = st.sampled_from(["m1", "m2", "m3", "m4"])
MODELS = st.builds(Model, MODEL_IDS, context_length=st.sampled_from([4096, 8192]), supports_tools=st.booleans())
MODEL_LISTS = st.lists(MODELS, max_size=3, unique_by=lambda model: model.id)
INSTANCES = st.sampled_from(["i1", "i2", ""]) | st.none()
URLS = st.sampled_from(["http://h1", "HTTP://H1:80/", "http://h2:8000", "https://h1"])
SAMPLES = st.sampled_from([0, 1, 7, 1000, 2**30, 2**32 - 1])

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def comparable(result: Any) -> Any:
    """Results without the check times, which both sides take from the clock."""
    if isinstance(result, BackendView):
        assert abs((datetime.now(UTC) - result.last_health_check).total_seconds()) < 3600
        return replace(result, last_health_check=EPOCH)
    return [comparable(item) for item in result] if isinstance(result, list) else result


class RegistryMachine(RuleBasedStateMachine):
    """Every operation, on both."""

    @initialize()
    def start(self) -> None:
        self.real, self.oracle = Registry(), OracleRegistry()
        logging.getLogger("registry").setLevel(logging.ERROR)

    def teardown(self) -> None:
        logging.getLogger("registry").setLevel(logging.NOTSET)

    def both(self, operation: str, *arguments: Any) -> None:
        """The same call on both: equal results, or errors of the same type."""

        def outcome(call: Callable[..., Any]) -> Any:
            try:
                return comparable(call(*arguments))
            except Exception as error:
                return next(kind for kind in (LookupError, OverflowError, ValueError) if isinstance(error, kind))

        assert outcome(getattr(self.real, operation)) == outcome(getattr(self.oracle, operation))

    @rule(id=IDS, models=MODEL_LISTS, url=URLS, instance=INSTANCES, priority=st.integers(-2, 2))
    def add(self, id: str, models: list[Model], url: str, instance: str | None, priority: int) -> None:
        metadata = {} if instance is None else {"mdns_instance": instance}
        self.both("add_backend", Backend(id, id, url, models=models, metadata=metadata, priority=priority))

    @rule(id=IDS)
    def remove(self, id: str) -> None:
        self.both("remove_backend", id)

    @rule(id=IDS, status=st.sampled_from(BackendStatus), error=st.sampled_from([None, "boom", "ü"]))
    def update_status(self, id: str, status: BackendStatus, error: str | None) -> None:
        self.both("update_status", id, status, error)

    @rule(id=IDS, models=MODEL_LISTS)
    def update_models(self, id: str, models: list[Model]) -> None:
        self.both("update_models", id, models)

    @rule(id=IDS, model=MODELS)
    def add_model(self, id: str, model: Model) -> None:
        self.both("add_model", id, model)

    @rule(id=IDS, model_id=MODEL_IDS)
    def remove_model(self, id: str, model_id: str) -> None:
        self.both("remove_model", id, model_id)

    @rule(id=IDS, operation=st.sampled_from(["increment_pending", "decrement_pending", "increment_total_requests"]))
    def count(self, id: str, operation: str) -> None:
        self.both(operation, id)

    @rule(id=IDS, sample=SAMPLES)
    def update_latency(self, id: str, sample: int) -> None:
        self.both("update_latency", id, sample)

    @rule(
        ids=st.lists(IDS, max_size=4), operation=st.sampled_from(["increment_pending_many", "decrement_pending_many"])
    )
    def count_many(self, ids: list[str], operation: str) -> None:
        self.both(operation, ids)

    @rule(pairs=st.lists(st.tuples(IDS, SAMPLES), max_size=4))
    def update_latency_many(self, pairs: list[tuple[str, int]]) -> None:
        self.both("update_latency_many", [pair[0] for pair in pairs], [pair[1] for pair in pairs])

    @rule(id=IDS, instance=INSTANCES)
    def set_mdns_instance(self, id: str, instance: str | None) -> None:
        self.both("set_mdns_instance", id, instance)

    @precondition(lambda self: hasattr(self, "real"))
    @invariant()
    def same_state(self) -> None:
        for query in ("get_all_backends", "get_healthy_backends", "backend_count", "model_count"):
            self.both(query)
        for model_id in ("m1", "m2", "m3", "m4", "m5"):
            self.both("get_backends_for_model", model_id)
        for url in ("http://h1/", "http://h2:8000", "https://H1:443", "http://h2", "nonsense"):
            self.both("has_backend_url", url)
        for instance in ("i1", "i2", "i3"):
            self.both("find_by_mdns_instance", instance)
        assert list(self.real) == list(self.oracle)
        assert len(self.real) == len(self.oracle)
        assert all((id in self.real) == (id in self.oracle) for id in ("a", "b", "ü", "d", "d\0", "z"))


TestRegistryMachine = RegistryMachine.TestCase
TestRegistryMachine.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_the_machine_would_see_a_difference() -> None:
    machine = RegistryMachine()
    machine.start()
    machine.real.add_backend(make_backend("a"))
    try:
        machine.same_state()
    except AssertionError:
        return
    finally:
        machine.teardown()
    raise AssertionError("the machine saw no difference")
