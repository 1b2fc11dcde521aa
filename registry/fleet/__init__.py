"""Fleets that are defined in files."""

from registry.fleet.file import load_fleet
from registry.fleet.follow import FleetFollower, follow_fleet

__all__ = ["FleetFollower", "follow_fleet", "load_fleet"]
