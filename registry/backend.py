"""The values that a registry stores and returns: `Backend`, `Model` and `BackendView`.

To add a field to `Backend`, append it to the dataclass, with a default and a type that `_CHECKS`
or `_field_checks` knows. Everything else is derived from the dataclass at import: the checks of
the constructor, views, JSON, fleet files, and the copies that the core makes. Only type checkers
need the field spelled out under TYPE_CHECKING, once in `Backend.__init__` and twice in
`BackendView`. tests/unit/test_fields.py fails until these agree with the dataclass.

A field with `repr=False` is private: it may hold secrets. It is not a field of the view, and no
JSON has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar, get_type_hints

import msgspec

from registry import _checks, _field_checks, _json, _url
from registry._core import binding
from registry._literals import (
    BackendStatusValue,
    BackendTypeValue,
    DiscoverySourceValue,
    ReasonValue,
)
from registry._single_import import refuse_second_import
from registry.metadata import EMPTY, read_only
from registry.selection import Reason
from registry.settings import EMPTY_SETTINGS, read_only_settings

refuse_second_import()

UInt32 = Annotated[int, msgspec.Meta(ge=0, le=_checks.UINT32_MAX)]
UInt64 = Annotated[int, msgspec.Meta(ge=0)]  # msgspec has no limit above 2**63
Int32 = Annotated[int, msgspec.Meta(ge=_checks.INT32_MIN, le=_checks.INT32_MAX)]
Cap = Annotated[int, msgspec.Meta(ge=1, le=_checks.UINT32_MAX)]
TokenCap = Annotated[int, msgspec.Meta(ge=1)]  # likewise
WEIGHT_MAX = 1000
Weight = Annotated[int, msgspec.Meta(ge=1, le=WEIGHT_MAX)]
# The key of a backend's mDNS instance in its metadata.
INSTANCE_KEY = "mdns_instance"

Text = Annotated[str, msgspec.Meta(min_length=1)]
Url = Annotated[str, msgspec.Meta(min_length=1, description="http(s)://host...")]


class BackendType(StrEnum):
    """The kind of a backend's inference server."""

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
    """The result of a backend's last health check."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """Not checked yet: the initial status."""
    DRAINING = "draining"
    """Healthy, but must not get new requests."""


class DiscoverySource(StrEnum):
    """How a backend was discovered."""

    STATIC = "static"
    MDNS = "mdns"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as one backend serves it. Immutable; thread safety: atomic.

    `name` defaults to the id. `context_length` and `max_output_tokens` are numbers of tokens, 0 to
    2**32-1. Raises TypeError or ValueError, which names the field.
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
        if self.name is None:
            object.__setattr__(self, "name", self.id)
        _field_checks.check_fields(self, _MODEL_CHECKS)

    def to_json(self) -> str:
        """JSON with the field names as keys. O(size)."""
        return _json.encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The inverse of `to_json`. Fields with a default may be missing. O(size).

        Raises ValueError, which names the place in the document.
        """
        return _json.decode(text, cls)


@dataclass(frozen=True, slots=True)
class Backend:
    """The definition of one backend, which callers register. Immutable; thread safety: atomic.

    `url` is `http(s)://host...`. `models` is any iterable of `Model` with distinct ids, kept as a
    tuple. `metadata` maps str to str; it is copied and read-only. `priority` is an int32; lower
    values are preferred. `max_pending` limits the requests in flight, 1 to 2**32-1: at the limit,
    `Registry.acquire` does not choose the backend. None means no limit. `weight` is the backend's
    capacity relative to other backends, 1 to 1,000. `settings` is a table for the caller's own use,
    of what TOML can express; it is copied and read-only at any depth. Because it may hold secrets,
    it is part of `==`, but not of `hash`, `repr`, views and JSON. `max_pending_tokens` limits the
    tokens in flight, 1 to 2**64-1: `acquire` does not choose the backend for a request whose tokens
    would lift the sum above it; one that is bigger than the limit goes where nothing is in flight.
    None means no limit. Raises TypeError or ValueError, which names the field.
    """

    id: Text
    name: Text
    url: Url
    backend_type: BackendType = BackendType.GENERIC
    models: tuple[Model, ...] = ()
    discovery_source: DiscoverySource = DiscoverySource.STATIC
    metadata: Mapping[str, str] = EMPTY
    priority: Int32 = 0
    max_pending: Cap | None = None
    weight: Weight = 1
    settings: Mapping[str, Any] = field(default=EMPTY_SETTINGS, repr=False, hash=False)
    max_pending_tokens: TokenCap | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            id: str,
            name: str,
            url: str,
            backend_type: BackendType | BackendTypeValue = BackendType.GENERIC,
            models: Iterable[Model] = (),
            discovery_source: DiscoverySource | DiscoverySourceValue = DiscoverySource.STATIC,
            metadata: Mapping[str, str] = EMPTY,
            priority: int = 0,
            max_pending: int | None = None,
            weight: int = 1,
            settings: Mapping[str, Any] = EMPTY_SETTINGS,
            max_pending_tokens: int | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        _field_checks.check_fields(self, _BACKEND_CHECKS)

    def to_json(self) -> str:
        """JSON with the field names as keys, enums as their values, and no `settings`. O(size)."""
        names = _form_of(type(self)).__struct_fields__
        return _json.encode({name: getattr(self, name) for name in names})

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The inverse of `to_json`. Fields with a default may be missing. O(size).

        `settings` are empty. Raises ValueError, which names the place in the document.
        """
        return _from_form(cls, _json.decode(text, _form_of(cls)))


# ---- private fields


def _public(cls: type[Any]) -> tuple[Field[Any], ...]:
    """The fields of `Backend` or of a subclass that views and JSON have."""
    return tuple(one for one in fields(cls) if one.repr)


_FORMS: dict[type[Any], type[msgspec.Struct]] = {}


def _form_of(cls: type[Any]) -> type[msgspec.Struct]:
    """The form of the JSON of `Backend` or of a subclass: its fields without the private ones."""
    if cls not in _FORMS:
        hints = get_type_hints(cls, include_extras=True)
        _FORMS[cls] = msgspec.defstruct(
            f"_{cls.__name__}Fields",
            [(one.name, hints[one.name], *_default_of(one)) for one in _public(cls)],
            module=__name__,
        )
    return _FORMS[cls]


def _default_of(one: Field[Any]) -> tuple[Any, ...]:
    if one.default is not MISSING:
        return (one.default,)
    if one.default_factory is not MISSING:
        return (msgspec.field(default_factory=one.default_factory),)
    return ()


Made = TypeVar("Made")


def _from_form(cls: type[Made], read: msgspec.Struct) -> Made:
    """An instance with the fields that were read from JSON. Errors name the place."""
    try:
        return cls(**msgspec.structs.asdict(read))
    except ValueError as error:
        raise ValueError(f"{_json.locate(str(error))}: {error}") from None


# ---- checks


def check_models(value: object, argument: str) -> tuple[Model, ...]:
    """A tuple of exact `Model`s with distinct ids, from any iterable of models."""
    # Test for the usual types first, for the reason given in `metadata.read_only`.
    if type(value) not in (tuple, list) and isinstance(value, Mapping):
        raise _checks.type_error(argument, "an iterable of Model", value)
    checked: tuple[Any, ...] = (
        value if type(value) is tuple else tuple(_checks.items(value, argument, "Model"))
    )
    # The usual case in one pass. A model of a subclass is missing from the set, too.
    if len({model.id for model in checked if type(model) is Model}) == len(checked):
        return checked
    exact = tuple(
        _field_checks.exact_instance(Model, given, f"{argument}[{index}]")
        for index, given in enumerate(checked)
    )
    seen: set[str] = set()
    for index, model in enumerate(exact):
        if model.id in seen:
            raise ValueError(
                f"{argument}[{index}].id must be unique in the list, but {model.id!r} appears twice"
            )
        seen.add(model.id)
    return exact


def _utc(value: object, argument: str) -> datetime:
    if not _checks.is_a(value, datetime):
        raise _checks.type_error(argument, "a datetime", value)
    if value.utcoffset() is None:
        raise ValueError(f"{argument} must be aware: give it a tzinfo, such as datetime.UTC")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(
            f"{argument} must be in the years 1 to 9999 in UTC too, but is {value}"
        ) from None


Time = Annotated[datetime, msgspec.Meta(tz=True)]

# The reasons that belong to a backend alone, for any request, and end by themselves.
_UNAVAILABLE = (Reason.EJECTED, Reason.COOLING_DOWN, Reason.ON_TRIAL)


def _unavailable(value: object, argument: str) -> Reason:
    reason = _checks.enum_member(Reason, value, argument)
    if reason not in _UNAVAILABLE:
        choices = ", ".join(repr(each.value) for each in _UNAVAILABLE)
        raise ValueError(f"{argument} must be one of {choices} or None, not {reason.value!r}")
    return reason


_CHECKS: dict[Any, _checks.Check] = {
    str: _checks.encodable,
    Text: _checks.text,
    Url: lambda value, argument: _url.check_url(_checks.text(value, argument), argument),
    bool: _checks.boolean,
    UInt64: _checks.within(0, _checks.UINT64_MAX),
    TokenCap: _checks.within(1, _checks.UINT64_MAX),
    Time: _utc,
    Reason: _unavailable,
    tuple[Model, ...]: check_models,
    Mapping[str, str]: read_only,
    Mapping[str, Any]: read_only_settings,
}
_BACKEND_CHECKS = _field_checks.field_checks(Backend, _CHECKS)
_MODEL_CHECKS = _field_checks.field_checks(Model, _CHECKS)


# ---- views

_HINTS = get_type_hints(Backend, include_extras=True)
# The fields of a view that come from the definition.
_DEFINITION = {one.name: _HINTS[one.name] for one in _public(Backend)}


class _State:
    """The fields of a view that do not, in the order of their addition."""

    status: BackendStatus
    last_health_check: Time
    last_error: str | None
    pending_requests: UInt32
    total_requests: UInt64
    avg_latency_ms: UInt32
    serial: UInt64
    draining: bool
    failed_requests: UInt64
    avg_ttft_ms: UInt32 | None
    unavailable: Reason | None
    unavailable_until: Time | None
    pending_tokens: UInt64


_STATE = get_type_hints(_State, include_extras=True)
_STATE_CHECKS = _field_checks.checks_of(_STATE, _CHECKS)
# The first fields of a view. Every JSON document of a view has them. All others were added later,
# and may be missing from a document.
_FIRST = (
    *(
        "id",
        "name",
        "url",
        "backend_type",
        "status",
        "last_health_check",
        "last_error",
        "models",
        "priority",
    ),
    *("pending_requests", "total_requests", "avg_latency_ms", "discovery_source", "metadata"),
)
_DEFAULTS: dict[str, Any] = {
    # In the order of their addition; newer fields of `Backend` come after these.
    "max_pending": None,
    "weight": 1,
    "serial": 0,
    "draining": False,
    "failed_requests": 0,
    "avg_ttft_ms": None,
    "unavailable": None,
    "unavailable_until": None,
    "pending_tokens": 0,
    **{one.name: one.default for one in _public(Backend) if one.name not in _FIRST},
}
_VIEW = {name: {**_DEFINITION, **_STATE}[name] for name in (*_FIRST, *_DEFAULTS)}
# The arguments of a view's constructor, and the form of its JSON.
_ViewFields = msgspec.defstruct(
    "_ViewFields",
    [
        *((name, _VIEW[name]) for name in _FIRST),
        *((name, _VIEW[name], default) for name, default in _DEFAULTS.items()),
    ],
    module=__name__,
)


@dataclass(frozen=True, init=False)
class BackendView(binding.ViewBase):
    """One backend at one instant, as the registry returns it. Immutable; thread safety: atomic.

    `last_health_check` is an aware datetime in UTC: the time of registration until the first
    check. `pending_requests` is the number of requests in flight (uint32), `total_requests` is the
    number of finished requests (uint64), and `avg_latency_ms` is in milliseconds (uint32).
    `serial` is the number of the registration (uint64), unique within a registry and counted from
    1; `draining` says whether the backend must not get new requests. `failed_requests` is the
    number of finished requests that failed (uint64), and `avg_ttft_ms` the average time to the
    first token in milliseconds (uint32), None without a sample.

    `unavailable` is `Reason.EJECTED`, `Reason.COOLING_DOWN` or `Reason.ON_TRIAL` while that keeps
    requests away, otherwise None. `unavailable_until` is an aware datetime in UTC: when an ejection
    or a cool-down ends. It is None on trial, and where `unavailable` is None.

    `pending_tokens` is the sum of `Lease.tokens` over the active leases (uint64), at the same
    instant as `pending_requests`.

    The other fields are as in `Backend`. The property `backend` is the definition itself, with its
    settings. Raises TypeError or ValueError, which names the field.
    """

    __slots__ = ()

    if TYPE_CHECKING:
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
        metadata: Mapping[str, str]
        max_pending: int | None
        weight: int
        serial: int
        draining: bool
        failed_requests: int
        avg_ttft_ms: int | None
        unavailable: Reason | None
        unavailable_until: datetime | None
        pending_tokens: int
        max_pending_tokens: int | None

        def __new__(
            cls,
            id: str,
            name: str,
            url: str,
            backend_type: BackendType | BackendTypeValue,
            status: BackendStatus | BackendStatusValue,
            last_health_check: datetime,
            last_error: str | None,
            models: Iterable[Model],
            priority: int,
            pending_requests: int,
            total_requests: int,
            avg_latency_ms: int,
            discovery_source: DiscoverySource | DiscoverySourceValue,
            metadata: Mapping[str, str],
            max_pending: int | None = None,
            weight: int = 1,
            serial: int = 0,
            draining: bool = False,
            failed_requests: int = 0,
            avg_ttft_ms: int | None = None,
            unavailable: Reason | ReasonValue | None = None,
            unavailable_until: datetime | None = None,
            pending_tokens: int = 0,
            max_pending_tokens: int | None = None,
        ) -> Self: ...

    else:
        __annotations__ = _VIEW

        def __new__(cls, *arguments: Any, **named: Any) -> Self:
            given = _ViewFields(*arguments, **named)
            definition = Backend(**{name: getattr(given, name) for name in _DEFINITION})
            state = (check(getattr(given, name), name) for name, check in _STATE_CHECKS.items())
            return binding.new_view(cls, definition, *state)

        __new__.__signature__ = Signature(
            Parameter(
                name, Parameter.POSITIONAL_OR_KEYWORD, default=_DEFAULTS.get(name, Parameter.empty)
            )
            for name in ("cls", *_VIEW)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in _VIEW)

    def to_json(self) -> str:
        """JSON with the field names as keys and enums as their values. O(size).

        The time is in the format of RFC 3339, in UTC.
        """
        return _json.encode(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The inverse of `to_json`. `max_pending` and later fields may be missing. O(size).

        Raises ValueError, which names the place in the document.
        """
        return _from_form(cls, _json.decode(text, _ViewFields))


# msgspec resolves the types of fields on first use, through sys.modules. Resolve them now, because
# this module may be removed from sys.modules later.
for _form in (Model, _form_of(Backend), _ViewFields):
    msgspec.json.Decoder(_form)
