"""Signaling by a PeerNet server: the seam's signals as knocks, answers and candidates."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from typing import Any

from peerfetch_fast.errors import IdTaken, SignalingError, SignalingUnavailable
from peerfetch_fast.identity import parse_pin
from peerfetch_fast.networks import Networks, Watch, watch_networks
from peerfetch_fast.signaling.backoff import Backoff
from peerfetch_fast.signaling.patience import Patience
from peerfetch_fast.signaling.peerjs.ice_servers import Told, told
from peerfetch_fast.signaling.peerjs.messages import is_peer_id
from peerfetch_fast.signaling.peernet.address import Address, Service
from peerfetch_fast.signaling.peernet.client import PeerNetClient, Refused, quoted
from peerfetch_fast.signaling.peernet.negotiating import Incoming, Outgoing, text_of
from peerfetch_fast.signaling.peernet.settings import PeerNetClientSettings
from peerfetch_fast.signaling.seam import Signal, SignalKind
from peerfetch_fast.webrtc.ice.servers import IceServer

__all__ = ["PeerNetSignaling"]

logger = logging.getLogger(__name__)

MIN_TOKEN = 16
"""Bytes of the shortest token that a server takes."""

MAX_INCOMING = 256
"""Negotiations that were begun by others and are known at once; the oldest is forgotten."""

MAX_PAGES = 4
"""Pages of one room that are read."""

FAREWELL = 2.0
"""Seconds that taking leave may take."""

SERVICES = (Service("peernet.http", "1.1"), Service("peernet.http", "2"))
"""The services of our devices (docs/peernet.md): HTTP/1.1 in octets, and ``peerfetch.2``."""


class PeerNetSignaling:
    """See :class:`~peerfetch_fast.signaling.seam.Signaling`, and :func:`.seam.join` for the
    parameters.

    :param takes_offers: whether the server is told of us, and asked for knocks.
    :param rng: where the jitter comes from.
    """

    def __init__(
        self,
        service: str,
        peer_id: str | None = None,
        *,
        on_signal: Callable[[Signal], None],
        on_lost: Callable[[SignalingError], None] | None = None,
        token: str | None = None,
        pin: str | None = None,
        takes_offers: bool = True,
        settings: PeerNetClientSettings | None = None,
        rng: random.Random | None = None,
    ) -> None:
        if peer_id is not None and (not is_peer_id(peer_id) or " " in peer_id):
            raise SignalingError(
                f"{peer_id!r} cannot be a peer id here: use letters, digits, '-' and '_'"
            )
        if token is not None and len(token.encode()) < MIN_TOKEN:
            raise SignalingError(f"The signaling token must have at least {MIN_TOKEN} bytes")
        self.address = Address.parse(service)
        self.settings = settings or PeerNetClientSettings()
        self.peer_id = peer_id or secrets.token_hex(16)
        self.token = token or secrets.token_hex(16)
        self._takes_offers = takes_offers
        self._on_signal = on_signal
        self._on_lost = on_lost
        self.client = PeerNetClient(
            self.address,
            None if pin is None else parse_pin(pin),
            self.settings.answer_timeout,
        )
        self._backoff = Backoff(
            self.settings.backoff_initial,
            self.settings.backoff_maximum,
            self.settings.stable_after,
            rng or random.Random(),  # noqa: S311 - jitter is no secret
        )
        self._told = Told()
        self._renew_at = math.inf
        self._tasks: set[asyncio.Task[None]] = set()
        self._incoming: OrderedDict[str, Incoming] = OrderedDict()
        self._outgoing: dict[str, Outgoing] = {}
        self._watch: Watch | None = None
        self._patience = Patience()
        self._open = False

    @property
    def ice_servers(self) -> Sequence[IceServer]:
        return self._told.servers

    async def start(self) -> None:
        """See the seam. From now on the server knows this device, which takes offers."""
        if self._open:
            return
        try:
            if self._takes_offers:
                await self._register()
            await self._ask_for_ice_servers()
        except BaseException:
            self.client.close()
            raise
        self._open = True
        if self._takes_offers:
            self._watch = watch_networks(self._on_networks)
            self.run(self._serve())

    async def close(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        farewells = [one.name for one in self._outgoing.values() if one.name and not one.answered]
        if self._takes_offers:
            farewells.append(self._path)
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._incoming.clear()
        self._outgoing.clear()
        try:
            async with asyncio.timeout(FAREWELL):
                for path in farewells:
                    await self.client.ask("DELETE", path)
        except (SignalingError, TimeoutError) as error:
            logger.debug("no leave was taken: %s", error)
        self.client.close()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` until this is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("signaling failed", exc_info=error)

    def tell(self, signal: Signal) -> None:
        """Hand a signal to the owner."""
        if not self._open:
            return
        try:
            self._on_signal(signal)
        except Exception:
            logger.exception("a callback of signaling failed")

    # -- being known -------------------------------------------------------------------------------

    @property
    def _path(self) -> str:
        return f"servers/{quoted(self.peer_id)}"

    async def _register(self) -> None:
        """Have the server know us. Raises SignalingError; IdTaken."""
        self.client.token = self.token
        body = {
            "unique_id": self.peer_id,
            "rooms": self.address.rooms,
            "services": [
                {"protocol": one.protocol, "version": one.version}
                for one in dict.fromkeys((*SERVICES, *self.address.services))
            ],
        }
        try:
            await self.client.ask("POST", "servers", body)
        except Refused as refused:
            if refused.status == 409:
                raise IdTaken(
                    f"another peer is known as {self.peer_id} at {self.address.url}: take another "
                    "id, or wait a minute if it was ours before"
                ) from None
            raise

    async def _ask_for_ice_servers(self) -> None:
        answer = await self.client.ask("GET", "ice_servers")
        given = answer.get("ice_servers")
        servers = given if isinstance(given, list) else []
        left = [_seconds_left(one) for one in servers if isinstance(one, dict)]
        ttl = min((one for one in left if one is not None), default=None)
        self._told = told({"iceServers": servers, "ttl": ttl})
        self._renew_at = self._told.renew_at(_now())

    async def _serve(self) -> None:
        """Claim knocks, whatever happens to the server and the network."""
        try:
            while True:
                try:
                    for knock in await self._claim():
                        self._knocked(knock)
                    await self._renew()
                    self._backoff.opened(_now())
                except Refused as refused:
                    if refused.status in (401, 403):
                        raise IdTaken(
                            f"another peer has become {self.peer_id} at {self.address.url}"
                        ) from None
                    await self._come_back(refused)
                except SignalingUnavailable as error:
                    await self._come_back(error)
        except SignalingError as error:
            if self._on_lost is not None:
                self._on_lost(error)

    async def _claim(self) -> list[object]:
        answer = await self._patience.wait(
            self.client.ask(
                "POST",
                f"{self._path}/claim_knocks",
                wait=self.settings.wait,
            )
        )
        knocks = None if answer is None else answer.get("knocks")
        return knocks if isinstance(knocks, list) else []

    async def _come_back(self, error: SignalingError) -> None:
        """Have the server know us again, after a while unless it has just forgotten us.

        Raises IdTaken.
        """
        forgotten = isinstance(error, Refused) and error.status == 404
        if not forgotten:
            logger.warning("%s", error)
            await self._back_off()
        try:
            await self._register()
            logger.info("%s knows us again", self.address.url)
        except IdTaken:
            raise
        except SignalingError as again:
            logger.debug("%s", again)
            if forgotten:
                await self._back_off()

    async def _back_off(self) -> None:
        await self._patience.wait(asyncio.sleep(self._backoff.failed(_now())))

    async def _renew(self) -> None:
        if _now() < self._renew_at:
            return
        try:
            await self._ask_for_ice_servers()
        except SignalingError as error:
            logger.warning("no new logins for STUN and TURN servers: %s", error)
            self._renew_at = _now() + self.settings.renewal_retry

    def _on_networks(self, _networks: Networks) -> None:
        """End requests that were made by another network: they may never be answered."""
        self._backoff.reset()
        self._patience.end()

    async def be_found(self) -> None:
        """See the seam: who takes offers is in the rooms that the URL names anyway."""
        await asyncio.get_running_loop().create_future()

    async def peers(self) -> list[str]:
        if not self.address.rooms:
            raise SignalingError(
                f"{self.address.url} names no room: PeerNet lists who is in a room only "
                "(--room ROOM, or ?room=ROOM in the URL)"
            )
        found: dict[str, None] = {}
        for room in self.address.rooms:
            found.update(dict.fromkeys(await self._members(room)))
        found.pop(self.peer_id, None)
        return [*found]

    @property
    def _offering(self) -> str:
        """The filter for those who offer what our URL names, whatever its version."""
        return " AND ".join(f'services.protocol="{it.protocol}"' for it in self.address.services)

    def _offers(self, server: dict[str, Any]) -> bool:
        """Whether a server offers what our URL names."""
        given = server.get("services")
        offered = [
            (text_of(one, "protocol"), text_of(one, "version"))
            for one in (given if isinstance(given, list) else ())
        ]
        return all(
            any(
                wanted.protocol == name and wanted.version in ("", version)
                for name, version in offered
            )
            for wanted in self.address.services
        )

    async def _members(self, room: str) -> Iterable[str]:
        found: list[str] = []
        token = ""
        for _ in range(MAX_PAGES):
            try:
                page = await self.client.ask(
                    "GET",
                    f"rooms/{quoted(room)}/servers",
                    page_token=token,
                    filter=self._offering,
                )
            except Refused as refused:
                if refused.status == 404:
                    break
                raise
            servers = page.get("servers")
            for server in servers if isinstance(servers, list) else ():
                name = text_of(server, "unique_id")
                if is_peer_id(name) and self._offers(server):
                    found.append(name)
            token = page.get("next_page_token") or ""
            if not isinstance(token, str) or not token:
                break
        return found

    # -- signals -----------------------------------------------------------------------------------

    def _knocked(self, knock: object) -> None:
        incoming = Incoming.of(self, knock)
        if incoming is None:
            logger.info("a knock that makes no sense was ignored: %.200r", knock)
            return
        before = self._incoming.pop(incoming.connection_id, None)
        if before is not None:
            before.stop()
        self._incoming[incoming.connection_id] = incoming
        if len(self._incoming) > MAX_INCOMING:
            self._incoming.popitem(last=False)[1].stop()
        incoming.begin()

    async def send(self, signal: Signal) -> None:
        if not self._open:
            raise SignalingError("the signaling was closed, or never started")
        if signal.kind is SignalKind.OFFER:
            await self._offer(signal)
            return
        found = self._outgoing.get(signal.connection_id) or self._incoming.get(signal.connection_id)
        if found is None:
            raise SignalingError(f"no knock of {signal.peer_id} is known that this belongs to")
        if signal.kind is SignalKind.CANDIDATE:
            found.candidates.put(signal.candidate)
        elif isinstance(found, Incoming):
            await found.answer(signal)
        else:
            raise SignalingError(f"{signal.kind.value!r} is no answer to a knock of ours")

    async def _offer(self, signal: Signal) -> None:
        if signal.connection_id in self._incoming:
            # Only a server can be knocked at; who has knocked looks for another path itself.
            raise SignalingError(f"{signal.peer_id} cannot be knocked at")
        before = self._outgoing.get(signal.connection_id)
        if before is not None:
            if before.is_same(signal):
                return  # it waits for its answer
            before.stop()
        outgoing = self._outgoing[signal.connection_id] = Outgoing(self, signal)
        await outgoing.begin()

    def forget(self, outgoing: Outgoing) -> None:
        """Drop a negotiation that has come to its end."""
        if self._outgoing.get(outgoing.connection_id) is outgoing:
            del self._outgoing[outgoing.connection_id]


def _seconds_left(server: dict[str, object]) -> float | None:
    """For how long a login is good; None if it does not expire."""
    text = server.get("expire_time")
    if not isinstance(text, str):
        return None
    try:
        # By a clock that is fast, all logins have expired: they are asked for anew all the same.
        return max(1.0, datetime.fromisoformat(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _now() -> float:
    return asyncio.get_running_loop().time()
