"""Compile the Cython core. Metadata is in pyproject.toml.

Environment:

``PEERFETCH_STRICT=1``
    Compiler warnings are errors, and so is a missing optional extension. For CI and wheels.
``PEERFETCH_SANITIZE=1``
    AddressSanitizer and UndefinedBehaviorSanitizer, with assertions on.
"""

from __future__ import annotations

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

STRICT = os.environ.get("PEERFETCH_STRICT") == "1"
SANITIZE = os.environ.get("PEERFETCH_SANITIZE") == "1"


def compile_args() -> list[str]:
    if sys.platform == "win32":
        return ["/O2"]
    args = ["-O2", "-fno-strict-aliasing"]
    if STRICT:
        # Cython's own output trips -Wunused-* and, by taking the address of labels, nothing else.
        args += ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function"]
        args += ["-Wno-missing-field-initializers", "-Wno-cast-function-type"]
    if SANITIZE:
        args += ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer"]
        args += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    return args


def extension(name: str, *, optional: bool = False) -> Extension:
    """One module. What is *optional* may be missing from a build, except a strict one."""
    return Extension(
        name,
        [f"src/{name.replace('.', '/')}.pyx"],
        extra_compile_args=compile_args(),
        extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
        optional=optional and not STRICT,
    )


#: The native data path's SCTP.
SCTP = [
    extension(f"peerfetch_fast.webrtc._sctp.{name}", optional=True)
    for name in ("packet", "congestion", "receive", "send", "channels", "association")
]


setup(
    ext_modules=cythonize(
        [extension("peerfetch_fast._framing"), *SCTP],
        compiler_directives={
            "language_level": 3,
            "embedsignature": True,
            "boundscheck": SANITIZE,
            "wraparound": False,
            "cdivision": True,
        },
    ),
)
