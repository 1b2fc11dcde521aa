"""Input files for tests of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

FLEET = """\
[[backends]]
name = "a"
url = "http://a"
models = ["m", "n"]
[[backends]]
name = "b"
url = "http://b"
models = ["m"]
"""
# A fleet before and after an edit: one backend of each kind of change.
OLD = """\
[[backends]]
name = "same"
url = "http://same:8000"
settings = { key = "s3cret-same" }
[[backends]]
name = "edited"
url = "http://edited:8000"
metadata = { zone = "eu" }
models = ["m1", "m2"]
settings = { key = "s3cret-old" }
[[backends]]
name = "moved"
url = "http://moved:8000"
[[backends]]
name = "gone"
url = "http://gone:8000"
models = ["m1"]
"""
NEW = """\
[[backends]]
name = "new"
url = "http://new:8000"
models = ["m1", "m2"]
[[backends]]
name = "edited"
url = "http://edited:8000/"
weight = 2
metadata = { zone = "us", rack = "7" }
models = ["m2", { id = "m1", supports_tools = true }]
settings = { key = "s3cret-new" }
[[backends]]
name = "moved"
url = "http://moved:9000"
priority = -1
[[backends]]
name = "same"
url = "http://same:8000"
settings = { key = "s3cret-same" }
"""
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
TRACE = f"{HEADER}2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50,396,109\r\n\r\n"


def enter_folder_with_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Changes the working directory to a folder with a fleet, a trace and a catalogue."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    (folder / "fleet.toml").write_text(FLEET)
    (folder / "trace.csv").write_text("\ufeff" + TRACE, encoding="utf-8")
    (folder / "cat.json").write_text('{"x/m": {"provider": "P One"}, "m": {"provider": "q"}}')
    return folder
