"""Random failures, trials and cool-downs under eight threads: no request and no trial is lost."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from support.selection import key_for
from support.threads import run_threads, until_done

from registry import (
    Backend,
    BackendNotFoundError,
    BackendView,
    Ejection,
    Lease,
    Model,
    NoBackendAvailableError,
    Policy,
    Reason,
    Registry,
)
from registry.testing import ManualClock

UNIT = "requests"
GOAL = 10**6

USERS = 8
REQUESTS = 2_000  # of each user in a round
SECONDS = 0.3  # that pass for each of them, on average
HELD = 3  # leases that a user holds at the same time
# The first one is ejected once and then never succeeds, so each of its requests is a trial. The
# operator restores all others, and the last two are also removed and replaced.
ON_TRIAL, STEADY, GUESTS = "t", "u", ("a", "b")
IDS = (ON_TRIAL, STEADY, *GUESTS)
# How requests end, with the share of each. Those of the first one end in any way but the first.
OUTCOMES = {"succeeded": 3, "failed": 3, "abandoned": 1, "retry_after": 1, "dropped": 1}
# Times are whole seconds, so that deadlines are exact in views.
LONGEST = 60
RULES = Ejection(
    consecutive_failures=3, min_requests=10, base_s=4, max_s=LONGEST, slow_start_s=8, panic=None
)
DEADLINES = (Reason.EJECTED, Reason.COOLING_DOWN)


def run(
    until: Callable[[], bool],
    *,
    make: Callable[..., Registry] = Registry,
    requests: int = REQUESTS,
) -> Iterator[int]:
    """Users end requests in every way while operators interfere and time passes."""
    for seed in itertools.count():
        yield Soak(make, seed).run(requests)
        if until():
            return


def definition(backend_id: str, number: int = 0) -> Backend:
    """A backend with this id. The number decides about its server and its weight."""
    url = f"http://{backend_id}-{number % 2 if backend_id in GUESTS else 0}"
    return Backend(backend_id, backend_id, url, models=[Model("m")], weight=1 + number % 3)


class Soak:
    """One round with a new registry, and what its users know about their requests."""

    def __init__(self, make: Callable[..., Registry], seed: int) -> None:
        self.seed = seed
        self.clock = ManualClock()
        self.registry = make(clock=self.clock, ejection=RULES)
        for backend_id in IDS:
            self.registry.add_backend(definition(backend_id))
            self.registry.update_status(backend_id, "healthy")
        self.lock = threading.Lock()
        self.trials = 0  # out now
        self.ended: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.start = self.time_of_start()

    def time_of_start(self) -> datetime:
        """The time of day at which the clock shows 0. Ends with a backend that is ejected."""
        for _ in range(3):
            lease = self.registry.acquire("m", exclude=others(ON_TRIAL))
            lease.release(failed=True)
        self.ended[ON_TRIAL] = self.failed[ON_TRIAL] = 3
        view = self.registry.get_backend(ON_TRIAL)
        assert view is not None
        assert view.unavailable is Reason.EJECTED
        assert view.unavailable_until is not None
        return view.unavailable_until - timedelta(seconds=RULES.base_s)

    def run(self, requests: int) -> int:
        """Runs the round to its end, and checks what is left. Returns the number of requests."""
        users = [partial(self.use, number, requests) for number in range(USERS)]
        until_done(
            lambda: run_threads(users, limit=600),
            self.work_of(self.operate, 1),
            self.work_of(self.replace, 2),
            self.look,
            limit=600,
        )
        self.check_counts()
        self.check_places()
        return sum(self.ended.values())

    def work_of(self, work: Callable[[random.Random], None], number: int) -> Callable[[], None]:
        """The work with random numbers of its own."""
        return partial(work, random.Random(self.seed * 100 + number))

    # ---- users

    def use(self, number: int, requests: int) -> None:
        """Makes requests by every policy, and ends them in every way."""
        rng = random.Random(self.seed * 100 + 10 + number)
        held: list[Lease] = []
        for _ in range(requests):
            if rng.random() < SECONDS:
                self.clock.advance(1)
            self.take(rng, held)
            if len(held) >= rng.randrange(1, HELD + 1):
                self.end(rng, held)
        while held:
            self.end(rng, held)

    def take(self, rng: random.Random, held: list[Lease]) -> None:
        """Takes a lease of any backend, or of the one on trial, if one is available."""
        exclude = others(ON_TRIAL) if rng.random() < 0.3 else ()
        try:
            policy = rng.choice(list(Policy))
            lease = self.registry.acquire(
                "m", policy=policy, exclude=exclude, affinity=key_for(policy)
            )
        except NoBackendAvailableError as error:
            check_refusal(error)
            return
        held.append(lease)
        if lease.backend.id == ON_TRIAL:
            with self.lock:
                # It is counted here later, and uncounted earlier, than in the registry. A view may
                # show a second one: a failed trial ejects before it leaves the count, and the clock
                # may have passed the end of that ejection by then.
                self.trials += 1
                assert self.trials == 1, "two trials at a time"

    def end(self, rng: random.Random, held: list[Lease]) -> None:
        """Ends one of the leases in a random way."""
        lease = held.pop(rng.randrange(len(held)))
        backend_id = lease.backend.id
        is_trial = backend_id == ON_TRIAL
        (outcome,) = rng.choices(list(OUTCOMES)[is_trial:], list(OUTCOMES.values())[is_trial:])
        with self.lock:
            self.trials -= is_trial
            self.ended[backend_id] += 1
            self.failed[backend_id] += outcome in ("failed", "retry_after")
        if outcome == "dropped":
            return  # The garbage collector releases it.
        given: dict[str, Any] = {}
        if outcome == "retry_after":
            given["retry_after"] = rng.randrange(4)
        elif outcome != "succeeded":
            given[outcome] = True
        assert lease.release(**given)
        assert not lease.release(), "released twice"

    # ---- others

    def operate(self, rng: random.Random) -> None:
        """One thing that an operator or a health check does."""
        backend_id = rng.choice(IDS)
        with suppress(BackendNotFoundError):
            match rng.randrange(1000):
                case 0:
                    self.registry.cool_down(backend_id, rng.randrange(4))
                case 1 | 2:
                    self.registry.update_status(backend_id, "unhealthy", "boom")
                case turn if turn < 10 and backend_id != ON_TRIAL:
                    self.registry.restore(backend_id)
                case _:
                    self.registry.update_status(backend_id, "healthy")

    def replace(self, rng: random.Random) -> None:
        """Redefines a backend. A guest may get another server, or leave and come back."""
        backend_id, number = rng.choice(IDS), rng.randrange(6)
        if backend_id in GUESTS and rng.random() < 0.3:
            self.registry.remove_backend(backend_id)
            self.registry.add_backend(definition(backend_id, number))
        else:
            self.registry.update_backend(definition(backend_id, number))
        self.registry.update_status(backend_id, "healthy")

    def look(self) -> None:
        """Each view is consistent."""
        before = self.clock.now
        views = self.registry.get_all_backends()
        after = self.clock.now
        for view in views:
            self.check_view(view, before, after)

    def check_view(self, view: BackendView, before: float, after: float) -> None:
        """The view was made between these times."""
        assert view.failed_requests <= view.total_requests, "more failed requests than requests"
        until = view.unavailable_until
        assert (until is not None) == (view.unavailable in DEADLINES), f"{view.unavailable} {until}"
        if until is not None:
            seconds = (until - self.start).total_seconds()
            assert before < seconds <= after + LONGEST, f"{view.unavailable} until {seconds}"
        elif view.unavailable is not None:
            assert view.unavailable is Reason.ON_TRIAL, f"no deadline: {view.unavailable}"

    # ---- the end

    def check_counts(self) -> None:
        """Nothing is in flight, and every request of a backend that stayed was counted."""
        assert self.trials == 0
        for view in self.registry.get_all_backends():
            assert view.pending_requests == 0, f"{view.id}: {view.pending_requests} in flight"
            if view.id not in GUESTS:
                total, failed = view.total_requests, view.failed_requests
                assert total == self.ended[view.id], f"{view.id}: requests are lost"
                assert failed == self.failed[view.id], f"{view.id}: failed requests are lost"

    def check_places(self) -> None:
        """Once its time is over, each backend can be chosen: no place of a trial is lost."""
        registry = self.registry
        self.clock.advance(LONGEST)
        for backend_id in IDS:
            registry.update_status(backend_id, "healthy")
        trial = registry.acquire("m", exclude=others(ON_TRIAL))
        with suppress(NoBackendAvailableError):
            registry.acquire("m", exclude=others(ON_TRIAL)).release(abandoned=True)
            raise AssertionError("two trials at a time")
        assert self.unavailable(ON_TRIAL) is Reason.ON_TRIAL, "not on trial"
        trial.release()
        for backend_id in IDS:
            registry.restore(backend_id)
            leases = [registry.acquire("m", exclude=others(backend_id)) for _ in range(2)]
            for lease in leases:
                lease.release()
            assert self.unavailable(backend_id) is None, f"{backend_id} was not restored"

    def unavailable(self, backend_id: str) -> Reason | None:
        """What a view of the backend shows."""
        view = self.registry.get_backend(backend_id)
        assert view is not None
        return view.unavailable


def check_refusal(error: NoBackendAvailableError) -> None:
    """The error says when to come back if, and only if, a deadline is the reason for a backend."""
    wait = error.retry_after
    assert wait is None or 0 < wait <= LONGEST, f"retry after {wait}"
    timed = set(DEADLINES) & set(error.kinds.values())
    assert (wait is not None) == bool(timed), f"{wait} with {error.kinds}"


def others(backend_id: str) -> list[str]:
    """All ids but this one."""
    return [one for one in IDS if one != backend_id]
