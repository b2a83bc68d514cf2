# Floor 0: datagrams in batches. It owns a socket and nothing else: no event loop, no clock.
"""Batched UDP: many datagrams a system call, and a coalesced buffer where the kernel has them.

A :class:`UdpSocket` hands what it receives to a :class:`Receiver`, whose method is compiled, and
keeps what is to be sent until :meth:`UdpSocket.flush`, so that a burst leaves in one call.
"""

from libc.errno cimport EAGAIN, EINVAL, EIO, EMSGSIZE, EOPNOTSUPP, errno
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

import threading

from cpython.bytes cimport PyBytes_FromStringAndSize


cdef extern from "_udp.h" nogil:
    enum:
        UDP_RECEIVE_BATCH
        UDP_SEND_BATCH

    struct udp_received:
        uint8_t* data
        size_t length
        size_t segment
        sockaddr_storage address

    struct udp_receiver:
        udp_received received[16]

    struct udp_features:
        int gso
        int gro
        int receive_buffer
        int send_buffer

    enum:
        INET6_ADDRSTRLEN

    udp_receiver* udp_receiver_new()
    void udp_receiver_free(udp_receiver*)
    void udp_setup(int fd, int receive_buffer, int send_buffer, udp_features*)
    bint udp_is_passing_error(int error)
    int udp_receive(int fd, udp_receiver*, uint32_t* drops)
    int udp_send(
        int fd,
        const uint8_t* data,
        const uint16_t* lengths,
        int count,
        const sockaddr* address,
        socklen_t address_length,
        int gso,
    )
    socklen_t udp_parse_address(const char* host, uint16_t port, sockaddr_storage*)
    uint16_t udp_format_address(const sockaddr_storage*, char* host)


# The largest datagram that is sent: what an Ethernet frame carries. DTLS is told of less.
cdef enum:
    MAX_DATAGRAM = 1500

MAX_SENT_DATAGRAM = MAX_DATAGRAM

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes of kernel buffer asked for: a sender's burst must survive until the loop comes round.
What is granted is in :attr:`UdpSocket.receive_buffer`; Linux caps it at ``net.core.rmem_max``."""

SEND_BUFFER = 1024 * 1024
"""Bytes of kernel buffer asked for to send from; the same with ``net.core.wmem_max``."""


cdef class _Batch:
    cdef udp_receiver* receiver
    cdef bint busy

    def __cinit__(self):
        self.receiver = udp_receiver_new()
        if self.receiver == NULL:
            raise MemoryError

    def __dealloc__(self):
        udp_receiver_free(self.receiver)


# The buffers, a megabyte, are in use only during a call: all sockets of a thread share them.
_shared = threading.local()


cdef _Batch _take_batch():
    cdef _Batch batch = getattr(_shared, "batch", None)
    if batch is None:
        batch = _shared.batch = _Batch()
    elif batch.busy:
        # Called from within a receiver.
        batch = _Batch()
    batch.busy = True
    return batch


def kind(int first_byte):
    """The protocol that a datagram with this first byte belongs to (RFC 7983), as a word."""
    return {
        STUN: "stun", ZRTP: "zrtp", DTLS: "dtls", TURN_CHANNEL: "turn-channel", RTP: "rtp",
    }.get(classify(<uint8_t>first_byte), "unknown")


cdef class Address:
    """Where datagrams go: a numeric host and a port.

    Raises ValueError if the host is not an IP address, or the port not one.
    """

    def __init__(self, str host not None, int port):
        if not 0 < port < 65536:
            raise ValueError(f"no such port: {port}")
        self.length = udp_parse_address(host.encode(), <uint16_t>port, &self.storage)
        if self.length == 0:
            raise ValueError(f"not an IP address: {host!r}")

    def __repr__(self):
        return "Address({!r}, {})".format(*address_tuple(&self.storage))


cdef tuple address_tuple(const sockaddr_storage* address):
    cdef char host[INET6_ADDRSTRLEN]
    cdef uint16_t port = udp_format_address(address, host)
    return host.decode("ascii"), port


cdef class Receiver:
    cdef int batch(self) except -1:
        return 0

    cdef int datagram(
        self, UdpSocket source, const uint8_t* data, size_t length, const sockaddr_storage* address
    ) except -1:
        raise NotImplementedError


cdef class CallbackReceiver(Receiver):
    """Hands each datagram to a Python function: ``callback(data, (host, port))``."""

    cdef object _callback

    def __init__(self, callback not None):
        self._callback = callback

    cdef int datagram(
        self, UdpSocket source, const uint8_t* data, size_t length, const sockaddr_storage* address
    ) except -1:
        self._callback(
            PyBytes_FromStringAndSize(<const char*>data, <Py_ssize_t>length),
            address_tuple(address),
        )
        return 0


cdef class UdpSocket:
    """A non-blocking UDP socket that moves datagrams in batches.

    :param socket: a bound UDP socket, which this owns from now on.
    :param receiver: what takes the datagrams.
    """

    def __init__(self, socket not None, Receiver receiver not None):
        cdef udp_features features
        socket.setblocking(False)
        self._socket = socket
        self._fd = socket.fileno()
        self.receiver = receiver
        udp_setup(self._fd, RECEIVE_BUFFER, SEND_BUFFER, &features)
        self._gso = features.gso
        self.gro = features.gro
        self.receive_buffer = features.receive_buffer
        self.send_buffer = features.send_buffer

    def __dealloc__(self):
        free(self._slab)

    def fileno(self):
        """The file descriptor; -1 once closed."""
        return self._fd

    def getsockname(self):
        return self._socket.getsockname()

    @property
    def gso(self):
        """Whether equal datagrams leave in one segmented send. The kernel may take it back."""
        return self._gso

    @gso.setter
    def gso(self, bint value):
        self._gso = value

    @property
    def kernel_drops(self):
        """Datagrams that the kernel dropped as the receive buffer was full (Linux only)."""
        return self._kernel_drops

    @property
    def pending(self):
        """Datagrams that wait to be sent."""
        return self._count

    def close(self):
        """Close the socket; what waits to be sent is dropped. May be called again."""
        self._fd = -1
        self._count = self._first = 0
        self._start = self._end = 0
        self._socket.close()

    # -- receiving ---------------------------------------------------------------------------

    def receive(self, int budget):
        """Hand over what has arrived.

        :param budget: datagrams after which to stop, to within one batch, so that the event loop
            gets to do something else.
        :returns: whether there may be more; a socket that polls readable says the same.

        Raises OSError if the socket is of no further use.
        """
        cdef _Batch batch
        cdef udp_received* received
        cdef int count, index
        cdef uint64_t limit = self.datagrams_received + <uint64_t>budget
        if self._fd < 0:
            return False
        batch = _take_batch()
        try:
            while self.datagrams_received < limit:
                self.receive_calls += 1
                count = udp_receive(self._fd, batch.receiver, &self._kernel_drops)
                if count < 0:
                    if udp_is_passing_error(errno):
                        limit -= 1  # a peer that provokes errors must not hold the loop
                        continue
                    raise OSError(errno, "cannot receive datagrams")
                if count:
                    self.receiver.batch()
                for index in range(count):
                    received = &batch.receiver.received[index]
                    self._hand_over(
                        received.data, received.length, received.segment, &received.address
                    )
                    if self._fd < 0:
                        return False
                if count < UDP_RECEIVE_BATCH:
                    return False
            return True
        finally:
            batch.busy = False

    cdef int _hand_over(
        self, const uint8_t* data, size_t length, size_t segment, const sockaddr_storage* address
    ) except -1:
        cdef size_t size
        # The kernel's segments are not 0, and none reaches beyond the buffer that it filled.
        while length > 0:
            size = segment if segment < length else length
            self.datagrams_received += 1
            self.bytes_received += size
            self.receiver.datagram(self, data, size, address)
            if self._fd < 0:
                break
            data += size
            length -= size
        return 0

    # -- sending -----------------------------------------------------------------------------

    def sendto(self, const uint8_t[::1] data not None, address):
        """Send one datagram at once, past those that wait. One that cannot be sent is dropped,
        as the network might have.

        :param address: ``(host, port)``, numeric.
        """
        if self._fd < 0:
            return
        try:
            self._socket.sendto(data, address)
        except OSError:
            self.send_drops += 1
        else:
            self.datagrams_sent += 1
            self.bytes_sent += <uint64_t>data.shape[0]

    @property
    def destination(self):
        """The :class:`Address` to which :meth:`queue` sends."""
        return self._destination

    @destination.setter
    def destination(self, Address address):
        if self._count and self._destination is not address:
            self.flush()
        self._destination = address

    def queue(self, const uint8_t[::1] data not None):
        """Keep a datagram until :meth:`flush`, or until there are enough for a batch.

        :returns: False if there is no room: wait until the socket is writable, flush, try again.

        Raises ValueError if it is longer than ``MAX_SENT_DATAGRAM``, or empty.
        """
        cdef size_t length = <size_t>data.shape[0]
        if not 0 < length <= MAX_DATAGRAM:
            raise ValueError(f"a datagram of {length} bytes cannot be sent")
        return self.put(&data[0], length)

    cdef bint put(self, const uint8_t* data, size_t length) except -1:
        # All that is queued is written here. False if it does not fit, or the kernel takes no more.
        if not 0 < length <= MAX_DATAGRAM or not self.has_room():
            return False
        memcpy(self._slab + self._end, data, length)
        self._lengths[self._first + self._count] = <uint16_t>length
        self._count += 1
        self._end += length
        return True

    cdef bint has_room(self) except -1:
        # Whether put() takes a datagram. Of UDP_SEND_BATCH lengths _first + _count are used, and
        # none of those datagrams is longer than MAX_DATAGRAM: the slab has room where a length has.
        if self._fd < 0 or self._destination is None:
            return False
        if self._slab == NULL:
            self._slab = <uint8_t*>malloc(UDP_SEND_BATCH * MAX_DATAGRAM)
            if self._slab == NULL:
                raise MemoryError
        if self._first + self._count == UDP_SEND_BATCH:
            self.flush()
        return self._first + self._count < UDP_SEND_BATCH

    cpdef bint flush(self):
        """Send what waits.

        :returns: False if the kernel had no room for some of it: wait until the socket is
            writable and call again.
        """
        cdef int sent, index, error
        cdef size_t size
        while self._count > 0:
            self.send_calls += 1
            sent = udp_send(
                self._fd,
                self._slab + self._start,
                self._lengths + self._first,
                self._count,
                <const sockaddr*>&self._destination.storage,
                self._destination.length,
                self._gso,
            )
            if sent < 0:
                error = errno
                if error == EAGAIN:
                    # Waiting datagrams move to the front: _start <= _end, and _first + _count is at
                    # most UDP_SEND_BATCH.
                    if self._first > 0:
                        memmove(self._slab, self._slab + self._start, self._end - self._start)
                        memmove(
                            self._lengths,
                            self._lengths + self._first,
                            <size_t>self._count * sizeof(uint16_t),
                        )
                        self._end -= self._start
                        self._start = 0
                        self._first = 0
                    return False
                if self._gso and error in (EIO, EINVAL, EMSGSIZE, EOPNOTSUPP):
                    # No checksum offload on this interface, or a path that is too narrow.
                    self._gso = False
                    continue
                # ENOBUFS, or no route to the address: all that waits counts as lost on the way.
                self.send_drops += <uint64_t>self._count
                break
            size = 0
            for index in range(sent):
                size += self._lengths[self._first + index]
            self.datagrams_sent += <uint64_t>sent
            self.bytes_sent += size
            self._first += sent
            self._start += size
            self._count -= sent
        self._first = self._count = 0
        self._start = self._end = 0
        return True
