"""The page of a rendezvous server, in a real Chromium: from nothing to a film on a phone, a server
that is killed, and devices' own pages below its domain.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import HOST, Page, chromium, click, open_page, text_of, trusting
from tests.interop.devices import start_upstream
from tests.interop.test_app_origin import FRAME

from certificates import self_signed
from processes import ROOT, fetch, free_port, peerfetch, posix_only

pytestmark = [posix_only, needs_chromium]

PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 3, "mobile": True}
VIDEO = "document.querySelector('video')"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    directory = tmp_path_factory.mktemp("tls")
    files = self_signed(directory, "localhost", HOST, f"*.{HOST}", "127.0.0.1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(files[0]))
        yield files


@pytest.fixture(scope="module")
def browser(certificate: tuple[Path, Path]) -> Iterator[str]:
    with chromium(trusting(certificate[0])) as devtools:
        yield devtools


def commands() -> list[str]:
    """Those of the part of docs/rendezvous.md, in their order."""
    text = (ROOT / "docs" / "rendezvous.md").read_text()
    part = text.partition("## From nothing to a film on a phone\n")[2].partition("\n## ")[0]
    return "".join(re.findall(r"```sh\n(.*?)```", part, re.DOTALL)).splitlines()


def ours(command: str) -> tuple[str, list[str]]:
    """The command of ours that ``pipx run`` would run, and its arguments."""
    words = shlex.split(command)
    assert words[:3] == ["pipx", "run", "--spec"]
    assert words[3].startswith("peerfetch-fast")
    assert words[4] == "peerfetch"
    return words[5], words[6:]


def film(directory: Path) -> None:
    directory.mkdir()
    subprocess.run(
        [
            *("ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=10:d=30"),
            *("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "16", "-b:v", "500k"),
            *("-g", "10", str(directory / "film.webm")),
        ],
        check=True,
    )


async def play(page: Page, link: str) -> None:
    """Open the link as a phone does, and tap the film until it plays."""
    await page.devtools("Emulation.setDeviceMetricsOverride", **PHONE)
    await page.navigate("about:blank")
    await page.navigate(link)
    await page.until("document.querySelector('.save') !== null")
    assert await page.evaluate("innerWidth") == PHONE["width"]
    await page.evaluate(click("#entries a.entry", "film"))
    await page.until(f"{VIDEO}?.readyState >= 2 && {VIDEO}.videoWidth === 320")
    await page.evaluate(f"{VIDEO}.muted = true, {VIDEO}.play()")
    await page.until(f"{VIDEO}.currentTime > 0.5")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="there is no ffmpeg")
@pytest.mark.skipif(shutil.which("turnserver") is None, reason="there is no coturn")
async def test_six_commands_to_a_film_on_a_phone_and_all_are_back_when_the_server_was_killed(
    browser: str, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    apt, disable, serve, also_apt, proxy, follow = commands()  # six
    assert [one.split()[0] for one in (apt, disable, also_apt)] == ["apt", "systemctl", "apt"]
    (name, options), (device_name, device_options) = ours(serve), ours(proxy)
    assert (name, device_name) == ("rendezvous", "proxy")
    # This machine's places stand for those of the documents.
    port, turn, turn_tls = free_port(), free_port(), free_port()
    words = {"meet.example.org": f"localhost:{port}", "films": str(tmp_path / "films")}
    options = [{"meet.example.org": "localhost"}.get(word, word) for word in options]
    options += ["--listen", f"127.0.0.1:{port}", "--turn-port", str(turn), "--private-peers"]
    options += ["--turn-tls-port", str(turn_tls), "--tls-certificate", str(certificate[0])]
    options += ["--tls-key", str(certificate[1])]
    device_options = [words.get(word, word) for word in device_options]
    film(tmp_path / "films")
    for place in ("server", "device", "again", "elsewhere"):
        (tmp_path / place).mkdir()

    with (
        peerfetch(tmp_path / "server", name, *options) as server,
        peerfetch(tmp_path / "device", device_name, *device_options) as device,
    ):
        shown = re.search(r"^link +(\S+)$", device.output, re.MULTILINE)
        assert shown is not None, device.output
        form = follow.split()[1].partition("#")[0].replace("meet.example.org", f"localhost:{port}")
        assert shown[1].startswith(form)
        async with open_page(browser) as page:
            await play(page, shown[1])
            server.signal(signal.SIGKILL)
            server.wait()
            # Who is connected stays so.
            at = await page.evaluate(f"{VIDEO}.currentTime")
            await page.until(f"{VIDEO}.currentTime > {at} + 0.5")
            assert await page.evaluate(text_of("#state")) == "Connected"
            with peerfetch(tmp_path / "again", name, *options):
                began = time.monotonic()
                path = f"peer://{device.ready['peer_id']}/film.webm"
                asked = (tmp_path / "elsewhere", path, *told(port))
                while (await asyncio.to_thread(fetch, *asked)).returncode:
                    assert time.monotonic() - began < 60
                print(f"the device was reached {time.monotonic() - began:.1f} s after the server")
                await play(page, shown[1])
                print(f"the page played {time.monotonic() - began:.1f} s after the server")


def told(port: int) -> tuple[str, ...]:
    return ("--rendezvous", f"localhost:{port}", "--head", "--fail")


async def test_a_devices_own_page_is_below_the_domain(
    browser: str, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    """By a certificate for *.DOMAIN that was given; the browser resolves the names to here."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<title>of the device</title>", content_type="text/html")

    listen = ("--listen", f"127.0.0.1:{free_port()}", "--no-turn")
    files = ("--tls-certificate", certificate[0], "--tls-key", certificate[1])
    async with contextlib.AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        upstream = await start_upstream(stack, app)
        running = peerfetch(tmp_path, "rendezvous", "--domain", HOST, *listen, *files)
        place = stack.enter_context(running).ready["page"]
        assert place.startswith(f"https://{HOST}:")
        signaling = place.replace(f"https://{HOST}", "wss://127.0.0.1").rstrip("/")
        serving = peerfetch(tmp_path, "proxy", "--target", upstream, "--signaling", signaling)
        ready = stack.enter_context(serving).ready
        peer = ready["peer_id"]
        page = await stack.enter_async_context(
            open_page(browser, f"{place}#{peer}#{ready['fingerprint']}")
        )
        # The page leads there by itself, once it has found that the name is served.
        own = f"https://peer-{peer}.{place.removeprefix('https://')}".rstrip("/")
        await page.until(f"location.origin === {own!r}")
        await page.until(f"{FRAME}.document.title === 'of the device'")
        assert await page.evaluate("isSecureContext && location.hash === ''")
