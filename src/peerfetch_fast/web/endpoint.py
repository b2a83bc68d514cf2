"""The web endpoint: an aiohttp middleware that serves the page and the browser client."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from peerfetch_fast.signaling.origins import Origins

__all__ = ["PREFIX", "web_endpoint"]

PREFIX = "/~peerfetch/"
"""Where the files are, on every origin; no path of a device can be asked for there."""

_CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
    ".webmanifest": "application/manifest+json",
}

# Nothing inline, nothing of anybody else. Only connections go elsewhere: to a signaling server that
# the user names, and to see whether a device's own origin is there. WebRTC itself is not covered by
# this policy.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self' ws: wss: https: http://*.localhost:*; "
    "worker-src 'self'; manifest-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Neighbours below one name (peer-A.HOST, peer-B.HOST, HOST) are of one site to browsers: what keeps
# their processes and windows apart is said here. Popups of an app may still speak to it.
_DOCUMENT = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    "Origin-Agent-Cluster": "?1",
}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str

    def response(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        fields = {**_HEADERS, **headers, "ETag": f'"{self.etag}"'}
        if any(tag.value == self.etag for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=fields)
        return web.Response(
            body=self.body, content_type=self.content_type, charset="utf-8", headers=fields
        )


def _load(directory: Traversable, prefix: str) -> dict[str, _File]:
    files: dict[str, _File] = {}
    for entry in directory.iterdir():
        if entry.is_dir():
            files.update(_load(entry, f"{prefix}{entry.name}/"))
            continue
        content_type = _CONTENT_TYPES.get(entry.name[entry.name.rfind(".") :])
        if content_type is not None:
            body = entry.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:32]
            files[f"{prefix}{entry.name}"] = _File(body, content_type, etag)
    return files


# Host names that stand for a device: its origin is its own (docs/browser.md).
_APP_HOST = re.compile(r"[a-z0-9-]+\.localhost(:\d+)?|peer-[a-z0-9-]+\..+")


def web_endpoint(allowed_origins: Iterable[str] = ()) -> Middleware:
    """A middleware that answers for the page and its files, and leaves the rest to the application.

    The page is at ``/`` for those who accept HTML. On ``PEER-ID.localhost`` and
    ``peer-PEER-ID.HOST``, every path is the device's own page.

    :param allowed_origins: whose pages may import the client module; everybody's if there are none.

    Raises ValueError if one of them is no origin.
    """
    origins = Origins(allowed_origins)
    files = _load(resources.files(__package__), PREFIX)
    page, app = files[f"{PREFIX}page/index.html"], files[f"{PREFIX}page/app.html"]
    more = {
        f"{PREFIX}worker.js": {"Service-Worker-Allowed": "/"},
        # The page asks a device's origin for this, to see whether the origin is there.
        f"{PREFIX}page/icon.svg": {"Cross-Origin-Resource-Policy": "cross-origin"},
    }
    for path in files:
        if path.endswith(".html"):
            more[path] = _DOCUMENT

    @web.middleware
    async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method in ("GET", "HEAD"):
            path = request.path
            if path in files:
                headers = {**more.get(path, {}), **origins.cors(request.headers)}
                return files[path].response(request, headers)
            if "text/html" in request.headers.get("Accept", ""):
                if _APP_HOST.fullmatch(request.host):
                    return app.response(request, _DOCUMENT)
                if path == "/":
                    return page.response(request, _DOCUMENT)
        return await handler(request)

    return serve
