"""The counters of a rendezvous server, in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from peerfetch_fast.errors import RendezvousError

__all__ = ["Counted", "Metrics", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Counted:
    """The present counts."""

    clients: int
    """Peers that are registered."""
    certificate_expires: float
    """Seconds since 1970."""
    coturn_starts: int = 0
    relays: int = 0
    """Relays that there are."""
    relayed: int = 0
    """Bytes on all relays, to and from clients."""
    relays_cut: int = 0
    """Relays that were ended because their address had used up its quota."""
    tls_relays: int = 0
    """Connections to the relays by TLS, on the port of HTTPS."""
    tls_relayed: int = 0
    """Bytes on them, both ways."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """How often signaling has refused something, by reason."""


def exposition(counted: Counted) -> str:
    """The text that Prometheus reads."""
    return "\n".join([*_lines(counted), ""])


def _lines(counted: Counted) -> Iterator[str]:
    gauges = {
        "peerfetch_clients": counted.clients,
        "peerfetch_certificate_expiry_timestamp_seconds": counted.certificate_expires,
        "peerfetch_relays": counted.relays,
        "peerfetch_tls_relays": counted.tls_relays,
    }
    counters = {
        "peerfetch_coturn_starts_total": counted.coturn_starts,
        "peerfetch_relayed_bytes_total": counted.relayed,
        "peerfetch_relays_cut_total": counted.relays_cut,
        "peerfetch_tls_relayed_bytes_total": counted.tls_relayed,
    }
    for kind, values in (("gauge", gauges), ("counter", counters)):
        for name, value in values.items():
            yield f"# TYPE {name} {kind}"
            yield f"{name} {value:.15g}"
    yield "# TYPE peerfetch_refused_total counter"
    for reason, count in sorted(counted.refused.items()):
        yield f'peerfetch_refused_total{{reason="{reason}"}} {count}'


class Metrics:
    """Tells whoever asks ``/metrics``: for a listener that only the operator reaches."""

    def __init__(self, count: Callable[[], Counted]) -> None:
        self._count = count
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises RendezvousError."""
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await runner.cleanup()
            raise RendezvousError(
                f"{host} port {port} cannot be listened on: {error.strerror or error}"
            ) from error
        self._runner = runner

    async def close(self) -> None:
        """Listen no more. Idempotent."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _answer(self, _request: web.Request) -> web.Response:
        text = exposition(self._count())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})
