"""The benchmark suite: the registry measured side by side with other designs.

`python -m benchmarks --help` lists its commands.
"""
