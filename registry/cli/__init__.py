"""The commands of `python -m registry`.

They use the library's public names and two of its private helpers: one decodes JSON and names the
place of an error, the other escapes text that is printed.
"""
