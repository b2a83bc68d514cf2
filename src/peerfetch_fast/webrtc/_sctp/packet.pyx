"""Packets and chunks on the wire: byte order, padding, parameters, checksum (RFC 9260 §3)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from peerfetch_fast.webrtc._sctp.checksum cimport (
    sctp_crc32c_by_table,
    sctp_crc32c_init,
    sctp_crc32c_is_by_instruction,
    sctp_crc32c_update,
    sctp_packet_checksum,
)

sctp_crc32c_init()

CRC32C_BY_INSTRUCTION = bool(sctp_crc32c_is_by_instruction())
"""Whether this processor has an instruction for it, which is then used."""


cdef int next_parameter(
    const uint8_t* data, size_t length, size_t* offset, uint16_t* kind, size_t* size
) noexcept nogil:
    cdef size_t at = offset[0]
    if at + CHUNK_HEADER > length:
        return 0
    kind[0] = load16(data + at)
    size[0] = load16(data + at + 2)
    if size[0] < CHUNK_HEADER or at + size[0] > length:
        return -1
    offset[0] = at + padded(size[0])
    return 1


cdef inline uint32_t _swapped(uint32_t value) noexcept nogil:
    """The checksum is the one field in little-endian order (RFC 9260 appendix A)."""
    return (
        value >> 24 | (value >> 8 & 0xFF00u) | (value << 8 & 0xFF0000u) | <uint32_t>(value << 24)
    )


cdef void set_checksum(uint8_t* packet, size_t length) noexcept nogil:
    store32(packet + 8, _swapped(sctp_packet_checksum(packet, length)))


cdef bint has_checksum(const uint8_t* packet, size_t length) noexcept nogil:
    return load32(packet + 8) == _swapped(sctp_packet_checksum(packet, length))


cdef bytes _framed(bytes header, bytes body):
    return header + (len(body) + CHUNK_HEADER).to_bytes(2, "big") + body + bytes(-len(body) & 3)


cdef bytes chunk(int kind, int flags, bytes body):
    return _framed(bytes((kind, flags)), body)


cdef bytes parameter(int kind, bytes body):
    return _framed(kind.to_bytes(2, "big"), body)


def crc32c(bytes data not None, *, bint by_table=False):
    """The CRC32C of *data*.

    :param by_table: without the CPU's instruction, as on a CPU that has none.
    """
    cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef size_t length = PyBytes_GET_SIZE(data)
    if by_table:
        return sctp_crc32c_by_table(0xFFFFFFFFu, start, length) ^ 0xFFFFFFFFu
    return sctp_crc32c_update(0xFFFFFFFFu, start, length) ^ 0xFFFFFFFFu
