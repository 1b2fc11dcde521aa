"""The load: threads that send the requests of a trace through a registry, on simulated clocks.

Each thread takes every N-th request. Its clock follows the arrivals; its open requests wait in a heap for their ends, and
whatever has ended is finished before the next one starts. A window bounds how many a thread keeps open: when it is full, the next
request waits until the earliest end, as in a gateway with bounded concurrency. Nothing sleeps, so an hour of trace takes seconds.

A request's service time in seconds is (context tokens / 10 + generated tokens) / the backend's speed in generated tokens a
second: reading a prompt is taken to be ten times as fast as generating. Speeds differ from backend to backend, 40 to 120.
"""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from time import perf_counter

from registry._registry import Registry
from registry._terminal import InputError
from registry.backend import Backend, BackendStatus, BackendView
from registry.replay.inputs import SEED, Request

WINDOW = 64
OPERATIONS_PER_REQUEST = 5  # look-up, increment, latency, decrement, total
SLOWEST, FASTEST = 40.0, 120.0


@dataclass(slots=True)
class Worker:
    """One thread's part, and what it saw: nothing here is shared while it runs."""

    registry: Registry
    speeds: dict[str, float]
    requests: Sequence[Request]
    models: Sequence[str]
    rng: random.Random
    most_in_flight: Counter[str] = field(default_factory=Counter)
    open_requests: list[tuple[float, int, str, int]] = field(default_factory=list)
    clock: float = 0.0
    done: int = 0
    rejected: int = 0
    stopped: bool = False

    def run(self) -> None:
        """Sends all requests and finishes them, unless it is stopped from outside."""
        for number, (request, model_id) in enumerate(zip(self.requests, self.models, strict=True)):
            if self.stopped:
                return
            self.clock = max(self.clock, request.arrival)
            while self.open_requests and (self.open_requests[0][0] <= self.clock or len(self.open_requests) >= WINDOW):
                self.finish_one()
            self.start(number, request, model_id)
        while self.open_requests:
            self.finish_one()

    def start(self, number: int, request: Request, model_id: str) -> None:
        """Looks the model up, takes the healthy backend with the fewest in flight, and counts the request there."""
        chosen = self.choose(self.registry.get_backends_for_model(model_id))
        if chosen is None:
            self.rejected += 1
            return
        in_flight = self.registry.increment_pending(chosen)
        if in_flight > self.most_in_flight[chosen]:
            self.most_in_flight[chosen] = in_flight
        seconds = (request.context_tokens / 10 + request.generated_tokens) / self.speeds[chosen]
        heappush(self.open_requests, (self.clock + seconds, number, chosen, min(round(seconds * 1000), 2**32 - 1)))

    def choose(self, views: list[BackendView]) -> str | None:
        """The id of the healthy backend with the fewest in flight; which of several equal ones is left to chance."""
        loads = [(view.pending_requests, view.id) for view in views if view.status is BackendStatus.HEALTHY]
        if not loads:
            return None
        fewest = min(load for load, _ in loads)
        return self.rng.choice([backend_id for load, backend_id in loads if load == fewest])

    def finish_one(self) -> None:
        """Ends the request that ends first: its latency, one less in flight, one more in total."""
        end, _, backend_id, latency_ms = heappop(self.open_requests)
        self.clock = max(self.clock, end)
        self.registry.update_latency(backend_id, latency_ms)
        self.registry.decrement_pending(backend_id)
        self.registry.increment_total_requests(backend_id)
        self.done += 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay did, and what the registry knows at its end."""

    views: list[BackendView]
    most_in_flight: Counter[str]
    requests: int
    done: int
    rejected: int
    threads: int
    seconds: float

    @property
    def left_in_flight(self) -> int:
        """Requests that the registry still counts: 0 if no count was lost."""
        return sum(view.pending_requests for view in self.views)

    @property
    def total(self) -> int:
        """Requests that the registry counted as finished."""
        return sum(view.total_requests for view in self.views)

    @property
    def adds_up(self) -> bool:
        """Whether every request was counted exactly once, and nothing is left in flight."""
        return self.left_in_flight == 0 and self.total == self.done and self.done + self.rejected == self.requests

    @property
    def gil(self) -> bool:
        """Whether this interpreter ran with the GIL."""
        return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def replay(
    fleet: Sequence[Backend],
    requests: Sequence[Request],
    models: Sequence[str],
    threads: int,
    progress: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Runs the load to its end; `progress` is called now and then, in this thread, with the requests done so far.

    An exception of a worker is raised here once all have ended. `InputError` if the system refuses so many threads.
    """
    registry = Registry()
    for backend in fleet:
        registry.add_backend(backend)
        registry.update_status(backend.id, BackendStatus.HEALTHY)
    rng = random.Random(SEED)
    speeds = {backend.id: rng.uniform(SLOWEST, FASTEST) for backend in fleet}
    workers = [
        Worker(registry, dict(speeds), requests[i::threads], models[i::threads], random.Random(SEED + i))
        for i in range(threads)
    ]
    started = perf_counter()
    _run_all(workers, progress)
    seconds = perf_counter() - started
    most: Counter[str] = Counter()
    for worker in workers:
        most |= worker.most_in_flight
    return Outcome(
        views=registry.get_all_backends(),
        most_in_flight=most,
        requests=len(requests),
        done=sum(worker.done for worker in workers),
        rejected=sum(worker.rejected for worker in workers),
        threads=threads,
        seconds=seconds,
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
                progress(sum(worker.done for worker in workers))
    finally:
        # Also after Ctrl-C: nothing may still run in the registry while the interpreter shuts down.
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
            raise InputError(f"--threads {len(threads)}: only {number} could be started: {error}") from None


def _stop(workers: list[Worker]) -> None:
    for worker in workers:
        worker.stopped = True
