"""`prefix_key`, `prefix_blocks` and `prefix_blocks_of_tokens`, against XXH64 in Python."""

from __future__ import annotations

import ctypes
import os
import pickle
import subprocess
import sys
from array import array
from collections import Counter, UserDict, UserList, deque
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import xxh64
from support.threads import until_done

from registry import prefix_blocks, prefix_blocks_of_tokens, prefix_key

# Characters of 1 to 4 bytes in UTF-8, and of 1, 2 and 4 in CPython's strings.
CHARACTERS = "aZ\x00\x7f\x80é\xff\u0100ſ\u07ff\u0800中\ud7ff\ue000\uffff\U00010000😀\U0010ffff"
texts = st.text(st.sampled_from(CHARACTERS), max_size=40) | st.text(max_size=40)
parts = st.fixed_dictionaries({"type": st.just("text"), "text": texts}) | st.fixed_dictionaries(
    {"type": st.sampled_from(["image_url", "input_audio"]), "text": texts}
)
contents = st.none() | texts | st.lists(parts, max_size=4)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["", "user", "système"])})
    | st.fixed_dictionaries({"role": texts, "content": contents}),
    max_size=5,
)
prompts = texts | messages
CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "You are helpful."},
    {"role": "user", "content": [{"type": "text", "text": "Grüße, 世界 😀"}]},
]


def test_the_oracle_agrees_with_published_values() -> None:
    assert xxh64.xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64.xxh64(b"a") == 0xD24EC4F1A98C6E5B
    assert xxh64.xxh64(b"abc") == 0x44BC2CF5AD770999
    number, data = 2654435761, bytearray()
    for _ in range(222):
        data.append(number >> 56)
        number = number * 11400714785074694797 % 2**64
    assert xxh64.xxh64(bytes(data[:14])) == 0x8282DCC4994E35C8
    assert xxh64.xxh64(bytes(data)) == 0xB641AE8CB691C174


def test_keys_never_change() -> None:
    """Not in a later version either: other hosts may run an older one."""
    assert prefix_key("") == 0xEF46DB3751D8E999
    assert prefix_key("abc") == 0x44BC2CF5AD770999
    assert prefix_key("Grüße, 世界 😀") == 0xDB6D17A218362BF6
    assert prefix_key(CHAT) == 0x1B29CA79B771AD53
    assert prefix_blocks(CHAT, block_chars=20) == [0x289BC8D6C1FFE53D]
    assert prefix_blocks_of_tokens([1, 2, 2**64 - 1], block_tokens=3) == [0xC8A3D7D4930FA0A3]


@given(prompts, st.integers(1, 60))
def test_keys_are_those_of_the_oracle(prompt: Any, length: int) -> None:
    assert prefix_key(prompt, length=length) == xxh64.key(prompt, length)


@given(prompts, st.integers(1, 60))
def test_blocks_are_those_of_the_oracle(prompt: Any, block_chars: int) -> None:
    found = prefix_blocks(prompt, block_chars=block_chars)
    assert found == xxh64.blocks(prompt, block_chars)
    for n, one in enumerate(found):
        assert prefix_key(prompt, length=(n + 1) * block_chars) == one


@settings(max_examples=50)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=300), st.integers(1, 130))
def test_blocks_of_tokens_are_those_of_the_oracle(ids: list[int], block_tokens: int) -> None:
    expected = xxh64.token_blocks(ids, block_tokens)
    assert prefix_blocks_of_tokens(ids, block_tokens=block_tokens) == expected
    assert prefix_blocks_of_tokens(array("Q", ids), block_tokens=block_tokens) == expected


@pytest.mark.parametrize("length", [1, 31, 32, 33, 127, 128, 129, 511, 512, 513, 2048, 70_000])
@pytest.mark.parametrize("character", ["a", "é", "中", "😀"])
def test_lengths_around_the_sizes_of_buffers(character: str, length: int) -> None:
    text = character * (length - 1) + "b" + character * 3
    assert prefix_key(text, length=length) == xxh64.xxh64(text[:length].encode())
    assert prefix_blocks(text, block_chars=length)[:1] == [xxh64.xxh64(text[:length].encode())]


def test_the_defaults() -> None:
    text = "abc中" * 2500
    assert prefix_key(text) == prefix_key(text[:1024]) != prefix_key(text[:1023])
    assert prefix_blocks(text) == [
        prefix_key(text, length=n) for n in range(2048, len(text) + 1, 2048)
    ]


def test_a_huge_length_is_everything() -> None:
    for size in (2**31, 2**63 - 1, 2**63, 2**64 - 1):
        assert prefix_key("abc", length=size) == prefix_key("abc")
        assert prefix_blocks("abc", block_chars=size) == []
        assert prefix_blocks_of_tokens([1], block_tokens=size) == []


# ---- strings


def test_equal_text_has_equal_hashes_whatever_stands_behind_it() -> None:
    """What stands behind decides how wide CPython keeps the characters."""
    for begin in ("plain", "latin é", "wide 中"):
        keys = {prefix_key(begin + tail, length=len(begin)) for tail in ("", "b", "é", "中", "😀")}
        assert keys == {prefix_key(begin)}


def test_a_subclass_of_str_is_its_characters() -> None:
    class Text(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            raise AssertionError("called")

        def __hash__(self) -> int:
            raise AssertionError("called")

    class Kind(StrEnum):
        TEXT = "text"

    assert prefix_key(Text("abc中")) == prefix_key("abc中")
    strange = [{"role": Text("user"), "content": [{"type": Text("text"), "text": Text("a")}]}]
    assert prefix_key(strange) == prefix_key([{"role": "user", "content": "a"}])
    member = [{"role": "user", "content": [{"type": Kind.TEXT, "text": "a"}]}]
    assert prefix_key(member) == prefix_key(strange)


@pytest.mark.parametrize("bad", ["\ud800", "ab\udc80", "中\ud83d\ude00", "a" * 600 + "\udfff"])
def test_a_lone_surrogate_is_refused_with_its_place(bad: str) -> None:
    index = next(i for i, one in enumerate(bad) if "\ud800" <= one <= "\udfff")
    message = f" must be free of lone surrogates, but has one at index {index}$"
    for prompt, place in (
        (bad, "X"),
        ([{"role": bad}], r"X\[0\]\['role'\]"),
        ([*CHAT, {"role": "user", "content": bad}], r"X\[2\]\['content'\]"),
        (
            [{"role": "", "content": [{}, {"type": "text", "text": bad}]}],
            r"X\[0\]\['content'\]\[1\]\['text'\]",
        ),
    ):
        with pytest.raises(ValueError, match="^" + place.replace("X", "text") + message):
            prefix_key(prompt)
        with pytest.raises(
            ValueError, match="^" + place.replace("X", "text_or_messages") + message
        ):
            prefix_blocks(prompt)
    assert prefix_key("xxx" + bad, length=3) == prefix_key("xxx")  # the rest does not count


# ---- messages


def distinct(*prompts: Any) -> bool:
    """Whether no two of the prompts have the same key."""
    return len({prefix_key(one) for one in prompts}) == len(prompts)


def test_messages_are_joined_unambiguously() -> None:
    def chat(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
        return [{"role": role, "content": content} for role, content in pairs]

    assert distinct(
        chat(("user", "ab")),
        chat(("use", "rab")),
        chat(("usera", "b")),
        chat(("user", "a"), ("", "b")),
        chat(("user", "a"), ("b", "")),
        chat(("user", "a"), ("b", None), ("", "")),
        chat(("user", ""), ("ab", "")),
        chat(("user", "ab"), ("", "")),
        chat(("", "userab")),
        chat(("userab", "")),
        "userab",
        "\xffuser\xfeab",
        "user\nab",
    )


@given(messages, messages)
def test_keys_are_equal_only_for_equal_messages(one: Any, other: Any) -> None:
    def normal(chat: Any) -> list[tuple[str, str]]:
        return [(each["role"], xxh64.text_of(each.get("content"))) for each in chat]

    assert (prefix_key(one) == prefix_key(other)) == (normal(one) == normal(other))


@given(prompts, texts, messages, st.integers(1, 30))
def test_a_prompt_that_grows_keeps_its_blocks(
    prompt: Any, text: str, more: list[Any], block_chars: int
) -> None:
    before = prefix_blocks(prompt, block_chars=block_chars)
    if isinstance(prompt, str):
        grown: list[Any] = [prompt + text]
    else:
        grown = [prompt + more]
        if prompt:
            content = prompt[-1].get("content")
            content = [
                *(
                    content
                    if isinstance(content, list)
                    else [{"type": "text", "text": content or ""}]
                ),
                {"type": "text", "text": text},
            ]
            grown.append([*prompt[:-1], {**prompt[-1], "content": content}, *more])
    for each in grown:
        assert prefix_blocks(each, block_chars=block_chars)[: len(before)] == before


@given(messages, st.data())
def test_common_beginnings_have_common_blocks_and_no_others(chat: list[Any], data: Any) -> None:
    other = data.draw(
        st.just(chat[: data.draw(st.integers(0, 5))]).flatmap(
            lambda kept: messages.map(lambda more: kept + more)
        )
    )
    size = data.draw(st.integers(1, 20))
    one, two = prefix_blocks(chat, block_chars=size), prefix_blocks(other, block_chars=size)
    for n in range(min(len(one), len(two))):
        begins_alike = xxh64.beginning(chat, (n + 1) * size) == xxh64.beginning(
            other, (n + 1) * size
        )
        assert (one[n] == two[n]) == begins_alike


def test_roles_count_toward_the_length_and_marks_do_not() -> None:
    chat = [{"role": "user", "content": "abc"}, {"role": "x", "content": "y"}]
    assert prefix_key(chat, length=4) == xxh64.xxh64(b"\xffuser")
    assert prefix_key(chat, length=5) == xxh64.xxh64(b"\xffuser\xfea")
    assert prefix_key(chat, length=7) == xxh64.xxh64(b"\xffuser\xfeabc")
    assert prefix_key(chat, length=8) == xxh64.xxh64(b"\xffuser\xfeabc\xffx")
    assert prefix_key(chat) == xxh64.xxh64(b"\xffuser\xfeabc\xffx\xfey")
    assert prefix_key([]) == prefix_key("") == xxh64.xxh64(b"")


def test_forms_of_a_content() -> None:
    def of(**fields: Any) -> int:
        return prefix_key([{"role": "user", **fields}])

    def text(value: str) -> dict[str, str]:
        return {"type": "text", "text": value}

    image = {"type": "image_url", "image_url": {"url": "data:"}}
    assert of() == of(content=None) == of(content="") == of(content=[]) == of(content=[image])
    assert of(content="ab") == of(content=[text("ab")]) == of(content=(text("a"), image, text("b")))
    assert (
        of(content="ab") == of(content=UserList([text("ab")])) == of(content=[UserDict(text("ab"))])
    )
    assert of(content="ab") == of(content="ab", name="n", tool_calls=[1])
    assert of(content=[{}, {"type": None}, {"type": 1}, {"type": "texts", "text": 5}]) == of()


@pytest.mark.parametrize("kind", [tuple, UserList, deque])
def test_any_sequence_of_any_mappings(kind: Callable[[Any], Any]) -> None:
    class Lazy(Mapping[str, Any]):
        def __init__(self, message: dict[str, Any]) -> None:
            self.message = message

        def __getitem__(self, name: str) -> Any:
            return self.message[name]

        def __iter__(self) -> Iterator[str]:
            return iter(self.message)

        def __len__(self) -> int:
            return len(self.message)

    class Own(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            return {"role": "user", "content": "own"}.get(name, default)

    for make in (dict, UserDict, MappingProxyType, Lazy):
        assert prefix_key(kind([make(one) for one in CHAT])) == prefix_key(CHAT)
    assert prefix_key(kind([Own()])) == prefix_key([{"role": "user", "content": "own"}])


class Wrong:
    """An object that is wrong for every argument."""


PROMPT = "a str or a sequence of messages"
CONTENT = "a str, None or a list of parts"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (None, f"X must be {PROMPT}, not NoneType"),
        (b"", f"X must be {PROMPT}, not bytes"),
        (bytearray(b"a"), f"X must be {PROMPT}, not bytearray"),
        ({"role": "user"}, f"X must be {PROMPT}, not dict"),
        ({1, 2}, f"X must be {PROMPT}, not set"),
        (iter(CHAT), f"X must be {PROMPT}, not list_iterator"),
        (Wrong(), f"X must be {PROMPT}, not Wrong"),
        (["user"], "X[0] must be a mapping, not str"),
        ([*CHAT, [1]], "X[2] must be a mapping, not list"),
        ([{}], "X[0]['role'] must be a str, not NoneType"),
        ([{"role": 1, "content": ""}], "X[0]['role'] must be a str, not int"),
        ([{"role": "", "content": b""}], f"X[0]['content'] must be {CONTENT}, not bytes"),
        ([{"role": "", "content": {}}], f"X[0]['content'] must be {CONTENT}, not dict"),
        ([{"role": "", "content": 1}], f"X[0]['content'] must be {CONTENT}, not int"),
        ([{"role": "", "content": ["a"]}], "X[0]['content'][0] must be a mapping, not str"),
        (
            [*CHAT, {"role": "", "content": [{}, {"type": "text"}]}],
            "X[2]['content'][1]['text'] must be a str, not NoneType",
        ),
    ],
)
def test_a_wrong_prompt_is_named(prompt: Any, message: str) -> None:
    for call, name in ((prefix_key, "text"), (prefix_blocks, "text_or_messages")):
        with pytest.raises(TypeError) as error:
            call(prompt)
        assert str(error.value) == message.replace("X", name)


def test_the_place_is_right_after_a_list_of_parts() -> None:
    with pytest.raises(TypeError, match=r"^text\[2\]\['role'\] must be a str"):
        prefix_key([*CHAT, {"role": None}])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda size: prefix_key("a", length=size), "length"),
        (lambda size: prefix_blocks("a", block_chars=size), "block_chars"),
        (lambda size: prefix_blocks_of_tokens([1], block_tokens=size), "block_tokens"),
    ],
)
def test_a_wrong_size_is_named(call: Callable[[Any], object], name: str) -> None:
    for wrong in (True, 1.0, "1", None, Wrong()):
        with pytest.raises(TypeError, match=f"^{name} must be an int, not {type(wrong).__name__}$"):
            call(wrong)
    for wrong in (0, -1, -(2**63) - 1, 2**64, 10**400):
        with pytest.raises(ValueError, match=f"^{name} must be from 1 to {2**64 - 1}, not "):
            call(wrong)


def test_errors_of_the_caller_get_through() -> None:
    class Failing(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise KeyboardInterrupt

    for prompt in ([Failing()], [{"role": "", "content": [Failing()]}]):
        with pytest.raises(KeyboardInterrupt):
            prefix_key(prompt)


def test_what_does_not_count_is_not_read() -> None:
    wrong: Any = Wrong()
    assert prefix_key([*CHAT, wrong], length=6) == prefix_key(CHAT, length=6)


# ---- token ids


def of_tokens(ids: Any, block_tokens: int) -> list[int]:
    """The function, for any type: to checkers, NumPy's arrays are buffers only from 3.12 on."""
    return prefix_blocks_of_tokens(ids, block_tokens=block_tokens)


@pytest.mark.parametrize("code", "bBhHiIlLqQ")
def test_the_type_of_an_array_makes_no_difference(code: str) -> None:
    ids = [i * 37 % 128 for i in range(500)]
    expected = of_tokens(ids, 64)
    assert expected == xxh64.token_blocks(ids, 64)
    assert of_tokens(array(code, ids), 64) == expected
    assert of_tokens(memoryview(array(code, ids)), 64) == expected
    native = numpy.array(ids, code)
    assert of_tokens(native, 64) == expected
    assert of_tokens(native[::-1].copy()[::-1], 64) == expected
    assert of_tokens(numpy.repeat(native, 3)[::3], 64) == expected
    unaligned = numpy.zeros(500, numpy.dtype([("pad", "B"), ("id", code)]))
    unaligned["id"] = ids
    assert of_tokens(unaligned["id"], 64) == expected
    native.flags.writeable = False
    assert of_tokens(native, 64) == expected


@pytest.mark.parametrize("kind", [tuple, UserList, deque])
def test_any_sequence_of_ids(kind: Callable[[Any], Any]) -> None:
    ids = [0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
    expected = xxh64.token_blocks(ids, 2)
    assert of_tokens(kind(ids), 2) == expected
    assert of_tokens(numpy.array(ids, numpy.uint64), 2) == expected
    assert of_tokens(range(100), 7) == xxh64.token_blocks(range(100), 7)
    assert of_tokens([], 1) == []
    assert of_tokens(numpy.array([], "i"), 1) == []


def test_a_long_array_is_hashed_without_the_gil() -> None:
    ids = numpy.arange(100_000, dtype=numpy.int32)
    found = of_tokens(ids, 1)
    assert len(found) == len(set(found)) == 100_000
    assert of_tokens(ids, 100_000) == found[-1:]
    assert found[:200] == xxh64.token_blocks(range(200), 1)


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 5, "abc", b"abc", bytearray(b"abc"), {1: 2}, {1}, iter([1]), Wrong()),
        *(array("d", [1]), numpy.array(["a"]), numpy.array([1.0]), numpy.array([True])),
        *(numpy.array(5), numpy.zeros((2, 2), int), numpy.array([1], object)),
        numpy.array([1], ">i4" if sys.byteorder == "little" else "<i4"),
        memoryview(b"abc").cast("c"),
        (ctypes.c_double * 2)(),
    ],
    ids=repr,
)
def test_wrong_ids_are_named(wrong: Any) -> None:
    expected = "a sequence of int or a one-dimensional buffer of integers"
    with pytest.raises(TypeError, match=f"^ids must be {expected}, not {type(wrong).__name__}$"):
        of_tokens(wrong, 1)


def test_an_id_that_is_wrong_is_named() -> None:
    for wrong in (True, 1.0, "1", None, numpy.int64(1), Wrong()):
        with pytest.raises(TypeError, match=r"^ids\[1\] must be an int, not "):
            of_tokens([0, wrong], 1)
    for value in (-1, 2**64, -(2**70)):
        with pytest.raises(ValueError, match=rf"^ids\[70\] must be from 0 to {2**64 - 1}, not "):
            of_tokens([0] * 70 + [value], 1)
    for size in (70, 70_000):
        with pytest.raises(
            ValueError, match=rf"^ids\[{size}\] must be from 0 to .*, not negative$"
        ):
            of_tokens(array("h", [0] * size + [-1]), 1)


# ---- the same everywhere, and evenly spread


def test_other_processes_and_hash_seeds_agree() -> None:
    code = (
        "import sys, pickle; from registry import *;"
        "chat = pickle.loads(bytes.fromhex(sys.argv[1]));"
        "print(prefix_key(chat), prefix_blocks(chat, block_chars=3),"
        " prefix_blocks_of_tokens(range(9), block_tokens=2))"
    )
    expected = (
        f"{prefix_key(CHAT)} {prefix_blocks(CHAT, block_chars=3)}"
        f" {prefix_blocks_of_tokens(range(9), block_tokens=2)}\n"
    )
    for seed in ("0", "1", "12345"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code, pickle.dumps(CHAT).hex()]
        assert subprocess.check_output(command, env=environment, text=True) == expected


def test_the_functions_can_be_pickled() -> None:
    for function in (prefix_key, prefix_blocks, prefix_blocks_of_tokens):
        assert pickle.loads(pickle.dumps(function)) is function


def chi_square(values: list[int], cells: int) -> float:
    """The distance from an even spread, in standard deviations."""
    counts = Counter(value % cells for value in values)
    mean = len(values) / cells
    total = sum((counts[cell] - mean) ** 2 for cell in range(cells)) / mean
    return float((total - (cells - 1)) / (2 * (cells - 1)) ** 0.5)


@pytest.mark.parametrize(
    "make", [str, "session-{:08}".format, lambda i: chr(0x4E00 + i % 256) * (i // 256 + 1)]
)
def test_keys_spread_evenly(make: Callable[[int], str]) -> None:
    """Nothing here is random, so the outcome is always the same."""
    keys = [prefix_key(make(i)) for i in range(20_000)]
    assert len(set(keys)) == 20_000
    for shift in (0, 16, 32, 48):
        for cells in (7, 16, 100, 2**10, 2**16):
            assert abs(chi_square([key >> shift for key in keys], cells)) < 4.5
    for bit in range(64):
        assert abs(sum(key >> bit & 1 for key in keys) - 10_000) < 4.5 * 20_000**0.5 / 2


def test_one_bit_of_the_input_changes_half_of_the_hash() -> None:
    rounds, flips = 0, Counter[int]()
    for length in (1, 5, 8, 20, 40, 100):
        for at in range(length):
            for bit in range(7):
                for fill in "aZ~":
                    text = fill * length
                    other = text[:at] + chr(ord(fill) ^ 1 << bit) + text[at + 1 :]
                    changed = prefix_key(text) ^ prefix_key(other)
                    rounds += 1
                    flips.update(i for i in range(64) if changed >> i & 1)
    for bit in range(64):
        assert abs(flips[bit] - rounds / 2) < 5 * rounds**0.5 / 2
    assert abs(flips.total() / rounds - 32) < 0.5


def test_a_million_keys_do_not_collide() -> None:
    ids = numpy.arange(1_000_000)
    assert len(set(of_tokens(ids, 1))) == 1_000_000


# ---- what changes meanwhile: see also test_prefix_threads.py


def test_messages_that_change_themselves() -> None:
    """The list is emptied, and the message loses its last reference, while it is read."""
    chat: list[Any] = []

    class Clearing(dict[str, Any]):
        def get(self, name: str, *_: Any) -> Any:
            chat.clear()
            return ["".join(("us", "er")), "text"][name == "content"]

    chat.extend([Clearing(), {"role": "never", "content": "read"}])
    assert prefix_key(chat) == prefix_key([{"role": "user", "content": "text"}])


def test_an_array_that_changes_meanwhile() -> None:
    ids = numpy.zeros(70_000, numpy.int64)

    def change() -> None:
        for i in range(20_000):
            ids[i] = i

    until_done(change, lambda: of_tokens(ids, 1000))
    assert of_tokens(ids, 1000) == of_tokens(ids.tolist(), 1000)
