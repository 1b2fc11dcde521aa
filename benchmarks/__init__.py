"""The benchmark suite: every claim measured beside what people use today. `python -m benchmarks --help`."""
