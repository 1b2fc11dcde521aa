"""The load: threads that send the requests of a trace through a registry, on simulated clocks.

With N threads, each thread takes every N-th request. Its clock follows the arrivals. A heap holds
its open requests, and the thread finishes those that have ended before it starts the next one.
A window limits the open requests of a thread: when it is full, the next request waits for the
earliest end, as in a gateway with bounded concurrency. No thread sleeps, so an hour of trace
takes seconds.

The threads wait for each other every `PACE` requests. So their clocks stay close, and the
registry's counts belong to about one simulated time. Without this barrier, the figures of one
policy differ by half from run to run. The registry's clock follows the workers: see clock.py.

The service time of a request in seconds is

    (context tokens / 10 + generated tokens) / speed * max(1, in flight / (8 * weight))

where speed is the backend's generated tokens a second, from 40 to 120, the same for every policy.
A backend reads a prompt ten times as fast as it generates. It serves 8 requests per unit of
weight at full speed; more requests share that speed. In flight is the registry's count for the
backend when the request starts, and includes the request. Later changes of the count do not
change the service time.

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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from time import perf_counter
from typing import NamedTuple

from registry import (
    Backend,
    BackendStatus,
    Ejection,
    Lease,
    NoBackendAvailableError,
    Policy,
    Registry,
)
from registry.cli.replay._faults import Effect, Fault, Faults
from registry.cli.replay.clock import SimulatedClock
from registry.cli.replay.inputs import SEED, Request
from registry.cli.replay.outcome import Outcome, Record
from registry.cli.terminal import InputError
from registry.testing import ManualClock

WINDOW = 64  # open requests of a thread, at most
SLOWEST, FASTEST = 40.0, 120.0  # generated tokens a second
AT_FULL_SPEED = 8  # requests per unit of weight
PACE = 32  # requests of a thread between two waits at the barrier


class Attempt(NamedTuple):
    """A request on a backend. Ordered by its end, and then by the request's number."""

    end: float
    number: int
    lease: Lease
    effect: Effect
    started: float
    model_id: str
    request: Request
    # The start of the first attempt, if this is the second.
    first_started: float | None


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
    chance: random.Random = field(default_factory=lambda: random.Random(SEED))
    clock: float = 0.0
    stopped: bool = False

    def run(self) -> None:
        """Sends all requests and finishes them, or returns early once `stopped` is set."""
        try:
            for number, (request, model_id) in enumerate(
                zip(self.requests, self.models, strict=True)
            ):
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
            for attempt in self.open_requests:
                attempt.lease.release(abandoned=True)

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
            lease = self.registry.acquire(model_id, policy=self.policy, exclude=exclude)
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
        seconds = (request.context_tokens / 10 + request.generated_tokens) / self.speeds[view.id]
        seconds *= max(1.0, in_flight / (AT_FULL_SPEED * view.weight))
        effect = self.effect(view.id, seconds) if self.faults.all else Effect(seconds)
        first = None if failed is None else failed.started
        heappush(
            self.open_requests,
            Attempt(
                *(self.clock + effect.seconds, number, lease, effect),
                *(self.clock, model_id, request, first),
            ),
        )
        self.record.add(view.id, in_flight, self.clock, milliseconds(effect.seconds))

    def effect(self, backend_id: str, seconds: float) -> Effect:
        """How an attempt ends that starts now, with the faults of its backend."""
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
            first = attempt.started if attempt.first_started is None else attempt.first_started
            self.record.succeed(milliseconds(attempt.end - first))
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


def replay(
    fleet: Sequence[Backend],
    requests: Sequence[Request],
    models: Sequence[str],
    threads: int,
    policy: Policy = Policy.LEAST_PENDING,
    progress: Callable[[int], None] = lambda _done: None,
    *,
    faults: Sequence[Fault] = (),
    ejection: Ejection | None = Ejection(),  # noqa: B008 (immutable)
) -> Outcome:
    """Runs the load to its end.

    Calls `progress` about 20 times a second, in this thread, with the number of finished requests.
    Raises the first exception of a worker once all workers have ended, and `InputError` if the
    system cannot start the threads.
    """
    manual = ManualClock()
    registry = Registry(ejection=ejection, clock=manual)
    for backend in fleet:
        registry.add_backend(backend)
        registry.update_status(backend.id, BackendStatus.HEALTHY)
    rng = random.Random(SEED)
    speeds = {backend.id: rng.uniform(SLOWEST, FASTEST) for backend in fleet}
    pace = threading.Barrier(threads)
    met = Faults(faults)
    time = SimulatedClock(registry, manual, met.health_checks())
    workers = [
        Worker(
            *(registry, policy, dict(speeds), requests[i::threads], models[i::threads]),
            *(pace, time, met),
            chance=random.Random(SEED + i),
        )
        for i in range(threads)
    ]
    started = perf_counter()
    _run_all(workers, progress)
    seconds = perf_counter() - started
    record = Record()
    for worker in workers:
        record.merge(worker.record)
    requested = frozenset(models)
    return Outcome(
        policy=policy,
        views=registry.get_all_backends(),
        serving=frozenset(
            backend.id
            for backend in fleet
            if any(model.id in requested for model in backend.models)
        ),
        record=record,
        requests=len(requests),
        threads=threads,
        seconds=seconds,
        faults=met.all,
    )


def _run_all(workers: list[Worker], progress: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(worker: Worker) -> None:
        try:
            worker.run()
        except BaseException as error:
            failures.append(error)
            _stop(workers)

    threads = [threading.Thread(target=guarded, args=(worker,), daemon=True) for worker in workers]
    try:
        _start(threads)
        for thread in threads:
            while thread.is_alive():
                thread.join(0.05)
                progress(sum(worker.record.done for worker in workers))
    finally:
        # Even after Ctrl-C, no thread may be inside the registry while the interpreter shuts down.
        _stop(workers)
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if failures:
        raise failures[0]


def _start(threads: list[threading.Thread]) -> None:
    for number, thread in enumerate(threads):
        try:
            thread.start()
        except RuntimeError as error:
            raise InputError(
                f"--threads {len(threads)}: only {number} could be started: {error}"
            ) from None


def _stop(workers: list[Worker]) -> None:
    for worker in workers:
        worker.stopped = True
        worker.pace.abort()
