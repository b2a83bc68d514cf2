"""A page over plain HTTP that tells how to trust a device's own certificate authority."""

from __future__ import annotations

import html

from aiohttp import web

from peerfetch_fast.errors import SignalingError
from peerfetch_fast.signaling.plain_server import PlainServer

__all__ = ["TrustPage"]

MAX_CONNECTIONS = 64
"""Connections at once."""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Trust this device</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 0 auto; padding: 1rem }}
a.button {{ display: inline-block; padding: .6rem 1rem; border: 2px solid; border-radius: .5rem }}
code {{ overflow-wrap: anywhere }}
summary {{ padding: .6rem 0; font-weight: bold; cursor: pointer }}
</style>
<h1>Trust this device</h1>
<p>This device has a certificate authority of its own, which can speak for this device's name and
for addresses of local networks, and for nothing else.
<p><a class="button" href="/peerfetch.crt">Download its certificate</a>
<p>Its fingerprint, which the device shows as well where it was started. If the two differ, somebody
is between: do not go on.<br><code>{pin}</code>
<details><summary>iPhone, iPad</summary><ol>
<li>Download it in Safari, and tap <b>Allow</b>.
<li><b>Settings</b> &rsaquo; <b>Profile Downloaded</b> &rsaquo; <b>Install</b>.
<li><b>Settings</b> &rsaquo; <b>General</b> &rsaquo; <b>About</b> &rsaquo; <b>Certificate Trust
Settings</b>: switch it on.</ol></details>
<details><summary>Android</summary><ol>
<li>Download it.
<li><b>Settings</b>: search for <b>CA certificate</b>, tap <b>Install anyway</b>, and choose
<b>peerfetch.crt</b>.</ol></details>
<details><summary>macOS</summary><ol>
<li>Open the file: <b>Keychain Access</b> takes it.
<li>Open it there, and under <b>Trust</b> choose <b>Always Trust</b>.</ol></details>
<details><summary>Windows</summary><ol>
<li>Open the file, <b>Install Certificate</b>, <b>Current User</b>.
<li>Place it in <b>Trusted Root Certification Authorities</b>.</ol></details>
<details><summary>Linux, and Firefox anywhere</summary><ol>
<li>Firefox: <b>Settings</b> &rsaquo; <b>Privacy &amp; Security</b> &rsaquo; <b>View
Certificates</b> &rsaquo; <b>Authorities</b> &rsaquo; <b>Import</b>, for websites.
<li>Chromium: <b>chrome://certificate-manager</b> &rsaquo; <b>Installed by you</b> &rsaquo;
<b>Import</b>.</ol></details>
<p>Then open <a href="{origin}">{origin}</a>.
</html>
"""


class TrustPage:
    """Serves the page, and the certificate.

    :param authority: the authority's certificate, in DER.
    :param pin: its fingerprint.
    """

    def __init__(self, authority: bytes, pin: str) -> None:
        self._authority = authority
        self._pin = pin
        self._origin = ""
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/peerfetch.crt", self._certificate)
        self._server = PlainServer(app, MAX_CONNECTIONS)

    async def start(self, host: str, port: int, origin: str) -> None:
        """Listen. Raises SignalingError.

        :param origin: where the device's page is, by HTTPS.
        """
        self._origin = html.escape(origin)
        try:
            await self._server.start(host, port)
        except OSError as error:
            raise SignalingError(
                f"the page that tells how to trust this device cannot listen on {host} port "
                f"{port}: {error.strerror or error}"
            ) from error

    async def close(self) -> None:
        """Listen no more. Idempotent."""
        await self._server.close()

    async def _page(self, request: web.Request) -> web.Response:
        text = _PAGE.format(pin=html.escape(self._pin), origin=self._origin)
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    async def _certificate(self, request: web.Request) -> web.Response:
        return web.Response(body=self._authority, content_type="application/x-x509-ca-cert")
