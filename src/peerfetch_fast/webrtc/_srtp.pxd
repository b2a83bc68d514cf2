from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_CIPHER_CTX


cdef enum:
    HEADER = 12                 # bytes of an RTP header without contributors and extension
    GCM_TAG = 16                # the longest tag


cdef inline void put16(uint8_t* at, uint32_t value) noexcept nogil:
    at[0], at[1] = <uint8_t>(value >> 8), <uint8_t>value


cdef inline void put32(uint8_t* at, uint32_t value) noexcept nogil:
    put16(at, value >> 16)
    put16(at + 2, value)


cdef inline uint32_t get32(const uint8_t* at) noexcept nogil:
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


# Bytes of an RTP header; 0: it is none.
cdef size_t header_length(const uint8_t* data, size_t length) noexcept


cdef class _Keys:
    cdef EVP_CIPHER_CTX* cipher
    cdef uint8_t salt[14]
    cdef uint8_t secret[20]


cdef class _Received:
    cdef uint64_t newest        # the index of the newest packet
    cdef uint64_t window        # which of it and the 63 before have come

    cdef uint64_t guess(self, uint32_t sequence) noexcept
    cdef bint is_new(self, uint64_t index) noexcept
    cdef void note(self, uint64_t index) noexcept


cdef class Srtp:
    cdef bint _gcm
    cdef bint _sending
    cdef _Keys _rtp
    cdef _Keys _rtcp
    cdef dict _received         # of RTP and of RTCP, by sender
    cdef uint32_t _index        # of the last RTCP packet that was sent

    cdef _Keys _derive(self, bytes key, bytes salt, int label)
    cdef int _transform(
        self, _Keys keys, uint32_t ssrc, uint64_t index, const uint8_t* associated,
        size_t associated_length, const uint8_t* more, uint8_t* data, size_t length, uint8_t* tag,
    ) except -1
    # Protect an RTP packet in place; its length then. There is room for GCM_TAG bytes behind it.
    cdef size_t _seal(
        self, uint8_t* packet, size_t header, size_t length, uint32_t ssrc, uint64_t index
    ) except 0
    cdef _Received _of(self, bint control, uint32_t ssrc, uint32_t sequence)
    cdef int _keep(self, bint control, uint32_t ssrc, _Received received) except -1
    cdef bint _open(
        self, uint8_t* data, size_t header, size_t length, uint32_t ssrc, uint64_t index
    ) except -1
