"""The policy AFFINITY: the ranking of a key, its stability, and its proportions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import permutations
from math import isclose, log, log1p
from pathlib import Path
from typing import Any

import pytest
from support.oracle_affinity import draw, ranking
from support.xxh64 import LIMIT

from registry import (
    Backend,
    Ejection,
    Model,
    NoBackendAvailableError,
    Policy,
    Registry,
    Requirements,
    prefix_key,
)
from registry.testing import ManualClock

HERE = str(Path(__file__).parent)
KEYS = range(20_000)
EVEN = {f"b{number}": 1 for number in range(7)}
UNEVEN = {"b0": 1, "b1": 2, "b2": 7, "b3": 1000, "b4": 333, "b5": 50, "b6": 999}
# Above these, a chi-square with so many degrees of freedom is in one of a million cases.
CHI_SQUARE = {3: 30.7, 6: 38.3}
EXOTIC: tuple[Any, ...] = ("", b"", "ä", "\U0001f600", 0, -1, 2**63, 2**64 - 1, -(2**63), "b1")


def fleet(weights: dict[str, int], order: Iterable[str] | None = None) -> Registry:
    registry = Registry()
    for backend_id in weights if order is None else order:
        add(registry, backend_id, weights[backend_id])
    return registry


def add(registry: Registry, backend_id: str, weight: int = 1) -> None:
    registry.add_backend(
        Backend(
            backend_id,
            backend_id,
            f"http://{backend_id}",
            models=[Model("m"), Model("n", supports_tools=True)],
            weight=weight,
        )
    )
    registry.update_status(backend_id, "healthy")


def ranked(registry: Registry, key: Any, **arguments: Any) -> list[str]:
    told = registry.explain("m", policy="affinity", affinity=key, **arguments)
    return [one.backend_id for one in told if one.reason is None]


def chosen(registry: Registry, key: Any, **arguments: Any) -> str:
    return registry.select("m", policy="affinity", affinity=key, **arguments).id


def homes(registry: Registry, keys: Iterable[Any] = KEYS) -> list[str]:
    return [chosen(registry, key) for key in keys]


# ---- The ranking.


@pytest.mark.parametrize("weights", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_the_ranking_is_that_of_weighted_rendezvous_hashing(weights: dict[str, int]) -> None:
    registry = fleet(weights)
    for key in (*range(1000), *EXOTIC, "session", b"session"):
        wanted = ranking(key, weights)
        assert ranked(registry, key) == wanted
        assert chosen(registry, key) == wanted[0]


def test_the_ranking_never_changes() -> None:
    """The values of the first version: who stores keys elsewhere relies on them."""
    registry = fleet(UNEVEN)
    told = {key: "".join(one[1] for one in ranked(registry, key)) for key in GOLDEN}
    assert told == GOLDEN
    assert f"{draw('session', 'b0'):016x}" == DRAW


def test_the_order_of_registration_makes_no_difference() -> None:
    for order in list(permutations(UNEVEN))[::500]:
        registry = fleet(UNEVEN, order)
        assert {key: "".join(one[1] for one in ranked(registry, key)) for key in GOLDEN} == GOLDEN


def test_every_process_has_the_same_ranking() -> None:
    program = (
        "from test_affinity import *; registry = fleet(UNEVEN);"
        "print([''.join(one[1] for one in ranked(registry, key)) for key in GOLDEN])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join([HERE, *sys.path])},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert told == {f"{list(GOLDEN.values())}\n"}


def test_a_registration_anew_a_model_and_earlier_choices_make_no_difference() -> None:
    registry = fleet(UNEVEN)
    before = homes(registry, range(200))
    for backend_id in ("b3", "b0"):
        registry.remove_backend(backend_id)
        add(registry, backend_id, UNEVEN[backend_id])
    for number in range(50):
        registry.acquire("m", policy=Policy.RANDOM).release()
        registry.acquire("n", policy="affinity", affinity=number).release()
    assert homes(registry, range(200)) == before
    for key in range(200):
        told = registry.select("n", policy="affinity", affinity=key)
        assert told.id == before[key]


# ---- Proportions.


def chi_square(counts: Counter[str], weights: dict[str, int]) -> float:
    total, whole = counts.total(), sum(weights.values())
    expected = {one: total * weight / whole for one, weight in weights.items()}
    return sum((counts[one] - wanted) ** 2 / wanted for one, wanted in expected.items())


@pytest.mark.parametrize("weights", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("kind", ["int", "str", "spread"])
def test_keys_spread_in_proportion_to_weight(weights: dict[str, int], kind: str) -> None:
    make = {"int": int, "str": "session-{}".format, "spread": (2**40).__mul__}[kind]
    counts = Counter(homes(fleet(weights), map(make, KEYS)))  # type: ignore[call-overload]
    assert chi_square(counts, weights) < CHI_SQUARE[len(weights) - 1]


def test_the_seconds_of_a_backends_keys_spread_likewise() -> None:
    registry = fleet(EVEN)
    orders = [ranked(registry, key) for key in range(7000)]
    others = {one: 1 for one in EVEN if one != "b2"}
    seconds = Counter(order[1] for order in orders if order[0] == "b2")
    assert chi_square(seconds, others) < CHI_SQUARE[6]


@pytest.mark.parametrize("weights", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("gone", ["b2", "b3"])
def test_a_backend_that_goes_moves_only_its_own_keys(weights: dict[str, int], gone: str) -> None:
    registry = fleet(weights)
    before = homes(registry)
    registry.remove_backend(gone)
    after = homes(registry)
    moved = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert {a for a, _ in moved} == {gone}
    assert len(moved) == before.count(gone)
    add(registry, gone, weights[gone])  # one that comes takes only its share
    assert homes(registry) == before


def test_a_greater_weight_only_attracts_keys() -> None:
    registry = fleet(EVEN)
    before = homes(registry)
    registry.update_backend(Backend("b2", "b2", "http://b2", models=[Model("m")], weight=3))
    after = homes(registry)
    assert {b for a, b in zip(before, after, strict=True) if a != b} == {"b2"}
    assert isclose(after.count("b2") / len(KEYS), 3 / 9, rel_tol=0.05)


def test_a_slow_start_reduces_the_weight_in_the_ranking_only() -> None:
    clock = ManualClock()
    registry = Registry(clock=clock, ejection=Ejection(slow_start_s=30), affinity_floor=2)
    for backend_id in ("a", "b"):
        add(registry, backend_id)
    whole = homes(registry, range(4000))
    registry.update_status("a", "unhealthy")
    registry.update_status("a", "healthy")
    slow = homes(registry, range(4000))
    assert isclose(slow.count("a") / 4000, 0.1 / 1.1, rel_tol=0.1)
    assert {b for a, b in zip(whole, slow, strict=True) if a != b} == {"b"}
    key = slow.index("a")
    # The bound is the same: two requests, as if it had its whole weight.
    leases = [registry.acquire("m", policy="affinity", affinity=key) for _ in range(3)]
    assert [lease.backend.id for lease in leases] == ["a", "a", "b"]
    for lease in leases:
        lease.release(abandoned=True)
    clock.advance(30)
    assert homes(registry, range(4000)) == whole


# ---- Keys and arguments.


def test_equal_keys_are_those_of_equal_bits() -> None:
    registry = fleet(EVEN)
    for a, b in (
        ("häuser", "häuser".encode()),
        (-1, 2**64 - 1),
        (-(2**63), 2**63),
        ("x" * 100, b"x" * 100),
    ):
        assert ranked(registry, a) == ranked(registry, b)
    assert ranked(registry, "") == ranked(registry, b"") == ranked(registry, 0xEF46DB3751D8E999)
    text = "a prompt" * 100
    assert ranked(registry, prefix_key(text, length=800)) == ranked(registry, text)

    class Text(str):
        def encode(self, encoding: str = "", errors: str = "") -> bytes:
            raise AssertionError(encoding, errors)

    assert ranked(registry, Text("s")) == ranked(registry, "s")


@pytest.mark.parametrize("method", ["acquire", "select", "explain"])
def test_bad_keys_are_refused(method: str) -> None:
    registry = fleet(EVEN)
    call = getattr(registry, method)
    for bad in (True, 1.5, None, bytearray(b"k"), ["k"], object()):
        error = ValueError if bad is None else TypeError
        with pytest.raises(error, match="^affinity must be "):
            call("m", policy="affinity", affinity=bad)
    for bad in (2**64, -(2**63) - 1, 10**5000):
        with pytest.raises(ValueError, match="^affinity must be from -9223372036854775808 to "):
            call("m", policy="affinity", affinity=bad)
    with pytest.raises(ValueError, match="^affinity must be free of lone surrogates, .* index 1"):
        call("m", policy="affinity", affinity="a\ud800")
    for policy in Policy:
        if policy is not Policy.AFFINITY:
            with pytest.raises(ValueError, match="^affinity must be None unless the policy is"):
                call("m", policy=policy, affinity="k")
    with pytest.raises(ValueError, match="^affinity must be None unless"):
        call("m", affinity="k")


def test_bad_settings_are_refused() -> None:
    for bad in (0.99, 1001, float("nan"), float("inf"), -1):
        with pytest.raises(ValueError, match="^affinity_load must be from 1 to 1000"):
            Registry(affinity_load=bad)
    for bad in (-0.1, 2**32, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="^affinity_floor must be from 0 to"):
            Registry(affinity_floor=bad)
    for kind in ("1", True):
        with pytest.raises(TypeError, match="^affinity_load must be an int, a float or None"):
            Registry(affinity_load=kind)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="^affinity_floor must be an int or a float"):
        Registry(affinity_floor=None)  # type: ignore[arg-type]


# ---- What comes before the key.


def test_everything_else_comes_first() -> None:
    registry = fleet(EVEN)
    first, second, third, fourth, *_ = ranked(registry, "k")
    assert chosen(registry, "k", exclude=[first]) == second
    assert chosen(registry, "k", only=[fourth, third, "gone"]) == third
    registry.update_status(first, "unhealthy")
    registry.drain(second)
    registry.cool_down(third, 60)
    assert chosen(registry, "k") == fourth
    with pytest.raises(NoBackendAvailableError):
        chosen(registry, "k", require=Requirements(tools=True))
    with pytest.raises(NoBackendAvailableError) as caught:
        chosen(registry, "k", only=[first, second, third])
    assert {caught.value.reasons[one] for one in (first, second, third)} == {
        "unhealthy",
        "draining",
        "cooling down",
    }


def test_an_ejected_backend_is_tried_once_its_time_is_over() -> None:
    clock = ManualClock()
    registry = Registry(clock=clock)
    for backend_id in EVEN:
        add(registry, backend_id)
    home = chosen(registry, "k")
    for _ in range(5):
        registry.acquire("m", policy="affinity", affinity="k").release(failed=True)
    assert chosen(registry, "k") != home
    clock.advance(30)
    trial = registry.acquire("m", policy="affinity", affinity="k")
    assert trial.backend.id == home
    assert chosen(registry, "k") != home  # on trial
    trial.release()
    assert registry.get_backend(home).unavailable is None  # type: ignore[union-attr]


def test_oracle_distances_are_those_of_the_logarithm() -> None:
    from support.oracle_affinity import distance

    assert isclose(distance(LIMIT // 2), log(2), rel_tol=1e-12)
    assert isclose(distance(LIMIT - 1), -log1p(-1 / 2**54), rel_tol=1e-12)


# Printed by the first version.
GOLDEN: dict[str | bytes | int, str] = {
    "session": "4361520",
    "": "6534210",
    b"\xff\x00": "3465210",
    0: "6432510",
    1: "6340521",
    -1: "3465210",
    9223372036854775808: "6345201",
    "b3": "3654120",
    "ä": "6354210",
    "a prompt that is longer than thirty-two bytes": "6342510",
}
DRAW = "d2fe90380964230f"
