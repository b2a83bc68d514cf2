# cython: freethreading_compatible=False
"""HTTP/1.1 as octets (RFC 9112): a reader of messages, and heads to be written. Sans-I/O.

:class:`Reader` takes what a socket gave and hands out heads, pieces of bodies and ends. A piece is
the object that came where all of it is body, and a slice of it otherwise: a payload octet is copied
at most once. An octet is looked at a constant number of times, however the input is cut: what came
of a head is kept with what is known of its lines, and the rest of a line is read where that left
off.

What is held is bounded by ``max_head``: the head or the trailers that are not complete. Of chunk
sizes and extensions nothing is held.

This file is longer than others, because the reader is one state machine whose states call each
other once a line: across modules these would be calls through a table. Heads to be written share
its tables of octets.
"""

from collections import deque

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeLatin1
from libc.string cimport memchr, memcmp, memcpy

from peerfetch_fast.errors import MessageError, MessageTruncated, WireError
from peerfetch_fast.http.h1.leniency import Leniency

cdef extern from "Python.h":
    int PyUnicode_1BYTE_KIND
    int PyUnicode_KIND(object text)
    unsigned char *PyUnicode_1BYTE_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    MAX_NAME = 256
    CHUNK_LINE = 4096
    # 15 hexadecimal digits count to 2^60, and 18 decimal ones nearly so.
    SIZE_DIGITS = 15
    LENGTH_DIGITS = 18

MAX_HEAD = 64 * 1024
"""Octets of the largest head, and of the trailers. The informational answers before an answer count
as part of its head."""

MAX_FIELDS = 1000
"""Fields of a head, and of the trailers."""

MAX_CHUNK_LINE = CHUNK_LINE
"""Octets of the line before a chunk: its size and extensions."""

cdef int _REPEATED_LENGTH = Leniency.REPEATED_LENGTH
cdef int _LOWER_CASE_VERSION = Leniency.LOWER_CASE_VERSION
cdef int _BARE_LF = Leniency.BARE_LF
cdef int _BARE_LF_IN_CHUNKS = Leniency.BARE_LF_IN_CHUNKS
cdef int _STATUS_BEYOND_599 = Leniency.STATUS_BEYOND_599
cdef int _SURPLUS = Leniency.SURPLUS
cdef int _LENGTH_BESIDE_CODING = Leniency.LENGTH_BESIDE_CODING
cdef int _NO_REASON = Leniency.NO_REASON
cdef int _CONTROL_CHARACTERS = Leniency.CONTROL_CHARACTERS
cdef int _EMPTY_LINES = Leniency.EMPTY_LINES
cdef int _PADDED_CHUNK_SIZE = Leniency.PADDED_CHUNK_SIZE

# The part of a message that a reader waits for.
cdef enum:
    HEAD            # the rest of a head
    LENGTH          # ``left`` octets of a body whose length is known
    UNTIL_CLOSE     # octets of a body that ends with its connection
    CHUNK_SIZE      # the first digit of a chunk's size
    CHUNK_DIGITS    # more of them
    CHUNK_PADDING   # what follows spaces behind them
    CHUNK_EXTENSION  # more of an extension
    CHUNK_LINE_END  # the LF of that line
    CHUNK_DATA      # ``left`` octets of a chunk
    CHUNK_CR        # the line end behind them
    CHUNK_LF        # its LF
    TRAILERS        # the rest of the trailers, which may be none
    END             # nothing: the end of the message is to be told
    DONE            # next_message()
    RAW             # octets of another protocol
    CLOSED          # nothing: the connection has ended between messages, which was told
    FAILED          # nothing: what came is no message

cdef unsigned char TOKEN[256]  # of an octet that a token may have, the same in lower case; else 0
cdef signed char DIGIT[256]    # of a hexadecimal digit its value; else -1


def _tables():
    cdef int octet
    for octet in range(256):
        TOKEN[octet] = 0
        DIGIT[octet] = -1
    for octet in b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz":
        TOKEN[octet] = octet + 32 if 65 <= octet <= 90 else octet
    for octet in range(10):
        DIGIT[48 + octet] = octet
    for octet in range(6):
        DIGIT[65 + octet] = DIGIT[97 + octet] = 10 + octet


_tables()


cdef class Head:
    """The common part of the heads of requests and answers."""

    cdef readonly int version
    """10 for HTTP/1.0, 11 for HTTP/1.1 and what may follow it."""
    cdef readonly list headers
    """(name, value) pairs in order, names in lower case, one character for an octet."""
    cdef readonly object length
    """The value of Content-Length, or None; None too where Transfer-Encoding overrides it."""
    cdef readonly bint chunked
    """Whether the body comes in chunks."""
    cdef readonly bint keep_alive
    """Whether the sender lets the connection go on after this message."""
    cdef readonly bint upgrade
    """Whether Connection and Upgrade name another protocol."""


cdef class Request(Head):
    """The head of a request."""

    cdef readonly str method
    cdef readonly str target
    """One character for an octet, which need not be ASCII."""
    cdef readonly bint expect_continue
    """Whether the body is kept back until 100 was answered."""

    def __repr__(self):
        return f"<Request {self.method} {self.target}>"


cdef class Response(Head):
    """The head of an answer; one with a status below 200 comes before the answer itself."""

    cdef readonly int status
    cdef readonly str reason

    def __repr__(self):
        return f"<Response {self.status}>"


cdef class End:
    """The end of a message."""

    cdef readonly list trailers
    """(name, value) pairs, like ``headers``; empty as a rule."""

    def __init__(self, list trailers):
        self.trailers = trailers

    def __repr__(self):
        return f"<End {self.trailers}>"


class Closed:
    """The other side sends no further message."""

    __slots__ = ()

    def __repr__(self):
        return "<Closed>"


_CLOSED = Closed()

_IN_HEADS = frozenset(("content-length", "host", "transfer-encoding"))


cdef struct Fields:
    # The framing of a message, as the fields of its head give it.
    bint has_length
    int lengths        # how often it was said
    unsigned long long length
    int codings        # transfer codings, all in all
    bint chunked       # the last of them is chunked
    bint close
    bint keep_alive
    bint upgrade_named
    bint upgrade
    bint expect_continue
    int hosts


cdef bint _is_name(const unsigned char *name, Py_ssize_t size, const char *wanted):
    return memcmp(name, wanted, size) == 0


cdef bint _is_token(const unsigned char *at, Py_ssize_t size, const char *wanted):
    """Whether the octets are ``wanted``, of that size and in lower case, in whatever case."""
    cdef Py_ssize_t i
    for i in range(size):
        if TOKEN[at[i]] != <unsigned char>wanted[i]:
            return False
    return True


cdef object _latin1(const unsigned char *at, Py_ssize_t size):
    return PyUnicode_DecodeLatin1(<char *>at, size, NULL)


cdef class Reader:
    """Messages of one direction of a connection.

    :param requests: whether they are requests; else answers.
    :param leniency: what is tolerated (:class:`Leniency`).
    :param max_head: octets of the largest head, and of the trailers.
    :param max_fields: fields of them.
    """

    cdef bint _requests
    cdef int _leniency
    cdef Py_ssize_t _max_head
    cdef int _max_fields
    cdef int _state
    cdef bytes _data            # what is being read, from _at on
    cdef Py_ssize_t _at
    cdef object _queue          # what came behind it
    cdef bytearray _held        # of a head or trailers, what came before _data
    cdef Py_ssize_t _line       # octets of its line that is not complete
    cdef bint _line_is_cr       # which are a CR
    cdef Py_ssize_t _spent      # octets of informational heads and empty lines before this head
    cdef Py_ssize_t _chunk_line  # octets of the line before a chunk
    cdef int _digits
    cdef unsigned long long _left
    cdef bint _eof
    cdef list _trailers
    cdef str _error
    cdef public bint no_body
    """Whether the answer has none whatever its head says: it is one to HEAD."""
    cdef public bint upgrade_asked
    """Whether the request asked for another protocol, so that 101 may be answered."""

    def __init__(self, *, bint requests, int leniency, Py_ssize_t max_head=MAX_HEAD,
                 int max_fields=MAX_FIELDS):
        self._requests = requests
        self._leniency = leniency
        self._max_head = max_head
        self._max_fields = max_fields
        self._state = HEAD
        self._data = b""
        self._queue = deque()
        self._held = bytearray()

    @property
    def done(self):
        """Whether the message has ended, and nothing of the next is read before next_message()."""
        return self._state == DONE

    @property
    def raw(self):
        """Whether the octets are another protocol's."""
        return self._state == RAW

    @property
    def eof(self):
        """Whether the other side has ended its direction of the connection."""
        return self._eof

    @property
    def waiting(self):
        """Octets that came and were not read yet."""
        cdef Py_ssize_t count = len(self._data) - self._at
        for piece in self._queue:
            count += len(piece)
        return count

    @property
    def untouched(self):
        """Whether nothing came since the last message ended."""
        return (
            (self._state == HEAD or self._state == DONE)
            and not self._eof
            and self._at == len(self._data)
            and not self._queue
            and PyByteArray_GET_SIZE(self._held) == 0
            and not self._spent
        )

    def receive(self, bytes data not None):
        """Take in the next octets, b"" for the end of the connection."""
        if not data:
            self._eof = True
        elif self._at == PyBytes_GET_SIZE(self._data) and not self._queue:
            self._data, self._at = data, 0
        else:
            self._queue.append(data)

    def next_event(self):
        """A :class:`Request` or :class:`Response`, a piece of the body, :class:`End`,
        :class:`Closed`, or None if more octets are needed or the message is :attr:`done`.

        Raises WireError for what is no message, MessageTruncated where the connection ended inside
        one; there is no going on after that.
        """
        if self._state == FAILED:
            raise WireError(self._error or "what came before was no message")
        try:
            return self._next_event()
        except MessageError as error:
            self._state = FAILED
            self._error = str(error)
            self._held = bytearray()
            self._data, self._at = b"", 0
            self._queue.clear()
            raise

    def next_message(self):
        """Go on to the message behind the one that has ended."""
        assert self._state == DONE, "next_message() inside a message"
        self._state = HEAD
        self._spent = 0
        self.no_body = self.upgrade_asked = False

    def switch(self):
        """Take all that follows for another protocol's."""
        self._state = RAW

    cdef object _next_event(self):
        cdef Py_ssize_t size
        cdef object event
        while True:
            if self._state == END:
                self._state = DONE
                trailers, self._trailers = self._trailers, None
                return End(trailers or [])
            if self._state == DONE:
                surplus = self._at < len(self._data)
                if surplus and not self._requests and not self._leniency & _SURPLUS:
                    raise WireError("octets behind an answer that nobody asked for")
                return None
            size = PyBytes_GET_SIZE(self._data)
            if self._at == size:
                if self._queue:
                    self._data, self._at = self._queue.popleft(), 0
                    continue
                if self._eof:
                    return self._ended()
                return None
            if self._state == HEAD or self._state == TRAILERS:
                event = self._read_lines()
                if event is not None:
                    return event
            elif self._state == LENGTH or self._state == CHUNK_DATA:
                return self._piece()
            elif self._state == UNTIL_CLOSE or self._state == RAW:
                return self._rest()
            elif self._state == CLOSED:
                self._at = size
            else:
                self._read_chunk_line()

    cdef object _ended(self):
        """The connection has ended."""
        if self._state == UNTIL_CLOSE:
            self._state = DONE
            return End([])
        if self._state == RAW:
            self._state = CLOSED
            return _CLOSED
        if self._state == CLOSED:
            return None
        if self._state == HEAD:
            # Informational answers announce one that is still to come.
            if not PyByteArray_GET_SIZE(self._held) and (self._requests or not self._spent):
                self._state = CLOSED
                return _CLOSED
            raise MessageTruncated("the connection ended inside a head")
        raise MessageTruncated("the connection ended inside a body")

    # -- bodies ------------------------------------------------------------------------------------

    cdef bytes _take(self, Py_ssize_t count):
        """The next octets of what is being read."""
        cdef bytes data = self._data
        cdef Py_ssize_t at = self._at
        self._at = at + count
        if at == 0 and count == PyBytes_GET_SIZE(data):
            self._data, self._at = b"", 0
            return data
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + at, count)

    cdef bytes _rest(self):
        return self._take(PyBytes_GET_SIZE(self._data) - self._at)

    cdef bytes _piece(self):
        cdef Py_ssize_t there = PyBytes_GET_SIZE(self._data) - self._at
        if <unsigned long long>there >= self._left:
            there = <Py_ssize_t>self._left
        self._left -= there
        if not self._left:
            self._state = END if self._state == LENGTH else CHUNK_CR
        return self._take(there)

    cdef int _read_chunk_line(self) except -1:
        """Read the octets between the data of chunks, one by one (RFC 9112 §7.1)."""
        cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(self._data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._data)
        cdef unsigned char octet
        while self._at < size:
            octet = data[self._at]
            self._at += 1
            if self._state == CHUNK_CR or self._state == CHUNK_LF:
                self._read_data_end(octet)
                continue
            self._chunk_line += 1
            if self._chunk_line > CHUNK_LINE:
                raise WireError(f"more than {CHUNK_LINE} octets before a chunk")
            if self._state == CHUNK_LINE_END:
                if octet != 10:
                    raise WireError("CR without LF before a chunk")
                return self._begin_chunk()
            if octet == 13:
                if self._state == CHUNK_SIZE or (
                    self._state == CHUNK_PADDING and not self._leniency & _PADDED_CHUNK_SIZE
                ):
                    raise WireError("a chunk without a size")
                self._state = CHUNK_LINE_END
            elif octet == 10:
                if self._state == CHUNK_SIZE or not self._leniency & _BARE_LF_IN_CHUNKS:
                    raise WireError("LF without CR before a chunk")
                return self._begin_chunk()
            elif self._state == CHUNK_EXTENSION:
                if octet == 0:
                    raise WireError("NUL before a chunk")
            else:
                self._read_size(octet)
        return 0

    cdef int _read_size(self, unsigned char octet) except -1:
        """An octet of a chunk's size, or the one behind it."""
        if DIGIT[octet] >= 0 and self._state != CHUNK_PADDING:
            if self._digits == SIZE_DIGITS:
                raise WireError("the size of a chunk has too many digits")
            # Zeros before the size count too: a size has no need of them.
            self._digits += 1
            self._left = (self._left << 4) | <unsigned int>DIGIT[octet]
            self._state = CHUNK_DIGITS
        elif self._state == CHUNK_SIZE:
            raise WireError("the size of a chunk is no hexadecimal number")
        elif octet == 59:  # ;
            self._state = CHUNK_EXTENSION
        elif octet == 32 or octet == 9:
            self._state = CHUNK_PADDING
        else:
            raise WireError("the size of a chunk is no hexadecimal number")
        return 0

    cdef int _read_data_end(self, unsigned char octet) except -1:
        """An octet of the line end behind a chunk's data."""
        if octet == 13 and self._state == CHUNK_CR:
            self._state = CHUNK_LF
        elif octet == 10 and (self._state == CHUNK_LF or self._leniency & _BARE_LF_IN_CHUNKS):
            self._expect_chunk()
        else:
            raise WireError("a chunk that is longer than its size")
        return 0

    cdef void _expect_chunk(self):
        self._state = CHUNK_SIZE
        self._digits = 0
        self._left = 0
        self._chunk_line = 0

    cdef int _begin_chunk(self) except -1:
        self._state = CHUNK_DATA if self._left else TRAILERS
        return 0

    # -- heads and trailers ------------------------------------------------------------------------

    cdef object _read_lines(self):
        """Look for the empty line; None if it is not there yet."""
        cdef const char *data = PyBytes_AS_STRING(self._data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._data)
        cdef Py_ssize_t begin = self._at, at = self._at, line
        cdef const char *found
        cdef bint empty, first
        while True:
            found = <const char *>memchr(data + at, 10, size - at)
            if found == NULL:
                break
            line = found - (data + at)
            empty = (line == 0 and (self._line == 0 or self._line_is_cr)) or (
                line == 1 and self._line == 0 and data[at] == 13
            )
            first = at == begin and PyByteArray_GET_SIZE(self._held) == self._line
            self._line, self._line_is_cr = 0, False
            at += line + 1
            if not empty:
                continue
            if first and self._state == HEAD:
                self._skip_empty_line(at - begin)
                begin = at
                continue
            return self._complete(begin, at)
        line = size - at
        self._line_is_cr = line > 0 and self._line == 0 and line == 1 and data[at] == 13 or (
            line == 0 and self._line_is_cr
        )
        self._line += line
        self._check_size(size - begin)
        self._held += self._data[begin:] if begin else self._data
        self._at = size
        return None

    cdef int _check_size(self, Py_ssize_t more) except -1:
        if self._spent + PyByteArray_GET_SIZE(self._held) + more > self._max_head:
            what = "trailers" if self._state == TRAILERS else "a head"
            raise WireError(f"{what} of more than {self._max_head} octets", 431)
        return 0

    cdef int _skip_empty_line(self, Py_ssize_t size) except -1:
        if not self._leniency & _EMPTY_LINES:
            raise WireError("an empty line where a message should begin")
        self._spent += size + PyByteArray_GET_SIZE(self._held)
        if PyByteArray_GET_SIZE(self._held):
            self._held = bytearray()
        self._check_size(0)
        return 0

    cdef object _complete(self, Py_ssize_t begin, Py_ssize_t end):
        """Read the head or trailers that end in what is being read."""
        cdef const unsigned char *at
        cdef Py_ssize_t size = end - begin
        cdef bytearray held = self._held
        self._check_size(size)
        if PyByteArray_GET_SIZE(held):
            held += self._data[begin:end]
            self._held = bytearray()
            at = <const unsigned char *>PyByteArray_AS_STRING(held)
            size = PyByteArray_GET_SIZE(held)
        else:
            at = <const unsigned char *>PyBytes_AS_STRING(self._data) + begin
        self._at = end
        if self._state == TRAILERS:
            return self._read_trailers(at, at + size)
        if self._requests:
            return self._read_request(at, at + size)
        return self._read_response(at, at + size)

    cdef const unsigned char *_line_end(
        self, const unsigned char *at, const unsigned char *end, const unsigned char **behind
    ) except NULL:
        """Where the line ends; ``behind`` is set to where the next begins."""
        cdef const unsigned char *found = <const unsigned char *>memchr(at, 10, end - at)
        behind[0] = found + 1
        if found > at and (found - 1)[0] == 13:
            return found - 1
        if not self._leniency & _BARE_LF:
            raise WireError("a line that ends in LF without CR")
        return found

    cdef list _read_fields(
        self, const unsigned char *at, const unsigned char *end, Fields *fields
    ):
        cdef const unsigned char *stop
        cdef const unsigned char *behind
        cdef const unsigned char *value
        cdef unsigned char name[MAX_NAME]
        cdef Py_ssize_t size
        cdef list found = []
        cdef int count = 0
        while True:
            stop = self._line_end(at, end, &behind)
            if stop == at:
                return found
            count += 1
            if count > self._max_fields:
                raise WireError(f"more than {self._max_fields} fields", 431)
            size = self._read_name(at, stop, name)
            value = at + size + 1
            while value < stop and (value[0] == 32 or value[0] == 9):
                value += 1
            while stop > value and ((stop - 1)[0] == 32 or (stop - 1)[0] == 9):
                stop -= 1
            self._check_value(value, stop)
            found.append((_latin1(name, size), _latin1(value, stop - value)))
            if fields != NULL:
                self._note(name, size, value, stop, fields)
            at = behind

    cdef Py_ssize_t _read_name(
        self, const unsigned char *at, const unsigned char *stop, unsigned char *name
    ) except -1:
        """The size of a field's name, which is put into ``name`` in lower case."""
        cdef Py_ssize_t size = 0
        cdef unsigned char octet
        if at[0] == 32 or at[0] == 9:
            raise WireError("a line that continues the one before (RFC 9112 §5.2)")
        while at + size < stop:
            octet = TOKEN[at[size]]
            if not octet:
                break
            if size == MAX_NAME:
                raise WireError(f"a field name of more than {MAX_NAME} octets", 431)
            name[size] = octet
            size += 1
        if at + size == stop or at[size] != 58:
            raise WireError("a line in a head that is no field")
        if not size:
            raise WireError("a field without a name")
        return size

    cdef int _check_value(self, const unsigned char *at, const unsigned char *stop) except -1:
        cdef bint lenient = self._leniency & _CONTROL_CHARACTERS
        while at < stop:
            if at[0] < 32 or at[0] == 127:
                if at[0] == 0 or at[0] == 13 or not (at[0] == 9 or lenient):
                    raise WireError("a field value with characters that HTTP does not allow")
            at += 1
        return 0

    cdef int _note(
        self,
        const unsigned char *name,
        Py_ssize_t size,
        const unsigned char *at,
        const unsigned char *stop,
        Fields *fields,
    ) except -1:
        """Keep what a field says of its message."""
        if size == 14 and _is_name(name, size, b"content-length"):
            self._note_length(at, stop, fields)
        elif size == 17 and _is_name(name, size, b"transfer-encoding"):
            self._note_tokens(at, stop, fields, False)
        elif size == 10 and _is_name(name, size, b"connection"):
            self._note_tokens(at, stop, fields, True)
        elif size == 7 and _is_name(name, size, b"upgrade"):
            fields.upgrade = True
        elif size == 4 and _is_name(name, size, b"host"):
            fields.hosts += 1
        elif size == 6 and _is_name(name, size, b"expect"):
            if stop - at == 12 and _is_token(at, 12, b"100-continue"):
                fields.expect_continue = True
            elif self._requests:
                raise WireError("Expect for anything but 100-continue", 417)
        return 0

    cdef int _note_length(
        self, const unsigned char *at, const unsigned char *stop, Fields *fields
    ) except -1:
        """Content-Length (RFC 9110 §8.6)."""
        cdef unsigned long long length
        cdef int digits
        while True:
            length, digits = 0, 0
            while at < stop and 48 <= at[0] <= 57:
                digits += 1
                if digits > LENGTH_DIGITS:
                    raise WireError("Content-Length has too many digits")
                length = length * 10 + (at[0] - 48)
                at += 1
            while at < stop and (at[0] == 32 or at[0] == 9):
                at += 1
            if not digits or (at < stop and at[0] != 44):
                raise WireError("Content-Length is no number")
            if fields.has_length and (
                length != fields.length or not self._leniency & _REPEATED_LENGTH
            ):
                raise WireError("Content-Length is said twice")
            fields.has_length, fields.length = True, length
            fields.lengths += 1
            if at == stop:
                return 0
            at += 1
            while at < stop and (at[0] == 32 or at[0] == 9):
                at += 1

    cdef int _note_tokens(
        self, const unsigned char *at, const unsigned char *stop, Fields *fields, bint connection
    ) except -1:
        """The members of Connection or Transfer-Encoding (RFC 9110 §5.6.1)."""
        cdef const unsigned char *begin
        cdef Py_ssize_t size
        while at < stop:
            if at[0] == 32 or at[0] == 9 or at[0] == 44:
                at += 1
                continue
            begin = at
            while at < stop and at[0] != 44:
                at += 1
            size = at - begin
            while begin[size - 1] == 32 or begin[size - 1] == 9:
                size -= 1
            if not connection:
                fields.codings += 1
                fields.chunked = size == 7 and _is_token(begin, 7, b"chunked")
            elif size == 5 and _is_token(begin, 5, b"close"):
                fields.close = True
            elif size == 10 and _is_token(begin, 10, b"keep-alive"):
                fields.keep_alive = True
            elif size == 7 and _is_token(begin, 7, b"upgrade"):
                fields.upgrade_named = True
        if not connection and not fields.codings:
            raise WireError("Transfer-Encoding without a coding")
        return 0

    cdef int _read_version(self, const unsigned char *at) except -1:
        """``HTTP/1.x``, of which there are eight octets."""
        cdef bint named = memcmp(at, b"HTTP/", 5) == 0
        if not named and self._leniency & _LOWER_CASE_VERSION:
            named = _is_token(at, 4, b"http") and at[4] == 47
        if not named or not 48 <= at[5] <= 57 or at[6] != 46 or not 48 <= at[7] <= 57:
            raise WireError("a first line without HTTP/1.1")
        if at[5] != 49:
            raise WireError("another version than HTTP/1.1", 505)
        return 10 if at[7] == 48 else 11

    cdef object _read_request(self, const unsigned char *at, const unsigned char *end):
        cdef const unsigned char *behind
        cdef const unsigned char *stop = self._line_end(at, end, &behind)
        cdef const unsigned char *target
        cdef const unsigned char *begin = at
        cdef Request request = Request.__new__(Request)
        cdef Fields fields
        while at < stop and TOKEN[at[0]]:
            at += 1
        if at == begin or at == stop or at[0] != 32 or at - begin > MAX_NAME:
            raise WireError("a request without a method")
        request.method = _latin1(begin, at - begin)
        at += 1
        target = at
        while at < stop and at[0] > 32 and at[0] != 127:
            at += 1
        if at == target or at == stop or at[0] != 32:
            raise WireError("a request without a target, or with one that has spaces or controls")
        request.target = _latin1(target, at - target)
        at += 1
        if stop - at != 8:
            raise WireError("a request line that does not end in HTTP/1.1")
        request.version = self._read_version(at)
        fields = Fields(False, 0, 0, 0, False, False, False, False, False, False, 0)
        request.headers = self._read_fields(behind, end, &fields)
        self._spent = 0
        self._frame_request(request, &fields)
        return request

    cdef int _frame_request(self, Request request, Fields *fields) except -1:
        """Where the body of a request ends (RFC 9112 §6.3)."""
        if fields.hosts > 1 or (not fields.hosts and request.version == 11):
            raise WireError("a request without a Host, or with two (RFC 9112 §3.2)")
        self._keep(request, fields)
        request.expect_continue = fields.expect_continue and request.version == 11
        if fields.codings:
            if fields.has_length:
                raise WireError("a request with both Content-Length and Transfer-Encoding")
            if request.version == 10:
                raise WireError("a request with Transfer-Encoding in HTTP/1.0")
            if fields.codings != 1 or not fields.chunked:
                raise WireError("a request with another transfer coding than chunked", 501)
            request.chunked = True
            self._expect_chunk()
        elif fields.has_length and fields.length:
            request.length = self._left = fields.length
            self._state = LENGTH
        else:
            request.length = 0 if fields.has_length else None
            self._state = END
        return 0

    cdef int _keep(self, Head head, Fields *fields) except -1:
        head.keep_alive = not fields.close and (head.version == 11 or fields.keep_alive)
        head.upgrade = fields.upgrade and fields.upgrade_named and head.version == 11
        return 0

    cdef object _read_response(self, const unsigned char *begin, const unsigned char *end):
        cdef const unsigned char *behind
        cdef const unsigned char *at = begin
        cdef const unsigned char *stop = self._line_end(at, end, &behind)
        cdef Response response = Response.__new__(Response)
        cdef Fields fields
        cdef int i
        if stop - at < 12 or at[8] != 32:
            raise WireError("an answer without a status line")
        response.version = self._read_version(at)
        at += 9
        for i in range(3):
            if not 48 <= at[i] <= 57:
                raise WireError("an answer whose status is no number")
            response.status = response.status * 10 + (at[i] - 48)
        if response.status < 100 or (
            response.status > 599 and not self._leniency & _STATUS_BEYOND_599
        ):
            raise WireError(f"an answer with the status {response.status}")
        at += 3
        if at < stop and at[0] != 32:
            raise WireError("an answer whose status has more than three digits")
        if at == stop and not self._leniency & _NO_REASON:
            raise WireError("a status line that ends behind the status")
        if at < stop:
            at += 1
        self._check_value(at, stop)
        response.reason = _latin1(at, stop - at)
        fields = Fields(False, 0, 0, 0, False, False, False, False, False, False, 0)
        response.headers = self._read_fields(behind, end, &fields)
        if response.status < 200:
            self._spent += end - begin
        else:
            self._spent = 0
        self._frame_response(response, &fields)
        return response

    cdef int _frame_response(self, Response response, Fields *fields) except -1:
        """Where the body of an answer ends (RFC 9112 §6.3)."""
        self._keep(response, fields)
        if response.status == 101:
            if not self.upgrade_asked:
                raise WireError("an answer that changes the protocol, which nobody asked for")
            self._state = RAW
            return 0
        if response.status < 200:
            return 0
        if fields.codings:
            if fields.codings != 1 or not fields.chunked:
                raise WireError("an answer with another transfer coding than chunked")
            if fields.has_length or response.version == 10:
                self._contradicted(response)
        if fields.has_length and not fields.codings:
            response.length = fields.length
            if fields.lengths > 1:
                self._say_once(response)
        if self.no_body or response.status == 204 or response.status == 304:
            self._state = END
        elif fields.codings:
            response.chunked = True
            self._expect_chunk()
        elif not fields.has_length:
            response.keep_alive = False
            self._state = UNTIL_CLOSE
        elif fields.length:
            self._left = fields.length
            self._state = LENGTH
        else:
            self._state = END
        return 0

    cdef int _say_once(self, Response response) except -1:
        """Keep one Content-Length of several, so that whoever comes next need not tolerate them."""
        said = ("content-length", str(response.length))
        response.headers = [pair for pair in response.headers if pair[0] != said[0]] + [said]
        return 0

    cdef int _contradicted(self, Response response) except -1:
        """Transfer-Encoding stands where it should not, and counts."""
        if not self._leniency & _LENGTH_BESIDE_CODING:
            raise WireError(
                "an answer with Transfer-Encoding beside Content-Length, or in HTTP/1.0"
            )
        response.keep_alive = False
        response.headers = [pair for pair in response.headers if pair[0] != "content-length"]
        return 0

    cdef object _read_trailers(self, const unsigned char *at, const unsigned char *end):
        # Fields that say where a message ends or leads to come too late for it (RFC 9110 §6.5.1),
        # and nobody behind us shall take them for more.
        fields = self._read_fields(at, end, NULL)
        self._trailers = [pair for pair in fields if pair[0] not in _IN_HEADS]
        self._state = END
        return None


# -- fields that come as text ----------------------------------------------------------------------


cdef object _checked_name(str name):
    """``name`` in lower case, or None if it is no token."""
    cdef Py_ssize_t i, size = PyUnicode_GET_LENGTH(name)
    cdef const unsigned char *at
    cdef bint lower = True
    if not 0 < size <= MAX_NAME or not _plain(name):
        return None
    at = PyUnicode_1BYTE_DATA(name)
    for i in range(size):
        if TOKEN[at[i]] != at[i]:
            if not TOKEN[at[i]]:
                return None
            lower = False
    return name if lower and type(name) is str else name.lower()


cdef object _checked_value(str value):
    """``value`` without white space around it, or None if it cannot be sent."""
    cdef Py_ssize_t i, size = PyUnicode_GET_LENGTH(value)
    cdef const unsigned char *at
    if not _plain(value):
        return None
    at = PyUnicode_1BYTE_DATA(value)
    for i in range(size):
        if at[i] <= 13 and (at[i] == 13 or at[i] == 10 or at[i] == 0):
            return None
    if size and (at[0] == 32 or at[0] == 9 or at[size - 1] == 32 or at[size - 1] == 9):
        return value.strip(" \t")
    return value


def checked_fields(pairs):
    """(name, value) pairs, names in lower case. Raises MessageError for what HTTP forbids."""
    cdef list checked = []
    cdef object name, value, taken_name, taken_value
    for name, value in pairs:
        taken_name = _checked_name(name) if isinstance(name, str) else None
        if taken_name is None:
            raise MessageError(f"{name!r} is no header name")
        taken_value = _checked_value(value) if isinstance(value, str) else None
        if taken_value is None:
            raise MessageError(
                f"the value of header {name!r} has characters that HTTP does not allow"
            )
        checked.append((taken_name, taken_value))
    return checked


# -- writing ---------------------------------------------------------------------------------------


cdef inline bint _plain(object text):
    return PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND


cdef Py_ssize_t _field_size(object name, object value) except -1:
    """Octets of a field's line. Raises MessageError for one that cannot be sent."""
    cdef Py_ssize_t i, size
    cdef const unsigned char *at
    if not (
        isinstance(name, str) and isinstance(value, str) and _plain(name) and _plain(value)
    ):
        raise MessageError(f"the field {name!r} cannot be sent: octets are U+0000 to U+00FF")
    size, at = PyUnicode_GET_LENGTH(name), PyUnicode_1BYTE_DATA(name)
    for i in range(size):
        if not TOKEN[at[i]]:
            size = 0
            break
    if not size:
        raise MessageError(f"{name!r} is no field name")
    size, at = PyUnicode_GET_LENGTH(value), PyUnicode_1BYTE_DATA(value)
    for i in range(size):
        if at[i] == 10 or at[i] == 13 or at[i] == 0:
            raise MessageError(f"the value of {name!r} has characters that HTTP does not allow")
    return PyUnicode_GET_LENGTH(name) + size + 4


cdef inline char *_put(char *to, object text):
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    memcpy(to, PyUnicode_1BYTE_DATA(text), size)
    return to + size


cdef bytes _lines(str first, list fields):
    """``first``, of Latin-1, and the fields as lines, with the empty one behind."""
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(first) + 2
    cdef object name, value
    cdef bytes lines
    cdef char *to
    for name, value in fields:
        size += _field_size(name, value)
    lines = PyBytes_FromStringAndSize(NULL, size)
    to = _put(PyBytes_AS_STRING(lines), first)
    for name, value in fields:
        to = _put(to, name)
        memcpy(to, b": ", 2)
        to = _put(to + 2, value)
        memcpy(to, b"\r\n", 2)
        to += 2
    memcpy(to, b"\r\n", 2)
    return lines


def request_head(str method not None, str target not None, list headers not None):
    """The octets of a request's head. Raises MessageError for what cannot be sent."""
    cdef Py_ssize_t i
    cdef const unsigned char *at
    if not _plain(method) or not PyUnicode_GET_LENGTH(method):
        raise MessageError(f"{method!r} is no method")
    at = PyUnicode_1BYTE_DATA(method)
    for i in range(PyUnicode_GET_LENGTH(method)):
        if not TOKEN[at[i]]:
            raise MessageError(f"{method!r} is no method")
    if not _plain(target) or not PyUnicode_GET_LENGTH(target):
        raise MessageError(f"{target!r} is no target")
    at = PyUnicode_1BYTE_DATA(target)
    for i in range(PyUnicode_GET_LENGTH(target)):
        if at[i] <= 32 or at[i] == 127:
            raise MessageError(f"{target!r} is no target")
    return _lines(f"{method} {target} HTTP/1.1\r\n", headers)


def response_head(int status, str reason not None, list headers not None):
    """The octets of an answer's head. Raises MessageError for what cannot be sent."""
    if not 100 <= status <= 999:
        raise MessageError(f"{status} is no status")
    if not _plain(reason) or "\r" in reason or "\n" in reason or "\0" in reason:
        raise MessageError(f"{reason!r} is no reason")
    return _lines(f"HTTP/1.1 {status} {reason}\r\n", headers)


def last_chunk(list trailers not None):
    """The end of a chunked body. Raises MessageError for trailers that cannot be sent."""
    if not trailers:
        return b"0\r\n\r\n"
    return _lines("0\r\n", trailers)
