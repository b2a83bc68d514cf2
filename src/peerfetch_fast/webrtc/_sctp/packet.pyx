"""Packets and chunks on the wire: byte order, padding, parameters, checksum (RFC 9260 §3)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t

from peerfetch_fast.webrtc._sctp.checksum cimport (
    sctp_crc32c_by_table,
    sctp_crc32c_init,
    sctp_crc32c_update,
)

sctp_crc32c_init()


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
