"""A simulated inference engine: one queue of prompts, and a cache of what it has read.

The engine processes prompts one after the other, in the order of arrival. Of each, it leaves out
the leading blocks that its cache has. Then it generates the answers, all beside each other, so an
answer does not wait for others and does not slow them down.

All blocks of a prompt are in the cache when the next one is processed, because that one is later.
So the outcome of a request is known when it arrives: nothing that arrives later changes it.

The cache keeps the most recently used blocks. Of one prompt, the last block counts as used first,
so the end of a prompt goes before its beginning, without which it is worth nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from registry.cli.replay.inputs import Request

BLOCK = 512  # tokens
GENERATED = 60.0  # tokens a second, of each answer


class Answer(NamedTuple):
    """When a request is answered, in seconds from its arrival, and the blocks found in the
    cache."""

    first_token: float
    end: float
    cached_blocks: int


class Engine:
    """One engine. Times are in seconds, and calls are in the order of time. Thread safety: none."""

    def __init__(self, prefill: float, cache_blocks: int) -> None:
        """`prefill` is in tokens a second. `cache_blocks` is at least 1."""
        self._prefill = prefill
        self._cache_blocks = cache_blocks
        self._cache: OrderedDict[int, None] = OrderedDict()  # the least recently used block first
        self._free_at = 0.0  # when the last prompt of the queue is processed

    def preview(self, now: float, request: Request, slowed: float = 1.0) -> Answer:
        """The answer to a request that arrives now. A slowed engine takes so many times as long."""
        cached = self._cached(request.blocks)
        # The engine computes at least the last token, from which the first one of the answer comes.
        rest = max(request.context_tokens - cached * BLOCK, 1)
        wait = max(self._free_at - now, 0.0)
        first_token = wait + rest / self._prefill * slowed
        generation = request.generated_tokens / GENERATED * slowed
        return Answer(first_token, first_token + generation, cached)

    def process(self, now: float, request: Request, slowed: float = 1.0) -> Answer:
        """The same, and the engine does the work."""
        answer = self.preview(now, request, slowed)
        self._free_at = now + answer.first_token
        for block in reversed(request.blocks):
            self._cache[block] = None
            self._cache.move_to_end(block)
        while len(self._cache) > self._cache_blocks:
            self._cache.popitem(last=False)
        return answer

    def _cached(self, blocks: Sequence[int]) -> int:
        """The number of leading blocks that the cache has."""
        for count, block in enumerate(blocks):
            if block not in self._cache:
                return count
        return len(blocks)
