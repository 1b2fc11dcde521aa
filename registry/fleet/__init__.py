"""Fleet files: the backends of a gateway, written down in TOML."""

from registry.fleet.file import load_fleet

__all__ = ["load_fleet"]
