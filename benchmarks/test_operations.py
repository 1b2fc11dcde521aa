"""The table of operations under pytest-benchmark, which has its own `--benchmark-compare` and
`--benchmark-histogram`. Run it by `pytest benchmarks --benchmark-only`."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.fleet import filled
from benchmarks.operations import OPERATIONS, Operation, loop

ROWS = sorted(
    ((operation, size) for operation in OPERATIONS for size in operation.sizes),
    key=lambda row: row[1],
)


@lru_cache(maxsize=1)
def fleet(size: int) -> tuple[Any, list[str]]:
    """The fleet of this size. Rows are sorted by size, so only the last fleet is kept."""
    return filled(size)


@pytest.mark.parametrize(
    ("operation", "size"),
    ROWS,
    ids=lambda value: value.name if isinstance(value, Operation) else f"{value:,}",
)
def test_operation(benchmark: BenchmarkFixture, operation: Operation, size: int) -> None:
    benchmark.extra_info["registry operations per call"] = operation.calls
    benchmark(partial(loop(operation.statement, operation.names(*fleet(size))), 1))
