# cython: freethreading_compatible=False
"""The unsent bytes of a stream: pieces in as they were written, frames out."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

# A piece of at least this size begins a frame of its own, so that its bytes reach the reader as one
# object; smaller ones are joined.
cdef Py_ssize_t LARGE = 1024
# So many pieces that have left may stand before the others, until moving these costs little for
# each.
cdef Py_ssize_t MANY_DONE = 64


cdef class Outgoing:
    """A queue of ``bytes``, which are kept by reference and not copied before they leave."""

    def __cinit__(self):
        self.pieces = []

    cdef int push(self, bytes data) except -1:
        self.pieces.append(data)
        self.length += PyBytes_GET_SIZE(data)
        return 0

    cdef int clear(self) except -1:
        self.pieces.clear()
        self.index = self.offset = 0
        self.length = 0
        return 0

    cdef Py_ssize_t next_length(self, Py_ssize_t room) except -1:
        """The number of bytes that the next frame takes, of at most ``room``."""
        cdef Py_ssize_t total = 0, length
        cdef Py_ssize_t i = self.index, count = PyList_GET_SIZE(self.pieces)
        length = self.head_left()
        while total + length < room:
            total += length
            i += 1
            if i == count or total >= LARGE:
                return total
            length = PyBytes_GET_SIZE(<object> PyList_GET_ITEM(self.pieces, i))
            if length >= LARGE:
                return total
        return room

    cdef Py_ssize_t head_left(self) noexcept:
        """The unsent bytes of the first piece."""
        return PyBytes_GET_SIZE(<object> PyList_GET_ITEM(self.pieces, self.index)) - self.offset

    cdef object head(self):
        """The first piece; ``offset`` bytes of it have left."""
        return <object> PyList_GET_ITEM(self.pieces, self.index)

    cdef int copy(self, uint8_t *target, Py_ssize_t length) except -1:
        """Copy the next ``length`` bytes to ``target``; they have left. There are so many."""
        cdef Py_ssize_t left = length, part, index = self.index, offset = self.offset
        cdef PyObject *piece
        while left > 0:
            piece = <PyObject *> PyList_GET_ITEM(self.pieces, index)
            part = min(left, PyBytes_GET_SIZE(<object> piece) - offset)
            memcpy(target, PyBytes_AS_STRING(<object> piece) + offset, part)
            target += part
            left -= part
            index += 1
            offset = 0
        return self.skip(length)

    cdef int skip(self, Py_ssize_t length) except -1:
        """The next ``length`` bytes have left."""
        cdef Py_ssize_t part
        self.length -= length
        while length > 0:
            part = self.head_left()
            if part > length:
                self.offset += length
                break
            length -= part
            self.pieces[self.index] = None
            self.index += 1
            self.offset = 0
        if self.length == 0:
            self.pieces.clear()
            self.index = 0
        elif self.index >= MANY_DONE and self.index * 2 >= PyList_GET_SIZE(self.pieces):
            del self.pieces[: self.index]
            self.index = 0
        return 0
