"""`RegistryStats`: the size of a registry and its memory, for monitoring."""

from __future__ import annotations

from dataclasses import dataclass

from registry._single_import import refuse_second_import

refuse_second_import()


@dataclass(frozen=True, slots=True)
class RegistryStats:
    """The size of one registry at one instant. Immutable; thread safety: atomic.

    `backends` and `models` are numbers of backends and of distinct model ids; `index_entries`
    counts each model of each backend.

    `waiting_for_reclamation` is the number of objects that were replaced or removed, and are freed
    once no reader can use them. `waiting_bytes` is their size, including an estimate for the
    definitions and errors that they hold. While a reader is stalled, it grows up to 256 MiB; then
    writes raise MemoryError until the reader continues.

    `kept_for_views` is the number of objects that were replaced or removed, but are still in use by
    a view, by a lease, by an unread change of a watch, or by an error whose reasons have not been
    read. A view or a lease that you hold keeps alive whatever was registered when it was made.

    `prefix_bytes` is the memory for what is known of prompts: see `Registry.acquire`. At most 32
    bytes for each block that may be known, and about 1 KB more for each backend and model.

    `bytes` is all memory of the core, including what waits and what is kept. Registered Python
    objects, such as definitions and ids, are not included.
    """

    backends: int
    models: int
    index_entries: int
    waiting_for_reclamation: int
    waiting_bytes: int
    kept_for_views: int
    prefix_bytes: int
    bytes: int
