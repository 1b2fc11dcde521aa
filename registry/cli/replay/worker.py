"""A thread of a replay: sends its requests through a registry, on a clock of its own.

The clock follows the arrivals. A heap holds the open requests, and the thread finishes those that
have ended before it starts the next one. A window limits them: when it is full, the next request
waits for the earliest end, as in a gateway with bounded concurrency. No thread sleeps, so an hour
of trace takes seconds.

The threads wait for each other every `PACE` requests. So their clocks stay close, and the
registry's counts belong to about one simulated time. Without this barrier, the figures of one
policy differ by half from run to run. The registry's clock follows the workers: see clock.py.

The service time of a request in seconds is

    (context tokens / 10 + generated tokens) / speed * max(1, in flight / (8 * weight))

where speed is the backend's generated tokens a second, from 40 to 120, the same for every policy.
A backend reads a prompt ten times as fast as it generates. It serves 8 requests per unit of
weight at full speed; more requests share that speed. In flight is the registry's count for the
backend when the request starts, and includes the request. Later changes of the count do not
change the service time. Requests whose prompts have hashes are served by engines instead: see
prompts.py.

The synthetic trace keeps about 77 requests in flight. The synthetic fleet serves 96 at full speed.
So a fleet without three of its backends is slow, and one thread, whose window has 64 places, sends
the trace more slowly than it arrives.

A fault (_faults.py) changes how a request ends. A request that fails is sent once more, at the time
of its failure and with the faulty backend in `exclude`, as a gateway does. If the second attempt
fails too, or finds no backend, the request has failed. Failed attempts give no latency sample.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from registry import BackendView, Lease, NoBackendAvailableError, Policy, Registry
from registry.cli.replay._faults import Effect, Faults
from registry.cli.replay.clock import SimulatedClock
from registry.cli.replay.inputs import SEED, Request
from registry.cli.replay.outcome import Record

WINDOW = 64  # open requests of a thread, at most
AT_FULL_SPEED = 8  # requests per unit of weight
PACE = 32  # requests of a thread between two waits at the barrier


class Attempt(NamedTuple):
    """A request on a backend. Ordered by its end, and then by the request's number.

    An attempt that brings a first token is in the heap a second time, as that event: then `end` is
    the time of the token, and `is_end` is False, so that it comes before an end at the same time.
    """

    end: float
    number: int
    is_end: bool
    lease: Lease
    effect: Effect
    started: float
    model_id: str
    request: Request
    # The start of the first attempt, if this is the second.
    first_started: float | None

    @property
    def sent_at(self) -> float:
        """When the client sent the request."""
        return self.started if self.first_started is None else self.first_started


@dataclass(slots=True)
class Worker:
    """One thread's requests and its record. Workers share all that stands before `record`."""

    registry: Registry
    policy: Policy
    speeds: dict[str, float]
    requests: Sequence[Request]
    models: Sequence[str]
    pace: threading.Barrier
    time: SimulatedClock
    faults: Faults = field(default_factory=Faults)
    record: Record = field(default_factory=Record)
    open_requests: list[Attempt] = field(default_factory=list)
    index: int = 0  # among the workers
    clock: float = 0.0
    stopped: bool = False
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(SEED + self.index)

    def numbered(self) -> Iterator[tuple[int, tuple[Request, str]]]:
        """This worker's requests and their models, numbered from 0."""
        return enumerate(zip(self.requests, self.models, strict=True))

    def run(self) -> None:
        """Sends all requests and finishes them, or returns early once `stopped` is set."""
        try:
            for number, (request, model_id) in self.numbered():
                if number % PACE == 0:
                    with suppress(threading.BrokenBarrierError):
                        self.pace.wait()
                if self.stopped:
                    return
                while self.open_requests and (
                    self.open_requests[0].end <= max(self.clock, request.arrival)
                    or len(self.open_requests) >= WINDOW
                ):
                    self.finish_one()
                self.move_clock(request.arrival)
                self.start(number, request, model_id)
            while self.open_requests:
                self.finish_one()
        finally:
            # Abort the barrier, or the other threads would wait for this one. They are almost done
            # too, or stopped.
            self.pace.abort()
            self.abandon()

    def abandon(self) -> None:
        """Releases what is still open because the worker was stopped."""
        for attempt in self.open_requests:
            attempt.lease.release(abandoned=True)

    def stop(self) -> None:
        """Makes `run` return soon. Another thread calls it."""
        self.stopped = True
        self.pace.abort()

    def move_clock(self, now: float) -> None:
        """Moves the worker's clock forward to `now`, and the registry's with it."""
        self.clock = max(self.clock, now)
        self.time.reach(self.clock)

    def start(
        self, number: int, request: Request, model_id: str, failed: Attempt | None = None
    ) -> None:
        """Acquires a backend for the request, or counts the request as refused.

        With `failed`, its first attempt, counts it as failed instead.
        """
        exclude = () if failed is None else (failed.lease.backend.id,)
        try:
            lease = self.acquire(number, request, model_id, exclude)
        except NoBackendAvailableError:
            if failed is None:
                self.record.rejected += 1
            else:
                self.record.fail()
            return
        if failed is not None:
            self.record.retries += 1
        view = self.registry.get_backend(lease.backend.id)
        assert view is not None  # a replay removes no backends
        in_flight = view.pending_requests
        effect = self.serve(view, request)
        first = None if failed is None else failed.started
        attempt = Attempt(
            *(self.clock + effect.seconds, number, True, lease, effect),
            *(self.clock, model_id, request, first),
        )
        heappush(self.open_requests, attempt)
        if effect.first_token is not None:
            token = attempt._replace(end=self.clock + effect.first_token, is_end=False)
            heappush(self.open_requests, token)
        self.record.add(view.id, in_flight, self.clock, milliseconds(effect.seconds))

    def acquire(
        self, number: int, /, request: Request, model_id: str, exclude: Sequence[str]
    ) -> Lease:
        """Acquires a backend for a request."""
        # A trace without hashes knows no sessions, so each request has a key of its own.
        key = number if self.policy is Policy.AFFINITY else None
        return self.registry.acquire(
            model_id,
            policy=self.policy,
            exclude=exclude,
            affinity=key,
            tokens=request.context_tokens,
        )

    def serve(self, view: BackendView, request: Request) -> Effect:
        """How the request ends that has just been acquired on a backend, by the formula above."""
        seconds = (request.context_tokens / 10 + request.generated_tokens) / self.speeds[view.id]
        seconds *= max(1.0, view.pending_requests / (AT_FULL_SPEED * view.weight))
        return self.effect(view.id, seconds)

    def effect(self, backend_id: str, seconds: float) -> Effect:
        """How an attempt ends that starts now, with the faults of its backend."""
        if not self.faults.all:
            return Effect(seconds)
        index = self.faults.meet(backend_id, self.clock)
        if self.faults.any_at(self.clock):
            self.record.during_faults += 1
        if index is None:
            return Effect(seconds)
        self.record.to_faulty[index] += 1
        effect = self.faults.all[index].hit(seconds, self.chance.random())
        if effect.failed:
            self.record.failures[index] += 1
        return effect

    def finish_one(self) -> None:
        """Releases the request with the earliest end."""
        attempt = heappop(self.open_requests)
        self.move_clock(attempt.end)
        lease, effect = attempt.lease, attempt.effect
        if not effect.failed:
            lease.release(milliseconds(effect.seconds))
            self.record.succeed(milliseconds(attempt.end - attempt.sent_at))
            for index in self.faults.ended(lease.backend.id, attempt.started):
                self.record.recover(index, attempt.started)
            return
        if effect.retry_after is None:
            lease.release(failed=True)
        else:
            lease.release(retry_after=effect.retry_after)
        if attempt.first_started is None:
            self.start(attempt.number, attempt.request, attempt.model_id, attempt)
        else:
            self.record.fail()


def milliseconds(seconds: float) -> int:
    """The latency sample for a time."""
    return min(round(seconds * 1000), 2**32 - 1)
