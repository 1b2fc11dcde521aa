"""The replay of a trace whose prompts have hashes: each backend has an engine (inference.py).

What the engines have in their caches and queues is known to the simulation only. The registry is
told what a gateway knows: the tokens and the hashes of a prompt, when the first token and the end
of an answer come, and how many blocks a cache keeps (`prefix_blocks`).

The threads take turns (turns.py), so every event happens in the order of simulated time, and a
replay gives the same result with any number of threads (except for random choices). No window
limits the open requests: they arrive as the trace says.

An engine is as fast as its backend's weight says: `prefill` is for a weight of 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from heapq import heappop
from math import inf
from typing import Any, NamedTuple

from registry import Backend, BackendView, Lease, Policy
from registry.cli.replay._faults import Effect
from registry.cli.replay.inference import BLOCK, Engine
from registry.cli.replay.inputs import Request
from registry.cli.replay.turns import Key, Turns
from registry.cli.replay.worker import Worker
from registry.ejection import DEFAULT_AFFINITY_FLOOR, PREFIX_BLOCKS_MAX


class Told(Enum):
    """What a choice is told of a request."""

    ALL = "all"
    """All that the trace says: the tokens and the hashes of the prompt. The key of AFFINITY is its
    first two hashes."""
    TOKENS = "tokens"
    """The same without the hashes of the prompt, except for the key of AFFINITY."""
    ENGINES = "engines"
    """Nothing: the choice is made here, by who knows every engine's cache and queue. It is the
    engine that gives the first token soonest; of equal ones, the best by the worker's policy."""

    def variant(self, policy: Policy) -> str | None:
        """The name of the results of a policy that is told this. None: the policy's own name."""
        names = {Told.TOKENS: f"{policy}_no_prefix", Told.ENGINES: "knows_all"}
        return names.get(self)


class Setup(NamedTuple):
    """The engines of a replay, the bound of AFFINITY, and what choices are told."""

    prefill: int = 8_000  # tokens a second
    cache_blocks: int = 4_000
    affinity_floor: float = DEFAULT_AFFINITY_FLOOR
    told: Told = Told.ALL

    def for_registry(self) -> dict[str, Any]:
        """The arguments of the registry."""
        return {
            "affinity_floor": self.affinity_floor,
            "block_tokens": BLOCK,
            "prefix_blocks": min(self.cache_blocks, PREFIX_BLOCKS_MAX),
        }


class Crew:
    """What the workers of a replay share: the engines by the ids of their backends, and turns."""

    def __init__(self, fleet: Iterable[Backend], threads: int, setup: Setup) -> None:
        self.engines: dict[str, Engine] = {
            backend.id: Engine(setup.prefill * backend.weight, setup.cache_blocks)
            for backend in fleet
        }
        self.turns: Turns = Turns(threads)
        self.threads = threads
        self.told: Told = setup.told


@dataclass(kw_only=True)
class PromptWorker(Worker):
    """One thread's requests."""

    crew: Crew

    def run(self) -> None:
        """Sends all requests and finishes them, or returns early once `stopped` is set."""
        try:
            self.crew.turns.begin(self.index)
            for count, (request, model_id) in self.numbered():
                number = count * self.crew.threads + self.index
                self.finish_until((request.arrival, number))
                if self.stopped:
                    return
                self.move_clock(request.arrival)
                self.start(number, request, model_id)
            self.finish_until((inf, self.index))
        finally:
            self.crew.turns.end(self.index)
            self.abandon()

    def finish_until(self, arrival: Key) -> None:
        """Handles the events before an arrival, each in its turn, and waits for its turn."""
        while self.open_requests and not self.stopped:
            first = self.open_requests[0]
            # Events at the time of an arrival come first: their numbers are smaller.
            event = (first.end, first.number, first.is_end)
            if event > arrival:
                break
            self.crew.turns.wait(self.index, event)
            if not self.stopped:
                self.finish_one()
        if not self.stopped:
            self.crew.turns.wait(self.index, arrival)

    def stop(self) -> None:
        """Makes `run` return soon. Another thread calls it."""
        self.stopped = True
        self.crew.turns.abort()

    def acquire(
        self, _number: int, /, request: Request, model_id: str, exclude: Sequence[str]
    ) -> Lease:
        """Acquires a backend for a request."""
        if self.crew.told is Told.ENGINES:
            return self.acquire_best(request, model_id, exclude)
        key = " ".join(map(str, request.blocks[:2])) if self.policy is Policy.AFFINITY else None
        return self.registry.acquire(
            model_id,
            policy=self.policy,
            exclude=exclude,
            affinity=key,
            tokens=request.context_tokens,
            prefix=None if self.crew.told is Told.TOKENS else request.blocks,
        )

    def acquire_best(self, request: Request, model_id: str, exclude: Sequence[str]) -> Lease:
        """Acquires the backend whose engine gives the first token soonest."""
        candidates = self.registry.explain(model_id, policy=self.policy, exclude=exclude)
        fit = [candidate.backend_id for candidate in candidates if candidate.reason is None]
        # Those that fit are in the order of the policy, and `min` takes the first of equal ones.
        best = min(
            fit,
            key=lambda name: self.crew.engines[name].preview(self.clock, request).first_token,
            default=None,
        )
        only = None if best is None else [best]
        return self.registry.acquire(model_id, policy=self.policy, exclude=exclude, only=only)

    def serve(self, view: BackendView, request: Request) -> Effect:
        """How the request ends that has just been acquired on a backend, by its engine."""
        engine = self.crew.engines[view.id]
        expected = engine.preview(self.clock, request)
        effect = self.effect(view.id, expected.end)
        if effect.failed and effect.seconds != expected.end:
            return effect  # the engine has not seen the request
        answer = engine.process(self.clock, request, effect.seconds / expected.end)
        self.record.read(len(request.blocks), answer.cached_blocks)
        if effect.failed:
            return effect
        return Effect(answer.end, first_token=answer.first_token)

    def finish_one(self) -> None:
        """Handles the earliest event: a first token, or the end of a request."""
        if self.open_requests[0].is_end:
            Worker.finish_one(self)
            return
        attempt = heappop(self.open_requests)
        self.move_clock(attempt.end)
        attempt.lease.first_token()
        self.record.first_tokens.append((attempt.end - attempt.sent_at) * 1000)
