"""`python -m registry show --diff`: what a reload of a fleet file would do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.command_files import NEW, OLD

from registry import Backend, Model, Registry, load_fleet
from registry.cli import texts
from registry.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

LINES = """\
added    new  http://new:8000, 2 models
updated  edited  url http://edited:8000 -> http://edited:8000/, weight 1 -> 2, settings differ, \
metadata.zone eu -> us, metadata.rack none -> 7, model m1 supports_tools false -> true, \
models reordered
replaced moved  url http://moved:8000 -> http://moved:9000, priority 0 -> -1
removed  gone  http://gone:8000, 1 model
1 added, 1 updated, 1 replaced, 1 removed, 1 unchanged
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with two fleets."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.toml").write_text(OLD)
    (tmp_path / "new.toml").write_text(NEW)
    return tmp_path


def test_each_difference_is_a_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--diff", "old.toml", "new.toml"]) == 1
    assert capsys.readouterr() == (LINES, "")


def test_equal_fleets_are_status_0(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--diff", "old.toml", "old.toml"]) == 0
    assert capsys.readouterr() == ("4 unchanged\n", "")
    assert main(["show", "--diff", "old.toml", "old.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unchanged"] == ["same", "edited", "moved", "gone"]


def test_another_order_of_the_file_is_no_difference(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = OLD.split("[[backends]]\n")[1:]
    (files / "other.toml").write_text("".join(f"[[backends]]\n{each}" for each in tables[::-1]))
    assert main(["show", "--diff", "old.toml", "other.toml"]) == 0
    assert capsys.readouterr().out == "4 unchanged\n"


def test_empty_fleets_can_be_compared(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "empty.toml").write_text("")
    assert main(["show", "--diff", "empty.toml", "empty.toml"]) == 0
    assert capsys.readouterr().out == "0 unchanged\n"
    assert main(["show", "--diff", "old.toml", "empty.toml"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "4 removed, 0 unchanged"
    assert main(["show", "--diff", "empty.toml", "old.toml"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "4 added, 0 unchanged"


def test_json_has_the_values_of_each_field(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--diff", "old.toml", "new.toml", "--json"]) == 1
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert list(document) == ["added", "updated", "replaced", "removed", "unchanged"]
    assert (document["added"], document["removed"]) == (["new"], ["gone"])
    assert document["unchanged"] == ["same"]
    assert document["replaced"] == [
        {
            "id": "moved",
            "changes": {
                "url": {"from": "http://moved:8000", "to": "http://moved:9000"},
                "priority": {"from": 0, "to": -1},
            },
            "settings_differ": False,
        }
    ]
    (updated,) = document["updated"]
    assert (updated["id"], updated["settings_differ"]) == ("edited", True)
    assert list(updated["changes"]) == ["url", "models", "metadata", "weight"]
    assert updated["changes"]["metadata"] == {
        "from": {"zone": "eu"},
        "to": {"zone": "us", "rack": "7"},
    }
    assert [model["id"] for model in updated["changes"]["models"]["to"]] == ["m2", "m1"]
    assert (captured.out.isascii(), captured.err) == (True, "")


def test_values_of_settings_are_never_printed(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for pair in (["old.toml", "new.toml"], ["new.toml", "old.toml"]):
        for more in ([], ["--json"]):
            assert main(["show", "--diff", *pair, *more]) == 1
            captured = capsys.readouterr()
            assert "s3cret" not in captured.out + captured.err
            assert "settings" in captured.out


def test_the_diff_is_what_a_reconcile_does(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry.from_fleet("old.toml")
    done = registry.reconcile(load_fleet("new.toml"))
    assert main(["show", "--diff", "old.toml", "new.toml", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    for kind in ("added", "updated", "replaced", "removed", "unchanged"):
        ids = [each if isinstance(each, str) else each["id"] for each in document[kind]]
        assert tuple(ids) == getattr(done, kind)


@pytest.mark.parametrize("pair", [["nope.toml", "bad.toml"], ["bad.toml", "nope.toml"]])
def test_the_first_unusable_file_is_named(
    files: Path, capsys: pytest.CaptureFixture[str], pair: list[str]
) -> None:
    (files / "bad.toml").write_text("nonsense nonsense\n")
    for first in (pair, ["old.toml", pair[0]]):
        assert main(["show", "--diff", *first]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"registry: {pair[0]}: ")
        assert captured.err.count("\n") == 1


def test_a_warning_is_a_line_on_stderr(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "typo.toml").write_text(OLD + 'wieght = 2\n"\\u001b[31m" = 1\n')
    assert main(["show", "--diff", "old.toml", "typo.toml"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "4 unchanged\n"
    warnings = captured.err.splitlines()
    assert len(warnings) == 2
    assert warnings[0].startswith("registry: typo.toml: backends[3].wieght is not known")
    assert all(warning.startswith("registry: typo.toml: ") for warning in warnings)
    assert "\x1b" not in captured.err


# ---- texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gpu-1", "gpu-1"),
        ("llama3:70b", "llama3:70b"),
        ("ünusual", "ünusual"),
        ("", '""'),
        ("none", '"none"'),
        ("->", '"->"'),
        ("a b", '"a b"'),
        ("a,b", '"a,b"'),
        ('a"b', '"a\\"b"'),
        ("a\nb", '"a\\nb"'),
        ("a\x1b[31m", '"a\\u001b[31m"'),
        ("a\x9b31m", '"a\\x9b31m"'),
        ("a\u202eb", '"a\\u202eb"'),
    ],
)
def test_a_text_that_is_not_a_plain_word_is_quoted(text: str, expected: str) -> None:
    assert texts.word(text) == expected


def test_a_line_names_the_first_differences_and_counts_the_others() -> None:
    models = [Model(f"m{n}") for n in range(texts.LIMIT + 5)]
    before = Backend("a", "a", "http://a", models=models)
    after = Backend("a", "a", "http://a", metadata={"zone": "eu"}, weight=2)
    text = texts.line("updated", "a", texts.differences(before, after))
    assert text.startswith("updated  a  weight 1 -> 2, metadata.zone none -> eu, model m0 removed,")
    assert text.endswith("model m7 removed, and 7 more")
    assert texts.line("status", "a", []) == "status   a"


def test_each_change_of_the_models_is_told() -> None:
    one, two, three = (Model(model_id) for model_id in ("one", "two words", "three"))
    changed = Model("one", name="Uno", max_output_tokens=7)
    for before, after, expected in (
        ([one], [one, two], ['model "two words" added']),
        ([one, two], [two], ["model one removed"]),
        ([one, two], [two, one], ["models reordered"]),
        ([one], [three, one], ["model three added"]),
        ([one], [changed], ["model one name one -> Uno", "model one max_output_tokens none -> 7"]),
    ):
        backends = [Backend("a", "a", "http://a", models=models) for models in (before, after)]
        assert texts.differences(*backends) == expected


# ---- the page


def test_the_page_shows_what_the_command_prints(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    # The first table is a file of faults, for `replay`.
    _, old, new = (text for language, text in blocks if language == "toml")
    diff, followed = (text for language, text in blocks if language == "text")
    (files / "old.toml").write_text(old)
    (files / "new.toml").write_text(new)
    assert main(["show", "--diff", "old.toml", "new.toml"]) == 1
    assert capsys.readouterr() == (diff, "")
    changes = [line.partition(" ")[2] for line in followed.splitlines()]
    assert changes == ["loaded   3 backends from fleet.toml", *diff.splitlines()[:-1]]
