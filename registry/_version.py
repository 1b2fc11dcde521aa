"""The version, which pyproject.toml states once: it is read from the installed distribution."""

from __future__ import annotations

UNKNOWN = "0+unknown"  # sorts before every release


def version() -> str:
    """The installed version; `UNKNOWN` in a checkout that nobody has installed."""
    # Imported here: with it, `import registry` would take half as long again.
    from importlib import metadata

    try:
        return metadata.version("backend-registry")
    except metadata.PackageNotFoundError:
        return UNKNOWN
