from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy


cdef enum:
    COMMON_HEADER = 12
    CHUNK_HEADER = 4
    DATA_HEADER = 16
    SACK_HEADER = 16
    FORWARD_TSN_HEADER = 8

# Chunk types (RFC 9260 §3.2, RFC 3758 §3.2, RFC 6525 §3.1).
cdef enum:
    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    SHUTDOWN_COMPLETE = 14
    RE_CONFIG = 130
    FORWARD_TSN = 192

# Flags of a DATA chunk (RFC 9260 §3.3.1, RFC 7053 §3).
cdef enum:
    END = 1
    BEGIN = 2
    UNORDERED = 4
    IMMEDIATE = 8

# The T bit of ABORT and SHUTDOWN COMPLETE (RFC 9260 §8.5.1).
cdef enum:
    TAG_REFLECTED = 1

# Error causes (RFC 9260 §3.3.10).
cdef enum:
    INVALID_STREAM = 1
    MISSING_PARAMETER = 2
    STALE_COOKIE = 3
    OUT_OF_RESOURCE = 4
    UNRECOGNIZED_CHUNK = 6
    INVALID_PARAMETER = 7
    UNRECOGNIZED_PARAMETERS = 8
    NO_USER_DATA = 9
    RESTART = 11
    USER_ABORT = 12
    PROTOCOL_VIOLATION = 13

# Parameters (RFC 9260 §3.3.2, RFC 6525 §4, RFC 5061 §4.2.7, RFC 3758 §3.1, RFC 9653 §4).
cdef enum:
    HEARTBEAT_INFO = 1
    STATE_COOKIE = 7
    UNRECOGNIZED_PARAMETER = 8
    OUTGOING_RESET = 13
    INCOMING_RESET = 14
    ASSOCIATION_RESET = 15
    RECONFIG_RESPONSE = 16
    ADD_OUTGOING_STREAMS = 17
    ADD_INCOMING_STREAMS = 18
    ZERO_CHECKSUM_ACCEPTABLE = 0x8001
    SUPPORTED_EXTENSIONS = 0x8008
    FORWARD_TSN_SUPPORTED = 0xC000


cdef inline uint16_t load16(const uint8_t* at) noexcept nogil:
    return <uint16_t>(at[0] << 8 | at[1])


cdef inline uint32_t load32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline void store16(uint8_t* at, uint16_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value


cdef inline void store32(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 24)
    at[1] = <uint8_t>(value >> 16)
    at[2] = <uint8_t>(value >> 8)
    at[3] = <uint8_t>value


cdef inline size_t padded(size_t length) noexcept nogil:
    return (length + 3) & ~<size_t>3


# Serial number arithmetic (RFC 1982), for TSNs and request numbers.
cdef inline bint after(uint32_t a, uint32_t b) noexcept nogil:
    return <uint32_t>(a - b - 1) < 0x7FFFFFFFu


# Walks the parameters (or error causes) of a chunk: the next one's offset, type and length with
# its header. At the end, 0; where lengths do not add up, -1.
cdef int next_parameter(
    const uint8_t* data, size_t length, size_t* offset, uint16_t* kind, size_t* size
) noexcept nogil

# A packet that is being written. Nothing below DTLS writes a byte but into what `claim` gave.
cdef struct Packet:
    uint8_t* start
    size_t length       # written, always a multiple of 4
    size_t capacity


cdef inline size_t room(const Packet* packet) noexcept nogil:
    """How many bytes still fit."""
    return packet.capacity - packet.length


cdef inline uint8_t* claim(Packet* packet, size_t size) noexcept nogil:
    """Where to write the next *size* bytes, with zeros behind them up to a multiple of 4. NULL:
    they do not fit, and nothing was claimed."""
    cdef uint8_t* at = packet.start + packet.length
    cdef size_t end = padded(size)
    if end > packet.capacity - packet.length:
        return NULL
    if size & 3:
        # Up to three of these are the padding; the caller writes over the others.
        store32(at + end - 4, 0)
    packet.length += end
    return at


cdef inline bint write_bytes(Packet* packet, const uint8_t* data, size_t size) noexcept nogil:
    """Whether *data* did fit; if not, none of it was written."""
    cdef uint8_t* at = claim(packet, size)
    if at == NULL:
        return False
    memcpy(at, data, size)
    return True


cdef bytes chunk(int kind, int flags, bytes body)
cdef bytes parameter(int kind, bytes body)

# The checksum of a packet of at least COMMON_HEADER bytes.
cdef void set_checksum(uint8_t* packet, size_t length) noexcept nogil
cdef bint has_checksum(const uint8_t* packet, size_t length) noexcept nogil
