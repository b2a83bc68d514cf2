"""What this processor has instructions for is used, and what it has not is not."""

import ctypes
import platform
from pathlib import Path

import pytest

from peerfetch_fast.webrtc import _dtls
from peerfetch_fast.webrtc._sctp import packet

AT_HWCAP, AT_HWCAP2 = 16, 26  # elf.h

BITS = {
    # asm/hwcap.h: AES and PMULL, CRC32. What 32-bit programs may use is in the second word.
    "aarch64": (AT_HWCAP, 1 << 3 | 1 << 4, 1 << 7),
    "armv7l": (AT_HWCAP2, 1 << 0 | 1 << 1, 1 << 4),
}


def processor() -> tuple[bool, bool]:
    """Whether it has instructions for AES-GCM, and for CRC32C."""
    machine = platform.machine()
    if machine == "x86_64":
        flags = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].splitlines()[0].split())
        return {"aes", "pclmulqdq"} <= flags, {"sse4_2", "pclmulqdq"} <= flags
    # A 32-bit Python on a 64-bit kernel is told of the kernel's machine.
    if machine == "aarch64" and ctypes.sizeof(ctypes.c_void_p) == 4:
        machine = "armv7l"
    if machine not in BITS:
        return False, False
    word, aes, crc = BITS[machine]
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype = ctypes.c_ulong
    capabilities = getauxval(ctypes.c_ulong(word))
    return capabilities & aes == aes, capabilities & crc == crc


@pytest.mark.skipif(platform.system() != "Linux", reason="asks Linux what the processor has")
def test_the_cipher_and_the_checksum_are_the_processors_own() -> None:
    aes, crc = processor()
    assert _dtls.ciphers(aes) == _dtls.CIPHERS
    assert crc == packet.CRC32C_BY_INSTRUCTION
