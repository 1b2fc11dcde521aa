"""The input of a replay: a fleet and a trace, each from a file or synthetic."""

from __future__ import annotations

import csv
import io
import random
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike

import msgspec

from registry import Backend, BackendType, Model
from registry._json import decode
from registry.cli.terminal import InputError

SEED = 20231116
SYNTHETIC = 20_000  # requests of the synthetic trace
COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
# The end of the message about a file whose format is not the one that its option takes.
FORMATS = "(--fleet takes TOML, --catalogue JSON, --trace CSV, or JSON lines in *.jsonl)"


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a trace. Its arrival is in seconds since the first arrival.

    `blocks` has a hash for each block of the prompt, where the trace tells them: equal ones mean
    equal prompts up to the end of that block.
    """

    arrival: float
    context_tokens: int
    generated_tokens: int
    blocks: tuple[int, ...] = ()


class _CatalogueEntry(msgspec.Struct):
    """An entry of a model catalogue: a model of one provider."""

    provider: str
    max_input_tokens: float | None = None
    max_output_tokens: float | None = None
    supports_vision: bool | None = None
    supports_function_calling: bool | None = None
    supports_response_schema: bool | None = None


def synthetic_fleet() -> list[Backend]:
    """Twelve backends with one to six models each. Every backend serves the first model."""
    names = ("llama3:70b", "llama3:8b", "qwen2.5:32b", "mistral:7b", "phi4:14b", "gemma3:27b")
    models = [
        Model(name, context_length=8192 << (index % 3), supports_tools=index % 2 == 0)
        for index, name in enumerate(names)
    ]
    kinds = (BackendType.VLLM, BackendType.OLLAMA, BackendType.LLAMACPP)
    return [
        Backend(
            id=f"gpu-{number:02d}",
            name=f"GPU host {number}",
            url=f"http://gpu-{number:02d}.internal:8000",
            backend_type=kinds[number % len(kinds)],
            models=models[: 1 + number % len(models)],
        )
        for number in range(12)
    ]


def synthetic_trace(count: int | None = None) -> list[Request]:
    """The first `count` requests of a trace of 20,000, or all for None. The trace is fixed.

    Arrivals are a Poisson process with 20 requests a second; token counts are log-normal.
    """
    rng = random.Random(SEED)
    arrival, requests = 0.0, []
    for _ in range(SYNTHETIC if count is None else min(count, SYNTHETIC)):
        arrival += rng.expovariate(20.0)
        context = min(32_000, 1 + int(rng.lognormvariate(6.5, 1.0)))
        requests.append(
            Request(arrival, context, min(2_000, 1 + int(rng.lognormvariate(4.8, 0.8))))
        )
    return requests


def read_catalogue(path: str | PathLike[str]) -> list[Backend]:
    """The providers of a model catalogue as backends.

    A model's id is the part of its key after the last `/`. If several keys of a provider give the
    same id, the first one counts. Raises `InputError`, which names the file and the entry.
    """
    with open(path, "rb") as file:
        content = file.read().removeprefix(BOM_UTF8)
    try:
        entries = decode(content, dict[str, msgspec.Raw])
    except ValueError as error:
        problem = f"expected a model catalogue in JSON: {without_root(error)}"
        raise InputError(f"{path}: {problem} {FORMATS}") from None
    providers: dict[str, dict[str, Model]] = {}
    for key, raw in entries.items():
        entry = _entry(path, key, raw)
        model_id = key.rpartition("/")[2]
        if not model_id or not entry.provider:
            raise InputError(
                f"{path}: {key!r}: expected a key that ends in a model id, and a provider"
            )
        providers.setdefault(entry.provider, {}).setdefault(model_id, _model(model_id, entry))
    return [
        Backend(provider, provider, f"https://{_host(provider)}.example", models=models.values())
        for provider, models in providers.items()
    ]


def _entry(path: str | PathLike[str], key: str, raw: msgspec.Raw) -> _CatalogueEntry:
    try:
        return decode(bytes(raw), _CatalogueEntry)
    except ValueError as error:
        raise InputError(f"{path}: {key!r}: {without_root(error)}") from None


def without_root(error: ValueError) -> str:
    """The message of `decode`, without the `$` that stands for the whole document."""
    return str(error).removeprefix("$").removeprefix(".").removeprefix(": ")


def _model(model_id: str, entry: _CatalogueEntry) -> Model:
    return Model(
        model_id,
        context_length=_tokens(entry.max_input_tokens) or 4096,
        supports_vision=bool(entry.supports_vision),
        supports_tools=bool(entry.supports_function_calling),
        supports_json_mode=bool(entry.supports_response_schema),
        max_output_tokens=_tokens(entry.max_output_tokens),
    )


def _tokens(value: float | None) -> int | None:
    return None if value is None else max(0, min(int(value), 2**32 - 1))


def _host(provider: str) -> str:
    return (
        "".join(c if c.isascii() and c.isalnum() else "-" for c in provider.lower()).strip("-")
        or "provider"
    )


def read_trace(path: str | PathLike[str]) -> list[Request]:
    """The requests of a CSV file, sorted by arrival.

    Its columns are TIMESTAMP (ISO 8601), ContextTokens and GeneratedTokens. Other columns and
    blank lines are ignored. Raises `InputError`, which names the file and the line.
    """
    rows = _rows(path, _read_text(path))
    columns = _columns(path, next(rows, ("", []))[1])
    requests = [_row(place, row, columns) for place, row in rows if any(map(str.strip, row))]
    if not requests:
        raise InputError(f"{path}: expected at least one request below the header, found none")
    requests.sort(key=lambda request: request[0])
    start = requests[0][0]
    return [
        Request(arrival - start, context, generated) for arrival, context, generated in requests
    ]


def _read_text(path: str | PathLike[str]) -> str:
    with open(path, "rb") as file:
        content = file.read()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"expected CSV in UTF-8: {error.reason} at byte {error.start}"
        raise InputError(f"{path}:{line}: {problem} {FORMATS}") from None


def _rows(path: str | PathLike[str], text: str) -> Iterator[tuple[str, list[str]]]:
    """The rows of a CSV text, each with its place: the file and the row's first line."""
    rows = csv.reader(io.StringIO(text, newline=""))
    line = 1
    try:
        for row in rows:
            yield f"{path}:{line}", row
            line = rows.line_num + 1
    except csv.Error as error:
        hint = f" {FORMATS}" if line == 1 else ""
        raise InputError(f"{path}:{line}: expected CSV: {error}{hint}") from None


def _columns(path: str | PathLike[str], header: list[str]) -> tuple[int, ...]:
    names = [name.strip() for name in header]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        problem = f"expected the columns {','.join(COLUMNS)}; missing: {', '.join(missing)}"
        raise InputError(f"{path}:1: {problem} {FORMATS}")
    return tuple(names.index(name) for name in COLUMNS)


def _row(place: str, row: list[str], columns: tuple[int, ...]) -> tuple[float, int, int]:
    try:
        timestamp, context, generated = (row[column].strip() for column in columns)
    except IndexError:
        raise InputError(f"{place}: expected {len(COLUMNS)} columns, found {len(row)}") from None
    return (
        _seconds(place, timestamp),
        _count(place, "ContextTokens", context),
        _count(place, "GeneratedTokens", generated),
    )


def _seconds(place: str, timestamp: str) -> float:
    try:
        when = datetime.fromisoformat(timestamp)
    except ValueError:
        example = "2023-11-16 18:15:46.68"
        problem = f"expected a TIMESTAMP such as {example}, not {_quoted(timestamp)}"
        raise InputError(f"{place}: {problem}") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _count(place: str, column: str, text: str) -> int:
    # Check the length first: int() refuses very long numbers with its own message.
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) >= 2**32:
        raise InputError(
            f"{place}: expected a whole number from 0 to 2**32-1 as {column}, not {_quoted(text)}"
        )
    return int(text)


def _quoted(text: str) -> str:
    """The text's beginning, quoted. An unclosed quotation mark can make a cell as long as the
    file."""
    return repr(text if len(text) <= 60 else text[:60] + "...")


def stretch(trace: list[Request], count: int | None) -> list[Request]:
    """The first `count` requests, or all for None. A shorter trace starts over one second after
    its last arrival."""
    if count is None or count <= len(trace):
        return trace[:count]
    length = trace[-1].arrival + 1.0
    stretched = []
    for index in range(count):
        lap, position = divmod(index, len(trace))
        request = trace[position]
        stretched.append(replace(request, arrival=request.arrival + length * lap))
    return stretched


def rank_models(fleet: list[Backend]) -> list[str]:
    """The ids of all models; the one with most backends first, equal ones by id."""
    served: Counter[str] = Counter(model.id for backend in fleet for model in backend.models)
    return sorted(served, key=lambda model_id: (-served[model_id], model_id))


def draw_models(fleet: list[Backend], count: int) -> list[str]:
    """A random model id for each request, from a fixed seed.

    The probabilities follow Zipf's law: the model with the k-th most backends has weight 1/k.
    """
    ranked = rank_models(fleet)
    weights = [1.0 / rank for rank in range(1, len(ranked) + 1)]
    return random.Random(SEED).choices(ranked, weights, k=count) if ranked else []
