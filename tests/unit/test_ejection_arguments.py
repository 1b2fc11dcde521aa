"""The arguments of ejection, clocks, outcomes and cool-downs: what is accepted, and what is told.

What they do is tested elsewhere; `test_argument_messages` has the errors for wrong types.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fleets import make_backend

from registry import (
    Backend,
    BackendNotFoundError,
    BackendView,
    Candidate,
    Ejection,
    Lease,
    NoBackendAvailableError,
    Reason,
    Registry,
)
from registry._core import binding
from registry.ejection import DEFAULT_EJECTION, for_core, ttl_for_core
from registry.testing import ManualClock

YEAR = 86_400 * 365
NAN, INFINITY = float("nan"), float("inf")
HUGE = 10**400  # more than a float can hold


class OwnInt(int):
    """A subclass, which must not stay in a field."""


class OwnFloat(float):
    """A subclass, which must not stay in a field."""


def view_of(registry: Registry, backend_id: str = "a") -> BackendView:
    """The current view of a backend."""
    view = registry.get_backend(backend_id)
    assert view is not None
    return view


@pytest.fixture
def clock() -> ManualClock:
    """The clock of `made`."""
    return ManualClock()


@pytest.fixture
def made(clock: ManualClock) -> Registry:
    """A registry with one healthy backend, whose time stands still."""
    registry = Registry(clock=clock)
    registry.add_backend(make_backend("a", "m"))
    registry.update_status("a", "healthy")
    return registry


# ---- Ejection


def test_an_ejection_has_the_defaults_of_the_page() -> None:
    assert dataclasses.asdict(Ejection()) == {
        "consecutive_failures": 5,
        "failure_rate": 0.5,
        "min_requests": 20,
        "window_s": 10.0,
        "base_s": 30.0,
        "max_s": 300.0,
        "trials": 1,
        "slow_start_s": 30.0,
        "panic": 0.0,
    }


GOOD: list[tuple[str, Any]] = [
    *(("consecutive_failures", value) for value in (1, 2**32 - 1, None, OwnInt(3))),
    *(("failure_rate", value) for value in (5e-324, 1, 1.0, None, OwnFloat(0.5))),
    *(("min_requests", value) for value in (1, 2**32 - 1)),
    *((name, value) for name in ("window_s", "base_s", "max_s") for value in (31, 30.5, YEAR)),
    *((name, value) for name in ("window_s", "base_s") for value in (5e-324, OwnInt(1))),
    *(("trials", value) for value in (1, 65_535)),
    *(("slow_start_s", value) for value in (0, 0.0, 5e-324, YEAR, OwnFloat(2.5))),
    *(("panic", value) for value in (0, 1, 0.5, None, OwnFloat(0.5))),
]
BAD: list[tuple[str, Any, str]] = [
    *(
        (name, value, "from 1 to 4294967295")
        for name in ("consecutive_failures", "min_requests")
        for value in (0, -1, 2**32, HUGE)
    ),
    *(("trials", value, "from 1 to 65535") for value in (0, 65_536)),
    *(
        ("failure_rate", value, "above 0 and at most 1")
        for value in (0, 0.0, -0.1, 1.1, 2, NAN, INFINITY)
    ),
    *(("panic", value, "from 0 to 1") for value in (-1, -0.1, 1.1, 2, NAN)),
    *(
        (name, value, "above 0 and at most 31536000")
        for name in ("window_s", "base_s", "max_s")
        for value in (0, 0.0, -1, YEAR + 1, INFINITY, NAN, HUGE)
    ),
    *(("slow_start_s", value, "from 0 to 31536000") for value in (-1, -0.1, YEAR + 1, NAN)),
    ("max_s", 29, "at least base_s, 30.0, not 29.0"),
]


def test_the_tables_have_every_field() -> None:
    names = {field.name for field in dataclasses.fields(Ejection)}
    assert {name for name, _ in GOOD} == names == {name for name, _, _ in BAD}


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_a_field_takes_its_whole_range(name: str, value: Any) -> None:
    highest = {"max_s": YEAR} if name == "base_s" else {}
    ejection = Ejection(**{**highest, name: value})
    found = getattr(ejection, name)
    assert found == value
    assert type(found) in (int, float, type(None))
    assert Registry(ejection=ejection).backend_count() == 0


@pytest.mark.parametrize(("name", "value", "range_"), BAD)
def test_a_field_out_of_range_is_a_value_error(name: str, value: Any, range_: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be {range_}"):
        Ejection(**{name: value})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Ejection)])
@pytest.mark.parametrize("value", [True, "5", 5j, []])
def test_a_field_of_a_wrong_type_is_a_type_error(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be an "):
        Ejection(**{name: value})


def test_a_base_above_the_default_maximum_is_refused_with_the_fix() -> None:
    with pytest.raises(ValueError, match=r"^max_s must be at least base_s, 301\.0, not 300\.0$"):
        Ejection(base_s=301)
    assert Ejection(base_s=301, max_s=301).max_s == 301


def test_an_ejection_is_an_immutable_value() -> None:
    one = Ejection(base_s=1, panic=None)
    assert one == Ejection(base_s=1.0, panic=None) != Ejection()
    assert hash(one) == hash(copy.copy(one))
    assert pickle.loads(pickle.dumps(one)) == one == dataclasses.replace(one)
    assert not hasattr(one, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.base_s = 2  # type: ignore[misc]
    with pytest.raises(ValueError, match="max_s"):
        dataclasses.replace(one, max_s=0.5)


def test_the_core_gets_nanoseconds() -> None:
    assert for_core(DEFAULT_EJECTION) == (
        5, 0.5, 20, 10**10, 3 * 10**10, 3 * 10**11, 1, 3 * 10**10, 0.0
    )  # fmt: skip
    never = Ejection(
        consecutive_failures=None, failure_rate=None, panic=None, window_s=1e-300, slow_start_s=0
    )
    assert for_core(never) == (0, -1.0, 20, 1, 3 * 10**10, 3 * 10**11, 1, 0, -1.0)
    assert for_core(None) is None
    assert (ttl_for_core(None), ttl_for_core(0.1), ttl_for_core(7)) == (None, 10**8, 7 * 10**9)


# ---- settings of a registry


def test_a_registry_takes_its_settings_by_name_only() -> None:
    settings: dict[str, Any]
    for settings in (
        {},
        {"ejection": None},
        {"ejection": Ejection(), "latency_ttl_s": None, "clock": None},
        {"ejection": Ejection(trials=2), "latency_ttl_s": 5, "clock": ManualClock()},
        {"latency_ttl_s": 1e-12},
        {"latency_ttl_s": YEAR},
    ):
        assert len(Registry(**settings)) == 0
    with pytest.raises(TypeError):
        Registry(Ejection())  # type: ignore[call-arg]


@pytest.mark.parametrize("make", [Registry, lambda **given: Registry.from_fleet("no", **given)])
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"ejection": 5}, TypeError, "ejection must be an Ejection or None, not int"),
        ({"ejection": Ejection}, TypeError, "ejection must be an Ejection or None, not type"),
        ({"clock": 5}, TypeError, "clock must be a ManualClock or None, not int"),
        ({"latency_ttl_s": "5"}, TypeError, "latency_ttl_s must be an int, a float or None"),
        ({"latency_ttl_s": True}, TypeError, "latency_ttl_s must be an int, a float or None"),
        ({"latency_ttl_s": 0}, ValueError, "latency_ttl_s must be above 0 and at most 31536000"),
        ({"latency_ttl_s": -1}, ValueError, "latency_ttl_s must be above 0"),
        ({"latency_ttl_s": NAN}, ValueError, "latency_ttl_s must be above 0"),
        ({"latency_ttl_s": INFINITY}, ValueError, "latency_ttl_s must be above 0"),
    ],
)
def test_a_bad_setting_is_refused(
    make: Callable[..., Registry], given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        make(**given)


def test_fields_that_were_forced_are_checked_again() -> None:
    for name, value, error in (("base_s", 1e9, ValueError), ("trials", "x", TypeError)):
        forced = Ejection()
        object.__setattr__(forced, name, value)
        with pytest.raises(error, match=f"^{name} must be"):
            Registry(ejection=forced)


def test_a_subclass_passes_settings_on() -> None:
    class Named(Registry):
        def __init__(self, name: str, clock: ManualClock) -> None:
            super().__init__(ejection=None, clock=clock)
            self.name = name

    class Bare(Registry):
        def __init__(self, *_: Any) -> None:
            """Calls no other constructor."""

    clock = ManualClock()
    named = Named("n", clock)
    named.add_backend(make_backend("a", "m"))
    named.cool_down("a", 5)
    assert view_of(named).unavailable is Reason.COOLING_DOWN
    clock.advance(5)
    assert (named.name, view_of(named).unavailable) == ("n", None)
    assert Bare(5, "x").backend_count() == Registry.__new__(Registry).backend_count() == 0


def test_a_fleet_file_and_settings(tmp_path: Any) -> None:
    class Plain(Registry):
        def __init__(self) -> None:
            super().__init__()

    path = tmp_path / "fleet.toml"
    path.write_text('[[backends]]\nid = "a"\nname = "a"\nurl = "http://a"\n')
    clock = ManualClock()
    read = Registry.from_fleet(path, ejection=None, latency_ttl_s=5, clock=clock)
    read.cool_down("a", 5)
    clock.advance(5)
    assert view_of(read).unavailable is None
    assert [*Plain.from_fleet(path)] == ["a"]


def test_settings_can_not_be_changed(made: Registry) -> None:
    made.__init__()  # type: ignore[misc]
    assert made.backend_count() == 1
    unused = Registry(ejection=None)
    for registry in (made, unused):
        with pytest.raises(RuntimeError, match="make another one$"):
            registry.__init__(ejection=None)  # type: ignore[misc]
    assert [*made] == ["a"]


# ---- ManualClock


def test_a_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock()
    assert (clock.now, repr(clock)) == (0.0, "<ManualClock: 0.0 s>")
    clock.advance(2)
    clock.advance(0.5)
    clock.advance(0)
    assert (clock.now, repr(clock)) == (2.5, "<ManualClock: 2.5 s>")


def test_a_clock_is_exact_in_nanoseconds() -> None:
    clock = ManualClock()
    for _ in range(10):
        clock.advance(0.1)
    assert clock._read() == 10**9
    clock.advance(1e-9)
    clock.advance(1_000_000.000000001)
    clock.advance(86_400 * 365 * 50)
    assert clock._read() == 10**9 + 2 + 10**15 + 86_400 * 365 * 50 * 10**9


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "from 0 to"),
        (-1e-300, ValueError, "from 0 to"),
        (NAN, ValueError, "from 0 to"),
        (INFINITY, ValueError, "from 0 to"),
        (HUGE, ValueError, "from 0 to"),
        (True, TypeError, "an int or a float, not bool"),
        ("1", TypeError, "an int or a float, not str"),
        (None, TypeError, "an int or a float, not NoneType"),
        (timedelta(1), TypeError, "an int or a float, not timedelta"),
    ],
)
def test_a_bad_move_moves_nothing(value: Any, error: type[Exception], message: str) -> None:
    clock = ManualClock()
    with pytest.raises(error, match=f"^seconds must be {message}"):
        clock.advance(value)
    assert clock.now == 0


def test_a_clock_has_a_last_moment() -> None:
    clock = ManualClock()
    clock.advance(YEAR * 100)
    with pytest.raises(ValueError, match="^seconds must keep the clock within"):
        clock.advance(1e-9)
    clock.advance(0)
    assert clock.now == YEAR * 100


def test_no_move_is_lost() -> None:
    clock = ManualClock()

    def move() -> None:
        for _ in range(2000):
            clock.advance(0.001)

    threads = [threading.Thread(target=move) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now == 8


def test_a_clock_belongs_to_its_process() -> None:
    for clone in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="^a ManualClock can't be copied"):
            clone(ManualClock())


def test_registries_may_share_a_clock_and_outlive_it(clock: ManualClock, made: Registry) -> None:
    other = Registry(clock=clock)
    other.add_backend(make_backend("a"))
    made.cool_down("a", 5)
    other.cool_down("a", 6)
    clock.advance(5)
    assert (view_of(made).unavailable, view_of(other).unavailable) == (None, Reason.COOLING_DOWN)
    del clock
    assert view_of(other).unavailable is Reason.COOLING_DOWN


# ---- cool_down and restore


@pytest.mark.parametrize("seconds", [-1, -0.1, 86_400.1, 86_401, NAN, INFINITY, HUGE])
def test_a_cool_down_out_of_range_is_a_value_error(made: Registry, seconds: Any) -> None:
    with pytest.raises(ValueError, match="^seconds must be from 0 to 86400, not "):
        made.cool_down("a", seconds)
    assert view_of(made).unavailable is None


@pytest.mark.parametrize("seconds", [86_400, 86_400.0, 1, 1e-9, OwnInt(1), OwnFloat(0.5)])
def test_a_cool_down_is_seen_in_the_view(made: Registry, seconds: Any) -> None:
    before = datetime.now(UTC)
    made.cool_down("a", seconds)
    view = view_of(made)
    assert view.unavailable is Reason.COOLING_DOWN
    assert view.unavailable_until is not None
    assert view.unavailable_until.utcoffset() == timedelta(0)
    assert view.unavailable_until - before < timedelta(seconds=seconds, milliseconds=1)
    made.restore("a")
    assert (view_of(made).unavailable, view_of(made).unavailable_until) == (None, None)


def test_both_act_on_the_registration_with_the_serial(made: Registry) -> None:
    serial = view_of(made).serial
    for wrong in (serial + 1, 0):
        with pytest.raises(BackendNotFoundError):
            made.cool_down("a", 5, serial=wrong)
    made.cool_down("a", 5, serial=serial)
    for wrong in (serial + 1, 0):
        with pytest.raises(BackendNotFoundError):
            made.restore("a", serial=wrong)
    assert view_of(made).unavailable is Reason.COOLING_DOWN
    made.restore("a", serial=serial)
    assert view_of(made).unavailable is None
    for backend_id in ("b", "\ud800"):
        with pytest.raises(BackendNotFoundError):
            made.cool_down(backend_id, 5)
        with pytest.raises(BackendNotFoundError):
            made.restore(backend_id)
    calls: tuple[Callable[[], object], ...] = (
        lambda: made.cool_down(backend_id="a", seconds=5),  # type: ignore[call-arg]
        lambda: made.cool_down("a", 5, serial),  # type: ignore[call-arg]
        lambda: made.restore("a", serial),  # type: ignore[call-arg]
    )
    for call in calls:
        with pytest.raises(TypeError):
            call()


# ---- outcomes


@pytest.mark.parametrize(
    ("arguments", "failed", "sampled", "reason"),
    [
        ({}, 0, True, None),
        ({"latency_ms": 70}, 0, True, None),
        ({"latency_ms": 69.6}, 0, True, None),
        ({"failed": True}, 1, False, None),
        ({"failed": True, "latency_ms": 70.0}, 1, False, None),
        ({"abandoned": True}, 0, False, None),
        ({"abandoned": True, "latency_ms": 70}, 0, False, None),
        ({"retry_after": 5}, 1, False, Reason.COOLING_DOWN),
        ({"retry_after": 0}, 1, False, None),
        ({"retry_after": 86_400.0, "failed": True}, 1, False, Reason.COOLING_DOWN),
        ({"retry_after": 5, "latency_ms": 70}, 1, False, Reason.COOLING_DOWN),
    ],
)
def test_an_outcome_is_counted(
    made: Registry,
    clock: ManualClock,
    arguments: dict[str, Any],
    failed: int,
    sampled: bool,
    reason: Reason | None,
) -> None:
    lease = made.acquire("m")
    clock.advance(0.07)
    assert lease.release(**arguments) is True
    assert (lease.active, lease.release(), lease.release(failed=True)) == (False, False, False)
    view = view_of(made)
    assert (view.pending_requests, view.total_requests) == (0, 1)
    assert (view.failed_requests, view.unavailable) == (failed, reason)
    assert view.avg_latency_ms == (70 if sampled else 0)


class OwnBase(BaseException):
    """No `Exception`."""


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (ValueError(), 1),
        (TimeoutError(), 1),
        (ExceptionGroup("g", [ValueError()]), 1),
        (asyncio.CancelledError(), 0),
        (GeneratorExit(), 0),
        (KeyboardInterrupt(), 0),
        (SystemExit(), 0),
        (OwnBase(), 0),
        (BaseExceptionGroup("g", [KeyboardInterrupt()]), 0),
    ],
)
def test_what_leaves_a_block_is_the_outcome(
    made: Registry, error: BaseException, failed: int
) -> None:
    def leave() -> None:
        with made.acquire("m"):
            raise error

    async def leave_later() -> None:
        async with made.acquire("m"):
            raise error

    for call in (leave, lambda: leave_later().send(None)):
        with pytest.raises(type(error)):
            call()
    view = view_of(made)
    assert (view.pending_requests, view.total_requests) == (0, 2)
    assert (view.failed_requests, view.avg_latency_ms) == (2 * failed, 0)


def test_an_exit_with_a_class_that_is_none_is_abandoned(made: Registry) -> None:
    for kind in (5, int, "ValueError"):
        made.acquire("m").__exit__(kind, None, None)  # type: ignore[arg-type]
    assert (view_of(made).total_requests, view_of(made).failed_requests) == (3, 0)


def test_the_first_token_counts_once(made: Registry, clock: ManualClock) -> None:
    lease = made.acquire("m")
    assert view_of(made).avg_ttft_ms is None
    clock.advance(0.04)
    assert lease.first_token() is True
    clock.advance(0.04)
    assert lease.first_token() is False
    assert view_of(made).avg_ttft_ms == 40
    lease.release()
    assert lease.first_token() is False
    after = made.acquire("m")
    after.release()
    assert after.first_token() is False
    assert view_of(made).avg_ttft_ms == 40
    with made.acquire("m") as lease:
        assert lease.first_token() is True
    assert view_of(made).avg_ttft_ms == 32  # (0 + 4 * 40) // 5
    assert Lease.__new__(Lease).first_token() is False


# ---- Reason, and what callers are told


def test_the_reasons_have_the_order_and_the_values_of_the_page() -> None:
    values = [
        *("excluded", "unhealthy", "draining", "unknown", "no vision", "no tools", "no json mode"),
        *("short context", "cooling down", "ejected", "on trial", "full"),
    ]
    assert [member.value for member in Reason] == values
    assert [member.name for member in Reason] == [
        value.replace(" ", "_").upper() for value in values
    ]


def test_a_bind_with_other_reasons_is_an_import_error() -> None:
    for given in ((), (*Reason, Reason.FULL)):
        with pytest.raises(ImportError):
            binding.bind(Backend, Backend, BackendView, (), given)  # type: ignore[arg-type]


def test_a_candidate_has_its_kind(made: Registry) -> None:
    made.cool_down("a", 5)
    (candidate,) = made.explain("m")
    assert (candidate.reason, candidate.kind) == ("cooling down", Reason.COOLING_DOWN)
    assert type(candidate.reason) is str
    made.restore("a")
    assert made.explain("m")[0].kind is None
    assert [field.name for field in dataclasses.fields(Candidate)][-1] == "kind"
    assert Candidate("a", None, 1, 0, 0, 1, 0).kind is None


def refusal(registry: Registry, **given: Any) -> NoBackendAvailableError:
    """The error of a request that is refused."""
    with pytest.raises(NoBackendAvailableError) as caught:
        registry.acquire("m", **given)
    return caught.value


def test_an_error_has_kinds_and_the_time_to_come_back(made: Registry, clock: ManualClock) -> None:
    made.cool_down("a", 5)
    clock.advance(3.5)
    error = refusal(made)
    clock.advance(1)  # the time of the refusal counts
    assert error.retry_after == 1.5
    assert error.kinds == {"a": Reason.COOLING_DOWN}
    assert error.reasons == {"a": "cooling down"}
    assert error.retry_after == 1.5
    assert str(error) == "no backend available for 'm': 'a' cooling down"
    made.restore("a")
    error = refusal(made, exclude=["a"])
    assert (error.kinds, error.retry_after) == ({"a": Reason.EXCLUDED}, None)
    with pytest.raises(NoBackendAvailableError) as caught:
        made.acquire("other")
    assert (caught.value.kinds, caught.value.retry_after) == ({}, None)


@pytest.mark.parametrize(
    "clone", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))]
)
def test_a_copy_of_an_error_has_everything(made: Registry, clone: Callable[[Any], Any]) -> None:
    made.cool_down("a", 5)
    for error in (
        refusal(made),
        NoBackendAvailableError("m", {"a": "full"}, {"a": Reason.FULL}, 2.5),
    ):
        twin = clone(error)
        assert (twin.model_id, twin.reasons) == (error.model_id, error.reasons)
        assert (twin.kinds, twin.retry_after) == (error.kinds, error.retry_after)
        assert (twin.args, str(twin), repr(twin)) == (error.args, str(error), repr(error))
        assert twin.args == ("m", error.reasons)


def test_an_error_made_in_python_needs_no_kinds() -> None:
    error = NoBackendAvailableError("m", {"a": "full"})
    assert (error.kinds, error.retry_after) == ({}, None)
    given = {"a": Reason.FULL}
    error = NoBackendAvailableError("m", kinds=given, retry_after=1)
    assert (error.reasons, error.kinds, error.retry_after) == ({}, given, 1)
    assert error.kinds is not given


def test_an_id_that_was_forced_has_a_kind(made: Registry) -> None:
    object.__setattr__(view_of(made).backend, "id", 5)
    made.drain("a")
    assert refusal(made).kinds == {"5": Reason.DRAINING}
