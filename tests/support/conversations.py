"""A made-up trace of conversations, whose prompts grow turn by turn and share their beginnings."""

from __future__ import annotations

import random
from itertools import count
from math import ceil

from registry.cli.replay.inference import BLOCK
from registry.cli.replay.inputs import Request

SYSTEM_PROMPTS = 5  # each is two blocks long


def conversations(seconds: float, per_second: float, seed: int = 1) -> list[Request]:
    """Conversations that begin at this rate, each with a few turns and pauses between them.

    Arrivals are rounded up to whole seconds, so that several requests come at once.
    """
    rng, fresh = random.Random(seed), count(2 * SYSTEM_PROMPTS)
    requests, start = [], 0.0
    while (start := start + rng.expovariate(per_second)) < seconds:
        system = rng.randrange(SYSTEM_PROMPTS)
        blocks, tokens, now = [2 * system, 2 * system + 1], 2 * BLOCK, start
        for _turn in range(1 + int(rng.expovariate(0.3))):
            tokens += 1 + int(rng.lognormvariate(7.5, 1.2))
            # A block that was not full has another hash once it is.
            del blocks[tokens // BLOCK :]
            blocks += [next(fresh) for _ in range(ceil(tokens / BLOCK) - len(blocks))]
            answer = 1 + int(rng.lognormvariate(5.0, 1.0))
            requests.append(Request(float(ceil(now)), tokens, answer, tuple(blocks)))
            # The answer becomes a part of the next prompt.
            del blocks[tokens // BLOCK :]
            tokens += answer
            now += rng.expovariate(1 / 40)
    requests.sort(key=lambda request: request.arrival)
    return requests
