"""`reconcile`: sources, and lists that are refused. A call that raises has changed nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.fleets import make_backend, state, the

from registry import Backend, DiscoverySource, Model, Reconciliation, Registry

STATIC, MDNS, MANUAL = DiscoverySource.STATIC, DiscoverySource.MDNS, DiscoverySource.MANUAL


@pytest.fixture
def mixed(registry: Registry) -> Registry:
    """Backends of all three sources; each has an instance."""
    for backend_id, source in (("s", STATIC), ("m", MDNS), ("t", STATIC), ("h", MANUAL)):
        registry.add_backend(
            make_backend(
                backend_id,
                "model",
                discovery_source=source,
                metadata={"mdns_instance": f"i-{backend_id}"},
            )
        )
        registry.update_status(backend_id, "unhealthy", backend_id)
        registry.increment_pending(backend_id)
    return registry


def of(backend_id: str, source: DiscoverySource, **fields: Any) -> Backend:
    """A definition for `mixed`."""
    given = {"metadata": {"mdns_instance": f"i-{backend_id}"}, **fields}
    return make_backend(backend_id, "model", discovery_source=source, **given)


# ---- Sources.


@pytest.mark.parametrize("source", [STATIC, "static"])
def test_only_backends_of_the_source_are_touched(mixed: Registry, source: Any) -> None:
    before = {view.id: view for view in mixed.get_all_backends()}
    done = mixed.reconcile([of("z", STATIC), of("t", STATIC, weight=2)], source=source)
    assert done == Reconciliation(("z",), ("t",), (), ("s",), ())
    assert list(mixed) == ["m", "t", "h", "z"]
    assert the(mixed, "m") == before["m"]
    assert the(mixed, "h") == before["h"]
    assert [view.id for view in mixed.get_backends_for_model("model")] == ["m", "t", "h", "z"]


@pytest.mark.parametrize("source", DiscoverySource)
def test_an_empty_list_removes_what_came_from_the_source(
    mixed: Registry, source: DiscoverySource
) -> None:
    theirs = [view.id for view in mixed.get_all_backends() if view.discovery_source is source]
    assert mixed.reconcile([], source=source).removed == tuple(theirs)
    assert [view.id for view in mixed.get_all_backends()] == [
        one for one in "smth" if one not in theirs
    ]
    assert mixed.reconcile(iter(()), source=source) == Reconciliation((), (), (), (), ())


def test_each_source_keeps_its_own_part(registry: Registry) -> None:
    for turn in range(3):
        for source in DiscoverySource:
            wanted = [of(f"{source}-{n}", source) for n in range(turn, turn + 3)]
            done = registry.reconcile(wanted, source=source)
            assert len(done.added) == (3 if turn == 0 else 1)
            assert len(done.removed) == (turn > 0)
    assert len(registry) == 9


def test_without_a_source_the_whole_fleet_is_reconciled(mixed: Registry) -> None:
    done = mixed.reconcile([of("m", STATIC), of("h", MANUAL)], source=None)
    assert done == Reconciliation((), ("m",), (), ("s", "t"), ("h",))
    assert the(mixed, "m").discovery_source is STATIC


def test_the_source_that_is_registered_now_counts(mixed: Registry) -> None:
    mixed.update_backend(of("m", STATIC))
    assert mixed.reconcile([], source=MDNS).removed == ()
    assert mixed.reconcile([], source=STATIC).removed == ("s", "m", "t")


def test_a_definition_with_another_source_is_refused(mixed: Registry) -> None:
    before = state(mixed)
    wanted = [of("s", STATIC, weight=9), of("z", MDNS)]
    with pytest.raises(ValueError, match="'z'.*mdns"):
        mixed.reconcile(wanted, source=STATIC)
    assert state(mixed) == before


@pytest.mark.parametrize(("taken", "source"), [("m", "mdns"), ("h", "manual")])
def test_an_id_of_another_source_is_refused(mixed: Registry, taken: str, source: str) -> None:
    before = state(mixed)
    wanted = [of("s", STATIC, weight=9), of("z", STATIC), of(taken, STATIC)]
    with pytest.raises(ValueError, match=f"'{taken}'.*{source}"):
        mixed.reconcile(wanted, source=STATIC)
    assert state(mixed) == before


def test_an_instance_of_another_source_is_refused(mixed: Registry) -> None:
    """The holder is not touched, so it keeps its instance."""
    before = state(mixed)
    with pytest.raises(ValueError, match="i-m"):
        mixed.reconcile([of("z", STATIC, metadata={"mdns_instance": "i-m"})], source=STATIC)
    assert state(mixed) == before
    mixed.set_mdns_instance("m", None)
    mixed.reconcile([of("z", STATIC, metadata={"mdns_instance": "i-m"})], source=STATIC)
    assert mixed.find_by_mdns_instance("i-m") == "z"


@pytest.mark.parametrize("wrong", ["dns", "", "STATIC"])
def test_an_unknown_source_is_a_value_error_with_the_choices(mixed: Registry, wrong: Any) -> None:
    before = state(mixed)
    with pytest.raises(ValueError, match="^source.*'static', 'mdns', 'manual'"):
        mixed.reconcile([], source=wrong)
    assert state(mixed) == before


@pytest.mark.parametrize("wrong", [5, True, b"static", ["static"]])
def test_a_source_of_a_wrong_type_is_a_type_error(mixed: Registry, wrong: Any) -> None:
    before = state(mixed)
    with pytest.raises(TypeError, match="^source"):
        mixed.reconcile([], source=wrong)
    assert state(mixed) == before


# ---- Lists that are refused.


def test_an_id_twice_names_the_place(mixed: Registry) -> None:
    before = state(mixed)
    for again in (of("x", STATIC), of("x", STATIC, weight=2, metadata={}, url="http://new")):
        with pytest.raises(ValueError, match=r"backends\[2\].*'x'"):
            mixed.reconcile([of("x", STATIC), of("s", STATIC), again])
        assert state(mixed) == before


def test_an_instance_twice_names_the_place(mixed: Registry) -> None:
    before = state(mixed)
    twins = [make_backend(one, metadata={"mdns_instance": "i"}) for one in ("x", "s", "y")]
    twins[1] = make_backend("s")
    with pytest.raises(ValueError, match=r"backends\[2\].*'i'"):
        mixed.reconcile(twins)
    assert state(mixed) == before


def test_an_empty_instance_is_refused(mixed: Registry) -> None:
    before = state(mixed)
    with pytest.raises(ValueError, match="mdns_instance"):
        mixed.reconcile([of("s", STATIC), make_backend("x", metadata={"mdns_instance": ""})])
    assert state(mixed) == before


@pytest.mark.parametrize("wrong", [None, 5, "s", {"id": "s"}, Backend, Model("s"), ["s"]])
def test_an_item_that_is_no_backend_names_the_place(mixed: Registry, wrong: Any) -> None:
    before = state(mixed)
    for wanted, place in (([wrong], 0), ([of("s", STATIC, weight=9), of("z", STATIC), wrong], 2)):
        with pytest.raises(TypeError, match=rf"^backends\[{place}\]"):
            mixed.reconcile(wanted)
        assert state(mixed) == before


def test_views_are_no_backends(mixed: Registry) -> None:
    any_registry: Any = mixed
    before = state(mixed)
    with pytest.raises(TypeError, match=r"^backends\[0\]"):
        any_registry.reconcile(mixed.get_all_backends())
    with pytest.raises(TypeError, match=r"^backends\[0\]"):
        any_registry.reconcile(mixed)
    assert state(mixed) == before


@pytest.mark.parametrize("wrong", [None, 5, "abc", b"abc", Backend, make_backend("s")])
def test_what_is_no_iterable_of_backends_is_a_type_error(mixed: Registry, wrong: Any) -> None:
    before = state(mixed)
    with pytest.raises(TypeError, match="^backends must be"):
        mixed.reconcile(wrong)
    assert state(mixed) == before


def test_an_iterable_that_raises_changes_nothing(mixed: Registry) -> None:
    def failing() -> Iterator[Backend]:
        yield of("s", STATIC, weight=9)
        yield of("z", STATIC)
        raise OSError("disk")

    before = state(mixed)
    with pytest.raises(OSError, match="^disk$"):
        mixed.reconcile(failing())
    assert state(mixed) == before


def test_a_refused_list_can_be_mended(mixed: Registry) -> None:
    wanted = [of("s", STATIC), of("z", STATIC), of("z", STATIC)]
    with pytest.raises(ValueError, match=r"backends\[2\]"):
        mixed.reconcile(wanted)
    assert mixed.reconcile(wanted[:2]) == Reconciliation(("z",), (), (), ("m", "t", "h"), ("s",))
