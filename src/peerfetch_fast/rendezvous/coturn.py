"""coturn as our TURN server: its configuration, its start, and a watch over it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peerfetch_fast.errors import RendezvousError
from peerfetch_fast.rendezvous.seldom import SeldomLog
from peerfetch_fast.rendezvous.usage import Usage
from peerfetch_fast.signaling.backoff import Backoff

__all__ = ["Coturn", "CoturnSettings", "configuration"]

logger = logging.getLogger(__name__)

START_TIMEOUT = 15.0
"""Seconds that coturn may take until it listens."""

STOP_TIMEOUT = 5.0
"""Seconds that coturn may take to end when it is told to; then it is killed."""

STABLE_AFTER = 60.0
"""Seconds after which a coturn that ends is not taken to be one that does so at once."""

MAX_LINE = 64 * 1024
"""Bytes of the longest line of its log that is read whole."""

LAST_LINES = 5
"""Lines of its log that are shown when it ends."""

PRIVATE_PEERS = (
    ("0.0.0.0", "0.255.255.255"),  # noqa: S104 - a network, not an address to listen on
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    # From `::` on, coturn 4.6 would take it for a range of all IPv4 addresses as well.
    ("::1", "::ffff:ffff"),
    ("::ffff:0:0", "::ffff:ffff:ffff"),
    ("64:ff9b::", "64:ff9b::ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
)
"""Addresses that nobody on the Internet has: a relay that led to them would lead into the network
that the server stands in."""


@dataclass(frozen=True, slots=True)
class CoturnSettings:
    """Settings of coturn. Rates are in bytes a second.

    Raises ValueError if a setting makes no sense.
    """

    domain: str
    """The name of the server, which is coturn's realm."""
    secret: str = field(repr=False)
    """The secret of its logins (:class:`~peerfetch_fast.signaling.turn_logins.TurnLogins`)."""
    port: int = 3478
    """Where it takes UDP and TCP."""
    tls_port: int = 5349
    """Where it takes TLS."""
    relay_ports: tuple[int, int] = (49_152, 65_535)
    """The first and the last UDP port of its relays."""
    external_address: str | None = None
    """The public address of a machine that has only a private one, as some clouds have it."""
    private_peers: bool = False
    """Whether relays may lead to private addresses."""
    per_address: int = 128
    """Allocations at once of one address (of IPv6: one /64)."""
    total: int = 1200
    """Allocations at once."""
    rate: int = 12_500_000
    """The rate of one allocation."""
    capacity: int = 0
    """The rate of all of them together; 0: unbounded."""

    def __post_init__(self) -> None:
        first, last = self.relay_ports
        if not 1024 <= first <= last <= 65_535:
            raise ValueError("relay_ports must be two ports from 1024 to 65535, the lower first")
        for name in ("per_address", "total", "rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if self.capacity < 0:
            raise ValueError("capacity must not be negative")
        for text in (self.domain, self.secret, self.external_address or ""):
            if not text.isprintable() or " " in text:
                raise ValueError(f"{text!r} cannot stand in coturn's configuration")


def configuration(
    settings: CoturnSettings,
    certificate: Path,
    key: Path,
    directory: Path,
    usage: Usage | None = None,
) -> str:
    """The text of coturn's configuration file.

    :param directory: for what it writes.
    :param usage: to whom it tells what it relays.
    """
    lines = [
        f"listening-port={settings.port}",
        f"tls-listening-port={settings.tls_port}",
        f"min-port={settings.relay_ports[0]}",
        f"max-port={settings.relay_ports[1]}",
        f"realm={settings.domain}",
        f"server-name={settings.domain}",
        f"cert={certificate}",
        f"pkey={key}",
        "use-auth-secret",
        f"static-auth-secret={settings.secret}",
        f"user-quota={settings.per_address}",
        f"total-quota={settings.total}",
        f"max-bps={settings.rate}",
        f"bps-capacity={settings.capacity}",
        "fingerprint",
        "no-dtls",
        "no-tlsv1",
        "no-tlsv1_1",
        # Of what coturn can do, this alone: relays of UDP, and no second way in.
        "no-tcp-relay",
        "no-multicast-peers",
        "no-rfc5780",
        "no-software-attribute",
        "stale-nonce=600",
        "log-file=stdout",
        "simple-log",
        f"userdb={directory / 'users'}",
        f"pidfile={directory / 'pid'}",
    ]
    lines += ["no-cli"] if usage is None else usage.configuration()
    if settings.external_address is not None:
        lines.append(f"external-ip={settings.external_address}")
    if settings.private_peers:
        lines.append("allow-loopback-peers")
    else:
        lines += [f"denied-peer-ip={first}-{last}" for first, last in PRIVATE_PEERS]
    return "\n".join(lines) + "\n"


class Coturn:
    """A coturn of ours, which is started anew when it ends. Use ``async with``.

    :param certificate: and ``key``: files in PEM, for TLS.
    :param directory: where its files are, which nobody else may read.
    :param usage: to whom it tells what it relays.
    :param program: what is run.
    """

    def __init__(
        self,
        settings: CoturnSettings,
        certificate: Path,
        key: Path,
        directory: Path,
        *,
        usage: Usage | None = None,
        program: str = "turnserver",
    ) -> None:
        self._settings = settings
        self._files = certificate, key
        self._directory = directory
        self._usage = usage
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._last: list[str] = []
        self._log = SeldomLog(logger)
        self.starts = 0
        """How often it was started."""

    async def __aenter__(self) -> Coturn:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start it, and return when it listens.

        Raises RendezvousError if it is not installed, its port is taken, or it does not come to
        listen.
        """
        path = shutil.which(self._program)
        if path is None:
            raise RendezvousError(
                f"coturn ({self._program}) is not installed: apt install coturn, or do without "
                "relays by --no-turn"
            )
        if await self._listens():
            raise RendezvousError(
                f"another program has port {self._settings.port}; if it is Debian's own start of "
                "coturn: systemctl disable --now coturn"
            )
        file = self._directory / "turnserver.conf"
        file.touch(mode=0o600)  # it holds the secret
        file.write_text(configuration(self._settings, *self._files, self._directory, self._usage))
        command = [path, "-c", str(file)]
        if (setpriv := shutil.which("setpriv")) is not None:
            # coturn ends with this process: it would keep the ports from the next server.
            command = [setpriv, "--pdeathsig", "TERM", *command]
        await self._run(command)
        self._watching = asyncio.get_running_loop().create_task(self._watch(command))

    async def _run(self, command: Sequence[str]) -> None:
        self.starts += 1
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=MAX_LINE,
            )
        except OSError as error:
            raise RendezvousError(f"coturn cannot be started: {error}") from error
        reading = asyncio.get_running_loop().create_task(self._read(self._process))
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await self._listens():
                    if reading.done():
                        raise RendezvousError(f"coturn has ended at once{self._said()}")
                    await asyncio.sleep(0.1)
        except BaseException as error:
            await self._stop()
            if isinstance(error, TimeoutError):
                raise RendezvousError(
                    f"coturn does not listen on port {self._settings.port}{self._said()}"
                ) from None
            raise

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._settings.port)
        except OSError:
            return False
        writer.close()
        return True

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Read its log to the end, however long its lines are."""
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readuntil()
            except asyncio.LimitOverrunError as error:
                await process.stdout.readexactly(error.consumed)
                continue
            except asyncio.IncompleteReadError as error:
                line = error.partial
            if not line:
                return
            text = line.decode(errors="replace").strip()
            if text:
                self._last = [*self._last[1 - LAST_LINES :], text]
                log = self._log.warning if "ERROR" in text else logger.debug
                log("coturn: %s", text)

    def _said(self) -> str:
        return f": {' | '.join(self._last)}" if self._last else ""

    async def _watch(self, command: Sequence[str]) -> None:
        """Start it anew whenever it ends."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(1.0, 30.0, STABLE_AFTER, random.Random())  # noqa: S311 - no secret
        while True:
            backoff.opened(loop.time())
            assert self._process is not None
            code = await self._process.wait()
            logger.error("coturn has ended with code %d%s", code, self._said())
            if self._usage is not None:
                self._usage.ended()
            while True:
                await asyncio.sleep(backoff.failed(loop.time()))
                try:
                    await self._run(command)
                    break
                except RendezvousError as error:
                    logger.error("%s", error)
            logger.warning("coturn runs again")

    def certificate_changed(self) -> None:
        """The certificate's files hold another one: use that for connections to come."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGUSR2)

    async def close(self) -> None:
        """End it. Idempotent."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
            self._watching = None
        await self._stop()

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
