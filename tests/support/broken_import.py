"""A planted bug: a module that cannot be imported, and raises no ImportError."""

raise SystemError("interpreter state is NULL")
