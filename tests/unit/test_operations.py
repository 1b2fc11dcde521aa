"""Operations that no other file covers: orders, return values, iterables, mDNS names and URLs."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from support.fleets import make_backend

from registry import (
    Backend,
    BackendNotFoundError,
    BackendStatus,
    DuplicateBackendError,
    Model,
    NoBackendAvailableError,
    Registry,
    WaitingLineFullError,
)
from registry._core.binding import STATUS_ERRORS


def test_everything_public_can_be_imported() -> None:
    import registry

    assert all(hasattr(registry, name) for name in registry.__all__)


def test_repr_shows_the_numbers_of_backends_and_models(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    assert repr(registry) == "<Registry: 1 backends, 1 models>"


def test_registration_order_is_kept_when_models_are_added_late(registry: Registry) -> None:
    ids = [f"b{number}" for number in range(200)]
    for backend_id in ids:
        registry.add_backend(make_backend(backend_id))
    for backend_id in reversed(ids):
        assert registry.add_model(backend_id, Model("m"))
        assert [v.id for v in registry.get_backends_for_model("m")] == ids[ids.index(backend_id) :]
    for backend_id in ids[::2]:
        registry.remove_model(backend_id, "m")
    assert [v.id for v in registry.get_backends_for_model("m")] == ids[1::2]
    for backend_id in ids[::2]:
        registry.add_model(backend_id, Model("m"))
    assert [v.id for v in registry.get_backends_for_model("m")] == ids
    registry.remove_backend("b0")
    registry.add_backend(make_backend("b0", "m"))
    assert [v.id for v in registry.get_backends_for_model("m")] == [*ids[1:], "b0"]


def test_lists_may_be_given_as_any_iterable(registry: Registry) -> None:
    registry.add_backend(Backend("a", "a", "http://h", models=(Model(name) for name in "mn")))
    registry.update_models("a", iter([Model("o")]))
    registry.update_models("a", models={Model("p"): 1}.keys())
    assert registry.get_all_backends()[0].models == (Model("p"),)
    assert registry.increment_pending_many(iter("aa")) == [1, 2]
    assert registry.update_latency_many(("a",), range(7, 8)) == [7]


def test_add_and_remove_model_report_whether_the_list_changed(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    assert registry.add_model("a", Model("m", context_length=1)) is False
    assert registry.get_all_backends()[0].models == (Model("m"),)
    assert registry.add_model("a", model=Model("n")) is True
    assert registry.get_all_backends()[0].models == (Model("m"), Model("n"))
    assert registry.remove_model("a", model_id="m") is True
    assert registry.remove_model("a", "m") is False
    with pytest.raises(BackendNotFoundError):
        registry.add_model("z", Model("m"))
    with pytest.raises(BackendNotFoundError):
        registry.remove_model("z", "m")


def test_status_may_be_given_by_value(registry: Registry) -> None:
    registry.add_backend(make_backend("a"))
    registry.update_status("a", status="draining", error="upgrade")
    view = registry.get_all_backends()[0]
    assert (view.status, view.last_error) == (BackendStatus.DRAINING, "upgrade")


def test_counters_survive_updates(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    registry.increment_pending("a")
    registry.increment_total_requests("a")
    registry.update_latency("a", 9)
    registry.update_status("a", "healthy")
    registry.update_models("a", [])
    registry.set_mdns_instance("a", "i")
    view = registry.get_all_backends()[0]
    assert (view.pending_requests, view.total_requests, view.avg_latency_ms) == (1, 1, 9)


def test_a_view_never_changes(registry: Registry) -> None:
    registry.add_backend(make_backend("a", "m"))
    view, text = registry.get_backend("a"), registry.to_json()
    registry.increment_pending("a")
    registry.update_status("a", "healthy")
    registry.update_models("a", [])
    assert view is not None
    assert text == f'{{"backends":[{view.to_json()}]}}'


@pytest.mark.parametrize(
    ("registered", "same", "different"),
    [
        (
            "http://h",
            ["HTTP://H", "http://h/", "http://h:80", "http://h:80//", "http://H:"],
            ["https://h", "http://h:81"],
        ),
        (
            "https://h:443/v1/",
            ["https://h/v1", "HTTPS://H/v1//"],
            ["https://h/V1", "https://h", "http://h/v1"],
        ),
        ("http://[::1]:8000", ["http://[::1]:8000/"], ["http://[::1]"]),
        (
            "http://U:p@H/x?Q=1#F",
            ["http://U:p@h/x?Q=1#F"],
            ["http://u:p@h/x?Q=1#F", "http://h/x?Q=1#F"],
        ),
    ],
)
def test_urls_are_compared_in_normal_form(
    registry: Registry, registered: str, same: list[str], different: list[str]
) -> None:
    registry.add_backend(make_backend("a", url=registered))
    registry.add_backend(make_backend("b", url=registered))
    assert all(registry.has_backend_url(url) for url in [registered, *same])
    assert not any(registry.has_backend_url(url) for url in different)
    registry.remove_backend("a")
    assert registry.has_backend_url(registered)
    registry.remove_backend("b")
    assert not registry.has_backend_url(registered)
    assert registry.get_backend("a") is None


def test_mdns_instances_are_unique_and_can_be_found(registry: Registry) -> None:
    registry.add_backend(make_backend("a", metadata={"mdns_instance": "i", "zone": "eu"}))
    registry.add_backend(make_backend("b"))
    assert registry.find_by_mdns_instance("i") == "a"
    registry.set_mdns_instance("a", instance="j")
    registry.set_mdns_instance("a", "j")
    assert [registry.find_by_mdns_instance(name) for name in "ij"] == [None, "a"]
    registry.set_mdns_instance("b", "i")
    registry.set_mdns_instance("a", None)
    assert [view.metadata for view in registry.get_all_backends()] == [
        {"zone": "eu"},
        {"mdns_instance": "i"},
    ]
    registry.remove_backend("b")
    assert registry.find_by_mdns_instance("i") is None
    with pytest.raises(BackendNotFoundError):
        registry.set_mdns_instance("b", "i")


@pytest.mark.parametrize(
    ("change", "changed", "value"),
    [
        (lambda r: r.update_models("a", [Model("n"), Model("m")]), "models", ["n", "m"]),
        (lambda r: r.add_model("a", Model("n")), "models", ["m", "o", "n"]),
        (lambda r: r.remove_model("a", "m"), "models", ["o"]),
        (lambda r: r.set_mdns_instance("a", "j"), "metadata", {"zone": "eu", "mdns_instance": "j"}),
        (lambda r: r.set_mdns_instance("a", None), "metadata", {"zone": "eu"}),
    ],
)
def test_a_change_of_one_part_keeps_every_other_part(
    registry: Registry, change: Callable[[Registry], object], changed: str, value: object
) -> None:
    metadata = {"mdns_instance": "i", "zone": "eu"}
    backend = make_backend(
        *("a", "m", "o"),
        backend_type="vllm",
        discovery_source="mdns",
        metadata=metadata,
        priority=-3,
        max_pending=7,
        weight=9,
    )
    registry.add_backend(backend)
    change(registry)
    found = registry.get_backend("a")
    assert found is not None
    for field in fields(Backend):
        if field.name != changed:
            assert getattr(found.backend, field.name) == getattr(backend, field.name)
    part = getattr(found, changed)
    got = [model.id for model in part] if changed == "models" else part
    assert got == value
    assert list(got) == list(value)  # type: ignore[call-overload]  # the order of keys, too
    with pytest.raises(TypeError):
        found.metadata["zone"] = "us"  # type: ignore[index]  # as it should


def test_bulk_forms_count_item_by_item_or_not_at_all(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    for backend_id in "ab":
        registry.add_backend(make_backend(backend_id))
    assert registry.increment_pending_many(["a", "b", "a"]) == [1, 1, 2]
    with caplog.at_level(logging.WARNING, "registry"):
        assert registry.decrement_pending_many(["b", "b", "a"]) == [0, 0, 1]
    assert len(caplog.records) == 1
    assert registry.update_latency_many(["a", "a"], [0, 100]) == [0, 20]
    assert registry.increment_pending_many([]) == []
    with pytest.raises(BackendNotFoundError, match="'z'"):
        registry.increment_pending_many(["a", "z"])
    assert [view.pending_requests for view in registry.get_all_backends()] == [1, 0]


def test_a_subclass_of_backend_or_model_is_stored_as_the_plain_class(registry: Registry) -> None:
    class OwnBackend(Backend):
        pass

    class OwnModel(Model):
        pass

    registry.add_backend(OwnBackend("a", "a", "http://h", models=[OwnModel("m")]))
    assert registry.add_model("a", OwnModel("n"))
    view = registry.get_all_backends()[0]
    assert [type(model) for model in view.models] == [Model, Model]


def test_a_subclass_of_registry_works() -> None:
    class Own(Registry):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    own = Own("x")
    own.add_backend(make_backend("a"))
    assert (own.increment_pending("a"), own.name) == (1, "x")


def test_a_large_fleet_keeps_its_order(registry: Registry) -> None:
    models = [Model(f"m{number}") for number in range(3)]
    for number in range(5000):
        registry.add_backend(Backend(str(number), "n", f"http://h{number}", models=models))
    assert len(registry.get_backends_for_model("m1")) == len(registry) == 5000
    for number in range(0, 5000, 2):
        registry.remove_backend(str(number))
    assert list(registry) == [str(number) for number in range(1, 5000, 2)]
    assert [view.id for view in registry.get_backends_for_model("m2")] == list(registry)


def test_every_failure_status_of_the_core_has_an_exception() -> None:
    """Reads the statuses and their order from src_c/base/types.h.

    Success, and the two statuses that ask the caller to try again, raise nothing.
    """
    header = (Path(__file__).parents[2] / "src_c" / "base" / "types.h").read_text()
    names = re.findall(
        r"^    (REG_\w+),",
        header.partition("typedef enum reg_status {")[2].partition("}")[0],
        re.MULTILINE,
    )
    expected = {
        "REG_NOT_FOUND": BackendNotFoundError,
        "REG_DUPLICATE": DuplicateBackendError,
        "REG_INSTANCE_TAKEN": ValueError,
        "REG_OVERFLOW": OverflowError,
        "REG_NO_MEMORY": MemoryError,
        "REG_NONE_AVAILABLE": NoBackendAvailableError,
        "REG_LINE_FULL": WaitingLineFullError,
    }
    assert names == ["REG_OK", *expected, "REG_CHANGED", "REG_WAITS", "REG_WOULD_BLOCK"]
    assert {
        names[status]: type(make("gpu-1")) for status, make in STATUS_ERRORS.items()
    } == expected
    assert all(
        "gpu-1" in str(make("gpu-1"))
        for status, make in STATUS_ERRORS.items()
        if names[status] != "REG_NO_MEMORY"
    )
