"""The binding between Python objects and the C core in `src_c/`."""
