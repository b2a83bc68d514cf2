"""Applications that people have, unchanged, on a device's own page in a real Chromium.

Those of Python are in an environment of their own (.ci/apps makes it).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.browsers import needs_chromium
from tests.interop.chromium import Page, chromium, open_page
from tests.interop.test_app_origin import FRAME, IS_ASKED, inside, sign_in
from tests.interop.test_apps import APPS, PYTHON, application, needs, python_apps

from peerfetch_fast.web.page_link import page_url
from processes import free_port, peerfetch, posix_only

pytestmark = [
    posix_only,
    needs_chromium,
]


@pytest.fixture(scope="module")
def browser() -> Iterator[str]:
    with chromium() as devtools:
        yield devtools


@contextlib.asynccontextmanager
async def device_of(browser: str, directory: Path, target: str, path: str) -> AsyncIterator[Page]:
    """The device's own page at ``path``, where its proxy forwards to ``target``."""
    (directory / "device").mkdir()
    with peerfetch(
        directory / "device", "proxy", "--target", target, "--listen", "127.0.0.1:0"
    ) as proxy:
        peer = proxy.ready["peer_id"]
        origin = page_url(proxy.ready["signaling"]).replace("127.0.0.1", f"{peer}.localhost")
        url = f"{origin}{path}#{peer}#{proxy.ready['fingerprint']}"
        async with open_page(browser, url) as page:
            yield page


async def fill(page: Page, **fields: str) -> None:
    """Fill in and send the form of the page in the frame."""
    script = (
        "const form = document.querySelector('input[type=password]').form;"
        "for (const [name, value] of Object.entries({})) form.elements[name].value = value;"
        "form.submit()"
    )
    await inside(page, script.replace("{}", json.dumps(fields)))


PASSWORD = f"{FRAME}.document.querySelector('input[type=password]') !== null"


@python_apps
async def test_django_admin_is_logged_into_and_saves(browser: str, tmp_path: Path) -> None:
    port = free_port()
    script = APPS / "django_app.py"
    with application(tmp_path, port, PYTHON, script, tmp_path / "db", port) as url:
        async with device_of(browser, tmp_path, url, "admin/") as page:
            await page.until(f"{FRAME}.document.querySelector('#login-form') !== null")
            await fill(page, username="root", password="secret")
            await page.until(f"/Site administration/.test({FRAME}.document.title)")
            # Somebody is added, by a form with a token of its own.
            await page.evaluate("void (window[0].location.href = '/admin/auth/group/add/')")
            await page.until(f"{FRAME}.document.querySelector('#group_form') !== null")
            group = "document.querySelector('#id_name').value = 'neighbours';"
            await inside(page, f"{group} document.querySelector('[name=_save]').click()")
            await page.until(f"/added successfully/.test({FRAME}.document.body?.innerText)")


KERNEL = """
const token = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)[1];
const headers = { "X-XSRFToken": token, "Content-Type": "application/json" };
const made = await (await fetch("/api/kernels", { method: "POST", body: "{}", headers })).json();
const socket = new WebSocket(`ws://${location.host}/api/kernels/${made.id}/channels`);
await new Promise((resolve) => (socket.onopen = resolve));
const header = { msg_id: "1", msg_type: "execute_request", username: "", session: "s" };
const content = { code: "print(6 * 7)", silent: false, user_expressions: {} };
socket.send(JSON.stringify({ header, parent_header: {}, metadata: {}, content, channel: "shell" }));
return new Promise((resolve) => (socket.onmessage = ({ data }) => {
  const { content: { text } } = JSON.parse(data);
  if (text) resolve(text);
}));
"""


@python_apps
async def test_jupyter_runs_a_kernel(browser: str, tmp_path: Path) -> None:
    port = free_port()
    server = (PYTHON, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--port={port}")
    with application(tmp_path, port, *server, "--IdentityProvider.token=secret") as url:
        async with device_of(browser, tmp_path, url, "login") as page:
            await page.until(PASSWORD)
            await fill(page, password="secret")
            await page.until(f"{FRAME}.document.readyState === 'complete' && !({PASSWORD})")
            assert await inside(page, KERNEL) == "42\n"


@python_apps
async def test_gradio_answers_what_is_typed(browser: str, tmp_path: Path) -> None:
    port = free_port()
    with application(tmp_path, port, PYTHON, APPS / "gradio_app.py", port) as url:
        async with device_of(browser, tmp_path, url, "") as page:
            boxes = f"{FRAME}.document.querySelectorAll('textarea')"
            await page.until(f"{boxes}.length === 2")
            say = (
                "const [box] = document.querySelectorAll('textarea'); box.value = 'olleh';"
                "box.dispatchEvent(new Event('input', { bubbles: true }));"
                "await new Promise((resolve) => setTimeout(resolve, 100));"
                "[...document.querySelectorAll('button')]"
                ".find((one) => one.innerText.trim() === 'Submit').click()"
            )
            await inside(page, say)
            await page.until(f"{boxes}[1].value === 'hello'")


@python_apps
async def test_streamlit_and_an_upload(browser: str, tmp_path: Path) -> None:
    port = free_port()
    options = {
        "server.port": port,
        "server.address": "127.0.0.1",
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    script = APPS / "streamlit_app.py"
    with application(tmp_path, port, PYTHON, "-m", "streamlit", "run", script, *flags) as url:
        async with device_of(browser, tmp_path, url, "") as page:
            text = f"{FRAME}.document.body?.innerText"
            await page.until(f"/greetings from streamlit/.test({text})")
            await page.until(f"{FRAME}.document.querySelector('input[type=file]') !== null")
            upload = (
                "const input = document.querySelector('input[type=file]');"
                "const chosen = new DataTransfer();"
                "chosen.items.add(new File([new Uint8Array(300000)], 'grün.bin'));"
                "input.files = chosen.files;"
                "input.dispatchEvent(new Event('change', { bubbles: true }))"
            )
            await inside(page, upload)
            await page.until(f"/grün.bin has 300000 bytes/.test({text})")


@needs("transmission-daemon")
async def test_transmission_with_a_login(browser: str, tmp_path: Path) -> None:
    port = free_port()
    daemon = ("transmission-daemon", "--foreground", "--no-portmap", "--no-dht")
    login = ("--auth", "--username", "me", "--password", "secret")
    config = ("--config-dir", tmp_path / "config", "--port", port)
    with application(tmp_path, port, *daemon, *login, *config) as url:
        async with device_of(browser, tmp_path, url, "transmission/web/") as page:
            await sign_in(page, "me", "secret")
            # Past its guard against pages of others, too (409, and a token).
            await page.until(f"{FRAME}.transmission?.remote?._token")
            assert not await page.evaluate(IS_ASKED)


LIGHTTPD = """
server.document-root = "{directory}/root"
server.port = {port}
server.bind = "127.0.0.1"
mimetype.assign = (".html" => "text/html", "" => "text/plain")
index-file.names = ("index.html")
server.modules = ("mod_auth", "mod_authn_file", "mod_staticfile")
auth.backend = "plain"
auth.backend.plain.userfile = "{directory}/users"
auth.require = ("/" => ("method" => "digest", "realm" => "the attic", "require" => "valid-user",
  "algorithm" => "{algorithm}"))
"""


@needs("lighttpd")
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_a_digest_login_is_asked_for_once(
    browser: str, tmp_path: Path, algorithm: str
) -> None:
    port = free_port()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "index.html").write_text("<title>inside</title>")
    (tmp_path / "root" / "a file.txt").write_text("for me")
    (tmp_path / "users").write_text("me:secret\n")
    config: Any = tmp_path / "lighttpd.conf"
    config.write_text(LIGHTTPD.format(directory=tmp_path, port=port, algorithm=algorithm))
    with application(tmp_path, port, "lighttpd", "-D", "-f", config) as url:
        async with device_of(browser, tmp_path, url, "") as page:
            await sign_in(page, "me", "secret")
            await page.until(f"{FRAME}.document.title === 'inside'")
            ask = "return (await fetch('/a file.txt?x=\"1\"')).text()"
            for _ in range(3):
                assert await inside(page, ask) == "for me"
            assert not await page.evaluate(IS_ASKED)
