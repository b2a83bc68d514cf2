"""A headless Firefox, told what to do over WebDriver BiDi."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

START_TIMEOUT = 120.0
PREFERENCES = """
user_pref("media.peerconnection.ice.loopback", true);
user_pref("media.peerconnection.ice.obfuscate_host_addresses", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
"""
# Where files are saved, without a question.
DOWNLOADS = """
user_pref("browser.download.folderList", 2);
user_pref("browser.download.useDownloadDir", true);
user_pref("browser.download.dir", {});
"""


def find_firefox() -> str | None:
    """The browser's program, if there is one."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class Page:
    """The browser's one tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._socket = socket
        self._number = 0
        self._context = ""

    async def load(self, url: str) -> None:
        await self._command("session.new", capabilities={})
        tree = await self._command("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        await self._command(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )

    async def evaluate(self, expression: str) -> Any:
        """What the expression is, once that is settled if it is a promise."""
        found = await self._command(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        if found["type"] == "exception":
            raise RuntimeError(f"{expression}: {found['exceptionDetails']['text']}")
        text = found["result"].get("value")
        return None if text is None else json.loads(text)

    async def _command(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = json.loads((await self._socket.receive()).data)
            if answer.get("id") == self._number:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['message']}")
                return answer["result"]


@contextlib.asynccontextmanager
async def open_firefox(url: str, downloads: Path | None = None) -> AsyncIterator[Page]:
    """Run a browser that shows ``url``, whose downloads go to that directory."""
    program = find_firefox()
    assert program is not None, "no Firefox on this machine"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        saving = "" if downloads is None else DOWNLOADS.format(json.dumps(str(downloads)))
        Path(profile, "user.js").write_text(PREFERENCES + saving)
        process = await asyncio.create_subprocess_exec(
            *(program, "--headless", "--no-remote", "--profile", profile),
            *("--remote-debugging-port", "0"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stderr is not None
        reading: asyncio.Task[bytes] | None = None
        try:
            async with asyncio.timeout(START_TIMEOUT):
                found, said = None, b""
                while found is None:
                    line = await process.stderr.readline()
                    said += line
                    assert line, f"Firefox ended at once:\n{said.decode(errors='replace')}"
                    found = re.search(rb"WebDriver BiDi listening on (ws://\S+)", line)
            reading = asyncio.ensure_future(process.stderr.read())
            async with aiohttp.ClientSession() as session:
                address = f"{found[1].decode()}/session"
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    page = Page(socket)
                    await page.load(url)
                    yield page
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            if reading is not None:
                await reading
