"""What is built carries the marks of the flags in setup.py."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

import pytest

import peerfetch_fast

LIBRARIES = sorted(Path(peerfetch_fast.__file__).parent.rglob("*.so"))

DYNAMIC, STACK, RELRO = 2, 0x6474E551, 0x6474E552  # types of a program header
EXECUTABLE = 1
TEXTREL, FLAGS, FLAGS_1 = 22, 30, 0x6FFFFFFB  # tags of the dynamic section
BIND_NOW, NOW = 8, 1

if platform.libc_ver()[0] != "glibc":
    pytest.skip("what the flags leave behind is known of glibc", allow_module_level=True)


class Elf:
    """As much of a 64-bit little-endian ELF file as says how it is loaded."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        if data[:6] != b"\x7fELF\x02\x01":
            pytest.skip("no ELF file of 64 bits, little-endian")
        at, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
        self.data = data
        self.segments: dict[int, tuple[int, int, int]] = {}
        """Flags, offset in the file and size there, by type."""
        for index in range(count):
            kind, flags, offset, _, _, length = struct.unpack_from(
                "<IIQQQQ", data, at + index * size
            )
            self.segments[kind] = flags, offset, length

    def dynamic(self) -> dict[int, int]:
        _, offset, length = self.segments[DYNAMIC]
        return dict(struct.iter_unpack("<qQ", self.data[offset : offset + length]))


def built() -> list[Elf]:
    libraries = [Elf(path) for path in LIBRARIES]
    assert libraries
    if any(b"__asan_init" in library.data for library in libraries):
        pytest.skip("built with sanitizers, which leave the flags out")
    return libraries


def test_nothing_that_leads_to_code_stays_writable() -> None:
    for library in built():
        assert RELRO in library.segments
        dynamic = library.dynamic()
        assert dynamic.get(FLAGS, 0) & BIND_NOW or dynamic.get(FLAGS_1, 0) & NOW
        assert TEXTREL not in dynamic


def test_no_stack_is_executable() -> None:
    for library in built():
        assert not library.segments[STACK][0] & EXECUTABLE


def test_stacks_and_copies_are_guarded() -> None:
    libraries = built()
    for library in libraries:
        assert b"\0__stack_chk_fail\0" in library.data
    assert any(b"\0__memcpy_chk\0" in library.data for library in libraries)
