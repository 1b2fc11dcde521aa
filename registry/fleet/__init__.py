"""Fleets that are defined in files."""

from registry.fleet.file import load_fleet

__all__ = ["load_fleet"]
