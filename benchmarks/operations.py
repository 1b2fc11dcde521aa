"""The table of measured operations; all sections of the suite use it.

An operation is a statement as users write it, with the variables that `names` returns. It leaves
the registry as it was, or changes only counters. A peer is measured on the operations whose
methods it has. tests/unit/test_bench_operations.py checks that its answers equal ours.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import cycle, repeat
from json import loads
from typing import Any

from benchmarks import fleet
from benchmarks.fleet import MODELS, backend, reloads
from registry import (
    BackendStatus,
    Model,
    NoBackendAvailableError,
    Policy,
    Registry,
    prefix_blocks,
    prefix_blocks_of_tokens,
    prefix_key,
)

SIZES = (10, 1000, 100_000)
BULK = 1000

Names = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One row of the table."""

    name: str
    statement: str
    setup: str = ""  # statements that define more variables
    answer: str = ""  # the expression that peers must agree on; by default the statement
    calls: int = 1  # operations in one statement: for bulk calls, the number of ids
    sizes: tuple[int, ...] = SIZES
    native: str = ""  # the name in the Rust program; empty if the program lacks the operation
    has_counterparts: bool = True  # False if only our registry has this operation

    @property
    def needs(self) -> frozenset[str]:
        """The methods that a registry must have for this operation."""
        text = f"{self.setup} {self.statement}"
        special = {"__contains__"} if "in registry" in text else set()
        return frozenset(re.findall(r"\bregistry\.(\w+)", text)) | special

    def is_supported_by(self, registry: object) -> bool:
        """Whether this registry can do the operation."""
        has_counterpart = self.has_counterparts or isinstance(registry, Registry)
        return has_counterpart and all(hasattr(registry, name) for name in self.needs)

    def names(self, registry: Any, ids: list[str]) -> Names:
        """The statement's variables, such as an id in the middle of the fleet, a model that all
        backends serve, and a backend to add."""
        given: Names = {
            "registry": registry,
            "ids": ids,
            "id": ids[len(ids) // 2],
            "many": (ids * BULK)[:BULK],
            "model": "model-3",
            "extra": backend(len(ids)),
        }
        exec(self.setup, GLOBALS, given)
        return given

    def ask(self, registry: Any, ids: list[str]) -> object:
        """The registry's answer, in a form that can be compared with another registry's."""
        answer = eval(self.answer or self.statement, GLOBALS | self.names(registry, ids))
        return comparable(answer)


def loop(statement: str, names: Names) -> Callable[[int], None]:
    """A function that runs the statement as often as its argument says.

    The names are local variables there, as they would be in a user's function.
    """
    given = ", ".join(f"{name}={name}" for name in names)
    body = statement.replace("\n", "\n        ")
    code = (
        f"def loop(_count, *, _repeat=_repeat, {given}):\n"
        f"    for _ in _repeat(None, _count):\n"
        f"        {body}\n"
    )
    space: Names = {**GLOBALS, **names, "_repeat": repeat}
    exec(code, space)
    function: Callable[[int], None] = space["loop"]
    return function


def comparable(value: Any) -> object:
    """The value with each view as a list of its id, status and counters."""
    if hasattr(value, "pending_requests"):
        return [
            value.id,
            value.status.value,
            value.pending_requests,
            value.total_requests,
            value.avg_latency_ms,
        ]
    return [comparable(item) for item in value] if isinstance(value, list | tuple) else value


GLOBALS: Names = {
    "MODELS": MODELS,
    "HEALTHY": BackendStatus.HEALTHY,
    "Model": Model,
    "NoBackendAvailableError": NoBackendAvailableError,
    "Policy": Policy,
    "backend": backend,
    "cycle": cycle,
    "fleet": fleet,
    "array": array,
    "loads": loads,
    "comparable": comparable,
    "prefix_blocks": prefix_blocks,
    "prefix_blocks_of_tokens": prefix_blocks_of_tokens,
    "prefix_key": prefix_key,
    "reloads": reloads,
    "replace": replace,
}


def query(name: str, call: str, native: str = "") -> Operation:
    """A query that returns views. Not every design promises an order."""
    return Operation(name, call, answer=f"sorted(comparable({call}))", native=native)


def choice(policy: Policy) -> Operation:
    """A request's acquire and release. The release gets no latency, so both read the clock."""
    if policy is Policy.LEAST_PENDING:
        name, call = "acquire and release", "registry.acquire(model)"
    else:
        name = f"acquire and release, {policy.name}"
        key = ", affinity='session-1'" if policy is Policy.AFFINITY else ""
        call = f"registry.acquire(model, policy=Policy.{policy.name}{key})"
    answer = f"[(lease := {call}).backend.id in ids, lease.release(), lease.release()]"
    is_default = policy is Policy.LEAST_PENDING
    return Operation(name, f"{call}.release()", answer=answer, has_counterparts=is_default)


# Requests that say how many tokens they have.
WORK = (
    Operation(
        "request with tokens",
        "registry.acquire(model, tokens=900).release()",
        answer="[(lease := registry.acquire(model, tokens=900)).tokens, lease.release(),"
        " lease.tokens]",
        has_counterparts=False,
    ),
    Operation(
        "request with tokens, set_tokens",
        "lease = registry.acquire(model, tokens=900); lease.set_tokens(90); lease.release()",
        answer="[(lease := registry.acquire(model, tokens=900)).set_tokens(90), lease.tokens,"
        " lease.release()]",
        has_counterparts=False,
    ),
)

# Changes of a fleet that serves requests.
CHANGES = (
    Operation("models", "registry.models()", answer="sorted(registry.models())"),
    Operation(
        "update_backend",
        "registry.update_backend(changed); registry.update_backend(one)",
        setup="one = backend(len(ids) // 2); changed = replace(one, weight=2)",
        answer="[registry.update_backend(changed), registry.update_backend(one)]",
        calls=2,
    ),
    Operation(
        "reconcile, 10 changes",
        "registry.reconcile(next(fleets))",
        setup="fleets = cycle(reloads(len(ids)))",
        answer="[list(registry.reconcile(next(fleets)).updated) for _ in range(3)]",
    ),
    Operation(
        "drain and resume",
        "registry.drain(id); registry.resume(id)",
        answer="[registry.drain(id), len(registry.get_healthy_backends()),"
        " registry.resume(id), len(registry.get_healthy_backends())]",
    ),
    Operation(
        "cool_down and restore",
        "registry.cool_down(id, 60); registry.restore(id)",
        answer="[registry.cool_down(id, 60), registry.get_backend(id).unavailable,"
        " registry.restore(id), registry.get_backend(id).unavailable]",
    ),
    Operation("wait_idle", "registry.wait_idle(other, 0)", setup="other = ids[0]"),
    Operation(
        "a place at once, acquire_wait",
        "registry.acquire_wait(model).release()",
        answer="registry.acquire_wait(model).release()",
    ),
    Operation("waiting", "registry.waiting(model)", answer="registry.waiting(model)"),
    Operation(
        "watch and close",
        "registry.watch().close()",
        answer="len((watch := registry.watch()).snapshot), watch.close()",
    ),
)


def learning(name: str, statement: str, kind: str, answer: str = "") -> Operation:
    """A request in a fleet of its own, which `kind` of fleet.py makes. Compare its cost with that
    of `acquire and release` in a fleet of the same size."""
    setup = f"registry = fleet.{kind}(len(ids))"
    return Operation(name, statement, setup, answer, sizes=(10, 1000), has_counterparts=False)


REQUEST = "registry.acquire(model).release()"
FAILED = "registry.acquire(model).release(failed=True)"
ABANDONED = "registry.acquire(model).release(abandoned=True)"

# What learning from failures costs.
FAILURES = (
    learning("a request, ejection=None", REQUEST, "without_ejection"),
    learning("a request while one backend starts slowly", REQUEST, "starting"),
    learning("a failed request", FAILED, "patient"),
    learning(
        "a failed request that ejects, and restore",
        "lease = registry.acquire(model)\nlease.release(failed=True)\n"
        "registry.restore(lease.backend.id)",
        "strict",
        "[(lease := registry.acquire(model)).release(failed=True),"
        " registry.get_backend(lease.backend.id).unavailable, registry.restore(lease.backend.id)]",
    ),
    # A trial, and a request on an ejected backend, would restore it if they succeeded.
    learning("an abandoned trial", ABANDONED, "trying"),
    learning("an abandoned request in a panic", ABANDONED, "panicking"),
)


def function(name: str, call: str, setup: str) -> Operation:
    """A function that does not depend on a fleet, so one size is enough."""
    return Operation(name, call, setup, sizes=SIZES[:1], has_counterparts=False)


# Hashes of prompts.
PREFIXES = (
    function("prefix_key, 4,000 characters", "prefix_key(text)", "text = 'a word ' * 572"),
    function(
        "prefix_key, 4,000 characters in messages",
        "prefix_key(chat)",
        "chat = [{'role': 'user', 'content': 'a word ' * 57}] * 10",
    ),
    function(
        "prefix_blocks, 100,000 characters", "prefix_blocks(text)", "text = 'a word ' * 14_286"
    ),
    function(
        "prefix_blocks, 100,000 Chinese characters", "prefix_blocks(text)", "text = '中文' * 50_000"
    ),
    function(
        "prefix_blocks_of_tokens, list of 10,000",
        "prefix_blocks_of_tokens(tokens, block_tokens=512)",
        "tokens = list(range(10_000))",
    ),
    function(
        "prefix_blocks_of_tokens, array of 10,000",
        "prefix_blocks_of_tokens(tokens, block_tokens=512)",
        "tokens = array('L', range(10_000))",
    ),
)


def prompted(name: str, call: str) -> Operation:
    """A choice in a fleet of which every backend has read the same 600 prompts of 24 blocks."""
    setup = (
        "read = fleet.prompts(600, 24); registry = fleet.having_read(len(ids), read);"
        " prompts = cycle(read)"
    )
    acquires = call.startswith("acquire")
    return Operation(
        name,
        f"registry.{call}{'.release()' if acquires else ''}",
        setup,
        f"[(lease := registry.{call}).backend.id in ids, lease.tokens, lease.release()]"
        if acquires
        else f"registry.{call}.id in ids",
        sizes=(16,),
        has_counterparts=False,
    )


LEAST = "model, policy=Policy.LEAST_TOKENS, tokens=20_000"
READ = "24 blocks that all have read"

# What knowing prompts costs. It costs most where all backends have read all of the prompt.
PROMPTS = (
    prompted("select, LEAST_TOKENS", f"select({LEAST})"),
    prompted(f"select, prefix of {READ}", f"select({LEAST}, prefix=next(prompts))"),
    prompted("request, LEAST_TOKENS", f"acquire({LEAST})"),
    prompted(f"request, prefix of {READ}", f"acquire({LEAST}, prefix=next(prompts))"),
    prompted("request, LEAST_PENDING, prefix of 24 blocks", "acquire(model, prefix=next(prompts))"),
    Operation(
        f"explain, prefix of {READ}",
        f"registry.explain({LEAST}, prefix=next(prompts))",
        "read = fleet.prompts(600, 24); registry = fleet.having_read(len(ids), read);"
        " prompts = cycle(read)",
        f"len(registry.explain({LEAST}, prefix=next(prompts)))",
        sizes=(16,),
        has_counterparts=False,
    ),
)

OPERATIONS = (
    Operation("get_backend", "registry.get_backend(id)", native="get"),
    Operation("id in registry", "id in registry"),
    query("get_backends_for_model", "registry.get_backends_for_model(model)", "query"),
    query("get_all_backends", "registry.get_all_backends()", "all"),
    query("get_healthy_backends", "registry.get_healthy_backends()"),
    Operation("backend_count", "registry.backend_count()", native="count"),
    Operation("model_count", "registry.model_count()"),
    Operation("has_backend_url", "registry.has_backend_url('http://10.0.0.7:8000')"),
    Operation(
        "find_by_mdns_instance",
        "registry.find_by_mdns_instance('instance-c')",
        setup="registry.set_mdns_instance(ids[-1], 'instance-c')",
    ),
    Operation("stats", "registry.stats()"),
    Operation(
        "to_json",
        "registry.to_json()",
        answer="sorted(one['id'] for one in loads(registry.to_json())['backends'])",
    ),
    Operation("increment_pending", "registry.increment_pending(id)", native="increment"),
    Operation(
        "increment_pending and decrement_pending",
        "registry.increment_pending(id); registry.decrement_pending(id)",
        answer="[registry.increment_pending(id), registry.decrement_pending(id)]",
        native="up-and-down",
    ),
    Operation("increment_total_requests", "registry.increment_total_requests(id)", native="total"),
    Operation("update_latency", "registry.update_latency(id, 150)", native="latency"),
    Operation(
        "increment_pending_many and decrement_pending_many",
        "registry.increment_pending_many(many); registry.decrement_pending_many(many)",
        answer="[sum(registry.increment_pending_many(ids)),"
        " sum(registry.decrement_pending_many(ids))]",
        calls=BULK,
    ),
    Operation(
        "update_latency_many",
        "registry.update_latency_many(many, samples)",
        setup="samples = [150] * len(many)",
        calls=BULK,
    ),
    Operation("update_status", "registry.update_status(id, HEALTHY)", native="status"),
    Operation(
        "update_models",
        "registry.update_models(id, next(lists))",
        setup="lists = cycle([MODELS[:9], MODELS])",
        answer="[registry.update_models(id, MODELS[:9]),"
        " len(registry.get_backends_for_model('model-9')),"
        " registry.update_models(id, MODELS), len(registry.get_backends_for_model('model-9'))]",
    ),
    Operation(
        "add_model and remove_model",
        "registry.add_model(id, another); registry.remove_model(id, 'another')",
        setup="another = Model('another')",
        answer="[registry.add_model(id, another), registry.add_model(id, another),"
        " registry.remove_model(id, 'another'), registry.remove_model(id, 'another')]",
    ),
    Operation(
        "set_mdns_instance",
        "registry.set_mdns_instance(id, next(instances))",
        setup="instances = cycle(['instance-a', 'instance-b'])",
    ),
    Operation(
        "add_backend and remove_backend",
        "registry.add_backend(extra); registry.remove_backend(extra.id)",
        answer="[registry.add_backend(extra), registry.get_backend(extra.id).id,"
        " len(registry.get_backends_for_model(model)),"
        " registry.remove_backend(extra.id).id, registry.get_backend(extra.id),"
        " len(registry.get_backends_for_model(model))]",
        native="add-and-remove",
    ),
    *(choice(policy) for policy in Policy),
    *WORK,
    Operation(
        "acquire and release, only one backend",
        "registry.acquire(model, only=(id,)).release()",
        answer="[(lease := registry.acquire(model, only=(id,))).backend.id, lease.release()]",
        has_counterparts=False,
    ),
    Operation("select", "registry.select(model)", answer="registry.select(model).id in ids"),
    Operation(
        "explain",
        "registry.explain(model)",
        answer="sorted([one.backend_id, one.reason] for one in registry.explain(model))",
    ),
    *CHANGES,
    *FAILURES,
    *PREFIXES,
    *PROMPTS,
)
