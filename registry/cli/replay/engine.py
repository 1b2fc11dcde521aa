"""The load: threads that send the requests of a trace through a registry, on simulated clocks.

With N threads, each thread takes every N-th request. Its clock follows the arrivals. A heap holds
its open requests, and the thread finishes those that have ended before it starts the next one.
A window limits the open requests of a thread: when it is full, the next request waits for the
earliest end, as in a gateway with bounded concurrency. No thread sleeps, so an hour of trace
takes seconds.

The threads wait for each other every `PACE` requests. So their clocks stay close, and the
registry's counts belong to about one simulated time. Without this barrier, the figures of one
policy differ by half from run to run.

The service time of a request in seconds is

    (context tokens / 10 + generated tokens) / speed * max(1, in flight / (8 * weight))

where speed is the backend's generated tokens a second, from 40 to 120, the same for every policy.
A backend reads a prompt ten times as fast as it generates. It serves 8 requests per unit of
weight at full speed; more requests share that speed. In flight is the registry's count for the
backend when the request starts, and includes the request. Later changes of the count do not
change the service time.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from time import perf_counter

from registry import Backend, BackendStatus, Lease, NoBackendAvailableError, Policy, Registry
from registry.cli.replay.inputs import SEED, Request
from registry.cli.replay.outcome import Outcome, Record
from registry.cli.terminal import InputError

WINDOW = 64  # open requests of a thread, at most
SLOWEST, FASTEST = 40.0, 120.0  # generated tokens a second
AT_FULL_SPEED = 8  # requests per unit of weight
PACE = 32  # requests of a thread between two waits at the barrier


@dataclass(slots=True)
class Worker:
    """One thread's requests and its record. Workers share the registry and the barrier `pace`."""

    registry: Registry
    policy: Policy
    speeds: dict[str, float]
    requests: Sequence[Request]
    models: Sequence[str]
    pace: threading.Barrier
    record: Record = field(default_factory=Record)
    open_requests: list[tuple[float, int, Lease, int]] = field(default_factory=list)
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
                self.clock = max(self.clock, request.arrival)
                while self.open_requests and (
                    self.open_requests[0][0] <= self.clock or len(self.open_requests) >= WINDOW
                ):
                    self.finish_one()
                self.start(number, request, model_id)
            while self.open_requests:
                self.finish_one()
        finally:
            # Abort the barrier, or the other threads would wait for this one. They are almost done
            # too, or stopped.
            self.pace.abort()
            for _, _, lease, _ in self.open_requests:
                lease.release(failed=True)

    def start(self, number: int, request: Request, model_id: str) -> None:
        """Acquires a backend for the request, or counts the request as refused."""
        try:
            lease = self.registry.acquire(model_id, policy=self.policy)
        except NoBackendAvailableError:
            self.record.rejected += 1
            return
        view = self.registry.get_backend(lease.backend.id)
        assert view is not None  # a replay removes no backends
        in_flight = view.pending_requests
        seconds = (request.context_tokens / 10 + request.generated_tokens) / self.speeds[view.id]
        seconds *= max(1.0, in_flight / (AT_FULL_SPEED * view.weight))
        latency_ms = min(round(seconds * 1000), 2**32 - 1)
        heappush(self.open_requests, (self.clock + seconds, number, lease, latency_ms))
        self.record.add(view.id, in_flight, self.clock, latency_ms)

    def finish_one(self) -> None:
        """Releases the request with the earliest end."""
        end, _, lease, latency_ms = heappop(self.open_requests)
        self.clock = max(self.clock, end)
        lease.release(latency_ms)
        self.record.done += 1


def replay(
    fleet: Sequence[Backend],
    requests: Sequence[Request],
    models: Sequence[str],
    threads: int,
    policy: Policy = Policy.LEAST_PENDING,
    progress: Callable[[int], None] = lambda _done: None,
) -> Outcome:
    """Runs the load to its end.

    Calls `progress` about 20 times a second, in this thread, with the number of finished requests.
    Raises the first exception of a worker once all workers have ended, and `InputError` if the
    system cannot start the threads.
    """
    registry = Registry()
    for backend in fleet:
        registry.add_backend(backend)
        registry.update_status(backend.id, BackendStatus.HEALTHY)
    rng = random.Random(SEED)
    speeds = {backend.id: rng.uniform(SLOWEST, FASTEST) for backend in fleet}
    pace = threading.Barrier(threads)
    workers = [
        Worker(registry, policy, dict(speeds), requests[i::threads], models[i::threads], pace)
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
