"""The command `replay`: many threads send the requests of a trace through a registry."""
