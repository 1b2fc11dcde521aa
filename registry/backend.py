"""The values that a registry takes and gives: what a backend is (`Backend`, `Model`) and what is known of it (`BackendView`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec

from registry import _checks, _core, _json, _url
from registry.metadata import EMPTY, Metadata, read_only

UInt32 = Annotated[int, msgspec.Meta(ge=0, le=_checks.UINT32_MAX)]
Int32 = Annotated[int, msgspec.Meta(ge=_checks.INT32_MIN, le=_checks.INT32_MAX)]
Cap = Annotated[int, msgspec.Meta(ge=1, le=_checks.UINT32_MAX)]
WEIGHT_MAX = 1000
Weight = Annotated[int, msgspec.Meta(ge=1, le=WEIGHT_MAX)]
# Where a backend's mDNS instance stands in its metadata.
INSTANCE_KEY = "mdns_instance"

Text = Annotated[str, msgspec.Meta(min_length=1)]


class BackendType(StrEnum):
    """What kind of inference server a backend is."""

    OLLAMA = "ollama"
    VLLM = "vllm"
    LLAMACPP = "llamacpp"
    EXO = "exo"
    OPENAI = "openai"
    LMSTUDIO = "lmstudio"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"
    GENERIC = "generic"


class BackendStatus(StrEnum):
    """What the last health check found."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """Never checked: the initial state."""
    DRAINING = "draining"
    """Healthy, but takes no new request."""


class DiscoverySource(StrEnum):
    """How a backend became known."""

    STATIC = "static"
    MDNS = "mdns"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as one backend serves it. Immutable; thread safety: atomic.

    `context_length` and `max_output_tokens` are tokens, 0 to 2**32-1. `name` defaults to the id. Raises TypeError or
    ValueError that names the field.
    """

    id: Text
    name: Text = None  # type: ignore[assignment]
    context_length: UInt32 = 4096
    supports_vision: bool = False
    supports_tools: bool = False
    supports_json_mode: bool = False
    max_output_tokens: UInt32 | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            id: str,
            name: str | None = None,
            context_length: int = 4096,
            supports_vision: bool = False,
            supports_tools: bool = False,
            supports_json_mode: bool = False,
            max_output_tokens: int | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        store = object.__setattr__
        store(self, "id", _checks.text(self.id, "id"))
        store(self, "name", self.id if self.name is None else _checks.text(self.name, "name"))
        store(self, "context_length", _checks.integer(self.context_length, "context_length", 0, _checks.UINT32_MAX))
        _checks.boolean(self.supports_vision, "supports_vision")
        _checks.boolean(self.supports_tools, "supports_tools")
        _checks.boolean(self.supports_json_mode, "supports_json_mode")
        if self.max_output_tokens is not None:
            limit = _checks.integer(self.max_output_tokens, "max_output_tokens", 0, _checks.UINT32_MAX)
            store(self, "max_output_tokens", limit)

    def to_json(self) -> str:
        """JSON with the field names as keys. O(size)."""
        return _json.encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The model that `to_json` wrote; fields with a default may be missing. ValueError that says where. O(size)."""
        return _json.decode(text, cls)


@dataclass(frozen=True, slots=True)
class Backend:
    """What a caller registers: the definition of one backend, without any runtime state. Immutable; thread safety: atomic.

    `url` is `http(s)://host...`. `models` may be any iterable of `Model` with distinct ids and is kept as a tuple;
    `metadata` maps str to str, is copied, and is read-only afterwards. `priority` is an int32, lower is preferred.
    `max_pending` caps the requests in flight that `Registry.acquire` puts on it, 1 to 2**32-1, None is no cap; `weight` is its
    capacity in relation to others, 1 to 1,000. Raises TypeError or ValueError that names the field.
    """

    id: Text
    name: Text
    url: Text
    backend_type: BackendType = BackendType.GENERIC
    models: tuple[Model, ...] = ()
    discovery_source: DiscoverySource = DiscoverySource.STATIC
    metadata: Mapping[str, str] = EMPTY
    priority: Int32 = 0
    max_pending: Cap | None = None
    weight: Weight = 1

    if TYPE_CHECKING:

        def __init__(
            self,
            id: str,
            name: str,
            url: str,
            backend_type: BackendType | str = BackendType.GENERIC,
            models: Iterable[Model] = (),
            discovery_source: DiscoverySource | str = DiscoverySource.STATIC,
            metadata: Mapping[str, str] = EMPTY,
            priority: int = 0,
            max_pending: int | None = None,
            weight: int = 1,
        ) -> None: ...

    def __post_init__(self) -> None:
        store = object.__setattr__
        store(self, "id", _checks.text(self.id, "id"))
        store(self, "name", _checks.text(self.name, "name"))
        store(self, "url", _url.check_url(_checks.text(self.url, "url"), "url"))
        store(self, "backend_type", _checks.enum_member(BackendType, self.backend_type, "backend_type"))
        store(self, "models", _checks.models(self.models, "models"))
        source = _checks.enum_member(DiscoverySource, self.discovery_source, "discovery_source")
        store(self, "discovery_source", source)
        store(self, "metadata", read_only(self.metadata))
        store(self, "priority", _checks.integer(self.priority, "priority", _checks.INT32_MIN, _checks.INT32_MAX))
        if self.max_pending is not None:
            store(self, "max_pending", _checks.integer(self.max_pending, "max_pending", 1, _checks.UINT32_MAX))
        store(self, "weight", _checks.integer(self.weight, "weight", 1, WEIGHT_MAX))

    def to_json(self) -> str:
        """JSON with the field names as keys, enums as their values. O(size)."""
        return _json.encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The backend that `to_json` wrote; fields with a default may be missing. ValueError that says where. O(size)."""
        return _json.decode(text, cls)


class _ViewFields(msgspec.Struct):
    """A `BackendView` as JSON: every field is required, but for those that older versions did not have."""

    id: Text
    name: Text
    url: Text
    backend_type: BackendType
    status: BackendStatus
    last_health_check: Annotated[datetime, msgspec.Meta(tz=True)]
    last_error: str | None
    models: tuple[Model, ...]
    priority: Int32
    pending_requests: UInt32
    total_requests: Annotated[int, msgspec.Meta(ge=0)]
    avg_latency_ms: UInt32
    discovery_source: DiscoverySource
    metadata: dict[str, str]
    max_pending: Cap | None = None
    weight: Weight = 1


@dataclass(frozen=True, init=False)
class BackendView(_core.ViewBase):
    """What a caller reads: one backend at one instant. Never changes; thread safety: atomic.

    `last_health_check` is an aware UTC datetime (the time of registration until the first check), `pending_requests` the
    requests in flight (uint32), `total_requests` those finished (uint64), `avg_latency_ms` milliseconds (uint32). The rest is
    as in `Backend`. Raises TypeError or ValueError that names the field.
    """

    __slots__ = ()

    id: str
    name: str
    url: str
    backend_type: BackendType
    status: BackendStatus
    last_health_check: datetime
    last_error: str | None
    models: tuple[Model, ...]
    priority: int
    pending_requests: int
    total_requests: int
    avg_latency_ms: int
    discovery_source: DiscoverySource
    metadata: Metadata
    max_pending: int | None
    weight: int

    def __new__(
        cls,
        id: str,
        name: str,
        url: str,
        backend_type: BackendType | str,
        status: BackendStatus | str,
        last_health_check: datetime,
        last_error: str | None,
        models: Iterable[Model],
        priority: int,
        pending_requests: int,
        total_requests: int,
        avg_latency_ms: int,
        discovery_source: DiscoverySource | str,
        metadata: Mapping[str, str],
        max_pending: int | None = None,
        weight: int = 1,
    ) -> Self:
        return _core.new_view(
            cls,
            Backend(id, name, url, backend_type, models, discovery_source, metadata, priority, max_pending, weight),
            _checks.enum_member(BackendStatus, status, "status"),
            _utc(last_health_check),
            _checks.optional_text(last_error, "last_error"),
            _checks.integer(pending_requests, "pending_requests", 0, _checks.UINT32_MAX),
            _checks.integer(total_requests, "total_requests", 0, _checks.UINT64_MAX),
            _checks.integer(avg_latency_ms, "avg_latency_ms", 0, _checks.UINT32_MAX),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def to_json(self) -> str:
        """JSON with the field names as keys, enums as their values, the time as RFC 3339 in UTC. O(size)."""
        return _json.encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The view that `to_json` wrote; only `max_pending` and `weight` may be missing. ValueError that says where. O(size)."""
        read = _json.decode(text, _ViewFields)
        try:
            return cls(**{name: getattr(read, name) for name in _ViewFields.__struct_fields__})
        except ValueError as error:
            raise ValueError(f"{_json.locate(str(error))}: {error}") from None


def _utc(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"last_health_check must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError("last_health_check must be aware: give it a tzinfo, such as datetime.UTC")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"last_health_check must be in the years 1 to 9999 in UTC too, but is {value}") from None
