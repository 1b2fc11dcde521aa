"""The version. pyproject.toml states it; it is read from the installed distribution."""

from __future__ import annotations

UNKNOWN = "0+unknown"  # sorts before every release


def version() -> str:
    """The installed version, or `UNKNOWN` in a checkout that is not installed."""
    # Imported here: at the top of the file, it would make `import registry` take 1.5 times as long.
    from importlib import metadata

    try:
        return metadata.version("backend-registry")
    except metadata.PackageNotFoundError:
        return UNKNOWN
