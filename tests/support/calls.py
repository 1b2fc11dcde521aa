"""Every operation of a registry with valid arguments, for checks that cover all operations."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from registry import Backend, Model, Registry, Requirements

CHOICE = ("policy", "require", "exclude", "only", "allow_unknown", "affinity", "tokens", "prefix")

# The operations of leases. `call` acquires one first.
OF_LEASES = ("release", "set_tokens", "set_cached_tokens", "first_token")

# The names of the arguments, as error messages give them.
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "add_backend": ("backend",),
    "remove_backend": ("backend_id", "serial"),
    "update_backend": ("backend",),
    "reconcile": ("backends", "source"),
    "get_backend": ("backend_id",),
    "get_all_backends": (),
    "get_healthy_backends": (),
    "get_backends_for_model": ("model_id",),
    "backend_count": (),
    "model_count": (),
    "models": (),
    "update_status": ("backend_id", "status", "error", "serial"),
    "cool_down": ("backend_id", "seconds", "serial"),
    "restore": ("backend_id", "serial"),
    "drain": ("backend_id", "serial"),
    "resume": ("backend_id", "serial"),
    "update_models": ("backend_id", "models"),
    "add_model": ("backend_id", "model"),
    "remove_model": ("backend_id", "model_id"),
    "increment_pending": ("backend_id",),
    "decrement_pending": ("backend_id",),
    "increment_total_requests": ("backend_id",),
    "update_latency": ("backend_id", "latency_ms"),
    "increment_pending_many": ("ids",),
    "decrement_pending_many": ("ids",),
    "update_latency_many": ("ids", "samples"),
    "acquire": ("model_id", *CHOICE),
    "acquire_wait": ("model_id", *CHOICE, "timeout", "priority"),
    "acquire_async": ("model_id", *CHOICE, "timeout", "priority"),
    "waiting": ("model_id",),
    "select": ("model_id", *CHOICE),
    "explain": ("model_id", *CHOICE),
    "release": ("latency_ms", "failed", "abandoned", "retry_after"),
    "set_tokens": ("tokens",),
    "set_cached_tokens": ("tokens",),
    "first_token": ("tokens",),
    "has_backend_url": ("url",),
    "set_mdns_instance": ("backend_id", "instance"),
    "find_by_mdns_instance": ("instance",),
    "wait_idle": ("backend_id", "timeout", "serial"),
    "idle": ("backend_id", "timeout", "serial"),
    "stats": (),
    "watch": ("limit",),
    "to_json": (),
    "__contains__": ("member",),
    "__iter__": (),
    "__len__": (),
    "__repr__": (),
}

# A function for each name that makes a valid argument.
ARGUMENTS: Mapping[str, Callable[[], Any]] = {
    "backend": lambda: Backend(
        "y", "y", "http://y", models=[Model("m"), Model("n")], metadata={"mdns_instance": "j"}
    ),
    "backend_id": lambda: "x",
    "serial": lambda: None,
    "backends": lambda: [
        Backend("x", "x", "http://x", models=[Model("m"), Model("n")]),
        Backend("y", "y", "http://y", models=[Model("n")], metadata={"mdns_instance": "i"}),
    ],
    "source": lambda: "static",
    "status": lambda: "healthy",
    "error": lambda: "e",
    "models": lambda: [Model("m"), Model("o")],
    "model": lambda: Model("p"),
    "model_id": lambda: "m",
    "latency_ms": lambda: 5,
    "ids": lambda: ["x", "x"],
    "samples": lambda: [1, 2],
    "policy": lambda: "affinity",
    "require": Requirements,
    "exclude": lambda: ["z"],
    "only": lambda: ["x", "y"],
    "allow_unknown": lambda: True,
    "affinity": lambda: "k",
    "tokens": lambda: 7,
    "prefix": lambda: [2**64 - 1, 2],
    "failed": lambda: False,
    "abandoned": lambda: False,
    "retry_after": lambda: None,
    "seconds": lambda: 0,
    "url": lambda: "http://X:80",
    "instance": lambda: "i",
    "member": lambda: "x",
    "limit": lambda: 10,
    "timeout": lambda: 0.0,
    "priority": lambda: 0,
}

# Arguments that differ from those of `ARGUMENTS`.
OWN_ARGUMENTS: Mapping[tuple[str, str], Callable[[], Any]] = {
    ("update_backend", "backend"): lambda: Backend("x", "x", "http://z", models=[Model("n")]),
}
KEYWORDS = (*CHOICE, "failed", "abandoned", "retry_after", "serial", "source", "limit")


def filled(make: Callable[[], Registry] = Registry) -> Registry:
    """A registry in which every operation finds what it looks for."""
    registry = make()
    registry.add_backend(
        Backend("x", "x", "http://x", models=[Model("m")], metadata={"mdns_instance": "i"})
    )
    registry.update_status("x", "healthy")
    registry.increment_pending("x")
    return registry


def call(registry: Registry, operation: str, **given: Any) -> Any:
    """Calls the operation with the given arguments, and with valid ones for the others."""
    arguments = {
        name: given[name]
        if name in given
        else OWN_ARGUMENTS.get((operation, name), ARGUMENTS[name])()
        for name in OPERATIONS[operation]
    }
    keywords = {name: arguments.pop(name) for name in KEYWORDS if name in arguments}
    if operation in OF_LEASES:
        return of_lease(registry, operation, *arguments.values(), **keywords)
    method = getattr(registry, operation)
    if operation in ("acquire_wait", "acquire_async"):
        keywords |= {"timeout": arguments.pop("timeout"), "priority": arguments.pop("priority")}
        return resolved(method(*arguments.values(), **keywords))
    if operation in ("wait_idle", "idle"):
        return without_waiting(registry, method, *arguments.values(), **keywords)
    return method(*arguments.values(), **keywords)


def of_lease(registry: Registry, operation: str, *given: Any, **named: Any) -> Any:
    """The result of a method of a lease, which is released in any case."""
    lease = registry.acquire("m", prefix=[1, 2])
    try:
        if operation in ("set_tokens", "set_cached_tokens"):
            return getattr(lease, operation)(*given, *named.values())
        return getattr(lease, operation)(*given, **named)
    finally:
        lease.release()


def without_waiting(registry: Registry, wait: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """The result of a wait for `x`, which is idle meanwhile: the call waits for no timeout."""
    registry.decrement_pending("x")
    try:
        return resolved(wait(*given, **named))
    finally:
        registry.increment_pending("x")


def resolved(result: Any) -> Any:
    """The result, or that of a coroutine that waits for nothing."""
    return finished(result) if isinstance(result, Coroutine) else result


def finished(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing. It needs no event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError(f"{coroutine} waits")
