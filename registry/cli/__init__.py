"""The commands of `python -m registry`."""
