"""Compile the Cython core. Metadata is in pyproject.toml.

Environment:

``PEERFETCH_STRICT=1``
    Compiler warnings are errors, and so is a missing optional extension. For CI and wheels.
``PEERFETCH_SANITIZE=1``
    AddressSanitizer and UndefinedBehaviorSanitizer, with assertions on.
``PEERFETCH_SANITIZE=fuzzer``
    The same with libFuzzer's coverage, whose runtime tests/fuzz brings; with CC=clang.
``PEERFETCH_SANITIZE=coverage``
    libFuzzer's coverage alone, which is ten times as fast.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools._distutils.ccompiler import new_compiler
from setuptools._distutils.errors import CompileError, LinkError
from setuptools._distutils.sysconfig import customize_compiler

STRICT = os.environ.get("PEERFETCH_STRICT") == "1"
SANITIZE = {
    "1": "address,undefined",
    "fuzzer": "address,undefined,fuzzer-no-link",
    "coverage": "fuzzer-no-link",
}.get(os.environ.get("PEERFETCH_SANITIZE", ""))
FUZZER = SANITIZE is not None and "fuzzer" in SANITIZE

OPENSSL = ("ssl", "crypto")
HARDENING = (
    # A distribution may have defined it before. Level 3 needs a compiler that knows the size of
    # objects at run time; before that, 2.
    (
        ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"],
        ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"],
    ),
    (["-fstack-protector-strong"],),
    (["-fstack-clash-protection"],),
)
"""What lets a fault of memory end the process rather than be of use to somebody: of each row the
first that the compiler takes."""
RELRO = ["-Wl,-z,relro,-z,now"]
"""Leaves no table of pointers writable after the start: where the linker writes ELF."""
CONGESTION = ("control", "rfc9260", "hystart", "cubic", "bbr")
SCTP = (
    "packet",
    *(f"congestion.{name}" for name in CONGESTION),
    "sending.queue",
    "sending.outstanding",
    "sending.round_trips",
    "sending.pacer",
    "sending.delivery_rate",
    "sending.recovery",
    "sending.losses",
    "sending.probe",
    "sending.sacks",
    "receiving.tracker",
    "receiving.ordering",
    "receiving.reassembly",
    "receive",
    "send",
    "channels",
    "handshake",
    "outbox",
    "heartbeat",
    "stream_reset",
    "association",
)


def compile_args() -> list[str]:
    if sys.platform == "win32":
        return ["/O2"]
    args = ["-O2", "-fno-strict-aliasing", *hardening()[0]]
    if STRICT:
        # Cython's own output trips -Wunused-* and, by taking the address of labels, nothing else.
        args += ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-unused-function"]
        args += ["-Wno-missing-field-initializers", "-Wno-cast-function-type"]
    if SANITIZE:
        args += ["-O1" if "address" in SANITIZE else "-O2", "-g", "-UNDEBUG"]
        args += ["-fno-omit-frame-pointer", f"-fsanitize={SANITIZE}"]
        args += ["-fno-sanitize-recover=undefined"]
    return args


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What the compiler says of a probe is no message to whoever installs."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def builds(
    code: str,
    args: list[str] | None = None,
    link_args: list[str] | None = None,
    libraries: tuple[str, ...] = (),
) -> bool:
    """Whether a program of ``code`` can be compiled and linked here."""
    compiler = new_compiler()
    customize_compiler(compiler)
    with tempfile.TemporaryDirectory() as directory, _quiet():
        probe = Path(directory, "probe.c")
        probe.write_text(code)
        try:
            objects = compiler.compile([str(probe)], output_dir=directory, extra_postargs=args)
            compiler.link_executable(
                objects,
                "probe",
                output_dir=directory,
                libraries=list(libraries),
                extra_postargs=link_args,
            )
        except (CompileError, LinkError):
            return False
    return True


@cache
def hardening() -> tuple[list[str], list[str]]:
    """Arguments of the compiler and of the linker: those that they take here."""
    if sys.platform == "win32" or SANITIZE:  # the sanitizers look into more, and bring their own
        return [], []
    code = "#include <string.h>\nint main(int n, char **a) { return (int)strlen(a[n - 1]); }\n"
    chosen: list[str] = []
    for choices in HARDENING:
        for args in choices:
            if builds(code, ["-O2", "-Werror", *args]):
                chosen += args
                break
    return chosen, RELRO if builds(code, link_args=RELRO) else []


def extension(name: str, libraries: tuple[str, ...] = ()) -> Extension:
    source = Path("src", *name.split("."))
    return Extension(
        name,
        [f"{source}.pyx"],
        depends=sorted(str(header) for header in source.parent.glob("*.h")),
        libraries=list(libraries),
        extra_compile_args=compile_args(),
        extra_link_args=link_args(),
    )


def link_args() -> list[str]:
    if SANITIZE:
        return [] if FUZZER else [f"-fsanitize={SANITIZE}"]
    return hardening()[1]


def without_data_path() -> str | None:
    """Why floors 0 to 2 cannot be built here; None if they can."""
    if sys.platform == "win32":
        return "it needs POSIX sockets"
    code = (
        "#include <openssl/ssl.h>\n"
        "#if OPENSSL_VERSION_NUMBER < 0x30000000L\n#error too old\n#endif\n"
        "int main(void) { return SSL_CTX_new(DTLS_method()) == NULL; }\n"
    )
    if not builds(code, libraries=OPENSSL):
        return "OpenSSL 3.0 or later was not found (Debian: apt install libssl-dev)"
    return None


def refuse_big_endian() -> None:
    """Raise SystemExit where the compiler is one for big-endian processors."""
    code = (
        "#if __BYTE_ORDER__ != __ORDER_BIG_ENDIAN__\n#error little\n#endif\n"
        "int main(void) { return 0; }\n"
    )
    if sys.platform != "win32" and builds(code):
        raise SystemExit(
            "peerfetch-fast: not built for big-endian processors (s390x, for one): its C was never "
            "run on one, and a wrong byte order would damage what is carried"
        )


def extensions() -> list[Extension]:
    refuse_big_endian()
    found = [
        *(
            extension(f"peerfetch_fast.streams.{name}")
            for name in ("_assembler", "_liveness", "_outgoing", "_scheduler", "_wire")
        ),
        extension("peerfetch_fast._framing"),
        extension("peerfetch_fast.http._receive"),
        extension("peerfetch_fast.http.h1._wire"),
    ]
    reason = without_data_path()
    if reason is None:
        found += [
            extension("peerfetch_fast._keys", ("crypto",)),
            extension("peerfetch_fast.webrtc._udp"),
            extension("peerfetch_fast.webrtc._dtls", OPENSSL),
            extension("peerfetch_fast.webrtc._path"),
            extension("peerfetch_fast.webrtc._srtp", ("crypto",)),
            extension("peerfetch_fast.webrtc._rtp"),
            *(extension(f"peerfetch_fast.webrtc._sctp.{name}") for name in SCTP),
        ]
    elif STRICT:
        raise SystemExit(f"peerfetch-fast: no native data path: {reason}")
    else:
        print(f"peerfetch-fast: no native data path, aiortc's is used: {reason}", file=sys.stderr)
    return found


def project_urls() -> dict[str, str]:
    """Of a release: the repository whose workflow builds it. No source says where it is kept."""
    repository = os.environ.get("GITHUB_REPOSITORY")
    if repository is None:
        return {}
    url = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}"
    return {
        "Source": url,
        "Documentation": f"{url}/tree/main/docs",
        "Changes": f"{url}/blob/main/CHANGELOG.md",
        "Issues": f"{url}/issues",
    }


# Most of an installation is this compilation, which on a small board takes minutes.
JOBS = min(os.cpu_count() or 1, 4)

setup(
    project_urls=project_urls(),
    options={"build_ext": {"parallel": JOBS}},
    ext_modules=cythonize(
        extensions(),
        nthreads=JOBS if sys.platform == "linux" else 0,
        compiler_directives={
            "language_level": 3,
            "embedsignature": True,
            "boundscheck": SANITIZE is not None,
            "wraparound": False,
            "cdivision": True,
        },
    ),
)
