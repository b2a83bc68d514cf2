from __future__ import annotations

import random

import pytest

from peerfetch_fast.webrtc._sctp.packet import crc32c


def bit_by_bit(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


@pytest.mark.parametrize("by_table", [False, True])
class TestCrc32c:
    def test_crc32c_has_the_check_value_of_its_definition(self, by_table: bool) -> None:
        assert crc32c(b"123456789", by_table=by_table) == 0xE3069283

    def test_vectors_of_rfc_3720(self, by_table: bool) -> None:
        assert crc32c(bytes(32), by_table=by_table) == 0x8A9136AA
        assert crc32c(b"\xff" * 32, by_table=by_table) == 0x62A8AB43
        assert crc32c(bytes(range(32)), by_table=by_table) == 0x46DD794E

    @pytest.mark.parametrize("length", [*range(33), 191, 192, 193, 215, 216, 1_150, 1_160])
    def test_crc32c_is_that_of_its_definition_at_every_length(
        self, by_table: bool, length: int
    ) -> None:
        data = random.Random(length).randbytes(length)
        assert crc32c(data, by_table=by_table) == bit_by_bit(data)


@pytest.mark.parametrize("length", [4_096, 12_288, 12_289, 12_311, 65_535])
def test_the_instruction_agrees_with_the_table(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == crc32c(data, by_table=True)
