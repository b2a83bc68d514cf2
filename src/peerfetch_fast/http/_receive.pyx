# cython: freethreading_compatible=False
"""Where sockets are read into, so that what came is passed on without a copy. Sans-I/O.

A socket fills the memory of a ``bytes`` object that nobody has seen yet, and that object is handed
on. Once all who were given one have let go of it, its memory is filled again: memory that the
system gives out anew costs as much as a copy.
"""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject *)

cdef extern from *:
    """
    /* The length of a bytes object that nobody else has; its memory stays. */
    static void bytes_set_length(PyObject *self, Py_ssize_t length) {
        PyBytesObject *object = (PyBytesObject *)self;
        Py_SET_SIZE(object, length);
        object->ob_sval[length] = 0;
    #if PY_VERSION_HEX >= 0x030B0000
    _Py_COMP_DIAG_PUSH
    _Py_COMP_DIAG_IGNORE_DEPR_DECLS
    #endif
        object->ob_shash = -1;
    #if PY_VERSION_HEX >= 0x030B0000
    _Py_COMP_DIAG_POP
    #endif
    }
    """
    void bytes_set_length(PyObject *, Py_ssize_t)


cdef class ReceiveBuffer:
    """Writable memory of ``size`` bytes, to which sockets of one event loop take turns.

    :param size: bytes that a socket is read for at once.
    :param kept: objects whose memory is used again; more of them are given back when they are let
        go.
    """

    cdef readonly Py_ssize_t size
    cdef Py_ssize_t _kept
    cdef list _handed       # what was handed on, of which memory is used again
    cdef bytes _filling     # what is to be filled; nobody else has it

    def __init__(self, Py_ssize_t size, Py_ssize_t kept):
        if size < 1 or kept < 1:
            raise ValueError("size and kept must be positive")
        self.size = size
        self._kept = kept
        self._handed = []

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self._filling is None:
            self._filling = self._free()
        PyBuffer_FillInfo(view, self, PyBytes_AS_STRING(self._filling), self.size, 0, flags)

    cdef bytes _free(self):
        cdef Py_ssize_t index
        cdef PyObject *one
        cdef bytes found
        for index in range(PyList_GET_SIZE(self._handed)):
            one = <PyObject *>PyList_GET_ITEM(self._handed, index)
            if Py_REFCNT(one) == 1:
                # The list's reference was the last: nobody is left who could see it change.
                found = <bytes>self._handed.pop(index)
                bytes_set_length(one, self.size)
                return found
        return PyBytes_FromStringAndSize(NULL, self.size)

    def take(self, Py_ssize_t count):
        """The first ``count`` bytes, which were filled: a copy of few, else the memory itself."""
        cdef bytes filled = self._filling
        if filled is None or not 0 <= count <= self.size:
            raise ValueError("more than was filled")
        if 2 * count < self.size:
            return PyBytes_FromStringAndSize(PyBytes_AS_STRING(filled), count)
        self._filling = None
        bytes_set_length(<PyObject *>filled, count)
        if len(self._handed) < self._kept:
            self._handed.append(filled)
        return filled
