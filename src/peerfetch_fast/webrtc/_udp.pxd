from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        pass
    cdef struct sockaddr_storage:
        unsigned short ss_family


cdef extern from "_address.h" nogil:
    bint same_address(const sockaddr_storage*, const sockaddr_storage*)


# The kind of a datagram, by its first byte (RFC 7983 section 7).
cdef enum Kind:
    UNKNOWN
    STUN
    ZRTP
    DTLS
    TURN_CHANNEL
    RTP


cdef inline Kind classify(uint8_t first) noexcept nogil:
    if first < 4:
        return STUN
    if 16 <= first < 20:
        return ZRTP
    if 20 <= first < 64:
        return DTLS
    if 64 <= first < 80:
        return TURN_CHANNEL
    if 128 <= first < 192:
        return RTP
    return UNKNOWN


cdef class Address:
    cdef sockaddr_storage storage
    cdef socklen_t length


cdef tuple address_tuple(const sockaddr_storage* address)


cdef class Receiver:
    # Some datagrams have just been read; `datagram` follows for each.
    cdef int batch(self) except -1
    # `data` is valid during the call only.
    cdef int datagram(
        self, UdpSocket source, const uint8_t* data, size_t length, const sockaddr_storage* address
    ) except -1


cdef class UdpSocket:
    cdef object _socket
    cdef int _fd
    cdef public Receiver receiver
    cdef Address _destination
    cdef bint _gso
    cdef readonly bint gro
    cdef readonly int receive_buffer
    cdef readonly int send_buffer

    # Datagrams that wait, one after the other in memory, from _start to _end.
    cdef uint8_t* _slab
    cdef uint16_t _lengths[64]  # UDP_SEND_BATCH
    cdef int _first
    cdef int _count
    cdef size_t _start
    cdef size_t _end

    cdef uint32_t _kernel_drops
    cdef readonly uint64_t datagrams_received
    cdef readonly uint64_t bytes_received
    cdef readonly uint64_t receive_calls
    cdef readonly uint64_t datagrams_sent
    cdef readonly uint64_t bytes_sent
    cdef readonly uint64_t send_calls
    cdef readonly uint64_t send_drops

    cdef bint put(self, const uint8_t* data, size_t length) except -1
    cdef bint has_room(self) except -1
    cpdef bint flush(self)
    cdef int _hand_over(
        self, const uint8_t* data, size_t length, size_t segment, const sockaddr_storage* address
    ) except -1
