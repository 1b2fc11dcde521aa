"""A replay of one policy: its registry, its threads, and their result.

With N threads, each thread takes every N-th request. What a thread does is in worker.py; where the
prompts of the requests have hashes, in prompts.py.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

from registry import Backend, BackendStatus, Ejection, Policy, Registry
from registry.cli.replay._faults import Fault, Faults
from registry.cli.replay.clock import SimulatedClock
from registry.cli.replay.inputs import SEED, Request
from registry.cli.replay.outcome import Outcome, Record
from registry.cli.replay.prompts import Crew, PromptWorker, Setup
from registry.cli.replay.worker import Worker
from registry.cli.terminal import InputError
from registry.testing import ManualClock

SLOWEST, FASTEST = 40.0, 120.0  # generated tokens a second


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
    engines: Setup | None = None,
) -> Outcome:
    """Runs the load to its end. With `engines`, each backend has one.

    Calls `progress` about 20 times a second, in this thread, with the number of finished requests.
    Raises the first exception of a worker once all workers have ended, and `InputError` if the
    system cannot start the threads.
    """
    manual = ManualClock()
    options = {} if engines is None else engines.for_registry()
    registry = Registry(ejection=ejection, clock=manual, **options)
    for backend in fleet:
        registry.add_backend(backend)
        registry.update_status(backend.id, BackendStatus.HEALTHY)
    rng = random.Random(SEED)
    speeds = {backend.id: rng.uniform(SLOWEST, FASTEST) for backend in fleet}
    pace = threading.Barrier(threads)
    met = Faults(faults)
    time = SimulatedClock(registry, manual, met.health_checks())
    kind = Worker if engines is None else partial(PromptWorker, crew=Crew(fleet, threads, engines))
    workers = [
        kind(
            *(registry, policy, dict(speeds), requests[i::threads], models[i::threads]),
            *(pace, time, met),
            index=i,
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
        has_engines=engines is not None,
        variant=None if engines is None else engines.told.variant(policy),
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
        worker.stop()
