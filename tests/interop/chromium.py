"""A headless Chromium, told what to do over the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PAGE = Path(__file__).parent / "page.html"
START_TIMEOUT = 120.0
HOST = "home.example"
# What tells the browser which key it is: its code on Windows, and the text that it makes.
KEYS = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}
SHIFT = 8
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    # Host candidates with addresses in place of names that only multicast DNS can resolve.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    # A machine without a network has no other address.
    "--allow-loopback-in-peer-connection",
    # A camera and a microphone that nobody is asked about.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # Names of an ordinary domain, which browsers do not trust as they trust localhost.
    f"--host-resolver-rules=MAP {HOST} 127.0.0.1,MAP *.{HOST} 127.0.0.1",
    "--remote-debugging-port=0",
    # Not spoken to, but when it closes the browser ends, even if whoever started it was killed.
    "--remote-debugging-pipe",
]


def find_chromium() -> str | None:
    """The browser's program, if there is one."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found is not None:
            return found
    return None


def trusting(certificate: Path) -> str:
    """The flag for a browser that shall trust this TLS certificate, whoever issued it."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.b64encode(hashlib.sha256(info).digest()).decode()
    return f"--ignore-certificate-errors-spki-list={digest}"


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[str]:
    """Run a browser; yields the address of its DevTools."""
    program = find_chromium()
    assert program is not None, "no Chromium on this machine"
    with contextlib.ExitStack() as stack:
        profile = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        pipe = [*os.pipe(), *os.pipe()]
        for end in pipe:
            stack.callback(os.close, end)
        # Where the browser expects them: 3 to read from, 4 to write to. Pipes are numbered upwards,
        # so that neither copy overwrites the other's source.
        theirs = (pipe[0], pipe[3])
        wrapper = ["bash", "-c", 'exec "${@:3}" 3<&"$1" 4>&"$2"', "bash", *map(str, theirs)]
        process = subprocess.Popen(
            [*wrapper, program, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=stack.enter_context(Path(profile, "stderr").open("wb")),
            start_new_session=True,
            pass_fds=theirs,
        )
        try:
            yield f"http://127.0.0.1:{read_port(process, Path(profile))}"
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            # What it started, if anything is left.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def read_port(process: subprocess.Popen[bytes], profile: Path) -> int:
    """The port that the browser writes down once it listens."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            lines = (profile / "DevToolsActivePort").read_text().splitlines()
            if len(lines) == 2:
                return int(lines[0])
        if process.poll() is not None:
            raise RuntimeError(f"Chromium ended with {process.returncode}:\n{said(profile)}")
        time.sleep(0.02)
    raise TimeoutError(f"Chromium did not start:\n{said(profile)}")


def said(profile: Path) -> str:
    return (profile / "stderr").read_text(errors="replace")


class Page:
    """A tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        self._socket = socket
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        # Frames and the numbers of what they have loaded since the last navigation.
        self._loads: set[tuple[str, str]] = set()
        self._loaded = asyncio.Event()
        self.errors: list[str] = []
        self.pickers: asyncio.Queue[int] = asyncio.Queue()
        """The inputs that pickers of files were opened for, where those are intercepted."""

    async def listen(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            if "id" in event:
                self._answers.pop(event["id"]).set_result(event)
            elif event["method"] == "Page.lifecycleEvent" and event["params"]["name"] == "load":
                self._loads.add((event["params"]["frameId"], event["params"]["loaderId"]))
                self._loaded.set()
            elif event["method"] == "Page.fileChooserOpened":
                self.pickers.put_nowait(event["params"]["backendNodeId"])
            elif event["method"] == "Runtime.exceptionThrown":
                self.errors.append(describe_exception(event["params"]["exceptionDetails"]))
        for answer in self._answers.values():
            answer.set_exception(RuntimeError("Chromium has closed the tab, or has crashed"))

    async def devtools(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        answer = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        result = await answer
        if "error" in result:
            raise RuntimeError(f"{method}: {result['error']['message']}")
        return result["result"]

    async def load(self, url: str) -> None:
        await self.devtools("Runtime.enable")
        await self.devtools("Page.enable")
        await self.devtools("Page.setLifecycleEventsEnabled", enabled=True)
        await self.navigate(url)

    async def navigate(self, url: str) -> None:
        """Go to ``url`` and wait until it is loaded."""
        await self._load_another("Page.navigate", url=url)

    async def reload(self, *, past_caches: bool = False) -> None:
        """Load the page anew, and wait for the new one: the old one would still answer."""
        await self._load_another("Page.reload", ignoreCache=past_caches)

    async def _load_another(self, method: str, **parameters: str | bool) -> None:
        """Wait for a document that is not the present one, whose own event may come only now."""
        frame = (await self.devtools("Page.getFrameTree"))["frameTree"]["frame"]
        self._loads.clear()
        await self.devtools(method, **parameters)
        while all(of != frame["id"] or loader == frame["loaderId"] for of, loader in self._loads):
            self._loaded.clear()
            await self._loaded.wait()

    async def __call__(self, command: str, *arguments: Any) -> Any:
        """Call one of the commands of ``page.html`` and wait for what it returns."""
        return await self.evaluate(f"commands.{command}(...{json.dumps(arguments)})")

    async def evaluate(self, expression: str) -> Any:
        """What the expression is, once that is settled if it is a promise."""
        result = await self.devtools(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {describe_exception(result['exceptionDetails'])}")
        return result["result"].get("value")

    async def press(self, key: str, modifiers: int = 0) -> None:
        """Press and release a key."""
        code, text = KEYS[key]
        same = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        kind = "keyDown" if text else "rawKeyDown"
        await self.devtools("Input.dispatchKeyEvent", type=kind, text=text, **same)
        await self.devtools("Input.dispatchKeyEvent", type="keyUp", **same)

    async def until(self, expression: str) -> Any:
        """The value of the expression, once it is true."""
        for _ in range(2000):
            found = await self.evaluate(expression)
            if found:
                return found
            await asyncio.sleep(0.02)
        shown = await self.evaluate("document.body.innerText")
        raise AssertionError(f"{expression} did not come true: {shown}")


def text_of(selector: str) -> str:
    """The expression for the text of an element."""
    return f"document.querySelector({json.dumps(selector)})?.innerText"


def click(selector: str, text: str) -> str:
    """The expression that clicks on the first of these elements with that in its name, once it is
    there.
    """
    find = (
        f"[...document.querySelectorAll({json.dumps(selector)})]"
        f".find((one) => (one.ariaLabel ?? one.innerText).includes({json.dumps(text)}))"
    )
    return f"""(async () => {{
        for (let turn = 0; turn < 2000; turn++) {{
            const found = {find};
            if (found) return found.click();
            await new Promise((resolve) => setTimeout(resolve, 20));
        }}
        throw new Error("it is not there");
    }})()"""


def describe_exception(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description") or details["text"])


@contextlib.asynccontextmanager
async def open_page(devtools: str, url: str = PAGE.as_uri()) -> AsyncIterator[Page]:
    """A new tab of the browser at ``url``; an error in it that nothing caught is one here."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{devtools}/json/new?about:blank") as response:
            target = await response.json()
        try:
            address = target["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                listener = asyncio.create_task(page.listen())
                try:
                    await page.load(url)
                    yield page
                finally:
                    listener.cancel()
                    await asyncio.gather(listener, return_exceptions=True)
        finally:
            async with session.get(f"{devtools}/json/close/{target['id']}"):
                pass
            # Until it is gone, it still answers for the devices that it was connected to.
            while target["id"] in await targets(session, devtools):
                await asyncio.sleep(0.01)
    assert not page.errors, "\n".join(page.errors)


async def targets(session: aiohttp.ClientSession, devtools: str) -> set[str]:
    async with session.get(f"{devtools}/json/list") as response:
        return {target["id"] for target in await response.json()}
