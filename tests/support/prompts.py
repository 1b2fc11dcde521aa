"""What a registry knows of prompts: the oracle of `prefix`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

BITS = 2**64


class KnownBlocks:
    """The most recently used blocks of one backend and model."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.blocks: dict[int, None] = {}  # the least recently used one first

    def note(self, prefix: Iterable[int]) -> None:
        """Makes all blocks the most recently used ones, the first one last."""
        for block in reversed([block % BITS for block in prefix]):
            self.blocks.pop(block, None)
            self.blocks[block] = None
            if len(self.blocks) > self.limit:
                del self.blocks[next(iter(self.blocks))]

    def correct(self, prefix: Sequence[int], known: int) -> None:
        """Drops the blocks after the first `known`, and notes those."""
        for block in prefix[known:]:
            self.blocks.pop(block % BITS, None)
        self.note(prefix[:known])

    def count(self, prefix: Iterable[int]) -> int:
        """How many leading blocks are known."""
        known = 0
        for block in prefix:
            if block % BITS not in self.blocks:
                break
            known += 1
        return known


def added_tokens(tokens: int, cached: int) -> int:
    """What a request with a prefix puts in front of others where so many tokens are cached."""
    return max(tokens - cached, 1)
