# The packets of pictures and sound: one call makes all of a frame.
"""RTP packets of H.264 (RFC 6184) and Opus (RFC 7587), protected, and kept for who has lost one."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from peerfetch_fast.webrtc._srtp cimport (
    GCM_TAG,
    HEADER,
    Srtp,
    get32,
    header_length,
    put16,
    put32,
)

cdef enum:
    MAX_PACKET = 1_200          # bytes of a datagram of ours, as everywhere in WebRTC
    MAX_PAYLOAD = MAX_PACKET - HEADER - GCM_TAG
    HISTORY = 512               # packets kept for who has lost one
    # One that is older is not sent again: a second at 3.6 Mbit/s. Beyond 450, libwebrtc takes it
    # for the first of a new stream, and reports losses that there are none of.
    MAX_AGE = 400
    MAX_FRAME_PACKETS = 8_192
    FU_A = 28                   # RFC 6184 section 5.8

MAX_PACKET_PAYLOAD = MAX_PAYLOAD


def payload_of(bytes packet not None):
    """The payload of an opened RTP packet, without padding; None if there is none."""
    cdef const uint8_t* data = <const uint8_t*>PyBytes_AS_STRING(packet)
    cdef size_t length = <size_t>PyBytes_GET_SIZE(packet)
    cdef size_t header = 0 if length < HEADER else header_length(data, length)
    if header == 0:
        return None
    if data[0] & 0x20 and length > header:
        if data[length - 1] > length - header:
            return None
        length -= data[length - 1]
    return packet[header:length]


cdef class RtpSender:
    """The packets of one track.

    :param srtp: the keys to send with.
    :param ssrc: of the track, and ``payload_type`` the number of its codec.
    :param sequence: the number of the first packet, below 32,768.
    :ivar packets: how many were sent, and ``octets`` the bytes of their payloads (RFC 3550 6.4.1).
    """

    cdef Srtp _srtp
    cdef readonly uint32_t ssrc
    cdef int _payload_type
    cdef uint64_t _index
    cdef list _history
    cdef readonly uint64_t packets
    cdef readonly uint64_t octets

    def __init__(self, Srtp srtp not None, *, uint32_t ssrc, int payload_type, int sequence):
        self._srtp = srtp
        self.ssrc = ssrc
        self._payload_type = payload_type
        self._index = <uint64_t>(sequence & 0x7FFF)
        self._history = [None] * HISTORY

    cdef bytes _packet(
        self, const uint8_t* before, size_t before_length, const uint8_t* data, size_t length,
        uint32_t timestamp, bint marker,
    ):
        cdef uint8_t packet[MAX_PACKET]
        cdef size_t size = HEADER + before_length + length
        packet[0] = 0x80
        packet[1] = <uint8_t>((0x80 if marker else 0) | self._payload_type)
        put16(packet + 2, <uint32_t>self._index)
        put32(packet + 4, timestamp)
        put32(packet + 8, self.ssrc)
        if before_length:
            memcpy(packet + HEADER, before, before_length)
        memcpy(packet + HEADER + before_length, data, length)
        size = self._srtp._seal(packet, HEADER, size, self.ssrc, self._index)
        made = PyBytes_FromStringAndSize(<const char*>packet, <Py_ssize_t>size)
        self._history[self._index % HISTORY] = made
        self._index += 1
        self.packets += 1
        self.octets += before_length + length
        return made

    def packet(self, bytes payload not None, uint32_t timestamp, bint marker = False):
        """One packet, as of Opus (RFC 7587). Raises ValueError for a payload that is too long."""
        cdef size_t length = <size_t>PyBytes_GET_SIZE(payload)
        if length > MAX_PAYLOAD:
            raise ValueError(f"a payload of {length} bytes: at most {MAX_PAYLOAD}")
        return self._packet(
            NULL, 0, <const uint8_t*>PyBytes_AS_STRING(payload), length, timestamp, marker
        )

    def picture(self, bytes data not None, uint32_t timestamp, bytes sps, bytes pps):
        """The packets of a picture of H.264 (RFC 6184, packetization mode 1).

        :param data: its NAL units, each behind its length in four bytes.
        :param sps: and ``pps``: parameter sets that go before it; None for none.

        Raises ValueError where the lengths are wrong.
        """
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef const uint8_t* end = at + PyBytes_GET_SIZE(data)
        cdef size_t length
        cdef list made = []
        if sps is not None and pps is not None:
            self._parameter_sets(made, sps, pps, timestamp)
        while at < end:
            if end - at < 4 or get32(at) > <size_t>(end - at - 4):
                raise ValueError("a picture of wrong lengths")
            length = get32(at)
            at += 4
            if length:
                self._unit(made, at, length, timestamp, at + length == end)
            at += length
            if len(made) > MAX_FRAME_PACKETS:
                raise ValueError("a picture of too many packets")
        return made

    cdef int _parameter_sets(
        self, list made, bytes sps, bytes pps, uint32_t timestamp
    ) except -1:
        cdef bytes both = (
            b"\x78" + len(sps).to_bytes(2, "big") + sps + len(pps).to_bytes(2, "big") + pps
        )
        if len(both) <= MAX_PAYLOAD:
            made.append(self.packet(both, timestamp))
            return 0
        for unit in (sps, pps):
            self._unit(
                made, <const uint8_t*>PyBytes_AS_STRING(unit), <size_t>PyBytes_GET_SIZE(unit),
                timestamp, False,
            )
        return 0

    cdef int _unit(
        self, list made, const uint8_t* unit, size_t length, uint32_t timestamp, bint last
    ) except -1:
        cdef uint8_t fragment[2]
        cdef size_t size, parts, at = 1
        if length <= MAX_PAYLOAD:
            made.append(self._packet(NULL, 0, unit, length, timestamp, last))
            return 0
        # Parts of like size: a last one that is short would end a batch of equal datagrams.
        parts = (length - 1 + MAX_PAYLOAD - 3) // (MAX_PAYLOAD - 2)
        size = (length - 1 + parts - 1) // parts
        fragment[0] = (unit[0] & 0xE0) | FU_A
        fragment[1] = 0x80 | (unit[0] & 31)
        while at < length:
            if at + size >= length:
                size = length - at
                fragment[1] |= 0x40
            made.append(
                self._packet(fragment, 2, unit + at, size, timestamp, last and at + size == length)
            )
            fragment[1] &= 0x7F
            at += size
        return 0

    def again(self, int sequence):
        """A packet that was sent lately, as it was sent; None for one that is too old."""
        cdef const uint8_t* data
        cdef bytes kept = self._history[sequence % HISTORY] if sequence >= 0 else None
        if kept is None or ((self._index - <uint64_t>sequence) & 0xFFFF) > MAX_AGE:
            return None
        data = <const uint8_t*>PyBytes_AS_STRING(kept)
        return kept if (<int>data[2] << 8 | data[3]) == sequence else None
