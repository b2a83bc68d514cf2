from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t


cdef extern from "<openssl/ssl.h>":
    ctypedef struct SSL
    ctypedef struct SSL_CTX


cdef extern from "<openssl/x509.h>":
    ctypedef struct X509


cdef enum State:
    NEW
    CONNECTING
    CONNECTED
    CLOSED
    FAILED


cdef class DatagramSink:
    # Takes one datagram to send; `data` is valid during the call only. It may not raise.
    cdef void datagram_out(self, const uint8_t* data, size_t length) noexcept


cdef class Context:
    cdef SSL_CTX* context
    cdef object __weakref__


cdef class Dtls:
    cdef Context _context
    cdef SSL* _ssl
    cdef DatagramSink _sink
    cdef const uint8_t* _incoming
    cdef size_t _incoming_length
    cdef list _fingerprints
    cdef readonly bint is_server
    cdef State _state
    cdef readonly str error
    cdef readonly size_t max_plaintext
    cdef readonly list flight
    cdef bint _flight_begun

    cdef int feed(self, const uint8_t* data, size_t length) except -1
    cdef Py_ssize_t read(self, uint8_t* buffer, size_t capacity) except -1
    cdef bint write(self, const uint8_t* data, size_t length) except -1
    cdef int _handshake(self) except -1
    cdef int _keep(self, const char* data, int length) noexcept
    cdef int _fail(self, str what) except -1
    cdef bint _is_expected(self, X509* certificate) except -1
