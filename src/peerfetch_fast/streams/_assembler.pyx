# cython: freethreading_compatible=False
"""One direction of a stream, as it arrives: pieces in any order in, bytes in order out."""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

# Pieces of at least this size reach the reader as they came.
cdef Py_ssize_t LARGE = 1024
# Smaller ones behind a slow reader are joined up to this size, so that their objects do not
# outweigh the credit that they used.
cdef Py_ssize_t JOINED = 4096
# So many pieces that were taken may stand before the others, until moving these costs little for
# each.
cdef Py_ssize_t MANY_TAKEN = 64


cdef class Assembler:
    """Pieces that wait for earlier ones (fragments, sorted by offset), and those that are in order.

    How many may wait is for its user to bound.
    """

    def __cinit__(self):
        self.ready = []

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            Py_DECREF(<object> self.fragment(i).data)
        free(self.fragments)

    cdef bint put(self, int64_t offset, bytes data) except -1:
        """Take in a piece, which is not empty. Returns whether it overlaps none that came before;
        if it does, it is not taken in."""
        if offset != self.received:
            return offset > self.received and self.insert(offset, data)
        if self.count and offset + PyBytes_GET_SIZE(data) > self.fragment(0).offset:
            return False
        self.append(data)
        if self.count:
            self.splice()
        return True

    cdef bint empty(self) noexcept:
        """Whether no byte is there that is next in order."""
        return self.index == PyList_GET_SIZE(self.ready)

    cdef object take(self, Py_ssize_t most):
        """The next bytes in order, of which there are some: at most ``most``, which is not 0, or as
        many as there are in one piece if it is negative."""
        cdef Py_ssize_t length, count = PyList_GET_SIZE(self.ready)
        cdef object data
        data = <object> PyList_GET_ITEM(self.ready, self.index)
        length = len(data) - self.offset
        if 0 < most < length:
            data = bytes(memoryview(data)[self.offset : self.offset + most])
            self.offset += most
            return data
        if self.offset:
            data = bytes(memoryview(data)[self.offset :])
            self.offset = 0
        elif type(data) is bytearray:
            data = bytes(data)
        self.index += 1
        if self.index == count:
            self.ready.clear()
            self.index = 0
        else:
            self.ready[self.index - 1] = None
            if self.index >= MANY_TAKEN and self.index * 2 >= count:
                del self.ready[: self.index]
                self.index = 0
        return data

    cdef int drop(self) except -1:
        """Forget what has come."""
        cdef Py_ssize_t i
        for i in range(self.count):
            Py_DECREF(<object> self.fragment(i).data)
        self.count = 0
        self.ready.clear()
        self.index = self.offset = 0
        return 0

    cdef int append(self, bytes data) except -1:
        """``data`` is next in order."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data), count = PyList_GET_SIZE(self.ready)
        self.received += length
        if length < LARGE and count > self.index:
            last = <object> PyList_GET_ITEM(self.ready, count - 1)
            if len(last) < JOINED - LARGE:
                if type(last) is bytes:
                    last = bytearray(last)
                    self.ready[count - 1] = last
                last += data
                return 0
        self.ready.append(data)
        return 0

    cdef inline Fragment *fragment(self, Py_ssize_t index) noexcept:
        return self.fragments + self.first + index

    cdef bint insert(self, int64_t offset, bytes data) except -1:
        """Keep ``data`` until the bytes before it have come. Returns whether it overlaps none."""
        cdef Py_ssize_t low = 0, high = self.count, middle
        cdef int64_t end = offset + PyBytes_GET_SIZE(data)
        cdef Fragment *place
        # Messages are mostly in order, so the new one mostly goes last.
        if high and self.fragment(high - 1).offset < offset:
            low = high
        while low < high:
            middle = (low + high) // 2
            if self.fragment(middle).offset < offset:
                low = middle + 1
            else:
                high = middle
        if low:
            place = self.fragment(low - 1)
            if place.offset + PyBytes_GET_SIZE(<object> place.data) > offset:
                return False
        if low < self.count and end > self.fragment(low).offset:
            return False
        self.open_gap(low)
        place = self.fragment(low)
        Py_INCREF(data)
        place.offset = offset
        place.data = <void *> data
        self.count += 1
        return True

    cdef int open_gap(self, Py_ssize_t at) except -1:
        """Make room for a fragment before that of index ``at``; the shorter side is moved."""
        cdef Py_ssize_t after = self.count - at
        cdef bint to_front = at < after
        cdef Py_ssize_t room
        cdef Fragment *grown
        if self.first == 0 if to_front else self.first + self.count == self.room:
            # As much room again on either side, so that each fragment is moved here a few times at
            # most.
            room = 3 * self.count + 16
            grown = <Fragment *> malloc(room * sizeof(Fragment))
            if grown == NULL:
                raise MemoryError
            if self.count:
                memcpy(&grown[self.count + 8], self.fragment(0), self.count * sizeof(Fragment))
            free(self.fragments)
            self.fragments = grown
            self.first = self.count + 8
            self.room = room
        if to_front:
            self.first -= 1
            memmove(self.fragment(0), self.fragment(1), at * sizeof(Fragment))
        else:
            memmove(self.fragment(at + 1), self.fragment(at), after * sizeof(Fragment))
        return 0

    cdef int splice(self) except -1:
        """Move the fragments that are in order now behind ``ready``."""
        cdef object data
        while self.count and self.fragment(0).offset == self.received:
            data = <object> self.fragment(0).data
            Py_DECREF(data)
            self.first += 1
            self.count -= 1
            self.append(data)
        return 0
