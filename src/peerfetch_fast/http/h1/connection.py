"""One HTTP/1.1 connection, as its client or as its server. Sans-I/O.

Octets go in with ``receive``, events come out of ``next_event``; what ``write_…`` returns goes to
the socket, in that order.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus

from peerfetch_fast.errors import MessageError, MessageTruncated
from peerfetch_fast.http.h1._wire import (
    MAX_FIELDS,
    MAX_HEAD,
    Closed,
    End,
    Reader,
    Request,
    Response,
    last_chunk,
    request_head,
    response_head,
)
from peerfetch_fast.http.h1.leniency import PROGRAM, UPSTREAM, Leniency

__all__ = ["ClientConnection", "Event", "Headers", "Octets", "ServerConnection", "Writing"]

Headers = list[tuple[str, str]]
"""In order; one character for an octet. Names are read in lower case and written as they are."""

Octets = bytes | bytearray | memoryview

Event = Request | Response | bytes | End | Closed
"""A head, a piece of the body, the end of the message, or that of the connection."""

# The next steps that each side of a connection may take. The rows are states of writing, and of
# reading. A message goes from IDLE to DONE; 101 leads to RAW on both sides, for good.
#
#   writing │ a client                    │ a server
#   ────────┼─────────────────────────────┼─────────────────────────────────────────────────
#   IDLE    │ write_request → BODY, DONE  │ write_informational → IDLE, once a request was read
#           │                             │ write_response → BODY, DONE; 101 → RAW
#   BODY    │ write_body → BODY; write_end → DONE (the same for both)
#   DONE    │ next_cycle → IDLE, where `reusable`
#   RAW     │ write_body → RAW
#
#   reading │ the events, and what comes next
#   ────────┼───────────────────────────────────────────────────────────────────────────────
#   head    │ Response below 200 → head (a client only); Request, Response → body
#           │ Response 101 → RAW; Closed, where no message has begun
#   body    │ bytes → body; End → DONE
#   DONE    │ None, whatever came; next_cycle → head, where `reusable`
#   RAW     │ bytes → RAW; Closed
#
# An error on the reading side is final: the connection is not `reusable`. Its owner closes it after
# the last answer was sent.


class Writing(Enum):
    """How far the current message is written."""

    IDLE = "nothing"
    BODY = "its head"
    DONE = "all of it"
    RAW = "another protocol"


class _Connection:
    """The part that both roles share: the body that is written, and the one that is read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.writing = Writing.IDLE
        self._left: int | None = 0
        """Octets of the body that are to be written; None for one in chunks, -1 for one that ends
        with its connection."""
        self._keep_alive = True

    def receive(self, data: bytes) -> None:
        """Take in octets of the socket, b"" for its end, and keep those that come too early."""
        self._reader.receive(data)

    def next_event(self) -> Event | None:
        """The next event of the octets that came; None until more come or
        :meth:`next_cycle`.

        Raises WireError for what is no message, MessageTruncated where the connection ended inside
        one.
        """
        return self._reader.next_event()

    @property
    def read_all(self) -> bool:
        """Whether the message that is read has come to its end."""
        return self._reader.done

    @property
    def eof(self) -> bool:
        """Whether the other side has ended its direction of the connection."""
        return self._reader.eof

    @property
    def waiting(self) -> int:
        """Octets that came and were not read yet: of the next message, after the end of one."""
        return self._reader.waiting

    def write_body(self, data: Octets) -> tuple[Octets, ...]:
        """The octets of a piece of the body, or of another protocol.

        Raises MessageError for more than was announced.
        """
        if not data:
            return ()
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        if self.writing is Writing.RAW:
            return (data,)
        assert self.writing is Writing.BODY, "a body without a head"
        if self._left is None:
            return b"%x\r\n" % size, data, b"\r\n"
        if self._left >= 0:
            if size > self._left:
                raise MessageError("a body longer than its Content-Length")
            self._left -= size
        return (data,)

    def write_end(self, trailers: Headers | None = None) -> bytes:
        """The octets of the end of the message; trailers where the body is chunked, else none.

        Raises MessageTruncated for less than was announced, MessageError for trailers that cannot
        be sent.
        """
        if self.writing is Writing.DONE:
            return b""
        assert self.writing is Writing.BODY, "an end without a head"
        if self._left is None:
            end = last_chunk(trailers or [])
        elif self._left > 0:
            raise MessageTruncated(f"a body that is {self._left} bytes short of its Content-Length")
        else:
            end = b""
        self.writing = Writing.DONE
        return end

    @property
    def reusable(self) -> bool:
        """Whether both messages have ended, and another may follow on this connection."""
        return self._keep_alive and self.writing is Writing.DONE and self._reader.done

    def next_cycle(self) -> None:
        """Go on to the next request and its answer. Only where :attr:`reusable`."""
        assert self.reusable, "the connection cannot be used again"
        self._reader.next_message()
        self.writing = Writing.IDLE


class ClientConnection(_Connection):
    """The end that asks.

    :param leniency: departures from RFC 9112 that are tolerated in answers.
    :param max_head: octets of the largest head, and of trailers.
    :param max_fields: fields of them.
    """

    def __init__(
        self,
        *,
        leniency: Leniency = UPSTREAM,
        max_head: int = MAX_HEAD,
        max_fields: int = MAX_FIELDS,
    ) -> None:
        super().__init__(
            Reader(requests=False, leniency=leniency, max_head=max_head, max_fields=max_fields)
        )

    def next_event(self) -> Event | None:
        """The next event; a Response with a status from 100 to 199 comes before the answer."""
        event = self._reader.next_event()
        if isinstance(event, Response):
            if event.status >= 200:
                self._keep_alive = self._keep_alive and event.keep_alive
            elif event.status == 101:
                self.writing = Writing.RAW
        return event

    @property
    def idle(self) -> bool:
        """Whether neither octets nor the end have come since the last answer ended."""
        return self._reader.untouched

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: both messages ended, and no surplus octets came."""
        return super().reusable and self._reader.untouched

    def write_request(
        self,
        method: str,
        target: str,
        headers: Headers,
        *,
        length: int | None = 0,
        close: bool = False,
        upgrade: str | None = None,
    ) -> bytes:
        """The head of a request.

        :param headers: without Transfer-Encoding, Connection and Upgrade. Content-Length is added
            where they lack it and there is a body.
        :param length: octets of the body, None where they are not known (it goes in chunks).
        :param close: say that no other request follows.
        :param upgrade: another protocol that is asked for.

        Raises MessageError for what cannot be sent.
        """
        assert self.writing is Writing.IDLE, "a request inside another"
        fields = headers
        if length is None:
            fields = [*fields, ("transfer-encoding", "chunked")]
        elif length and not any(name == "content-length" for name, _ in headers):
            fields = [*fields, ("content-length", str(length))]
        if upgrade is not None:
            fields = [*fields, ("connection", "upgrade"), ("upgrade", upgrade)]
            self._reader.upgrade_asked = True
        elif close:
            fields = [*fields, ("connection", "close")]
        head = request_head(method, target, fields)
        self._reader.no_body = method == "HEAD"
        self._keep_alive = not close
        self._left = length
        self.writing = Writing.DONE if length == 0 else Writing.BODY
        return head


class ServerConnection(_Connection):
    """The end that answers.

    :param leniency: departures from RFC 9112 that are tolerated in requests.
    :param max_head: octets of the largest head, and of trailers.
    :param max_fields: fields of them.
    """

    def __init__(
        self,
        *,
        leniency: Leniency = PROGRAM,
        max_head: int = MAX_HEAD,
        max_fields: int = MAX_FIELDS,
    ) -> None:
        super().__init__(
            Reader(requests=True, leniency=leniency, max_head=max_head, max_fields=max_fields)
        )
        self._request: Request | None = None

    def next_event(self) -> Event | None:
        """The next event. After an error, an answer (:meth:`write_response`) can still be sent."""
        event = self._reader.next_event()
        if isinstance(event, Request):
            self._request = event
            self._keep_alive = event.keep_alive
        return event

    def write_informational(self, status: int, headers: Headers | None = None) -> bytes:
        """The octets of an answer from 100 to 199, but for 101, before the answer itself; none to a
        client of HTTP/1.0, which knows no such thing (RFC 9110 §15.2).

        Raises MessageError for what cannot be sent.
        """
        assert self.writing is Writing.IDLE, "an informational answer inside another"
        assert 100 <= status <= 199, "no informational answer"
        assert status != 101, "101 is written with write_response()"
        if self._request is None or self._request.version == 10:
            return b""
        return response_head(status, _reason(status), headers or [])

    def write_response(
        self, status: int, headers: Headers, *, reason: str | None = None, close: bool = False
    ) -> bytes:
        """The head of an answer. Where its body ends is said by Content-Length among ``headers``,
        or by chunks, or to a client of HTTP/1.0 by the connection's end.

        With 101, ``headers`` name the protocol that follows, Connection and Upgrade included.

        :param headers: without Transfer-Encoding, and but for 101 without Connection and Upgrade.
        :param reason: behind the status; by default the usual words.
        :param close: say that no other request is answered, which follows too where the request did
            not want it, or could not be read.

        Raises MessageError for what cannot be sent.
        """
        assert self.writing is Writing.IDLE, "an answer inside another"
        request = self._request
        reason = _reason(status) if reason is None else reason
        if status == 101:
            head = response_head(status, reason, headers)
            self.writing = Writing.RAW
            self._reader.switch()
            return head
        left = _announced(headers)
        if (request is not None and request.method == "HEAD") or status in (204, 304):
            left = 0
        old = request is None or request.version == 10
        if left is None and old:
            left, close = -1, True
        fields = headers
        if left is None:
            fields = [*fields, ("transfer-encoding", "chunked")]
        keep_alive = request is not None and self._keep_alive and not close
        if not keep_alive:
            fields = [*fields, ("connection", "close")]
        elif old:
            fields = [*fields, ("connection", "keep-alive")]
        head = response_head(status, reason, fields)
        self._keep_alive = keep_alive
        self._left = left
        self.writing = Writing.DONE if left == 0 else Writing.BODY
        return head

    def next_cycle(self) -> None:
        """Go on to the next request and its answer. Only where :attr:`reusable`."""
        super().next_cycle()
        self._request = None


def _announced(headers: Headers) -> int | None:
    """The value of Content-Length. Raises MessageError where it is no number, or several."""
    values = [value for name, value in headers if name.lower() == "content-length"]
    if not values:
        return None
    if len(values) > 1 or not (values[0].isascii() and values[0].isdigit()):
        raise MessageError("an answer whose Content-Length is no number")
    return int(values[0])


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
