"""HTTP without TLS for a page or a few answers, behind the listener that signaling has."""

from __future__ import annotations

from aiohttp import web

from peerfetch_fast.signaling.listener import Listener
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings

__all__ = ["PlainServer"]


class PlainServer:
    """Serves an application.

    :param max_connections: at once; each has ``head_timeout`` seconds for its request.
    """

    def __init__(self, app: web.Application, max_connections: int) -> None:
        self._app = app
        self._settings = SignalingServerSettings(max_connections=max_connections)
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None

    async def start(self, host: str | None, port: int) -> None:
        """Listen, on all addresses if ``host`` is None. Raises OSError."""
        runner = web.AppRunner(self._app, access_log=None)
        await runner.setup()
        assert runner.server is not None
        listener = Listener(runner.server, self._settings, lambda _: None)
        try:
            await listener.start(host, port, None)
        except OSError:
            await runner.cleanup()
            raise
        self._runner, self._listener = runner, listener

    async def close(self) -> None:
        """Listen no more. Idempotent."""
        if self._runner is not None and self._listener is not None:
            runner, self._runner = self._runner, None
            await self._listener.close()
            await runner.cleanup()
            await self._listener.cut()
