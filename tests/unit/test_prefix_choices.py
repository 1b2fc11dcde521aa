"""`prefix`: choices that know what a backend has already read."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pytest
from support.fleets import make_backend, make_fleet
from support.prompts import KnownBlocks, added_tokens
from support.selection import key_for
from support.threads import run_threads

from registry import (
    Lease,
    Model,
    NoBackendAvailableError,
    Policy,
    Registry,
    prefix_blocks,
)

POLICIES = list(Policy)
LEAST_TOKENS = Policy.LEAST_TOKENS
A, B, C = [1, 2, 3, 4], [1, 2, 5], [6, 7]


def note(registry: Registry, backend_id: str, prefix: Sequence[int], model: str = "m") -> None:
    """Makes a request with this prefix to this backend."""
    registry.acquire(model, only=[backend_id], prefix=prefix).release()


def known(registry: Registry, backend_id: str, prefix: Sequence[int], model: str = "m") -> int:
    """How many tokens of the prompt the registry assumes to be cached. Notes the prompt."""
    lease = registry.acquire(model, policy=LEAST_TOKENS, only=[backend_id], prefix=prefix)
    lease.release()
    return lease.cached_tokens


def ranked(registry: Registry, tokens: int, prefix: Sequence[int] | None) -> list[str]:
    found = registry.explain("m", policy=LEAST_TOKENS, tokens=tokens, prefix=prefix)
    return [candidate.backend_id for candidate in found]


# ---- the choice


def test_the_backend_that_has_read_the_prompt_is_chosen() -> None:
    registry = make_fleet({}, {}, {})
    note(registry, "b1", A)
    assert registry.select("m", policy=LEAST_TOKENS, tokens=3000, prefix=B).id == "b1"
    with registry.acquire("m", policy=LEAST_TOKENS, tokens=3000, prefix=B) as lease:
        assert lease.backend.id == "b1"
    assert ranked(registry, 3000, A)[0] == "b1"


@pytest.mark.parametrize("block_tokens", [1, 512, 2**32 - 1])
@pytest.mark.parametrize("tokens", [0, 1, 1024, 1025, 2**32 - 1])
def test_only_the_rest_of_the_prompt_counts(block_tokens: int, tokens: int) -> None:
    registry = make_fleet({}, block_tokens=block_tokens)
    for prefix, blocks in ((A, 0), (A, 4), (B, 2), (B, 3), (C, 0), ([], 0)):
        lease = registry.acquire("m", policy=LEAST_TOKENS, tokens=tokens, prefix=prefix)
        cached = blocks * block_tokens
        assert lease.cached_tokens == cached
        assert lease.tokens == max(tokens - cached, 1)
        view = registry.get_backend("b0")
        assert view is not None
        assert view.pending_tokens == lease.tokens
        lease.release()


def test_the_rest_of_the_prompt_and_the_tokens_in_flight_are_weighed() -> None:
    registry = make_fleet({"weight": 2}, {"weight": 1})
    note(registry, "b1", A)  # 2,048 tokens are cached there
    for tokens, first in ((2048, "b1"), (4095, "b1"), (4097, "b0"), (9000, "b0")):
        assert ranked(registry, tokens, A)[0] == first
    busy = registry.acquire("m", only=["b1"], tokens=1030)
    assert ranked(registry, 2048, A) == ["b0", "b1"]  # 2048 / 2 and 1031 / 1
    busy.set_tokens(900)
    assert ranked(registry, 2048, A) == ["b1", "b0"]
    busy.release()


def test_without_a_prefix_all_tokens_count() -> None:
    registry = make_fleet({})
    note(registry, "b0", A)
    for tokens in (0, 7):
        with registry.acquire("m", policy=LEAST_TOKENS, tokens=tokens) as lease:
            assert (lease.tokens, lease.cached_tokens) == (tokens, 0)


def test_the_cap_holds_for_the_rest_of_the_prompt() -> None:
    registry = Registry()
    registry.add_backend(make_backend("b", "m", max_pending_tokens=3000))
    registry.update_status("b", "healthy")
    note(registry, "b", A)
    first = registry.acquire("m", tokens=1)
    for tokens, fits in ((2048 + 2999, True), (2048 + 3000, False)):
        arguments: dict[str, Any] = {"policy": LEAST_TOKENS, "tokens": tokens, "prefix": A}
        kind = registry.explain("m", **arguments)[0].kind
        assert kind == (None if fits else "full")
        if fits:
            registry.acquire("m", **arguments).release()
        else:
            with pytest.raises(NoBackendAvailableError) as caught:
                registry.acquire("m", **arguments)
            assert caught.value.kinds == {"b": "full"}
        # Other policies count the whole prompt.
        with pytest.raises(NoBackendAvailableError):
            registry.acquire("m", tokens=tokens, prefix=A)
    first.release()


@pytest.mark.parametrize("policy", [policy for policy in POLICIES if policy is not LEAST_TOKENS])
def test_other_policies_note_the_prefix_and_are_not_changed(policy: Policy) -> None:
    plain, noting = make_fleet(*[{}] * 5), make_fleet(*[{}] * 5)
    noted = []
    for number in range(20):
        key = None if policy is not Policy.AFFINITY else number
        lease = noting.acquire(
            "m", policy=policy, affinity=key, tokens=100, prefix=[number, 100 + number]
        )
        assert (lease.tokens, lease.cached_tokens) == (100, 0)
        lease.release(latency_ms=5)
        noted.append((lease.backend.id, [number, 100 + number]))
        if policy not in (Policy.RANDOM, Policy.POWER_OF_TWO):
            other = plain.acquire("m", policy=policy, affinity=key, tokens=100)
            other.release(latency_ms=5)
            assert other.backend.id == lease.backend.id
    assert len({backend_id for backend_id, _ in noted}) > 1
    assert all(known(noting, *pair) == 1024 for pair in noted)


@pytest.mark.parametrize("policy", POLICIES)
def test_select_and_explain_note_nothing(policy: Policy) -> None:
    registry = make_fleet({}, {})
    registry.select("m", policy=policy, prefix=A, affinity=key_for(policy))
    registry.explain("m", policy=policy, prefix=A, affinity=key_for(policy))
    assert registry.stats().prefix_bytes == 0
    assert [known(registry, backend_id, A) for backend_id in ("b0", "b1")] == [0, 0]


def test_a_refused_request_notes_nothing() -> None:
    registry = make_fleet({"max_pending": 1, "pending": 1})
    with pytest.raises(NoBackendAvailableError):
        registry.acquire("m", prefix=A)
    registry.decrement_pending("b0")
    assert known(registry, "b0", A) == 0


def test_a_prompt_may_have_many_blocks_and_a_fleet_many_backends() -> None:
    registry = make_fleet(*[{}] * 70)
    prompt = list(range(5000))
    note(registry, "b69", prompt)
    lease = registry.acquire("m", policy=LEAST_TOKENS, tokens=2**31, prefix=prompt)
    assert (lease.backend.id, lease.cached_tokens) == ("b69", 5000 * 512)
    assert lease.set_cached_tokens(4000 * 512 + 511)
    lease.release()
    assert known(registry, "b69", prompt) == 4000 * 512


# ---- what is known


def test_the_least_recently_used_block_goes() -> None:
    registry = make_fleet({}, prefix_blocks=4)
    note(registry, "b0", [1, 2])
    note(registry, "b0", [3, 4])
    note(registry, "b0", [1, 5])  # 2 goes
    assert registry.explain("m", policy=LEAST_TOKENS, prefix=[1])
    assert known(registry, "b0", [2]) == 0  # and 4
    assert known(registry, "b0", [3]) == 512
    assert known(registry, "b0", [1, 5]) == 1024
    assert known(registry, "b0", [4]) == 0


def test_a_prompt_loses_its_deepest_block_first() -> None:
    registry = make_fleet({}, prefix_blocks=4)
    note(registry, "b0", A)
    note(registry, "b0", [9])
    lease = registry.acquire("m", policy=LEAST_TOKENS, prefix=A)
    assert lease.cached_tokens == 3 * 512
    lease.release()


def test_a_prompt_longer_than_all_that_is_kept() -> None:
    registry = make_fleet({}, prefix_blocks=3)
    note(registry, "b0", range(100))
    assert known(registry, "b0", range(100)) == 3 * 512


def test_each_backend_and_each_model_has_its_own_blocks() -> None:
    registry = make_fleet({}, {}, prefix_blocks=4)
    models = [Model(f"m{number}") for number in range(40)]
    registry.update_models("b0", [Model("m"), *models])
    for number in range(40):
        note(registry, "b0", [number, 1, 2, 3], f"m{number}")
    for number in range(40):
        assert known(registry, "b0", [number, 1, 2, 3], f"m{number}") == 4 * 512
    assert known(registry, "b0", [0]) == known(registry, "b1", [0]) == 0


def test_removal_and_replacement_lose_all_and_an_update_keeps_all() -> None:
    registry = make_fleet({})
    note(registry, "b0", A)
    definition = registry.select("m")
    registry.update_backend(replace(definition, priority=7))
    assert known(registry, "b0", A) == 2048
    registry.update_backend(replace(definition, url="http://elsewhere"))
    registry.update_status("b0", "healthy")
    assert known(registry, "b0", A) == 0
    registry.remove_backend("b0")
    assert registry.stats().prefix_bytes == 0
    registry.add_backend(definition)
    registry.update_status("b0", "healthy")
    assert known(registry, "b0", A) == 0


def test_a_model_that_an_update_drops_loses_all() -> None:
    registry = make_fleet({}, {})
    note(registry, "b0", A)
    bytes_before = registry.stats().prefix_bytes
    registry.update_models("b0", [Model("m", context_length=77), Model("n")])
    assert known(registry, "b0", A) == 2048  # another definition of the same model
    note(registry, "b0", B, "n")
    assert registry.stats().prefix_bytes > bytes_before
    registry.update_models("b0", [Model("n")])
    assert known(registry, "b0", B, "n") == 3 * 512
    registry.update_models("b0", [Model("m"), Model("n")])
    assert known(registry, "b0", A) == 0


def test_models_that_come_and_go_leave_nothing_behind() -> None:
    registry = make_fleet({})
    sizes = set()
    for number in range(300):
        registry.update_models("b0", [Model(f"m{number}")])
        note(registry, "b0", A, f"m{number}")
        sizes.add(registry.stats().prefix_bytes)
    assert len(sizes) == 1


# ---- corrections


@pytest.mark.parametrize(
    ("cached", "blocks"), [(0, 0), (511, 0), (512, 1), (1535, 2), (2048, 4), (2**32 - 1, 4)]
)
def test_a_correction_changes_what_is_known(cached: int, blocks: int) -> None:
    registry = make_fleet({})
    note(registry, "b0", A)
    lease = registry.acquire("m", policy=LEAST_TOKENS, tokens=3000, prefix=A)
    assert (lease.cached_tokens, lease.tokens) == (2048, 952)
    assert lease.set_cached_tokens(cached) is True
    assert (lease.cached_tokens, lease.tokens) == (cached, 952)
    lease.release()
    assert lease.cached_tokens == cached
    assert known(registry, "b0", A) == 512 * blocks


@pytest.mark.parametrize("assumed", [0, 2])
@pytest.mark.parametrize("more", [0, 1, 511, 512])
def test_an_engine_that_had_what_was_assumed_has_the_whole_prompt_now(
    assumed: int, more: int
) -> None:
    registry = make_fleet({})
    if assumed:
        note(registry, "b0", A[:assumed])
    lease = registry.acquire("m", policy=LEAST_TOKENS, tokens=3000, prefix=A)
    assert lease.cached_tokens == 512 * assumed
    assert lease.set_cached_tokens(512 * assumed + more)
    lease.release()
    assert known(registry, "b0", A) == 2048


def test_a_correction_makes_the_kept_blocks_the_most_recent_ones() -> None:
    registry = make_fleet({}, prefix_blocks=4)
    lease = registry.acquire("m", prefix=[1, 2])
    note(registry, "b0", [3, 4])
    assert lease.set_cached_tokens(1024)
    note(registry, "b0", [5])  # 4 goes
    assert known(registry, "b0", [1, 2]) == 1024
    assert known(registry, "b0", [3, 4]) == 512
    lease.release()


def test_a_correction_brings_blocks_back_that_were_lost() -> None:
    registry = make_fleet({}, prefix_blocks=2)
    lease = registry.acquire("m", prefix=[1, 2])
    note(registry, "b0", [3, 4])
    assert lease.set_cached_tokens(1024)
    lease.release()
    assert known(registry, "b0", [1, 2]) == 1024


def test_blocks_that_others_have_noted_stay() -> None:
    registry = make_fleet({})
    note(registry, "b0", A)
    lease = registry.acquire("m", policy=LEAST_TOKENS, prefix=A)
    note(registry, "b0", B)
    assert lease.set_cached_tokens(512)  # 2 is not known any more, but 5 is
    lease.release()
    probe = registry.acquire("m", policy=LEAST_TOKENS, prefix=B)
    assert probe.cached_tokens == 512
    probe.release()  # it has noted 2
    assert known(registry, "b0", B) == 3 * 512


def test_after_the_release_nothing_is_corrected() -> None:
    registry = make_fleet({})
    for prefix in (A, None):
        lease = registry.acquire("m", prefix=prefix)
        assert lease.set_cached_tokens(7)
        assert lease.set_cached_tokens(2048)
        lease.release()
        assert lease.set_cached_tokens(0) is False
        assert lease.cached_tokens == 2048
    assert known(registry, "b0", A) == 2048


def test_a_lease_without_a_registration_or_a_registry_can_be_corrected() -> None:
    registry = make_fleet({}, {})
    lease = registry.acquire("m", only=["b0"], prefix=A)
    other = registry.acquire("m", only=["b1"], prefix=A)
    registry.remove_backend("b0")
    assert lease.set_cached_tokens(512)
    del registry
    assert other.set_cached_tokens(5000)
    assert other.set_cached_tokens(0)
    assert (lease.cached_tokens, other.cached_tokens) == (512, 0)
    lease.release()
    other.release()


# ---- memory


def test_a_registry_without_prefixes_has_no_memory_for_them() -> None:
    registry = make_fleet({}, {})
    registry.acquire("m", policy=LEAST_TOKENS, tokens=9).release()
    registry.acquire("m", policy=LEAST_TOKENS, tokens=9, prefix=[]).release()
    assert registry.stats().prefix_bytes == 0


def test_nothing_is_kept_for_a_limit_of_0() -> None:
    registry = make_fleet({}, prefix_blocks=0)
    for _ in range(2):
        lease = registry.acquire("m", policy=LEAST_TOKENS, tokens=3000, prefix=A)
        assert (lease.tokens, lease.cached_tokens) == (3000, 0)
        assert lease.set_cached_tokens(1024)
        assert lease.cached_tokens == 1024
        lease.release()
    assert registry.stats().prefix_bytes == 0


def test_memory_is_bounded_and_part_of_all_memory() -> None:
    registry = make_fleet({}, prefix_blocks=1000)
    before = registry.stats()
    numbers = itertools.count()
    for _ in range(100):
        note(registry, "b0", list(itertools.islice(numbers, 50)))
    after = registry.stats()
    assert 1000 * 16 < after.prefix_bytes < 1000 * 32 + 1024
    assert after.bytes - before.bytes >= after.prefix_bytes
    view = registry.get_backend("b0")  # keeps the registration, but not what it has read
    registry.remove_backend("b0")
    registry.stats()
    assert registry.stats().bytes < before.bytes + 4096
    assert view is not None


# ---- the argument


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda blocks: array("Q", blocks),
        lambda blocks: np.array(blocks, dtype=np.uint64),
        lambda blocks: np.array([*blocks, *blocks], dtype=np.uint64)[: len(blocks)],
        lambda blocks: np.array(blocks[::-1], dtype=np.uint64)[::-1],
        lambda blocks: memoryview(array("Q", blocks)),
        lambda blocks: [block - 2**64 if block >= 2**63 else block for block in blocks],
        lambda blocks: np.array(blocks, dtype=np.uint64).astype(np.int64),
    ],
)
def test_forms_of_blocks(form: Any) -> None:
    blocks = [0, 1, 2**63 - 1, 2**63, 2**64 - 1, *prefix_blocks("ab" * 5000)]
    registry = make_fleet({})
    note(registry, "b0", blocks)
    assert known(registry, "b0", form(blocks)) == len(blocks) * 512
    other = make_fleet({})
    note(other, "b0", form(blocks))
    assert known(other, "b0", blocks) == len(blocks) * 512


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_numbers_of_every_width_are_the_same_blocks(code: str) -> None:
    registry = make_fleet({})
    blocks = [3, 0, 127, *([-1, -128] if code.islower() else [])]
    note(registry, "b0", array(code, blocks))
    assert known(registry, "b0", blocks) == len(blocks) * 512
    assert known(registry, "b0", [block % 2**64 for block in blocks]) == len(blocks) * 512


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("abc", "prefix must be a sequence of int, a one-dimensional buffer of integers, or None,"
         " not str"),
        (b"abc", "not bytes"),
        (7, "not int"),
        (iter([1]), "not list_iterator"),
        ({1}, "not set"),
        ([1, "2"], r"prefix\[1\] must be an int, not str"),
        ([1.0], r"prefix\[0\] must be an int, not float"),
        ([True], r"prefix\[0\] must be an int, not bool"),
        ([None], r"prefix\[0\] must be an int, not NoneType"),
        (np.zeros((2, 2), dtype=np.int64), "not ndarray"),
        (np.zeros(2), "not ndarray"),
    ],
)  # fmt: skip
def test_wrong_types(prefix: Any, message: str) -> None:
    registry = make_fleet({})
    for method in (registry.acquire, registry.select, registry.explain):
        with pytest.raises(TypeError, match=message):
            method("m", prefix=prefix)


@pytest.mark.parametrize("block", [-(2**63) - 1, 2**64, 10**30])
def test_blocks_out_of_range(block: int) -> None:
    registry = make_fleet({})
    for method in (registry.acquire, registry.select, registry.explain):
        with pytest.raises(ValueError, match=r"prefix\[1\] must be from -9223372036854775808 to"):
            method("m", prefix=[1, block])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"block_tokens": 0}, ValueError, "block_tokens must be from 1 to 4294967295, not 0"),
        ({"block_tokens": 2**32}, ValueError, "block_tokens must be from"),
        ({"block_tokens": None}, TypeError, "block_tokens must be an int, not NoneType"),
        ({"block_tokens": 512.0}, TypeError, "block_tokens must be an int, not float"),
        ({"prefix_blocks": -1}, ValueError, "prefix_blocks must be from 0 to 2147483647, not -1"),
        ({"prefix_blocks": 2**31}, ValueError, "prefix_blocks must be from"),
        ({"prefix_blocks": True}, TypeError, "prefix_blocks must be an int, not bool"),
    ],
)
def test_bad_settings(settings: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Registry(**settings)


@pytest.mark.parametrize("tokens", [-1, 2**32, 1.5, None, "1", True])
def test_bad_corrections(tokens: Any) -> None:
    lease = make_fleet({}).acquire("m", prefix=A)
    with pytest.raises((TypeError, ValueError), match="tokens must be"):
        lease.set_cached_tokens(tokens)
    assert lease.cached_tokens == 0
    lease.release()


# ---- the oracle


@pytest.mark.parametrize("limit", [1, 4, 9, 60])
@pytest.mark.parametrize("seed", range(3))
def test_random_prompts_like_the_oracle(limit: int, seed: int) -> None:
    """Prompts that share beginnings, on some backends and models, with corrections."""
    random = Random(f"{limit} {seed}")
    registry = make_fleet(*[{"weight": weight} for weight in (1, 1, 3)], prefix_blocks=limit)
    ids, models = ["b0", "b1", "b2"], ["m", "n"]
    for backend_id in ids:
        registry.update_models(backend_id, [Model(model) for model in models])
    weights = {"b0": 1, "b1": 1, "b2": 3}
    oracles = {pair: KnownBlocks(limit) for pair in itertools.product(ids, models)}
    leases: list[tuple[Lease, str, list[int]]] = []
    sums = dict.fromkeys(ids, 0)
    for _ in range(1500):
        path = [random.randrange(3) for _ in range(random.randrange(7))]
        prefix = [hash((0, *path[: depth + 1])) for depth in range(len(path))]
        model, tokens = random.choice(models), random.randrange(5000)
        step = random.random()
        if step < 0.6:
            policy = random.choice([LEAST_TOKENS, Policy.LEAST_PENDING])
            lease = registry.acquire(model, policy=policy, tokens=tokens, prefix=prefix)
            chosen, added = lease.backend.id, tokens
            if policy is LEAST_TOKENS:
                costs = {}
                for backend_id in ids:
                    cached = 512 * oracles[backend_id, model].count(prefix)
                    costs[backend_id] = sums[backend_id] + added_tokens(tokens, cached)
                    if backend_id == chosen:
                        assert lease.cached_tokens == cached
                        added = added_tokens(tokens, cached)
                best = min(cost / weights[backend_id] for backend_id, cost in costs.items())
                assert costs[chosen] / weights[chosen] == best
            assert lease.tokens == added
            sums[chosen] += added
            oracles[chosen, model].note(prefix)
            leases.append((lease, model, prefix))
        elif leases:
            lease, model, prefix = leases[random.randrange(len(leases))]
            if step < 0.8:
                cached = random.randrange(4000)
                had_less = cached < lease.cached_tokens
                assert lease.set_cached_tokens(cached)
                blocks = min(cached // 512, len(prefix))
                reported = prefix if had_less else prefix[:blocks]
                oracles[lease.backend.id, model].correct(reported, blocks)
            else:
                sums[lease.backend.id] -= lease.tokens
                lease.release()
                leases = [kept for kept in leases if kept[0] is not lease]
    for lease, _, _ in leases:
        lease.release()


# ---- threads


def test_eight_threads() -> None:
    """Requests and corrections, beside backends and models that come and go."""
    registry = make_fleet(*[{}] * 4, prefix_blocks=64)
    stay = make_fleet({}, prefix_blocks=100_000)

    def use(number: int) -> None:
        random = Random(number)
        for step in range(400):
            first = random.randrange(20)
            prefix = [first, 100 + first, *range(1000, 1000 + random.randrange(80))]
            policy = random.choice(POLICIES)
            try:
                lease = registry.acquire(
                    "m", policy=policy, affinity=key_for(policy), tokens=4000, prefix=prefix
                )
            except NoBackendAvailableError:
                continue
            assert lease.cached_tokens <= 512 * len(prefix)
            assert 1 <= lease.tokens <= 4000
            if step % 3 == 0:
                assert lease.set_cached_tokens(random.randrange(50_000))
            lease.release()
            note(stay, "b0", [number, step])

    def change(number: int) -> None:
        random = Random(number)
        for _ in range(150):
            backend_id = f"b{random.randrange(4)}"
            registry.update_models(backend_id, [Model("n")])
            registry.update_models(backend_id, [Model("m")])
            registry.remove_backend(backend_id)
            registry.add_backend(make_backend(backend_id, "m"))
            registry.update_status(backend_id, "healthy")
            registry.stats()

    users = [partial(use, number) for number in range(7)]
    run_threads([*users, partial(change, 9)])
    assert all(view.pending_tokens == 0 for view in registry.get_all_backends())
    for number, step in itertools.product(range(7), range(0, 400, 7)):
        assert known(stay, "b0", [number, step]) == 1024
