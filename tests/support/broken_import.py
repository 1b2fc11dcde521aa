"""A planted bug: a package that can't be imported, and does not say so by an ImportError."""

raise SystemError("interpreter state is NULL")
