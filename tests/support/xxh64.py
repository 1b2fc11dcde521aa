"""XXH64 in Python, after its public specification: an oracle for the hash of the core.

Also the bytes of a prompt that the hash is of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

P1, P2, P3, P4, P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
LIMIT = 2**64


def rotate(x: int, bits: int) -> int:
    """The 64 bits of `x`, rotated to the left."""
    x %= LIMIT
    return (x << bits | x >> (64 - bits)) % LIMIT


def step(lane: int, number: int) -> int:
    """One round of a lane."""
    return rotate(lane + number * P2, 31) * P1 % LIMIT


def xxh64(data: bytes) -> int:
    """XXH64 of `data` with seed 0."""
    rest = len(data) % 32
    whole, end = data[: len(data) - rest], data[len(data) - rest :]
    lanes = [(P1 + P2) % LIMIT, P2, 0, LIMIT - P1]
    for at in range(0, len(whole), 8):
        lanes[at // 8 % 4] = step(lanes[at // 8 % 4], int.from_bytes(whole[at : at + 8], "little"))
    total = P5
    if whole:
        total = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True))
        for lane in lanes:
            total = ((total ^ step(0, lane)) * P1 + P4) % LIMIT
    total = (total + len(data)) % LIMIT
    while len(end) >= 8:
        total = rotate(total ^ step(0, int.from_bytes(end[:8], "little")), 27) * P1 + P4
        end = end[8:]
    if len(end) >= 4:
        total = rotate(total ^ int.from_bytes(end[:4], "little") * P1 % LIMIT, 23) * P2 + P3
        end = end[4:]
    for byte in end:
        total = rotate(total ^ byte * P5 % LIMIT, 11) * P1
    total %= LIMIT
    total = (total ^ total >> 33) * P2 % LIMIT
    total = (total ^ total >> 29) * P3 % LIMIT
    return total ^ total >> 32


def text_of(content: Any) -> str:
    """The text of a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part.get("type") == "text")


def beginning(prompt: str | Sequence[Mapping[str, Any]], length: int) -> bytes | None:
    """The bytes of the first `length` characters of a prompt; None if it has fewer."""
    if isinstance(prompt, str):
        return prompt[:length].encode() if len(prompt) >= length else None
    data = b""
    for message in prompt:
        for mark, text in ((b"\xff", message["role"]), (b"\xfe", text_of(message.get("content")))):
            data += mark + text[:length].encode()
            if len(text) >= length:
                return data
            length -= len(text)
    return None


def whole(prompt: str | Sequence[Mapping[str, Any]]) -> bytes:
    """All bytes of a prompt."""
    if isinstance(prompt, str):
        return prompt.encode()
    return b"".join(
        b"\xff" + one["role"].encode() + b"\xfe" + text_of(one.get("content")).encode()
        for one in prompt
    )


def key(prompt: str | Sequence[Mapping[str, Any]], length: int = 1024) -> int:
    """What `prefix_key` returns."""
    data = beginning(prompt, length)
    return xxh64(whole(prompt) if data is None else data)


def blocks(prompt: str | Sequence[Mapping[str, Any]], block_chars: int = 2048) -> list[int]:
    """What `prefix_blocks` returns."""
    found: list[int] = []
    while (data := beginning(prompt, (len(found) + 1) * block_chars)) is not None:
        found.append(xxh64(data))
    return found


def token_blocks(ids: Sequence[int], block_tokens: int) -> list[int]:
    """What `prefix_blocks_of_tokens` returns."""
    data = b"".join(one.to_bytes(8, "little") for one in ids)
    ends = range(block_tokens, len(ids) + 1, block_tokens)
    return [xxh64(data[: end * 8]) for end in ends]
