"""One negotiation by a PeerNet server: a knock of ours, or one at us."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from typing import TYPE_CHECKING, Any

from peerfetch_fast.errors import SignalingError, SignalingUnavailable
from peerfetch_fast.signaling.peernet.client import Refused, quoted
from peerfetch_fast.signaling.seam import Signal, SignalKind

if TYPE_CHECKING:
    from peerfetch_fast.signaling.peernet.service import PeerNetSignaling

__all__ = ["Candidates", "Incoming", "Outgoing"]

logger = logging.getLogger(__name__)

SERVICE = "peernet.http:2"
"""The service that we knock at, by protocol and version, so that it need not be looked up."""

PROTOCOL, LABEL = "peerfetch.2", "peerfetch"
"""Version 2 of ``peernet.http``: the protocol and the label of its channel."""

OCTETS_LABEL = "peernet.http"
"""The label of a channel of HTTP/1.1 in octets, by which all other services of ours are spoken."""

TOGETHER = 0.02
"""Seconds for which a candidate waits for others, to be sent with them."""

MAX_CANDIDATES = 64
"""Candidates that a session takes."""

MAX_TEXT = 128
"""Characters of a session's id and of a knock's name, each part of it."""

GONE = "gone"
"""The reason by which a knock is refused whose session is not known any more."""


_KNOCK = re.compile(r"servers/[^/?#]+/services/[^/?#]+/knocks/[^/?#]+")


def text_of(found: object, name: str, most: int = MAX_TEXT) -> str:
    """A string in what the server sent; "" if it is none, or longer than ``most``."""
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) and len(value) <= most else ""


def knock_name(found: object) -> str:
    """The name of a knock in what the server sent, which becomes a path; "" if it is none."""
    name = text_of(found, "name", 4 * MAX_TEXT)
    return name if _KNOCK.fullmatch(name) else ""


class Candidates:
    """Sends candidates to the session of the other side, those that come together in one request.

    They are kept until the session is known.
    """

    def __init__(self, service: PeerNetSignaling) -> None:
        self._service = service
        self._waiting: list[dict[str, object]] = []
        self._to = ""
        self._sending: asyncio.Task[None] | None = None
        self._left = MAX_CANDIDATES

    def put(self, candidate: object) -> None:
        """Send a candidate (an RTCIceCandidateInit)."""
        if not isinstance(candidate, dict) or self._left <= 0:
            return
        self._left -= 1
        self._waiting.append(
            {
                "candidate": candidate.get("candidate") or "",
                "sdpMid": candidate.get("sdpMid"),
                "sdpLineIndex": candidate.get("sdpMLineIndex"),
            }
        )
        self._send()

    def send_to(self, session: str) -> None:
        """The session of the other side is known."""
        self._to = session
        self._send()

    def stop(self) -> None:
        """Send no more."""
        if self._sending is not None:
            self._sending.cancel()

    def _send(self) -> None:
        if self._to and self._waiting and (self._sending is None or self._sending.done()):
            self._sending = self._service.run(self._run())

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(TOGETHER)
            waiting, self._waiting = self._waiting, []
            try:
                await self._service.client.ask(
                    "POST", f"sessions/{quoted(self._to)}/candidates", {"candidates": waiting}
                )
            except SignalingError as error:
                logger.info("candidates were not sent: %s", error)


class _Negotiation:
    """The part that both sides share."""

    def __init__(self, service: PeerNetSignaling, peer_id: str, connection_id: str) -> None:
        self._service = service
        self.peer_id = peer_id
        self.connection_id = connection_id
        self.candidates = Candidates(service)
        self._task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """End it."""
        self.candidates.stop()
        if self._task is not None:
            self._task.cancel()

    def _signal(self, kind: SignalKind, **about: Any) -> Signal:
        return Signal(kind, self.peer_id, self.connection_id, **about)

    def _tell_candidates(self, found: object) -> None:
        given = found.get("candidates") if isinstance(found, dict) else None
        for one in given[:MAX_CANDIDATES] if isinstance(given, list) else ():
            if not isinstance(one, dict):
                continue
            line = one.get("candidate")
            if isinstance(line, str) and line and not line.startswith("candidate:"):
                line = f"candidate:{line}"  # the source leaves the prefix out
            init = None
            if line:
                index = one.get("sdpLineIndex")
                init = {"candidate": line, "sdpMid": one.get("sdpMid"), "sdpMLineIndex": index}
                if not init["sdpMid"] and index is None:
                    init["sdpMLineIndex"] = 0
            self._service.tell(self._signal(SignalKind.CANDIDATE, candidate=init))

    async def _claim_candidates(self, session: str) -> None:
        """Hand on what comes for our session, for a while."""
        settings = self._service.settings
        loop = asyncio.get_running_loop()
        until = loop.time() + settings.candidates_time
        path = f"sessions/{quoted(session)}/claim/candidates"
        while (left := until - loop.time()) > 0:
            try:
                wait = max(1.0, min(left, settings.wait))
                self._tell_candidates(await self._service.client.ask("GET", path, wait=wait))
            except Refused as refused:
                if not refused.passing:
                    return
                await asyncio.sleep(1.0)
            except SignalingUnavailable as error:
                logger.debug("%s", error)
                await asyncio.sleep(1.0)


class Outgoing(_Negotiation):
    """A knock of ours at a server.

    :param offer: what is offered.
    """

    def __init__(self, service: PeerNetSignaling, offer: Signal) -> None:
        super().__init__(service, offer.peer_id, offer.connection_id)
        self._offer = offer
        # A restart is a new knock with a session of its own, which names the first one's.
        self._session = offer.connection_id
        if offer.restart:
            self._session = secrets.token_hex(16)
        self.name = ""
        self.answered = False

    def is_same(self, offer: Signal) -> bool:
        """Whether an offer is the one that waits for its answer here."""
        waits = self._task is not None and not self._task.done() and not self.answered
        return waits and offer.sdp == self._offer.sdp

    async def begin(self) -> None:
        """Knock. Raises SignalingError if the server refuses that for good."""
        try:
            await self._knock()
        except (Refused, SignalingUnavailable) as error:
            if isinstance(error, Refused) and error.status != 404 and not error.passing:
                raise
            logger.debug("%s", error)
        self._task = self._service.run(self._run())

    async def _knock(self) -> None:
        body: dict[str, object] = {
            "offer": {"name": self._session, "sdp": self._offer.sdp, "sdpType": "offer"}
        }
        if self._offer.restart:
            body["session"] = self.connection_id
        path = f"servers/{quoted(self.peer_id)}/services/{SERVICE}/knocks"
        self.name = ""
        answer = await self._service.client.ask("POST", path, body)
        self.name = knock_name(answer)

    async def _run(self) -> None:
        try:
            await self._negotiate()
        finally:
            self._service.forget(self)

    async def _negotiate(self) -> None:
        knock = await self._answered()
        if knock is None:
            return
        self.answered = True
        answer = knock.get("answer")
        if knock.get("state") != "ANSWERED" or not isinstance(answer, dict):
            logger.info("%s refuses: %s", self.peer_id, text_of(knock, "reason"))
            # An answer without a description ends the negotiation.
            kind = SignalKind.GONE if self._offer.restart else SignalKind.ANSWER
            self._service.tell(self._signal(kind))
            return
        self._service.tell(
            self._signal(SignalKind.ANSWER, sdp=text_of(answer, "sdp", 1 << 20), protocol=PROTOCOL)
        )
        self._tell_candidates(answer)
        self.candidates.send_to(text_of(answer, "name"))
        await self._claim_candidates(self._session)

    async def _answered(self) -> dict[str, Any] | None:
        """The knock, once it is answered or refused; None if there is nobody to answer."""
        loop = asyncio.get_running_loop()
        settings = self._service.settings
        absent_at = loop.time() + settings.absent_after
        while True:
            try:
                if not self.name:
                    await self._knock()
                knock = await self._service.client.ask("GET", self.name, wait=settings.wait)
                absent_at = loop.time() + settings.absent_after
                if knock.get("state") in ("ANSWERED", "REFUSED"):
                    return knock
                if knock.get("state") == "EXPIRED":
                    self.name = ""
            except Refused as refused:
                if refused.status == 404:
                    # The device or the server may have been started anew.
                    self.name = ""
                    if loop.time() >= absent_at:
                        self._service.tell(Signal(SignalKind.ABSENT, self.peer_id))
                        return None
                elif not refused.passing:
                    logger.warning("%s", refused)
                    return None
                await asyncio.sleep(0.5)
            except SignalingUnavailable as error:
                logger.info("%s", error)
                await asyncio.sleep(0.5)


class Incoming(_Negotiation):
    """A knock at us."""

    def __init__(
        self,
        service: PeerNetSignaling,
        name: str,
        connection_id: str,
        offer: dict[str, Any],
        *,
        octets: bool,
        restart: bool,
    ) -> None:
        # A caller has no id but that of the session.
        super().__init__(service, connection_id, connection_id)
        self._name = name
        self._offer = offer
        self._octets = octets
        self._restart = restart
        self._session = secrets.token_hex(16)

    @classmethod
    def of(cls, service: PeerNetSignaling, knock: object) -> Incoming | None:
        """The negotiation that a knock begins; None if it makes no sense."""
        offer = knock.get("offer") if isinstance(knock, dict) else None
        name, session = knock_name(knock), text_of(knock, "session")
        own = text_of(offer, "name")
        if not isinstance(offer, dict) or not name or not own:
            return None
        assert isinstance(knock, dict)
        at = knock.get("service")
        octets = isinstance(at, dict) and (
            f"{text_of(at, 'protocol')}:{text_of(at, 'version')}" != SERVICE
        )
        found = cls(service, name, session or own, offer, octets=octets, restart=bool(session))
        found.candidates.send_to(own)
        return found

    def begin(self) -> None:
        """Hand the offer on, and the candidates that came with it."""
        self._service.tell(
            self._signal(
                SignalKind.OFFER,
                sdp=text_of(self._offer, "sdp", 1 << 20),
                protocol=None if self._octets else PROTOCOL,
                label=OCTETS_LABEL if self._octets else LABEL,
                restart=self._restart,
            )
        )
        self._tell_candidates(self._offer)

    async def answer(self, signal: Signal) -> None:
        """Answer, or say that the connection is not known. Raises SignalingError."""
        if signal.kind is SignalKind.GONE:
            body: dict[str, object] = {"state": "REFUSED", "reason": GONE}
        else:
            answer = {"name": self._session, "sdp": signal.sdp, "sdpType": "answer"}
            body = {"answer": answer}
        await self._service.client.ask("PATCH", self._name, body)
        if signal.kind is SignalKind.ANSWER and self._task is None:
            self._task = self._service.run(self._claim_candidates(self._session))
