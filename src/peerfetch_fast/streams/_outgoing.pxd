from libc.stdint cimport uint8_t


cdef class Outgoing:
    cdef list pieces
    cdef Py_ssize_t index, offset
    cdef Py_ssize_t length  # bytes that are left

    cdef int push(self, bytes data) except -1
    cdef int clear(self) except -1
    cdef Py_ssize_t next_length(self, Py_ssize_t room) except -1
    cdef Py_ssize_t head_left(self) noexcept
    cdef object head(self)
    cdef int copy(self, uint8_t *target, Py_ssize_t length) except -1
    cdef int skip(self, Py_ssize_t length) except -1
