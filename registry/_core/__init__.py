"""The binding: Python objects on one side, the C core of `src_c/` on the other."""
