"""Hashes of prompts, while other threads change the messages. Without NumPy, for sanitizers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from support.threads import run_threads, until_done

from registry import prefix_blocks, prefix_blocks_of_tokens, prefix_key

CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": [{"type": "text", "text": "Grüße, 世界 😀"}]},
]
LONG = "aé中😀" * 40_000  # so long that it is hashed without the GIL


def test_threads_get_the_same_hashes() -> None:
    expected = prefix_key(CHAT), prefix_blocks(LONG), prefix_blocks(CHAT, block_chars=5)

    def work() -> None:
        for _ in range(20):
            found = prefix_key(CHAT), prefix_blocks(LONG), prefix_blocks(CHAT, block_chars=5)
            assert found == expected

    run_threads([work] * 4)


def test_messages_that_change_meanwhile() -> None:
    """Lists shrink and grow, dicts are cleared, and texts die while they are hashed."""
    chat: list[Any] = []

    def change() -> None:
        for i in range(4000):
            digit = str(i % 10)
            message: dict[str, Any] = {"role": "us" + "er", "content": digit * 3}
            chat[:] = [message] * (i % 4)
            if i % 3 == 0:
                message["content"] = [{"type": "text", "text": digit + digit * 2}]
                message["content"].clear()
            chat.extend([message] * 2)
            for _ in range(i % 5):
                if chat:
                    chat.pop()
            message.clear()
            message.update(role="user", content="".join([digit] * 3))

    def read() -> None:
        # A message that is empty for a moment has no role.
        for call in (prefix_key, prefix_blocks):
            with suppress(TypeError):
                call(chat)

    until_done(change, read, read)


def test_ids_that_change_meanwhile() -> None:
    ids: list[int] = []

    def change() -> None:
        for i in range(3000):
            ids[:] = [2**62 + i + n for n in range(i % 200)]
            del ids[i % 50 :]

    def read() -> None:
        assert len(prefix_blocks_of_tokens(ids, block_tokens=1)) < 200

    until_done(change, read, read)
