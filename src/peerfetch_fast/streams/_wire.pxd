"""Variable-length integers (RFC 9000 §16)."""

from libc.stdint cimport uint8_t, uint64_t

# Bytes of the longest.
cdef enum:
    VARINT_SIZE = 8

cdef inline const uint8_t *get_varint(const uint8_t *at, const uint8_t *end, uint64_t *value) noexcept:
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
