"""aiortc's ICE and DTLS transports over the native data path.

aioice goes on running ICE and aiortc media; what changes is whose sockets and records they are.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, cast

from aioice.ice import CandidatePair
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsParameters, State
from aiortc.rtcicetransport import RTCIceTransport
from aiortc.stats import RTCStatsReport
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from peerfetch_fast.webrtc._dtls import Dtls
from peerfetch_fast.webrtc._path import DataPath, Port
from peerfetch_fast.webrtc._seam.dtls import GatedDtlsTransport
from peerfetch_fast.webrtc._seam.ice import HostProtocol, TricklingConnection
from peerfetch_fast.webrtc.gate import Address

__all__ = ["NativeConnection", "NativeDtlsTransport"]

logger = logging.getLogger(__name__)


class NativeConnection(TricklingConnection):
    """An ICE connection whose host candidates' sockets are the native path's."""

    path: DataPath
    _selected: CandidatePair | None = None

    async def gather_candidates(self) -> None:
        if not self._local_candidates_start:
            self.path = DataPath()
            self.path.on_early = self.gate.receive
        await super().gather_candidates()

    async def _open_host(self, address: str) -> HostProtocol:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind((address, 0))
        except OSError:
            sock.close()
            raise
        protocol = HostProtocol(self)
        Port(self.path, sock, protocol)
        return protocol

    def check_complete(self, pair: CandidatePair) -> None:
        super().check_complete(pair)
        # aioice looks a nominated pair up with each datagram; the path has to be told.
        selected = self._nominated.get(1)
        if selected is not None and selected is not self._selected:
            self._selected = selected
            self.path.select(selected.protocol.transport, selected.remote_addr)

    def data_received(self, data: bytes, component: int) -> None:
        # From a relay, whose socket is aioice's, or kept until the first check.
        self.path.receive(data)

    def admit(self, address: Address) -> None:
        # The datagrams in the order in which they came.
        self.gate.admit(address)
        self.path.admit(address)

    def expect_rtp(self) -> None:
        super().expect_rtp()
        self.path.on_rtp = self._rtp_received

    @property
    def refused(self) -> int:
        """See :class:`TricklingConnection`."""
        return super().refused + self.path.datagrams_refused

    def _rtp_received(self, data: bytes) -> None:
        # aiortc reads these from the connection.
        super().data_received(data, 1)

    async def close(self) -> None:
        if self._local_candidates_start:
            self.path.close()
        await super().close()


class _Keys:
    """The part of pyOpenSSL's connection that aiortc's media code asks for."""

    def __init__(self, dtls: Dtls) -> None:
        self._dtls = dtls

    def get_selected_srtp_profile(self) -> bytes:
        return (self._dtls.srtp_profile or "").encode()

    def export_keying_material(self, label: bytes, length: int) -> bytes:
        return self._dtls.export_keying_material(label.decode(), length)

    def DTLSv1_get_timeout(self) -> None:
        """The path has the timers."""


class NativeDtlsTransport(GatedDtlsTransport):
    """DTLS on the native path. SRTP packets are still read, and opened, by aiortc."""

    def __init__(self, transport: RTCIceTransport, certificates: list[RTCCertificate]) -> None:
        super().__init__(transport, certificates)
        self._certificate = certificates[0]
        self._path: DataPath | None = None
        self._dtls: Dtls

    @property
    def path(self) -> DataPath:
        return cast(NativeConnection, self.transport._connection).path

    @property
    def peer_fingerprint(self) -> bytes:
        """As :attr:`Dtls.peer_fingerprint`; the handshake must be complete."""
        return self._dtls.peer_fingerprint

    async def start(self, remoteParameters: RTCDtlsParameters) -> None:
        assert self._state == State.NEW
        if self._role == "auto":
            self._set_role("server" if self.transport.role == "controlling" else "client")
        certificate = self._certificate
        dtls = Dtls(
            server=self._role == "server",
            certificate=certificate._cert.public_bytes(Encoding.DER),
            private_key=certificate._key.private_bytes(
                Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
            ),
            fingerprints=[
                (fingerprint.algorithm.lower(), bytes.fromhex(fingerprint.value.replace(":", "")))
                for fingerprint in remoteParameters.fingerprints
            ],
            srtp_profiles=":".join(
                profile.openssl_profile.decode() for profile in self._srtp_profiles
            ),
            sink=self.path.output,
        )
        self._ssl = cast(Any, _Keys(dtls))
        self._dtls = dtls
        self._path = self.path
        decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def changed() -> None:
            if dtls.state == "connecting":
                return
            if not decided.done():
                decided.set_result(None)
            elif self._state == State.CONNECTED:
                logger.debug("DTLS has ended: %s", dtls.error or "closed by the peer")
                # Wakes aiortc's reader, which takes this as the end of the connection.
                cast(NativeConnection, self.transport._connection)._queue.put_nowait(None)

        self._path.on_dtls = changed
        self._set_state(State.CONNECTING)
        self._path.start_dtls(dtls)
        await decided
        if dtls.state != "connected":
            logger.info("no DTLS connection: %s", dtls.error or "closed")
            self._set_state(State.FAILED)
            return
        self.encrypted = True
        # A peer that only wants data need not offer SRTP.
        if dtls.srtp_profile is not None:
            self._setup_srtp()
            if self.state == "failed":
                return
        self._set_state(State.CONNECTED)
        self._task = asyncio.ensure_future(self._RTCDtlsTransport__run())  # type: ignore[attr-defined]

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._path is not None:
            self._path.close()

    def _get_stats(self) -> RTCStatsReport:
        report = super()._get_stats()
        if self._path is not None:
            stats = report[self._stats_id]
            stats.packetsSent += self._path.output.datagrams
            stats.bytesSent += self._path.output.bytes
            stats.packetsReceived += self._path.datagrams_received
            stats.bytesReceived += self._path.bytes_received
        return report
