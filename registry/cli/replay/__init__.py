"""The main job as a command: a fleet under a request load from many threads, through the public API."""
