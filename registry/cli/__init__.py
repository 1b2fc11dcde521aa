"""The commands of `python -m registry`. They use the library's public names, and `registry._messages`
to escape what they print."""
