"""Signaling, page and module by HTTPS, and relays, kept running together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from peerfetch_fast.errors import RendezvousError
from peerfetch_fast.interfaces import lan_address
from peerfetch_fast.rendezvous.certificates import CertificateFiles
from peerfetch_fast.rendezvous.challenges import Challenges
from peerfetch_fast.rendezvous.coturn import Coturn, CoturnSettings
from peerfetch_fast.rendezvous.diversion import TurnDiversion
from peerfetch_fast.rendezvous.quotas import Quotas, QuotaSettings
from peerfetch_fast.rendezvous.renewal import Renewal, Source
from peerfetch_fast.rendezvous.usage import Usage
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings
from peerfetch_fast.signaling.turn_logins import TurnLogins
from peerfetch_fast.webrtc.ice.servers import IceServer

if TYPE_CHECKING:
    from peerfetch_fast.rendezvous.metrics import Counted
    from peerfetch_fast.signaling.peerjs.server import SignalingServer

__all__ = ["Authority", "Rendezvous", "RendezvousSettings", "rendezvous"]

logger = logging.getLogger(__name__)

CERTIFICATE_INTERVAL = 30.0
"""Seconds between two looks whether the certificate was renewed."""


@dataclass(frozen=True, slots=True)
class RendezvousSettings:
    """Settings of a rendezvous server."""

    domain: str
    """The name by which everybody reaches it."""
    host: str | None
    port: int
    """Where HTTPS listens, on all addresses if ``host`` is None; port 443 is the one that blocked
    networks let through.
    """
    signaling: SignalingServerSettings
    turn: CoturnSettings | None
    """None: no relays, and no STUN."""
    login_time: float
    """Seconds for which a login at the relays is good."""
    quotas: QuotaSettings = field(default_factory=QuotaSettings)
    """What may be relayed for one address (of IPv6: one /64) in a day."""
    metrics: tuple[str, int] | None = None
    """Where is told what is counted; nowhere by default."""
    peernet: PeerNetSettings | None = None
    """Settings of a PeerNet server beside signaling; None for none."""

    @property
    def url(self) -> str:
        """Where peers find its signaling."""
        return f"wss://{self._place}"

    @property
    def origin(self) -> str:
        """Where the page is."""
        return f"https://{self._place}"

    @property
    def _place(self) -> str:
        return self.domain if self.port == 443 else f"{self.domain}:{self.port}"


@dataclass(frozen=True, slots=True)
class Authority:
    """The issuer of certificates, and how the name is shown to be ours."""

    source: Source
    challenges: Challenges
    path: Path
    """Where certificate and key are kept."""
    http: tuple[str | None, int] | None
    """Where plain HTTP listens, for the challenges by HTTP and for those who forget the ``s``."""


class Rendezvous:
    """One that runs. Made by :func:`rendezvous`."""

    def __init__(self, files: CertificateFiles, coturn: Coturn | None) -> None:
        self._files = files
        self._coturn = coturn
        self._told = ""
        self.certified = asyncio.Event()
        """Set once there is a certificate that others trust."""

    def reload(self) -> None:
        """Use the certificate that is in its files now, if that is another one."""
        try:
            if self._files.reload_if_changed():
                logger.info("%s was renewed", self._files.certificate)
                if self._coturn is not None:
                    self._coturn.certificate_changed()
            self._told = ""
        except RendezvousError as error:
            if str(error) != self._told:  # once, not every half minute
                self._told = str(error)
                logger.error("%s: the one from before is used on", error)

    async def watch(self) -> None:
        """Look at the files now and then, until cancelled."""
        while True:
            await asyncio.sleep(CERTIFICATE_INTERVAL)
            self.reload()


def _with_relays(settings: RendezvousSettings, usage: Usage | None) -> SignalingServerSettings:
    """The settings of signaling, with what clients are told of relays."""
    turn = settings.turn
    if turn is None or usage is None:
        return settings.signaling
    domain = settings.domain
    urls = (
        f"turn:{domain}:{turn.port}?transport=udp",
        f"turn:{domain}:{turn.port}?transport=tcp",
        f"turns:{domain}:{settings.port}?transport=tcp",
    )
    return replace(
        settings.signaling,
        ice_servers=(IceServer(f"stun:{domain}:{turn.port}"), *settings.signaling.ice_servers),
        turn=TurnLogins(urls, turn.secret, settings.login_time, usage.refuses),
    )


@contextlib.asynccontextmanager
async def rendezvous(
    settings: RendezvousSettings, certificate: CertificateFiles | Authority
) -> AsyncIterator[Rendezvous]:
    """Run it, with a certificate that is given or that an authority issues.

    Raises RendezvousError where it does not start, SignalingError where HTTPS cannot be listened
    on.
    """
    from peerfetch_fast.signaling.peerjs.server import SignalingServer
    from peerfetch_fast.web.endpoint import web_endpoint

    async with contextlib.AsyncExitStack() as stack:
        renewal: Renewal | None = None
        challenges: Challenges | None = None
        if isinstance(certificate, Authority):
            challenges = certificate.challenges
            renewal = Renewal(certificate.source, certificate.path)
            is_certified = renewal.prepare()
            files = CertificateFiles(certificate.path)
        else:
            files, is_certified = certificate, True
        coturn: Coturn | None = None
        diversion: TurnDiversion | None = None
        usage: Usage | None = None
        if settings.turn is not None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peerfetch-")))
            usage = await stack.enter_async_context(Usage(Quotas(settings.quotas)))
            made = Coturn(settings.turn, files.certificate, files.key, directory, usage=usage)
            coturn = await stack.enter_async_context(made)
            # coturn relays at the address that it is asked at: of 127.0.0.1 nobody has any use.
            address = lan_address() or "127.0.0.1"
            diversion = TurnDiversion(address, settings.turn.port, settings.turn.total)
        server = SignalingServer(
            _with_relays(settings, usage),
            middlewares=[web_endpoint(settings.signaling.allowed_origins)],
            divert=diversion,
            challenge=challenges,
            peernet=settings.peernet,
        )
        stack.push_async_callback(server.close)
        await server.start(settings.host, settings.port, files.context)
        running = Rendezvous(files, coturn)
        if settings.metrics is not None:
            from peerfetch_fast.rendezvous.metrics import Metrics

            metrics = Metrics(partial(_count, server, files, coturn, diversion, usage))
            await metrics.start(*settings.metrics)
            stack.push_async_callback(metrics.close)
        loop = asyncio.get_running_loop()
        stack.callback(loop.create_task(running.watch()).cancel)
        if is_certified:
            running.certified.set()
        if renewal is not None and isinstance(certificate, Authority):
            await _listen_plainly(settings, certificate, stack)
            renewing = loop.create_task(renewal.run(running.reload, running.certified))
            stack.callback(renewing.cancel)
        yield running


def _count(
    server: SignalingServer,
    files: CertificateFiles,
    coturn: Coturn | None,
    diversion: TurnDiversion | None,
    usage: Usage | None,
) -> Counted:
    """The counts of the parts of a server."""
    from peerfetch_fast.rendezvous.metrics import Counted

    return Counted(
        clients=len(server.peer_ids),
        certificate_expires=files.expires,
        coturn_starts=0 if coturn is None else coturn.starts,
        relays=0 if usage is None else usage.quotas.relays,
        relayed=0 if usage is None else usage.quotas.relayed,
        relays_cut=0 if usage is None else usage.cut,
        tls_relays=0 if diversion is None else diversion.connections,
        tls_relayed=0 if diversion is None else diversion.relayed,
        refused={str(reason): count for reason, count in server.refused.items()},
    )


async def _listen_plainly(
    settings: RendezvousSettings, authority: Authority, stack: contextlib.AsyncExitStack
) -> None:
    """Listen on port 80, if that can be had: there are challenges without it."""
    if authority.http is None:
        return
    from peerfetch_fast.rendezvous.plain_http import PlainHttp

    plain = PlainHttp(settings.origin, authority.challenges.http)
    try:
        await plain.start(*authority.http)
    except RendezvousError as error:
        logger.warning("%s: names are proved by HTTPS alone", error)
    stack.push_async_callback(plain.close)
