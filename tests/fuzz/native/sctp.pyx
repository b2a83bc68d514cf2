"""An SCTP association whose peer, owner and clock do what an input tells them to.

The first record of an input is the setting: which side begins, what the peer can, where its numbers
start. Each further one is a step: its first byte says which (and whether its chunk waits for the
next one's, to share a packet), the others are its arguments. After each packet and each call the
association is asked for all that it has to send and to tell, and the promises of :func:`Peer.drain`
are checked.
"""

import os
import sys

from cpython.pycapsule cimport PyCapsule_New
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from peerfetch_fast.webrtc._sctp.association cimport Association
from peerfetch_fast.webrtc._sctp.channels cimport Channel
from peerfetch_fast.webrtc._sctp.packet cimport (
    ABORT,
    BEGIN,
    CHUNK_HEADER,
    COMMON_HEADER,
    COOKIE_ACK,
    COOKIE_ECHO,
    DATA,
    DATA_HEADER,
    END,
    ERROR,
    FORWARD_TSN,
    HEARTBEAT,
    HEARTBEAT_ACK,
    INIT,
    INIT_ACK,
    OUTGOING_RESET,
    RE_CONFIG,
    RECONFIG_RESPONSE,
    SACK,
    SHUTDOWN,
    SHUTDOWN_ACK,
    SHUTDOWN_COMPLETE,
    STATE_COOKIE,
    UNORDERED,
    after,
    load16,
    load32,
    padded,
    store16,
    store32,
)

from peerfetch_fast.errors import PeerfetchError
from peerfetch_fast.webrtc._sctp import events as told
from peerfetch_fast.webrtc._sctp.association import Association as make_association, is_init
from peerfetch_fast.webrtc._sctp.errors import AssociationError
from peerfetch_fast.webrtc._sctp.settings import AssociationSettings

cdef extern from "checksum.h" nogil:
    void sctp_crc32c_init()
    uint32_t sctp_packet_checksum(const uint8_t* packet, size_t length)

cdef extern from *:
    """
    /* What libFuzzer counts besides the edges: which steps were taken in which state. */
    __attribute__((section("__libfuzzer_extra_counters"))) static uint8_t taken[1024];
    #if defined(__SANITIZE_ADDRESS__) || defined(__has_feature)
    #if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
    #define GUARD 0 /* AddressSanitizer guards the buffers */
    #endif
    #endif
    #ifndef GUARD
    #define GUARD 64
    #endif
    """
    uint8_t taken[1024]
    const size_t GUARD

sctp_crc32c_init()

cdef enum:
    RECORD = 8
    MAX_STEPS = 512
    STEPS_AFTER_END = 8
    MAX_PACKETS = 4096              # that leave in one go: the send buffer, and retransmissions
    MAX_HANDLES = 64                # channels that the owner remembers
    MAX_COOKIE = 1024
    ROOM = 65_536                   # for a packet of ours
    PORT = 5000
    OUR_TAG = 0x12345678
    DCEP = 50
    BINARY = 53
    MAX_MESSAGE = 32_768
    WINDOW = 131_072
    SEND_BUFFER = 100_000
    MAX_CHANNELS = 12
    DCEP_ALLOWANCE = 512            # an OPEN or an ACK for each channel, whatever else is queued

cdef double MAX_TURNS = 200         # of a clock's deadlines in one leap


def _settings(congestion, packet_size, zero_checksum):
    return AssociationSettings(
        congestion=congestion, max_packet_size=packet_size, zero_checksum=zero_checksum,
        max_message_size=MAX_MESSAGE, receive_window=WINDOW, send_buffer=SEND_BUFFER,
        # As it is set for old peers; which settings do it does not matter.
        cut_messages=packet_size == 600,
        max_channels=MAX_CHANNELS, remote_max_message_size=65_536,
    )


cdef list SETTINGS = [
    _settings(congestion, packet_size, zero)
    for congestion in ("bbr", "cubic", "rfc9260")
    for packet_size, zero in ((1_163, True), (1_163, False), (600, True))
]


def _seeds():
    """Of the association: ordinary ones, and one that lets its TSNs wrap around soon."""
    import hashlib
    number = 0
    while hashlib.sha512(number.to_bytes(32, "big")).digest()[4:6] != b"\xff\xff":
        number += 1
    return [bytes(range(32)), bytes(32), number.to_bytes(32, "big")]


cdef list SEEDS = _seeds()
cdef bytes PAYLOAD = bytes(range(256)) * 320
cdef uint32_t[8] FIRST_TSNS = [
    1_000, 0, 1, 0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFF8, 0x80000000, 0xFFFF0000,
]
cdef double[16] LEAPS = [
    0, 0.0005, 0.002, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.5, 1, 3, 31, 61, 100, 4000,
]
# Sizes around those at which something else happens.
cdef uint32_t[16] SIZES = [
    1, 2, 3, 4, 16, 100, 127, 560, 600, 1_131, 1_132, 1_135, 1_200, 3_000, 9_000, 20_000,
]
cdef uint32_t[16] FAR = [
    16, 64, 100, 255, 256, 1_000, 32_767, 32_768, 65_534, 65_535, 65_536, 0x7FFFFFFF, 0x80000000,
    0x80000001, 0xFFFF0000, 0xFFFF0001,
]
cdef uint32_t[8] PROTOCOLS = [BINARY, BINARY, 51, DCEP, 56, 57, 0, 54]
cdef uint16_t[8] STREAMS = [65_534, 65_535, 65_533, 255, 256, 300, 1_024, 32_768]


cdef tuple ACTIONS = (
    "send", "send_parts", "open", "open", "shut down", "connect", "close", "close", "threshold",
    "on_message", "take_parts", "close all", "send on all", "look", "look", "raise",
)


class Owners(Exception):
    """What an owner's callback raises, which is its own fault."""


cdef list unraisable = []
# With this set, what happens is printed.
cdef bint TRACE = "PEERFETCH_FUZZ_TRACE" in os.environ


def _unraisable(hook):
    if not isinstance(hook.exc_value, Owners):
        unraisable.append(repr(hook.exc_value))


sys.unraisablehook = _unraisable
# Cython shows such an error's traceback before.
sys.excepthook = lambda kind, error, trace: (
    None if kind is Owners else sys.__excepthook__(kind, error, trace)
)


cdef size_t split(const uint8_t* data, size_t length) noexcept:
    """Keep apart as much of a message as its first byte says."""
    return min(<size_t>data[0], length)


cdef object SPLITTER = PyCapsule_New(<void*>split, "peerfetch.splitter", NULL)


cdef uint32_t near(uint8_t code) noexcept:
    """A number near to another one, or where comparisons turn."""
    if code < 128:
        return code
    if code < 240:
        return <uint32_t>(-(<int>(code - 127)))
    return FAR[code & 15]


cdef uint16_t stream_of(uint8_t code) noexcept:
    return STREAMS[code & 7] if code >= 248 else code & 15


cdef class Peer:
    """The other end, the owner and the clock of one association."""

    cdef Association association
    cdef object settings
    cdef list channels              # the owner's handles, also of those that are closed
    cdef list open_order            # events that were told, to see that none comes twice
    cdef dict phases                # of the channels, by what was told
    cdef bint connected
    cdef bint disconnected
    cdef double now

    cdef uint8_t* packet            # that we build
    cdef size_t filled
    cdef uint8_t* last              # that we sent
    cdef size_t last_length
    cdef uint8_t* out               # that it writes
    cdef size_t out_size

    cdef uint32_t tag               # theirs
    cdef uint32_t tsn               # our next
    cdef uint16_t[16] sequences     # our next, of the first streams
    cdef uint32_t request           # our next RE-CONFIG
    cdef uint32_t their_request     # their last
    cdef uint8_t[256] heartbeat
    cdef size_t heartbeat_length
    cdef uint8_t[MAX_COOKIE] cookie
    cdef size_t cookie_length
    cdef uint32_t can               # bits of the setting
    cdef bint honest                # we acknowledge what comes
    cdef bint resets_answered       # and do as asked
    cdef bint owed
    cdef bint zero_agreed
    cdef bint wrong_tag
    cdef int checksum               # 0: right; 1: none; 2: wrong
    cdef uint32_t cut               # bytes to leave out at a packet's end
    cdef int[8] armed               # what the owner does in its next callbacks
    cdef int armed_count
    cdef int messages               # since the last step

    def __cinit__(self):
        self.packet = <uint8_t*>malloc(ROOM)
        self.last = <uint8_t*>malloc(ROOM)
        if self.packet == NULL or self.last == NULL:
            raise MemoryError
        self.filled = COMMON_HEADER

    def __dealloc__(self):
        free(self.packet)
        free(self.last)
        free(self.out)

    # Beginning

    cdef int begin(self, const uint8_t* r) except -1:
        """The setting, from the first record."""
        cdef int style = r[1] & 3
        cdef bytes described = None
        self.settings = SETTINGS[r[2] % len(SETTINGS)]
        self.can = r[4]
        self.honest = r[5] & 1
        self.resets_answered = r[5] & 2
        self.tsn = FIRST_TSNS[r[6] & 7]
        self.request = self.tsn
        seed = SEEDS[r[3] % len(SEEDS)]
        if r[0] & 4:
            self.put_init(INIT)
            described = self.packet[COMMON_HEADER:self.filled]
            self.filled = COMMON_HEADER
            self.describe_wrongly(described, r[7], r[1])
        self.association = make_association(
            self.settings, seed, client=bool(r[0] & 1), peer_init=described
        )
        self.now = 100.0
        self.channels = []
        self.phases = {}
        self.out_size = self.settings.max_packet_size & ~3
        self.out = <uint8_t*>malloc(self.out_size + GUARD)
        if self.out == NULL:
            raise MemoryError
        self.association.on_channel = self.on_channel
        if r[0] & 2:
            # Channels from before there is a peer.
            self.perform(2, r[7])
            self.perform(0, r[7])
        if style & 1:
            self.association.connect(self.now)
            self.drain()
        if style < 2:
            self.handshake(style)
        return 0

    cdef int describe_wrongly(self, bytes init, uint8_t at, uint8_t change) except -1:
        """A description of the peer with one byte of its INIT changed, or cut short."""
        changed = bytearray(init)
        changed[at % len(init)] ^= change
        for wrong in (bytes(changed), init[:at]):
            taken = True
            try:
                make_association(self.settings, SEEDS[0], client=True, peer_init=wrong)
            except ValueError:
                taken = False
            assert taken == is_init(wrong)
        return 0

    cdef int handshake(self, int style) except -1:
        if style == 0:
            self.put_init(INIT)
            self.flush(0)
            self.put_cookie()
        else:
            self.put_init(INIT_ACK)
            self.flush(OUR_TAG)
            self.put(COOKIE_ACK, 0, NULL, 0)
        return self.flush(OUR_TAG)

    cdef int put_init(self, int kind) except -1:
        cdef uint8_t[20] body
        cdef size_t at = self.open_chunk(kind, 0)
        store32(body, OUR_TAG)
        store32(body + 4, 0 if self.can & 64 else 3_000 if self.can & 32 else 1 << 20)
        store16(body + 8, 10 if self.can & 16 else 65_535)
        store16(body + 10, 10 if self.can & 16 else 65_535)
        store32(body + 12, self.tsn)
        self.add(body, 16)
        if kind == INIT_ACK:
            self.parameter(STATE_COOKIE, b"cookie")
        if not self.can & 1:
            self.parameter(0xC000, b"")
        if not self.can & 2:
            self.parameter(0x8008, bytes((RE_CONFIG, FORWARD_TSN)))
        if not self.can & 4:
            self.parameter(0x8001, b"\0\0\0\1")
            self.zero_agreed = self.settings.zero_checksum
        if self.can & 8:
            self.parameter(0xC00F, b"what is this?")
        return self.close_chunk(at)

    cdef int put_cookie(self) except -1:
        return self.put(COOKIE_ECHO, 0, self.cookie, self.cookie_length)

    # Writing packets

    cdef int add(self, const uint8_t* data, size_t length) except -1:
        if self.filled + length + 4 <= ROOM:
            if data == NULL:
                memset(self.packet + self.filled, 0x55, length)
            else:
                memcpy(self.packet + self.filled, data, length)
            self.filled += length
        return 0

    cdef int add32(self, uint32_t value) except -1:
        cdef uint8_t[4] field
        store32(field, value)
        return self.add(field, 4)

    cdef int add16(self, uint32_t value) except -1:
        cdef uint8_t[2] field
        store16(field, <uint16_t>value)
        return self.add(field, 2)

    cdef int pad(self) except -1:
        while self.filled & 3:
            self.packet[self.filled] = 0
            self.filled += 1
        return 0

    cdef size_t open_chunk(self, int kind, int flags) except 0:
        cdef size_t at
        if self.filled + 2_048 > ROOM:
            self.flush(OUR_TAG)
        at = self.filled
        self.packet[at] = <uint8_t>kind
        self.packet[at + 1] = <uint8_t>flags
        self.filled += CHUNK_HEADER
        return at

    cdef int close_chunk(self, size_t at) except -1:
        store16(self.packet + at + 2, <uint16_t>(self.filled - at))
        return self.pad()

    cdef int put(self, int kind, int flags, const uint8_t* body, size_t length) except -1:
        cdef size_t at = self.open_chunk(kind, flags)
        self.add(body, length)
        return self.close_chunk(at)

    cdef int parameter(self, uint32_t kind, bytes body) except -1:
        self.add16(kind)
        self.add16(<uint32_t>len(body) + 4)
        self.add(body, len(body))
        return self.pad()

    cdef int flush(self, uint32_t tag) except -1:
        """Hand over what has been written; *tag* is zero for an INIT, or theirs is used."""
        cdef size_t length = self.filled
        if length == COMMON_HEADER:
            return 0
        self.filled = COMMON_HEADER
        store16(self.packet, PORT)
        store16(self.packet + 2, PORT)
        store32(self.packet + 4, 0 if tag == 0 else self.tag + self.wrong_tag)
        memset(self.packet + 8, 0, 4)
        length -= min(<size_t>self.cut, length - COMMON_HEADER)
        if self.checksum != 1:
            self.sign(self.packet, length)
        if self.checksum == 2:
            self.packet[8] ^= 1
        self.wrong_tag = False
        self.cut = 0
        self.checksum = 0
        memcpy(self.last, self.packet, length)
        self.last_length = length
        return self.deliver(self.last, length)

    cdef int sign(self, uint8_t* packet, size_t length) except -1:
        cdef uint32_t crc = sctp_packet_checksum(packet, length)
        memcpy(packet + 8, &crc, 4)
        return 0

    cdef int deliver(self, const uint8_t* packet, size_t length) except -1:
        # A copy of just its length, so that what is read beyond it shows.
        cdef uint8_t* exact = <uint8_t*>malloc(length)
        if exact == NULL:
            raise MemoryError
        memcpy(exact, packet, length)
        try:
            if TRACE:
                print(f"{self.now:.4f} <- {exact[:min(length, 100)].hex(' ', 4)} ({length})")
            self.association.receive(exact, length, self.now)
        finally:
            free(exact)
        return self.drain()

    # What it sends and tells

    cdef int drain(self) except -1:
        """Take all that it has, and see that it keeps its promises."""
        cdef Py_ssize_t length
        cdef int packets = 0
        while True:
            if GUARD:
                memset(self.out + self.out_size, 0xA5, GUARD)
            length = self.association.poll(self.out, self.out_size, self.now)
            if length == 0:
                break
            assert <size_t>length <= self.out_size, "a packet is too long"
            if TRACE:
                print(f"{self.now:.4f} -> {self.out[:min(length, 100)].hex(' ', 4)} ({length})")
            self.guarded()
            self.read_packet(<size_t>length)
            packets += 1
            assert packets < MAX_PACKETS, "it does not stop sending"
        self.tell()
        # The next chunk in order is taken whatever is held, and with it grows one message at most.
        assert self.association.receiver.held_bytes <= <uint64_t>WINDOW + 2 * MAX_MESSAGE, (
            f"{self.association.receiver.held_bytes} bytes are held of a window of {WINDOW}"
        )
        assert self.association.sender.queued <= SEND_BUFFER + MAX_CHANNELS * DCEP_ALLOWANCE, (
            "more is queued than may be"
        )
        if self.association.error is not None:
            assert isinstance(self.association.error, AssociationError)
            assert self.disconnected
        assert not unraisable, unraisable
        if self.owed and self.honest and not self.disconnected:
            self.owed = False
            self.acknowledge()
        return 0

    cdef int guarded(self) except -1:
        cdef size_t index
        for index in range(GUARD):
            assert self.out[self.out_size + index] == 0xA5, "written past the end of a packet"
        return 0

    cdef int read_packet(self, size_t length) except -1:
        cdef size_t at = COMMON_HEADER
        cdef size_t size
        cdef uint32_t stored
        assert length > COMMON_HEADER + 3 and length % 4 == 0, "a packet of odd length"
        assert load16(self.out) == PORT and load16(self.out + 2) == PORT
        memcpy(&stored, self.out + 8, 4)
        if stored:
            memset(self.out + 8, 0, 4)
            assert stored == sctp_packet_checksum(self.out, length), "a wrong checksum"
        else:
            assert self.settings.zero_checksum, "a checksum left out"
        while at < length:
            size = load16(self.out + at + 2)
            assert size >= CHUNK_HEADER and at + padded(size) <= length, "a chunk that does not fit"
            self.read_chunk(self.out + at, size, stored == 0)
            at += padded(size)
        return 0

    cdef int read_chunk(self, const uint8_t* chunk, size_t size, bint unsigned_) except -1:
        cdef int kind = chunk[0]
        cdef size_t at
        if kind == DATA:
            assert size > DATA_HEADER, "DATA without data"
            assert chunk[1] <= 15
            assert load16(chunk + 8) < 65_535, "DATA on the stream that is kept back"
            assert (<uint32_t>self.association.sender.next_tsn - load32(chunk + 4) - 1) < 65_536
            self.owed = True
        elif kind == SACK:
            self.read_sack(chunk, size)
        elif kind == INIT or kind == INIT_ACK:
            assert not unsigned_ and size >= 20
            self.tag = load32(chunk + 4)
            assert self.tag
            at = 20
            while at + 4 <= size:
                if load16(chunk + at) == STATE_COOKIE and load16(chunk + at + 2) - 4 <= MAX_COOKIE:
                    self.cookie_length = load16(chunk + at + 2) - 4
                    memcpy(self.cookie, chunk + at + 4, self.cookie_length)
                at += padded(max(load16(chunk + at + 2), 4))
            assert at == padded(size), "parameters that do not fit"
        elif kind == HEARTBEAT and size - 4 <= 256:
            self.heartbeat_length = size - 4
            memcpy(self.heartbeat, chunk + 4, size - 4)
        elif kind == RE_CONFIG:
            assert size >= 12
            if load16(chunk + 4) == OUTGOING_RESET:
                assert load16(chunk + 6) >= 18, "a reset of all streams"
                self.their_request = load32(chunk + 8)
                self.owed = True
        elif kind == COOKIE_ECHO:
            assert not unsigned_
        return 0

    cdef int read_sack(self, const uint8_t* chunk, size_t size) except -1:
        cdef uint32_t gaps = load16(chunk + 12), end = 0, index
        assert size == 16 + 4 * gaps + 4 * <uint32_t>load16(chunk + 14), "a SACK of odd length"
        assert load32(chunk + 4) == <uint32_t>self.association.receiver.cumulative
        assert load32(chunk + 8) <= WINDOW, "a window that was not granted"
        for index in range(gaps):
            assert load16(chunk + 16 + 4 * index) > end + 1, "gap blocks that touch"
            end = load16(chunk + 18 + 4 * index)
            assert end >= load16(chunk + 16 + 4 * index), "a gap block that ends before it begins"
        return 0

    cdef int tell(self) except -1:
        """Look at the events: each comes once, in order, and none after the end."""
        cdef int phase
        for event in self.association.take_events():
            kind = type(event)
            if TRACE:
                print(f"{self.now:.4f} {event}")
            assert not self.disconnected, f"{event} after the end"
            if kind is told.Connected:
                assert not self.connected, "connected twice"
                self.connected = True
            elif kind is told.Disconnected:
                self.disconnected = True
            elif kind is not told.BufferedAmountLow:
                phase = (
                    1 if kind is told.ChannelOpen else 2 if kind is told.ChannelClosing else 3
                )
                assert self.phases.get(event.channel, 0) < phase, f"{event} out of turn"
                self.phases[event.channel] = phase
        return 0

    cdef int acknowledge(self) except -1:
        """What an honest peer does: take all that was sent, and the resets that were asked for."""
        self.sack(<uint32_t>self.association.sender.next_tsn - 1, 1 << 20)
        self.flush(OUR_TAG)
        if self.resets_answered and self.their_request:
            self.respond(self.their_request, 1)
            self.their_request = 0
            self.flush(OUR_TAG)
        return 0

    cdef int sack(self, uint32_t cumulative, uint32_t window) except -1:
        cdef size_t at = self.open_chunk(SACK, 0)
        self.add32(cumulative)
        self.add32(window)
        self.add32(0)
        return self.close_chunk(at)

    cdef int respond(self, uint32_t number, uint32_t result) except -1:
        cdef size_t at = self.open_chunk(RE_CONFIG, 0)
        self.add16(RECONFIG_RESPONSE)
        self.add16(12)
        self.add32(number)
        self.add32(result)
        return self.close_chunk(at)

    # What the owner does

    def on_channel(self, channel):
        self.phases[channel] = 1
        if len(self.channels) < MAX_HANDLES:
            self.channels.append(channel)
        channel.on_message = self.on_message
        self.called()

    def on_message(self, data):
        self.messages += 1
        self.called()

    def on_parts(self, head, body):
        assert len(head) and len(body)
        self.called()

    cdef int called(self) except -1:
        cdef int action
        if self.armed_count:
            self.armed_count -= 1
            action = self.armed[self.armed_count]
            if action & 15 == 15:
                raise Owners
            self.perform(action & 15, <uint8_t>(action >> 4))
        return 0

    cdef object channel(self, uint8_t which):
        return self.channels[which % len(self.channels)] if self.channels else None

    cdef int perform(self, int action, uint8_t argument) except -1:
        """A call of the owner's; a refusal must be a typed one."""
        cdef Channel channel = self.channel(argument >> 4)
        if TRACE:
            print(f"{self.now:.4f} the owner: {ACTIONS[action]}, {argument}, {channel}")
        try:
            if action == 2 or action == 3:
                self.open(argument)
            elif action == 4:
                if argument & 3 == 3:
                    self.association.abort("enough", self.now)
                else:
                    self.association.shutdown(self.now)
            elif action == 5:
                self.association.connect(self.now)
            elif channel is None:
                pass
            elif action < 2:
                self.send(channel, argument & 15, action == 1)
            elif action == 6 or action == 7:
                channel.close(self.now)
            elif action == 8:
                channel.buffered_amount_low_threshold = SIZES[argument & 15]
            elif action == 9:
                channel.on_message = None if argument & 1 else self.on_message
            elif action == 10:
                channel.take_parts(SPLITTER, self.on_parts)
            elif action == 11:
                for channel in self.channels:
                    channel.close(self.now)
            elif action == 12:
                for channel in self.channels:
                    self.send(channel, argument & 15, False)
            else:
                repr(channel), channel.buffered_amount, channel.ready_state
        except (PeerfetchError, ValueError):
            pass
        return 0

    cdef int open(self, uint8_t argument) except -1:
        cdef dict options = {"ordered": not argument & 1}
        cdef int kind = argument >> 1 & 3
        if kind == 1:
            options["max_retransmits"] = argument >> 6
        elif kind == 2:
            options["max_lifetime"] = 0.1 * (argument >> 6)
        if argument & 8:
            options["id"] = argument >> 4
        channel = self.association.open_channel("label", "protocol", **options)
        channel.on_message = self.on_message
        if len(self.channels) < MAX_HANDLES:
            self.channels.append(channel)
        return 0

    cdef int send(self, Channel channel, int size, bint parts) except -1:
        cdef uint32_t length = SIZES[size]
        if parts:
            channel.send_parts(
                PAYLOAD[:1 + size], PAYLOAD, length % 7, <Py_ssize_t>length, self.now
            )
        elif size == 0:
            channel.send("", self.now)
        elif size == 1:
            channel.send("text €", self.now)
        else:
            channel.send(PAYLOAD[:length], self.now)
        return 0

    # Steps

    cdef int step(self, const uint8_t* r, size_t left) except -1:
        """One record, and of raw chunks those behind it; how many records it took."""
        cdef int kind = (r[0] & 127) % 28
        cdef int took = 1
        cdef uint32_t state = <uint32_t>self.association.state
        cdef uint32_t slot = (state * 32 + <uint32_t>kind) & 511
        taken[slot] += taken[slot] < 255
        if kind < 5:
            self.step_data(kind, r)
        elif kind == 5:
            self.step_open(r)
        elif kind == 6 or kind == 7:
            self.step_sack(r)
        elif kind == 8:
            self.step_forward(r)
        elif kind == 9 or kind == 10:
            self.step_reset(r)
        elif kind == 11:
            self.step_response(r)
        elif kind == 12:
            self.step_heartbeat(r)
        elif kind == 13:
            self.step_handshake(r)
        elif kind == 14:
            self.step_ending(r)
        elif kind == 15:
            self.step_pattern(r)
        elif kind == 16:
            took += self.step_raw(r, left)
        elif kind == 17:
            self.step_fragments(r)
        elif kind == 18:
            self.deliver(self.last, self.last_length)
        elif kind == 19:
            self.wrong_tag = r[1] & 1
            self.checksum = r[2] % 3
            self.cut = r[3] & 31
            return 1
        elif kind == 20:
            self.honest = r[1] & 1
            self.resets_answered = r[1] & 2
            self.owed = True
        elif kind == 21:
            self.step_arm(r)
            return 1
        elif kind < 25:
            self.perform(r[1] & 15, r[2])
        else:
            self.leap(LEAPS[r[1] & 15])
        if not r[0] & 128 or kind == 13:
            self.flush(OUR_TAG)
        self.drain()
        slot = 512 + (<uint32_t>self.association.state * 32 + <uint32_t>self.messages_kind())
        taken[slot & 1023] += taken[slot & 1023] < 255
        self.messages = 0
        return took

    cdef int messages_kind(self) noexcept:
        """What stands out: how many channels there are, and whether messages came."""
        return min(<int>len(self.channels), 7) * 4 + min(self.messages, 3)

    cdef int step_arm(self, const uint8_t* r) except -1:
        if self.armed_count < 8:
            self.armed[self.armed_count] = (r[1] & 15) | r[2] << 4
            self.armed_count += 1
        return 0

    cdef int leap(self, double seconds) except -1:
        """Let time pass, with every deadline on the way."""
        cdef double end = self.now + seconds
        cdef double due
        cdef int turns = 0
        cdef int still = 0      # turns in which no time passed
        while turns < MAX_TURNS:
            due = self.association.deadline()
            if due > end:
                break
            still = still + 1 if due <= self.now else 0
            assert still < 10, "a deadline that does not move"
            self.now = max(self.now, due)
            self.association.handle_timeout(self.now)
            self.drain()
            turns += 1
        self.now = max(end, self.now)
        self.association.handle_timeout(self.now)
        return self.drain()

    cdef int data(
        self, uint32_t tsn, uint16_t stream, uint16_t sequence, uint32_t protocol, int flags,
        const uint8_t* body, size_t length
    ) except -1:
        cdef size_t at = self.open_chunk(DATA, flags)
        self.add32(tsn)
        self.add16(stream)
        self.add16(sequence)
        self.add32(protocol)
        self.add(body, length)
        return self.close_chunk(at)

    cdef uint16_t sequence(self, uint16_t stream, int flags) noexcept:
        """The next of a stream, as far as messages are whole."""
        cdef uint16_t value
        if stream >= 16 or flags & UNORDERED:
            return 0
        value = self.sequences[stream]
        if flags & END:
            self.sequences[stream] += 1
        return value

    cdef int step_data(self, int kind, const uint8_t* r) except -1:
        """DATA: in turn, at any TSN, with any sequence number, or many."""
        cdef uint16_t stream = stream_of(r[1])
        cdef int flags = r[2] & 15 if kind & 1 else BEGIN | END | (r[2] & UNORDERED)
        cdef uint32_t tsn = self.tsn
        cdef uint16_t sequence
        cdef uint32_t length = SIZES[r[4] & 15] if r[4] & 16 else r[4] & 15
        cdef int count = 1 + (r[7] if kind == 4 else 0)
        if kind == 2 or kind == 3:
            tsn = <uint32_t>self.association.receiver.cumulative + 1 + near(r[5])
        while count:
            sequence = self.sequence(stream, flags)
            if r[6]:
                sequence += <uint16_t>near(r[6])
            self.data(
                tsn, stream, sequence, PROTOCOLS[r[3] & 7], flags, NULL,
                min(length, <uint32_t>1_200),
            )
            if tsn == self.tsn:
                self.tsn += 1
            tsn += 1
            count -= 1
        return 0

    cdef int step_open(self, const uint8_t* r) except -1:
        """DCEP: an OPEN, right or wrong, an ACK, or neither."""
        cdef uint8_t[64] body
        cdef uint16_t stream = stream_of(r[1])
        cdef size_t label = r[3] & 15, length = r[4] & 15
        memset(body, 0x61, 64)
        body[0] = 3
        body[1] = (r[2] & 0x83) if r[2] < 252 else r[2]
        store16(body + 2, r[2])
        store32(body + 4, r[6] & 7)
        store16(body + 8, <uint16_t>label)
        store16(body + 10, <uint16_t>length)
        if r[3] & 64:
            store16(body + 8, 65_535)
        if r[3] & 128:
            body[0], label, length = 2, 0, 0
        self.data(
            self.tsn, stream, self.sequence(stream, END), DCEP, BEGIN | END | (r[5] & UNORDERED),
            body, 1 if r[3] & 128 else 12 + label + length - (1 if r[4] & 64 else 0),
        )
        self.tsn += 1
        return 0

    cdef int step_sack(self, const uint8_t* r) except -1:
        cdef uint32_t base = <uint32_t>self.association.sender.cumulative
        cdef uint32_t index, start, gaps = r[3] & 7, duplicates = r[6] & 3
        cdef size_t at
        if r[1] & 1:
            base = <uint32_t>self.association.sender.next_tsn - 1
        if r[1] & 2:
            base += near(r[2])
        elif not r[1] & 1:
            base += r[2] & 7
        at = self.open_chunk(SACK, 0)
        self.add32(base)
        self.add32(0 if r[7] == 0 else SIZES[r[7] & 15] if r[7] < 128 else 1 << 20)
        if r[1] & 4:
            # As many as there is room for.
            gaps = 200
        self.add16(gaps + (r[1] >> 7))
        self.add16(duplicates)
        start = 1 + (r[4] & 31)
        for _ in range(gaps):
            self.add16(start if r[4] < 224 else r[5] << 8 | r[4])
            start += r[5] & 7
            self.add16(start if r[5] < 248 else 65_535)
            start += 1 + (r[4] >> 5 & 3)
        for index in range(duplicates):
            self.add32(base - index)
        return self.close_chunk(at)

    cdef int step_forward(self, const uint8_t* r) except -1:
        cdef size_t at = self.open_chunk(FORWARD_TSN, 0)
        cdef uint32_t tsn = <uint32_t>self.association.receiver.cumulative + near(r[1])
        cdef int index
        self.add32(tsn)
        for index in range(r[2] & 15):
            self.add16(stream_of(<uint8_t>(r[3] + index)))
            self.add16(near(<uint8_t>(r[4] + index * r[5])))
        if after(tsn, self.tsn - 1) and r[6] & 1:
            self.tsn = tsn + 1
        return self.close_chunk(at)

    cdef int step_reset(self, const uint8_t* r) except -1:
        """A request: to reset outgoing or incoming streams or all, or to add some."""
        cdef uint32_t kind = 13 if r[1] < 192 else 13 + r[1] % 8
        cdef uint32_t ids = r[4] & 7, index
        cdef size_t at = self.open_chunk(RE_CONFIG, 0)
        cdef uint32_t number = self.request + near(r[2])
        if r[2] == 0:
            self.request += 1
        if kind != OUTGOING_RESET:
            self.add16(kind)
            self.add16(12 if r[5] & 1 else 8)
            self.add32(number)
            if r[5] & 1:
                self.add32(<uint32_t>r[6] << 24 | <uint32_t>r[7] << 16)
            return self.close_chunk(at)
        if r[4] & 8:
            ids = 200
        self.add16(kind)
        self.add16(16 + 2 * ids)
        self.add32(number)
        self.add32(self.their_request)
        self.add32(self.tsn - 1 + near(r[3]))
        for index in range(ids):
            self.add16(stream_of(<uint8_t>(r[5] + index * (r[6] & 3))))
            if stream_of(r[5]) < 16 and r[7] & 1:
                self.sequences[stream_of(<uint8_t>(r[5] + index * (r[6] & 3))) & 15] = 0
        return self.close_chunk(at)

    cdef int step_response(self, const uint8_t* r) except -1:
        return self.respond(self.their_request + near(r[1]), r[2] & 7)

    cdef int step_heartbeat(self, const uint8_t* r) except -1:
        if r[1] & 1:
            return self.put(
                HEARTBEAT, 0, NULL,
                <size_t>r[2] * (64 if r[1] & 4 else 4) + (r[3] & 3)
            )
        if r[1] & 2:
            self.heartbeat[r[3]] ^= r[2]
        return self.put(HEARTBEAT_ACK, 0, self.heartbeat, self.heartbeat_length)

    cdef int step_handshake(self, const uint8_t* r) except -1:
        """Once more, or for the first time; what waits for its packet goes before."""
        cdef int kind = r[1] & 7
        cdef uint32_t tsn = self.tsn
        if r[0] & 128 == 0 or kind == 0:
            self.flush(OUR_TAG)
        if r[3]:
            self.can = r[3]
        if r[2] & 1:
            self.tsn += near(r[4])
        if kind == 0 or kind == 1:
            self.put_init(INIT)
            self.flush(OUR_TAG if r[2] & 2 else 0)
        elif kind == 2:
            self.put_init(INIT_ACK)
        elif kind < 5:
            if r[2] & 4 and self.cookie_length:
                self.cookie[r[4] % self.cookie_length] ^= r[5]
            self.put_cookie()
        elif kind == 5:
            self.put(COOKIE_ACK, 0, NULL, 0)
        elif kind == 6:
            self.handshake(r[2] & 1)
            self.request = self.tsn
        else:
            self.perform(5, 0)
        if r[2] & 8:
            self.tsn = tsn
        return 0

    cdef int step_ending(self, const uint8_t* r) except -1:
        cdef uint8_t[16] body
        cdef int kind = r[1] & 7
        memset(body, 0, 16)
        if kind < 3:
            store32(
                body, <uint32_t>self.association.sender.next_tsn - 1 + (near(r[2]) if kind else 0)
            )
            return self.put(SHUTDOWN, 0, body, 4 if r[3] < 250 else 3)
        if kind == 3:
            return self.put(SHUTDOWN_ACK, 0, NULL, 0)
        if kind == 4:
            return self.put(SHUTDOWN_COMPLETE, r[2] & 1, NULL, 0)
        store16(body, r[3] & 15)
        store16(body + 2, 4 + (r[4] & 15))
        return self.put(ABORT if kind == 5 and r[5] > 200 else ERROR, r[2] & 1, body, r[6] & 15)

    cdef int step_pattern(self, const uint8_t* r) except -1:
        """A chunk of any type and length, of one byte again and again."""
        cdef size_t at = self.open_chunk(r[1], r[2])
        cdef size_t length = SIZES[r[3] & 15] if r[3] & 16 else r[3] & 15
        memset(self.packet + self.filled, r[4], min(length, <size_t>1_200))
        self.filled += min(length, <size_t>1_200)
        return self.close_chunk(at)

    cdef int step_raw(self, const uint8_t* r, size_t left) except -1:
        """A chunk whose body stands in the records that follow."""
        cdef int records = min(r[3] & 7, <int>(left // RECORD))
        cdef size_t at = self.open_chunk(r[1], r[2])
        self.add(r + 4, 4)
        self.add(r + RECORD, <size_t>records * RECORD)
        self.filled -= r[3] >> 4 & 3
        self.close_chunk(at)
        if r[3] & 128:
            # The length is a lie.
            store16(self.packet + at + 2, <uint16_t>(self.filled - at + near(r[4])))
        return records

    cdef int step_fragments(self, const uint8_t* r) except -1:
        """One message in many chunks: in order or not, with a hole or none, some twice."""
        cdef uint16_t stream = stream_of(r[1])
        cdef int count = 2 + (r[2] & 31), index, turn, flags
        cdef uint32_t length = min(SIZES[r[3] & 15], <uint32_t>1_200)
        cdef uint16_t sequence = self.sequence(stream, END | (r[4] & UNORDERED))
        for turn in range(count):
            index = turn
            if r[4] & 8:
                index = count - 1 - turn
            elif r[4] & 16:
                index = turn * 7 % count
            if r[4] & 32 and index == r[5] % count:
                continue
            flags = r[4] & UNORDERED
            if index == 0:
                flags |= BEGIN
            if index == count - 1 and not r[4] & 128:
                flags |= END
            self.data(
                self.tsn + <uint32_t>index, stream, sequence, PROTOCOLS[r[6] & 7], flags,
                NULL, length,
            )
            if r[7] & 1:
                self.flush(OUR_TAG)
        if r[4] & 32 and r[7] & 2:
            index = r[5] % count
            self.data(
                self.tsn + <uint32_t>index, stream, sequence, PROTOCOLS[r[6] & 7],
                (r[4] & UNORDERED) | (BEGIN if index == 0 else 0)
                | (END if index == count - 1 else 0),
                NULL, length,
            )
        self.tsn += <uint32_t>count
        return 0

    cdef int finish(self) except -1:
        """The end, in which everything is let go."""
        self.armed_count = 0
        self.association.abort("over", self.now)
        self.drain()
        assert self.disconnected, "the end was not told"
        assert self.association.receiver.held_bytes == 0, "something is held after the end"
        assert self.association.sender.queued == 0, "something is queued after the end"
        assert self.association.deadline() == INFINITY
        for channel in self.channels:
            assert channel.ready_state == "closed", f"{channel} after the end"
        self.leap(1)
        self.flush(OUR_TAG)
        return self.drain()


cdef public int fuzz_one(const uint8_t* data, size_t size) except -1:
    """Run an input; the steps it had."""
    cdef size_t at = RECORD
    cdef int steps = 0
    cdef int after_end = 0
    cdef Peer peer
    if size < 2 * RECORD:
        return 0
    peer = Peer.__new__(Peer)
    peer.begin(data)
    while at + RECORD <= size and steps < MAX_STEPS:
        at += <size_t>peer.step(data + at, size - at - RECORD) * RECORD
        steps += 1
        after_end += peer.disconnected
        if after_end > STEPS_AFTER_END:
            break
    peer.finish()
    # The peer and its association hold on to each other through the owner's callbacks.
    peer.association.on_channel = None
    for channel in peer.channels:
        channel.on_message = None
    return steps
