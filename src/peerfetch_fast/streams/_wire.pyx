"""The wire of ``peerfetch.2``, for Python: varints, and where a message may be cut in two."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pycapsule cimport PyCapsule_New
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef int64_t VARINT_MAX = (<int64_t> 1 << 62) - 1


cdef size_t split(const uint8_t *data, size_t length) noexcept:
    """Where, in the beginning of a message, the data of a STREAM frame begins that does not end in
    it; 0 if there is no such frame."""
    cdef const uint8_t *at = data
    cdef const uint8_t *end = data + length
    cdef uint64_t kind = 0, size = 0, field = 0
    while at < end:
        at = get_varint(at, end, &kind)
        if at != NULL:
            at = get_varint(at, end, &size)
        if at == NULL:
            return 0
        if size > <uint64_t> (end - at):
            if kind != STREAM and kind != STREAM_FIN:
                return 0
            at = get_varint(at, end, &field)
            if at != NULL:
                at = get_varint(at, end, &field)
            return 0 if at == NULL else at - data
        at += size
    return 0


SPLITTER = PyCapsule_New(<void *> split, "peerfetch.splitter", NULL)
"""A C function ``size_t (*)(const uint8_t *data, size_t length)`` for channels that can deliver a
message in two parts: of a message that begins with ``data``, how many bytes the first part has (0:
do not split it). For Engine.receive_parts()."""


def varint(uint64_t value):
    """``value`` as a varint (RFC 9000 §16): bytes. Raises ValueError above 2^62 - 1."""
    cdef uint8_t buffer[VARINT_SIZE]
    if value > <uint64_t> VARINT_MAX:
        raise ValueError("a varint holds at most 2^62 - 1")
    return PyBytes_FromStringAndSize(<const char *> buffer, put_varint(buffer, value) - buffer)


def read_varint(bytes data, Py_ssize_t at=0):
    """The varint at ``data[at:]`` and the index behind it, or None if it is not all there."""
    cdef const uint8_t *start = <const uint8_t *> PyBytes_AS_STRING(data)
    cdef uint64_t value = 0
    cdef const uint8_t *end
    if not 0 <= at <= PyBytes_GET_SIZE(data):
        raise ValueError("index out of range")
    end = get_varint(start + at, start + PyBytes_GET_SIZE(data), &value)
    if end == NULL:
        return None
    return value, end - start
