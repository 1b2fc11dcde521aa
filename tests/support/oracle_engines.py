"""The replay of prompts once more, without the registry and in another way: slow and plain.

Nothing is kept up to date. Whatever a choice needs is computed from the list of what was sent so
far. Several kinds of choices are known by their names in the output of a replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import NamedTuple

from registry.cli.replay.inputs import Request


class Sent(NamedTuple):
    """A request that was sent: to which engine, the tokens that counted, and its times."""

    request: Request
    engine: int
    tokens: int
    first_token: float
    end: float


class Engines:
    """So many engines, and all that was sent to them."""

    def __init__(self, count: int, prefill: int, cache_blocks: int) -> None:
        self.count, self.prefill, self.cache_blocks = count, prefill, cache_blocks
        self.sent: list[Sent] = []
        self.cached = self.blocks = 0

    def replay(self, name: str, requests: Iterable[Request]) -> list[float]:
        """Sends all requests by one kind of choice. Returns the times to the first tokens, in ms,
        in the order of the requests."""
        measure = getattr(self, name)
        for request in requests:
            engine = min(
                range(self.count),
                key=lambda engine: (*measure(engine, request), self.last_choice(engine), engine),
            )
            self.send(name, engine, request)
        return [(sent.first_token - sent.request.arrival) * 1000 for sent in self.sent]

    def send(self, name: str, engine: int, request: Request) -> None:
        """Sends a request to an engine."""
        tokens = request.context_tokens
        if name == "least_tokens":
            tokens = self.rest(engine, request)
        start = self.free_at(engine, request.arrival)
        self.blocks += len(request.blocks)
        self.cached += self.leading(engine, request.blocks)
        first_token = start + self.rest(engine, request) / self.prefill
        end = first_token + request.generated_tokens / 60
        self.sent.append(Sent(request, engine, tokens, first_token, end))

    # ---- measures of choices: the smallest is best

    def least_pending(self, engine: int, request: Request) -> tuple[float, ...]:
        now = request.arrival
        return (sum(sent.end > now for sent in self.of(engine)),)

    def least_tokens(self, engine: int, request: Request) -> tuple[float, ...]:
        rest = self.rest(engine, request)
        return self.in_flight(engine, request) + rest, *self.least_pending(engine, request)

    def least_tokens_no_prefix(self, engine: int, request: Request) -> tuple[float, ...]:
        return self.in_flight(engine, request), *self.least_pending(engine, request)

    def knows_all(self, engine: int, request: Request) -> tuple[float, ...]:
        wait = max(self.free_at(engine, request.arrival) - request.arrival, 0.0)
        seconds = wait + self.rest(engine, request) / self.prefill
        return seconds, *self.least_pending(engine, request)

    # ---- what they are made of

    def of(self, engine: int) -> list[Sent]:
        return [sent for sent in self.sent if sent.engine == engine]

    def last_choice(self, engine: int) -> int:
        chosen = [number for number, sent in enumerate(self.sent) if sent.engine == engine]
        return chosen[-1] if chosen else -1

    def in_flight(self, engine: int, request: Request) -> int:
        """Tokens in flight: a first token takes them out."""
        return sum(s.tokens for s in self.of(engine) if s.first_token > request.arrival)

    def free_at(self, engine: int, now: float) -> float:
        """When the engine can begin with a prompt that arrives now."""
        return max([now, *(sent.first_token for sent in self.of(engine))])

    def leading(self, engine: int, blocks: Sequence[int]) -> int:
        """The leading blocks among the last different ones that the engine has read, as many as its
        cache keeps. Of a prompt, the first block is the last one. A registry that keeps as many
        knows the same."""
        read = chain.from_iterable(sent.request.blocks for sent in reversed(self.of(engine)))
        known = set(islice(dict.fromkeys(read), self.cache_blocks))
        return next((n for n, block in enumerate(blocks) if block not in known), len(blocks))

    def rest(self, engine: int, request: Request) -> int:
        """The tokens of a prompt that are not among those blocks, at least 1."""
        return max(request.context_tokens - 512 * self.leading(engine, request.blocks), 1)
