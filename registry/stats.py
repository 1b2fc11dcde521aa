"""What a registry consists of, for whoever watches its memory."""

from __future__ import annotations

from dataclasses import dataclass

from registry._single_import import refuse_second_import

refuse_second_import()


@dataclass(frozen=True, slots=True)
class RegistryStats:
    """Sizes of one registry at one instant. Immutable; thread safety: atomic.

    `index_entries` counts each model of each backend. `waiting_for_reclamation` objects were replaced or removed and are
    freed once no reader can hold them. `waiting_bytes` is their size with what they hold: definitions and errors, as far
    as their texts tell. While a reader stalls they grow up to 256 MiB; then writes raise MemoryError until it goes on.
    `kept_for_views` objects were replaced or removed too, and stay for the views and the refusals that somebody holds:
    each keeps what was registered in its time, a refusal until its reasons are read. `bytes` is all memory of the core,
    what waits and what is kept included; Python's own objects that are registered (definitions, ids) come on top.
    """

    backends: int
    models: int
    index_entries: int
    waiting_for_reclamation: int
    waiting_bytes: int
    kept_for_views: int
    bytes: int
