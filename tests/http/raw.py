"""HTTP peers on bare sockets: an upstream that sends what no library lets one send, and a program
that asks so.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from dataclasses import dataclass, field

QUIET = 2.0
"""Seconds without an octet after which nothing more is expected."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Answering:
    """What an upstream does with a request.

    :ivar answer: the octets of its answer.
    :ivar early: whether it answers before the body was read, which it then never is.
    :ivar interim: what it sends first, before the body was read.
    :ivar close: whether it ends the connection behind the answer.
    :ivar reset: whether it does so with RST.
    :ivar drop_reused: whether it ends a connection, unanswered, on which a second request comes.
    """

    answer: bytes = OK
    early: bool = False
    interim: bytes = b""
    close: bool = False
    reset: bool = False
    drop_reused: bool = False


@dataclass
class RawUpstream:
    """Listens in a thread of its own; each connection has one, too."""

    doing: Answering = field(default_factory=Answering)
    requests: list[bytes] = field(default_factory=list)
    """The octets of each request, as far as it was read."""

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError):
            served = 0
            held = b""
            while True:
                head, held = until(connection, held, b"\r\n\r\n")
                doing = self.doing
                if doing.drop_reused and served:
                    return
                served += 1
                if doing.early:
                    self.requests.append(head)
                    connection.sendall(doing.answer)
                    connection.shutdown(socket.SHUT_WR)
                    # As servers do that linger, so that what they said is not thrown away.
                    connection.settimeout(QUIET)
                    while connection.recv(65536):
                        pass
                    return
                connection.sendall(doing.interim)
                body, held = body_of(connection, head, held)
                self.requests.append(head + body)
                connection.sendall(doing.answer)
                if doing.reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                if doing.close or doing.reset:
                    return


def until(connection: socket.socket, held: bytes, end: bytes) -> tuple[bytes, bytes]:
    """What came up to ``end``, and what came behind it. Raises EOFError."""
    while end not in held:
        piece = connection.recv(65536)
        if not piece:
            raise EOFError
        held += piece
    first, found, rest = held.partition(end)
    return first + found, rest


def body_of(connection: socket.socket, head: bytes, held: bytes) -> tuple[bytes, bytes]:
    """The octets of the body that ``head`` announces, and what came behind them."""
    if re.search(rb"\r\ntransfer-encoding: *chunked\r\n", head, re.IGNORECASE):
        body = b""
        while True:
            line, held = until(connection, held, b"\r\n")
            body += line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                while line != b"\r\n":
                    line, held = until(connection, held, b"\r\n")
                    body += line
                return body, held
            while len(held) < size + 2:
                held += connection.recv(65536)
            body, held = body + held[: size + 2], held[size + 2 :]
    length = re.search(rb"\r\ncontent-length: *([0-9]+)\r\n", head, re.IGNORECASE)
    size = int(length[1]) if length else 0
    while len(held) < size:
        piece = connection.recv(65536)
        if not piece:
            raise EOFError
        held += piece
    return held[:size], held[size:]


def said_to(
    port: int,
    octets: bytes,
    *,
    then: bytes = b"",
    after: bytes = b"",
    half_close: bool = False,
) -> bytes:
    """What a server answers to a program that says ``octets``, and ``then`` once ``after`` came;
    until the connection ends, or nothing comes.

    :param half_close: whether the program ends its direction behind what it says.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=QUIET) as connection:
        got = b""

        def send(data: bytes) -> None:
            # Who is refused in the middle may find the connection gone.
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)

        sending = threading.Thread(target=send, args=(octets,))
        sending.start()
        if half_close:
            sending.join()
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while piece := connection.recv(65536):
                got += piece
                if then and after in got:
                    send(then)
                    then = b""
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # who still sends shall not wait
        sending.join()
        return got


def plain(octets: bytes) -> bytes:
    """``octets`` with the names of fields in lower case: theirs says nothing (RFC 9110 §5.1)."""
    return re.sub(
        rb"(?m)^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):", lambda found: found[1].lower() + b":", octets
    )
