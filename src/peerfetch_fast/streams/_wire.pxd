"""The wire of ``peerfetch.2``: frame types, identifiers, and varints (RFC 9000 §16)."""

from libc.stdint cimport uint8_t, uint64_t

# Frame types (docs/protocol.md, section 2).
cdef enum:
    PING = 0x01
    PONG = 0x02
    SETTINGS = 0x03
    RESET_STREAM = 0x04
    STOP_SENDING = 0x05
    GOAWAY = 0x07
    STREAM = 0x08
    STREAM_FIN = 0x09
    MAX_DATA = 0x10
    MAX_STREAM_DATA = 0x11
    MAX_STREAMS = 0x12
    ACCESS = 0x20
    PAKE = 0x21

# Identifiers in SETTINGS (section 3).
cdef enum:
    INITIAL_MAX_DATA = 0x01
    INITIAL_MAX_STREAM_DATA = 0x02
    INITIAL_MAX_STREAMS = 0x03
    RESUME_TIMEOUT = 0x04

# Bytes of the longest varint.
cdef enum:
    VARINT_SIZE = 8


cdef inline const uint8_t *get_varint(
    const uint8_t *at, const uint8_t *end, uint64_t *value
) noexcept:
    """Return where the varint ends, or NULL if it runs past ``end``."""
    cdef Py_ssize_t length, i
    cdef uint64_t v
    if at >= end:
        return NULL
    v = at[0]
    length = 1 << (v >> 6)
    if end - at < length:
        return NULL
    v &= 0x3F
    for i in range(1, length):
        v = v << 8 | at[i]
    value[0] = v
    return at + length


cdef inline Py_ssize_t varint_size(uint64_t value) noexcept:
    if value < 1 << 6:
        return 1
    if value < 1 << 14:
        return 2
    if value < 1 << 30:
        return 4
    return VARINT_SIZE


cdef inline uint8_t *put_varint(uint8_t *at, uint64_t value) noexcept:
    """Write ``value``, which is below 2^62, where there is room for ``VARINT_SIZE`` bytes."""
    cdef Py_ssize_t length = varint_size(value), i
    for i in range(length - 1, -1, -1):
        at[i] = value & 0xFF
        value >>= 8
    if length == 2:
        at[0] |= 0x40
    elif length == 4:
        at[0] |= 0x80
    elif length == 8:
        at[0] |= 0xC0
    return at + length
