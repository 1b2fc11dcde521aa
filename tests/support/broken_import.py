"""A planted bug: a module whose import fails with an error that is not an ImportError."""

raise SystemError("interpreter state is NULL")
