from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from peerfetch_fast.webrtc._sctp.receiving.ordering cimport MessageSink
from peerfetch_fast.webrtc._sctp.sending.queue cimport OutboundStream, SendQueue


cdef enum ChannelState:
    CONNECTING
    OPEN
    CLOSING
    CLOSED


# Our stream of an id, as the table over channels.pyx says.
cdef enum Outgoing:
    SENDING
    DRAINING
    DUE
    ASKED
    RESET


# Of a message that begins with these bytes, how many to keep apart; 0: none.
ctypedef size_t (*Splitter)(const uint8_t* data, size_t length) noexcept


cdef class Channel:
    cdef readonly str label
    cdef readonly str protocol
    cdef readonly bint ordered
    cdef readonly bint negotiated
    cdef readonly int id
    cdef public object on_message
    cdef ChannelState state
    cdef ChannelTable table
    cdef OutboundStream* outbound
    cdef uint32_t retransmit_limit      # UINT32_MAX: any number
    cdef double lifetime_limit          # seconds
    cdef bint acknowledged              # the peer knows the channel
    cdef bint inbound_reset             # the peer sends nothing more
    cdef Outgoing outgoing
    cdef uint64_t label_memory          # charged to the table's

    cdef object on_parts
    cdef object splitter_owner
    cdef Splitter splitter

    cpdef int send(self, object data, double now) except -1
    cpdef int send_parts(
        self, bytes head, bytes body, Py_ssize_t start, Py_ssize_t length, double now
    ) except -1
    cdef int _send(
        self, bytes head, bytes body, Py_ssize_t start, Py_ssize_t length, uint32_t protocol,
        double now
    ) except -1
    cdef int take(self, uint32_t protocol, bytes head, bytes message) except -1


cdef class ChannelTable(MessageSink):
    cdef SendQueue queue
    cdef list events
    cdef dict channels
    cdef Channel recent                 # the last one to get a message
    cdef object on_channel
    cdef bint client
    cdef bint established
    cdef bint accepting                 # messages and channels
    cdef bint peer_resets               # it understands RE-CONFIG
    cdef uint32_t stream_limit
    cdef uint32_t max_channels
    cdef uint64_t max_message_size      # the peer's; 0: any
    cdef dict receiving                 # of the channels, those that the peer has not reset
    cdef dict due                       # ids that are DUE, in order
    cdef dict refused                   # ids without a channel: DUE or ASKED
    cdef bytearray spent                # bits of the ids that are SPENT; None: none is
    cdef uint32_t max_label             # bytes of the peer's labels and protocols, each
    cdef uint64_t label_memory          # bytes left for all of them

    cdef Channel open(
        self, str label, str protocol, bint ordered, object max_retransmits, object max_lifetime,
        object id
    )
    cdef int _send_control(self, Channel channel, bytes message) except -1
    cdef Channel _find(self, uint16_t stream)
    cdef int close(self, Channel channel) except -1
    cdef int establish(self, uint32_t stream_limit, bint peer_resets) except -1
    cdef int end(self) except -1
    cdef list due_resets(self, Py_ssize_t most)
    cdef int outgoing_reset(self, list ids, bint done) except -1
    cdef int incoming_reset(self, uint16_t id) except -1
    cdef int incoming_resets(self) except -1
    cdef bint has_due(self) noexcept
    cdef bint _is_free(self, uint32_t id) except -1
    cdef int _spend(self, uint32_t id) except -1
    cdef int _free_id(self) except -1
    cdef int _finish(self, Channel channel) except -1
    cdef int _start(self, Channel channel) except -1
    cdef int _add(self, Channel channel) except -1
    cdef int _control(self, uint16_t stream, bytes message) except -1
    cdef int _opened(self, uint16_t stream, bytes message) except -1
    cdef int _refuse(self, uint16_t stream) except -1
