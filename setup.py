"""Builds the extension module from the Cython binding and the C core in src_c/.

Everything else about the package is in pyproject.toml.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# src_c/base/platform.h checks this too. Because of this check, pip shows one sentence instead of
# the errors of a compiler.
if os.name != "posix":
    raise SystemExit("registry needs a Unix system with POSIX threads. Windows is not supported.")
if sys.maxsize < 2**63 - 1:
    raise SystemExit("registry needs a 64-bit Python. 32-bit platforms are not supported.")

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = sorted(str(path) for path in Path("src_c").rglob("*.c"))
HEADERS = [*map(str, Path("src_c").rglob("*.h")), "registry/_core/python.h"]
# REGISTRY_CFLAGS and REGISTRY_LDFLAGS come last: a sanitizer build can override any flag.
CFLAGS = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O3",
    "-fvisibility=hidden",
    *os.environ.get("REGISTRY_CFLAGS", "").split(),
]
LDFLAGS = ["-pthread", *os.environ.get("REGISTRY_LDFLAGS", "").split()]

setup(
    ext_modules=cythonize(
        [
            Extension(
                "registry._core.binding",
                ["registry/_core/binding.pyx", *CORE],
                include_dirs=["src_c", "registry/_core"],
                depends=HEADERS,
                extra_compile_args=CFLAGS,
                extra_link_args=LDFLAGS,
            )
        ],
        build_dir="build/cython",
    )
)
