"""Fleet files: what is read, and how mistakes are reported."""

from __future__ import annotations

import json
import logging
import tomllib
from pathlib import Path
from typing import Any

import pytest

from registry import Backend, BackendType, FleetFileError, Model, Registry, _messages, load_fleet
from registry.settings import Array, Settings

SETTINGS = """
[backends.settings]
api_key_env = "GPU_2_KEY"
since = 2026-01-02T03:04:05.5Z
local = 2026-01-02T03:04:05
day = 2026-01-02
at = 03:04:05
big = 123456789012345678901234567890
nan = inf
"" = true
hosts = ["a", ["b", {c = 1}]]
[backends.settings.timeouts]
read = 30
connect = 0.5
[[backends.settings.steps]]
url = "x"
"""
FLEET = """
[server]
port = 8080

[[backends]]
name = "gpu-1"
url = "http://gpu-1:8000"
type = "vllm"
priority = -1
max_pending = 32
weight = 4
metadata = {zone = "eu"}
models = ["llama3:70b", {id = "qwen", context_length = 32768, supports_tools = true}]

[[backends]]
id = "second"
name = "GPU 2"
url = "https://gpu-2"
[[backends.models]]
id = "llama3:70b"
max_output_tokens = 512
"""

Caplog = pytest.LogCaptureFixture
# What the tables and lists of a file become.
COMPOUND = {"hosts": Array, "timeouts": Settings, "steps": Array}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A fleet file."""
    path = tmp_path / "fleet.toml"
    path.write_text(FLEET)
    return path


def test_a_fleet_file_is_read(file: Path) -> None:
    qwen = Model("qwen", context_length=32768, supports_tools=True)
    assert load_fleet(file) == [
        Backend(
            "gpu-1",
            "gpu-1",
            "http://gpu-1:8000",
            BackendType.VLLM,
            [Model("llama3:70b"), qwen],
            metadata={"zone": "eu"},
            priority=-1,
            max_pending=32,
            weight=4,
        ),
        Backend(
            "second", "GPU 2", "https://gpu-2", models=[Model("llama3:70b", max_output_tokens=512)]
        ),
    ]
    assert load_fleet(str(file)) == load_fleet(file)


def test_settings_arrive_as_toml_gives_them(file: Path, caplog: Caplog) -> None:
    """In tables of any depth, under any key, and without a warning."""
    file.write_text(FLEET + SETTINGS)
    first, second = load_fleet(file)
    assert first.settings == {}
    table = tomllib.loads(FLEET + SETTINGS)["backends"][1]["settings"]
    assert second.settings == table
    kinds = {key: type(value) for key, value in second.settings.items()}
    assert kinds == {**{key: type(value) for key, value in table.items()}, **COMPOUND}
    assert second.settings["timeouts"]["read"] == 30
    assert Registry.from_fleet(file).select("llama3:70b", allow_unknown=True) == first
    assert warnings_of(file, caplog) == []


def test_a_registry_is_filled_from_a_file(file: Path) -> None:
    class Own(Registry):
        pass

    registry = Own.from_fleet(file)
    assert type(registry) is Own
    assert list(registry) == ["gpu-1", "second"]


@pytest.mark.parametrize("text", ["", "[server]\nport = 1\n", "backends = []\n"])
def test_a_file_without_backends_gives_an_empty_list(file: Path, text: str) -> None:
    file.write_text(text)
    assert load_fleet(file) == []


def test_a_missing_file_raises_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_fleet(tmp_path / "nope.toml")


MISTAKES = [
    ('url = "https://gpu-2"', 'url = "foo"', r"backends[1].url", "expected an http(s) url"),
    ('url = "https://gpu-2"', "url = 5", r"backends[1].url", "expected `str`"),
    ('url = "https://gpu-2"', 'url = ""', r"backends[1].url", "expected `str` of length"),
    ('url = "https://gpu-2"', "", r"backends[1].url", "missing"),
    ('name = "GPU 2"', "", r"backends[1].name", "missing"),
    ('type = "vllm"', 'type = "vlm"', r"backends[0].type", "expected one of 'ollama'"),
    ('type = "vllm"', "type = 1", r"backends[0].type", "expected `str`"),
    ("priority = -1", "priority = 1.5", r"backends[0].priority", "expected `int`"),
    ("priority = -1", "priority = true", r"backends[0].priority", "expected `int`"),
    ("priority = -1", "priority = 2147483648", r"backends[0].priority", "expected `int` <="),
    ("max_pending = 32", "max_pending = 0", r"backends[0].max_pending", "expected `int` >= 1"),
    ("max_pending = 32", "max_pending = true", r"backends[0].max_pending", "expected `int"),
    ("weight = 4", "weight = 1001", r"backends[0].weight", "expected `int` <= 1000"),
    ('zone = "eu"', "zone = 5", r"backends[0].metadata['zone']", "expected a str, not int"),
    ('zone = "eu"', '"a b" = {x = 1}', r"backends[0].metadata['a b']", "expected a str, not dict"),
    (
        "context_length = 32768",
        "context_length = -1",
        r"backends[0].models[1].context_length",
        "expected `int` >=",
    ),
    ('{id = "qwen"', '{ID = "qwen"', r"backends[0].models[1].id", "missing"),
    ('{id = "qwen"', '{id = "llama3:70b"', r"backends[0].models[1].id", "expected unique"),
    ('models = ["llama3:70b"', "models = [5", r"backends[0].models[0]", "expected"),
    ('id = "second"', 'id = "gpu-1"', r"backends[0] and backends[1]", "'gpu-1'"),
    ('id = "second"', 'id = ""', r"backends[1].id", "expected"),
    ('name = "GPU 2"', 'name = "GPU 2"\nsettings = 5', "backends[1].settings", "expected `object`"),
    (
        'name = "GPU 2"',
        'name = "GPU 2"\n[[backends.settings]]\na = 1',
        "backends[1].settings",
        "expected `object`",
    ),
    (
        'name = "GPU 2"',
        f'name = "GPU 2"\nsettings = {{ "a b" = {"[" * 65}{"]" * 65} }}',
        f"backends[1].settings['a b']{'[0]' * 63}",
        "expected nested at most 64 deep",
    ),
    (FLEET, "backends = 5", "backends", "expected `array`"),
    (FLEET, "backends = [5]", "backends[0]", "expected `object`"),
    ("[server]", "[server", "", "line 2"),
]


@pytest.mark.parametrize(("right", "wrong", "place", "expected"), MISTAKES)
def test_a_mistake_names_file_place_and_expectation(
    file: Path, right: str, wrong: str, place: str, expected: str
) -> None:
    assert right in FLEET
    file.write_text(FLEET.replace(right, wrong))
    with pytest.raises(FleetFileError) as caught:
        load_fleet(file)
    assert (caught.value.path, caught.value.place) == (str(file), place)
    assert str(caught.value).startswith(f"{file}: {place}{': ' if place else ''}")
    assert expected in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_path_may_be_bytes(file: Path) -> None:
    assert load_fleet(bytes(file)) == load_fleet(file)  # type: ignore[arg-type]
    file.write_text("backends = 5")
    with pytest.raises(FleetFileError) as caught:
        load_fleet(bytes(file))  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{file}: backends: ")


@pytest.mark.parametrize("wrong", [None, 5, ["fleet.toml"]])
def test_a_path_of_a_wrong_type_is_an_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="^path must be"):
        load_fleet(wrong)


def test_an_empty_or_repeated_mdns_instance_is_an_error(file: Path) -> None:
    twice = FLEET.replace('{zone = "eu"}', '{mdns_instance = "i"}').replace(
        'name = "GPU 2"', 'name = "GPU 2"\nmetadata = {mdns_instance = "i"}'
    )
    for text, place in (
        (twice, "backends[0] and backends[1]"),
        (twice.replace('"i"', '""'), "backends[0].metadata.mdns_instance"),
    ):
        file.write_text(text)
        with pytest.raises(FleetFileError) as caught:
            Registry.from_fleet(file)
        assert caught.value.place == place


def test_a_file_must_be_utf_8(file: Path) -> None:
    file.write_bytes(b'name = "\xff"')
    with pytest.raises(FleetFileError, match="UTF-8"):
        load_fleet(file)


@pytest.mark.parametrize("text", ["x = " + "[" * 3000, "x = " + "1" * 5000])
def test_deep_nesting_and_long_numbers_are_errors(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(FleetFileError, match="expected TOML"):
        load_fleet(file)


IGNORED = "is not known and was ignored"


def warnings_of(path: Path, caplog: Caplog) -> list[str]:
    """The warnings that loading a file logs."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "registry"):
        load_fleet(path)
    return [record.getMessage() for record in caplog.records]


def test_unknown_keys_are_logged_and_ignored(file: Path, caplog: Caplog) -> None:
    text = FLEET.replace("priority", "prioritty")
    file.write_text(text.replace("supports_tools", "suports_tools"))
    first, second = warnings_of(file, caplog)
    assert first == f"{file}: backends[0].prioritty {IGNORED}; did you mean 'priority'?"
    hint = "did you mean 'supports_tools'?"
    assert second == f"{file}: backends[0].models[1].suports_tools {IGNORED}; {hint}"
    backends = load_fleet(file)
    assert (backends[0].priority, backends[0].models[1].supports_tools) == (0, False)


TYPOS = {
    **dict.fromkeys(["max_pendign", "max-pending", "maxPending", "maxpending"], "max_pending"),
    **dict.fromkeys(["prioritiy", "prioriy", "Priority"], "priority"),
    **dict.fromkeys(["modles", "model", "Models"], "models"),
    **dict.fromkeys(["wieght", "weigth", "weights"], "weight"),
    **dict.fromkeys(["Url", "URL", "uri", "ulr"], "url"),
    **dict.fromkeys(["tpye", "types"], "type"),
    **dict.fromkeys(["metadta", "meta-data", "metdaata"], "metadata"),
    **dict.fromkeys(["setting", "Settings", "setings", "settigns", "setitngs"], "settings"),
    "ID": "id",
}


@pytest.mark.parametrize(("key", "meant"), TYPOS.items())
def test_a_typo_gets_a_hint(file: Path, caplog: Caplog, key: str, meant: str) -> None:
    file.write_text(f'[[backends]]\nname = "a"\nurl = "http://a"\n"{key}" = 1\n')
    (warning,) = warnings_of(file, caplog)
    assert warning == f"{file}: backends[0].{key} {IGNORED}; did you mean {meant!r}?"


UNRELATED = (
    *("api_key", "timeout", "region", "token", "tags", "time", "ip", "host", "mode", ""),
    *("strings", "ratings", "module", "freight", "node", "tier", "path", "metrics", "property"),
    *("max_tokens", "pending", "headers", "endpoint", "discovery_source", "status"),
)


@pytest.mark.parametrize("key", [*UNRELATED, "x" * 100_000])
def test_an_unrelated_key_gets_no_hint(file: Path, caplog: Caplog, key: str) -> None:
    file.write_text(f'[[backends]]\nname = "a"\nurl = "http://a"\n"{key}" = 1\n')
    assert warnings_of(file, caplog) == [f"{file}: backends[0].{key} {IGNORED}"]


@pytest.mark.parametrize("key", ["supports_video", "supports_audio", "max_tokens", "temperature"])
def test_an_unrelated_key_of_a_model_gets_no_hint(file: Path, caplog: Caplog, key: str) -> None:
    model = f'[[backends.models]]\nid = "m"\n{key} = 1\n'
    file.write_text(f'[[backends]]\nname = "a"\nurl = "http://a"\n{model}')
    assert warnings_of(file, caplog) == [f"{file}: backends[0].models[0].{key} {IGNORED}"]


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ("", "", 0),
        ("", "ab", 2),
        ("abc", "abc", 0),
        ("abc", "acb", 1),
        ("abcd", "abd", 1),
        ("abc", "xbc", 1),
        ("kitten", "sitting", 3),
        ("ca", "abc", 3),
    ],
)
def test_edit_distance(one: str, other: str, distance: int) -> None:
    assert _messages.edits(one, other) == _messages.edits(other, one) == distance


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[[backend]]", "backend"),
        ("[[Backends]]", "Backends"),
        ("[[backend_list]]", "backend_list"),
        ("[[bakcends]]", "bakcends"),
        ("[[backned]]", "backned"),
        ("[[BACKENDS]]", "BACKENDS"),
        ("[[back_ends]]", "back_ends"),
        ("[[llm_backends]]", "llm_backends"),
        ("[backends-list]\n[other]", "backends-list"),
        ("backend_list = [1]", "backend_list"),
        ("backend_list = {}", "backend_list"),
        ("[backend_list.eu]", "backend_list"),
        ("[backend]", "backend"),
        ("backend = []", "backend"),
        ("[backend_defaults]\n[[backend]]", "backend"),
    ],
)
def test_a_misnamed_table_gets_a_warning(file: Path, caplog: Caplog, text: str, name: str) -> None:
    file.write_text(f"{text}\nname = 'a'\nurl = 'http://a'\n")
    text = f"no [[backends]], so the fleet is empty; {name} was ignored: did you mean [[backends]]?"
    assert warnings_of(file, caplog) == [f"{file}: {text}"]


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nport = 1\n",
        "[[servers]]\n",
        "[background]\n",
        "[backlog]\n[backup]\n[frontends]\n[weekends]\n",
        "backend = 'redis'\n",
        "backends = []\n[backend]\n",
        "[[backend]]\n[[backends]]\nname = 'a'\nurl = 'http://a'\n",
    ],
)
def test_other_tables_get_no_warning(file: Path, caplog: Caplog, text: str) -> None:
    file.write_text(text)
    assert warnings_of(file, caplog) == []


CONTROLS = ["a\x1b[31m", "a\nb", "\r", "\u202e", "\x9b31m", "\u2028", "\x00", "\u200b"]


@pytest.mark.parametrize("key", CONTROLS)
def test_a_file_cannot_forge_a_message(tmp_path: Path, caplog: Caplog, key: str) -> None:
    quoted = json.dumps(key)
    file = tmp_path / f"fleet{key if key != chr(0) else ''}.toml"
    start = '[[backends]]\nname = "a"\nurl = "http://a"\n'
    file.write_text(f'{start}{quoted} = 1\n[[backends.models]]\nid = "m"\n{quoted} = 1\n')
    first, second = warnings_of(file, caplog)
    assert first.isprintable()
    assert second.isprintable()
    assert f"backends[0].{_messages.printable(key)} is" in first
    file.write_text(f"[[{json.dumps(key + 'backends')}]]\n")
    assert warnings_of(file, caplog)[0].isprintable()
    for text in (
        f"[[backends]]\nname = {quoted}\nurl = {quoted}\n",
        f"{start}type = {quoted}\n",
        f"{start}metadata = {{ {quoted} = 1 }}\n",
        start.replace('"a"', quoted, 1) * 2,
        f"[{quoted}]\n[{quoted}]\n",
        f"x = {key}\n",
    ):
        file.write_text(text)
        with pytest.raises(FleetFileError) as caught:
            load_fleet(file)
        assert str(caught.value).isprintable(), text
        assert caught.value.path == str(file)
