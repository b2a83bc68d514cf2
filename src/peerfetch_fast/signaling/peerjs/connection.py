"""The sending half of one client's WebSocket: its queue, and its close."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web

from peerfetch_fast.budget import Budget
from peerfetch_fast.signaling.peerjs.messages import CLOSE_NORMAL
from peerfetch_fast.signaling.peerjs.realm import cost
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings

__all__ = ["Connection"]


class Connection:
    """Sends to one WebSocket without ever making the caller wait.

    :param budget: shared with the server's other connections.
    """

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        settings: SignalingServerSettings,
        budget: Budget,
    ) -> None:
        self.closing = False
        self._socket = socket
        self._transport = transport
        self._settings = settings
        self._budget = budget
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._wake = asyncio.Event()
        self._code = CLOSE_NORMAL
        self._reason = ""
        self._abort_timer: asyncio.TimerHandle | None = None

    def send(self, data: bytes) -> bool:
        """Queue one message; False if the client reads too slowly for it to fit."""
        if self.closing:
            return True
        size = cost(data)
        if self._size + size > self._settings.max_outgoing or not self._budget.take(size):
            return False
        self._size += size
        self._waiting.append(data)
        self._wake.set()
        return True

    def close(self, code: int, reason: str) -> None:
        """Close in order once the queue is sent; cut the connection after ``close_timeout``."""
        if self.closing:
            return
        self.closing = True
        self._code = code
        self._reason = reason
        self._abort_timer = asyncio.get_running_loop().call_later(
            self._settings.close_timeout, self.abort
        )
        self._wake.set()

    def abort(self) -> None:
        """Cut the connection at once."""
        self.closing = True
        self._wake.set()
        if self._transport is not None:
            self._transport.abort()

    async def run(self) -> None:
        """Send what is queued until the connection is closed from either side."""
        try:
            while self._waiting or not self.closing:
                self._wake.clear()
                while self._waiting:
                    await self._socket.send_str(self._next().decode())
                if not self.closing:
                    await self._wake.wait()
            await self._socket.close(code=self._code, message=self._reason.encode())
        except OSError:
            # The client is gone. The receiving half notices that too, and ends the connection.
            self.closing = True
        finally:
            while self._waiting:
                self._next()
            if self._abort_timer is not None:
                self._abort_timer.cancel()

    def _next(self) -> bytes:
        data = self._waiting.popleft()
        size = cost(data)
        self._size -= size
        self._budget.give_back(size)
        return data
