"""Applications that people have, unchanged, by ``peerfetch forward``: their own checks of where a
request comes from let its pages in, and nobody else's.

Those of Python are in an environment of their own (.ci/apps makes it), named by $PEERFETCH_APPS.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
from websockets.sync.client import connect as websocket

from processes import ROOT, accepts, free_port, peerfetch, posix_only, running

pytestmark = posix_only

PYTHON = Path(os.environ.get("PEERFETCH_APPS", ROOT / "build" / "apps" / "bin" / "python"))
APPS = ROOT / "tests" / "interop" / "apps"

python_apps = pytest.mark.skipif(
    not PYTHON.exists(), reason="the applications are not installed (.ci/apps does it)"
)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(program, path="/usr/sbin:/usr/bin") is None,
        reason=f"{program} is not installed (Debian: apt install {program})",
    )


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def cookies(self) -> str:
        """What a browser would send back."""
        return "; ".join(value.split(";")[0] for value in self.headers.get_all("Set-Cookie") or ())


class Site:
    """What a browser sees of an application: one origin."""

    def __init__(self, url: str, log: Path) -> None:
        self.origin = url
        self.host = urlsplit(url).netloc
        self.log = log
        """What the proxy says."""

    def ask(
        self, target: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=120)
        try:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, target, body, fields)
            found = connection.getresponse()
            return Answer(found.status, found.headers, found.read())
        finally:
            connection.close()

    def form(self, target: str, fields: dict[str, str], cookie: str, **headers: str) -> Answer:
        """Send a form of the page at ``target`` itself."""
        sent = {
            "Origin": self.origin,
            "Referer": self.origin + target,
            "Cookie": cookie,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.ask(target, "POST", urlencode(fields).encode(), **(sent | headers))


@contextlib.contextmanager
def forwarded(directory: Path, target: str, *more: str) -> Iterator[Site]:
    """``target`` as `forward` shows it."""
    for name in ("device", "person"):
        (directory / name).mkdir(exist_ok=True)
    with (
        peerfetch(
            directory / "device", "proxy", "--target", target, "--listen", "127.0.0.1:0"
        ) as proxy,
        peerfetch(
            directory / "person",
            "forward",
            *(
                proxy.ready["peer_id"],
                "--port",
                "0",
                "--signaling",
                proxy.ready["signaling"],
                *more,
            ),
        ) as forward,
    ):
        yield Site(forward.ready["url"], proxy._log)


@contextlib.contextmanager
def application(directory: Path, port: int, *arguments: object) -> Iterator[str]:
    """The URL of an application that listens on ``port``."""
    home = {"HOME": str(directory), "GRADIO_ANALYTICS_ENABLED": "False"}
    with running(
        *arguments,
        log=directory / "app.log",
        ready=lambda: accepts(port),
        cwd=directory,
        env={**os.environ, **home},
    ):
        yield f"http://127.0.0.1:{port}"


@python_apps
def test_django_admin_takes_a_login(tmp_path: Path) -> None:
    port = free_port()
    script = APPS / "django_app.py"
    with (
        application(tmp_path, port, PYTHON, script, tmp_path / "db", port) as url,
        forwarded(tmp_path, url, "--allow-host", "mine.lan") as site,
    ):
        page = site.ask("/admin/login/")
        token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)
        assert token is not None
        fields = {
            "csrfmiddlewaretoken": token[1].decode(),
            "username": "root",
            "password": "secret",
            "next": "/admin/",
        }
        # A page of another origin, which forward was told to let in: Django refuses it.
        refused = site.form("/admin/login/", fields, page.cookies, Origin="http://mine.lan")
        assert refused.status == 403
        assert b"CSRF" in refused.body
        entered = site.form("/admin/login/", fields, page.cookies)
        assert (entered.status, entered.headers["Location"]) == (302, "/admin/")
        inside = site.ask("/admin/", Cookie=entered.cookies)
        assert b"Site administration" in inside.body


@python_apps
def test_jupyter_login_kernel_and_terminal(tmp_path: Path) -> None:
    port = free_port()
    server = (PYTHON, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--port={port}")
    with (
        application(tmp_path, port, *server, "--IdentityProvider.token=secret") as url,
        forwarded(tmp_path, url) as site,
    ):
        page = site.ask("/login")
        token = dict(pair.split("=", 1) for pair in page.cookies.split("; "))["_xsrf"]
        entered = site.form("/login", {"password": "secret", "_xsrf": token}, page.cookies)
        assert entered.status == 302
        cookie = f"{page.cookies}; {entered.cookies}"
        own = {"Cookie": cookie, "X_XSRFToken": token, "Origin": site.origin}

        def opened(kind: str, target: str) -> tuple[str, dict[str, str]]:
            made = site.ask(f"/api/{kind}", "POST", b"{}", **own)
            assert made.status in (200, 201), made.body
            found = json.loads(made.body)
            name = found.get("id") or found["name"]
            return f"ws://{site.host}{target.format(name)}", {"Cookie": cookie}

        address, fields = opened("kernels", "/api/kernels/{}/channels")
        with websocket(address, origin=site.origin, additional_headers=fields) as kernel:
            header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "s"}
            content = {"code": "print(6 * 7)", "silent": False, "user_expressions": {}}
            message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
            kernel.send(json.dumps({**message, "channel": "shell"}))
            while '"42\\n"' not in str(kernel.recv(timeout=60)):
                pass
        address, fields = opened("terminals", "/terminals/websocket/{}")
        with websocket(address, origin=site.origin, additional_headers=fields) as terminal:
            terminal.send(json.dumps(["stdin", "echo $((6 * 7))x\r"]))
            while "42x" not in str(terminal.recv(timeout=60)):
                pass


@python_apps
def test_gradio_answers_a_prediction(tmp_path: Path) -> None:
    port = free_port()
    with (
        application(tmp_path, port, PYTHON, APPS / "gradio_app.py", port) as url,
        forwarded(tmp_path, url) as site,
    ):
        # The page's scripts ask at the address that the page names: the one that its reader sees.
        page = site.ask("/")
        assert f'"root":"{site.origin}'.encode() in page.body
        own = {"Origin": site.origin, "Content_Type": "application/json"}
        asked = site.ask("/gradio_api/call/predict", "POST", b'{"data": ["olleh"]}', **own)
        assert asked.status == 200, asked.body
        event = json.loads(asked.body)["event_id"]
        events = site.ask(f"/gradio_api/call/predict/{event}")
        assert b'data: ["hello"]' in events.body


@python_apps
def test_streamlit_greets_over_its_websocket(tmp_path: Path) -> None:
    port = free_port()
    options = {
        "server.port": port,
        "server.address": "127.0.0.1",
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    script = APPS / "streamlit_app.py"
    with (
        application(tmp_path, port, PYTHON, "-m", "streamlit", "run", script, *flags) as url,
        forwarded(tmp_path, url) as site,
    ):
        assert b"streamlit" in site.ask("/").body.lower()
        with websocket(
            f"ws://{site.host}/_stcore/stream", origin=site.origin, subprotocols=["streamlit"]
        ) as stream:
            stream.send(b"\x5a\x00")  # BackMsg.rerun_script, with nothing in it
            while b"greetings from streamlit" not in bytes(stream.recv(timeout=60)):
                pass


@python_apps
def test_webdav_makes_moves_and_lists_files(tmp_path: Path) -> None:
    port = free_port()
    root = tmp_path / "root"
    root.mkdir()
    options = ("--host=127.0.0.1", f"--port={port}", f"--root={root}", "--auth=anonymous")
    with (
        application(tmp_path, port, PYTHON, "-m", "wsgidav.server.server_cli", *options) as url,
        forwarded(tmp_path, url) as site,
    ):
        assert site.ask("/a%C3%A4.txt", "PUT", b"content").status in (201, 204)
        assert (root / "aä.txt").read_bytes() == b"content"
        assert site.ask("/folder", "MKCOL").status == 201
        listed = site.ask("/", "PROPFIND", Depth="1")
        assert listed.status == 207
        assert b"/a%C3%A4.txt" in listed.body
        moved = site.ask(
            "/a%C3%A4.txt", "MOVE", Destination=f"{site.origin}/folder/b.txt", Overwrite="F"
        )
        assert moved.status == 201, moved.body
        assert (root / "folder" / "b.txt").read_bytes() == b"content"
        # To another server, which this one does not speak for.
        elsewhere = site.ask("/folder/b.txt", "MOVE", Destination="http://192.0.2.1/b.txt")
        assert elsewhere.status == 502
        assert site.ask("/folder/b.txt").body == b"content"


LIGHTTPD = """
server.document-root = "{directory}"
server.port = {port}
server.bind = "127.0.0.1"
mimetype.assign = ("" => "application/octet-stream")
server.modules = ("mod_auth", "mod_authn_file", "mod_staticfile")
auth.backend = "plain"
auth.backend.plain.userfile = "{directory}/users"
auth.require = ("/app/" => ("method" => "digest", "realm" => "r", "require" => "valid-user"))
"""


@needs("lighttpd")
@needs("curl")
def test_lighttpd_and_a_digest_login(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "users").write_text("me:secret\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "a.txt").write_text("for me\n")
    (tmp_path / "large").write_bytes(bytes(1_000_000))
    config = tmp_path / "lighttpd.conf"
    config.write_text(LIGHTTPD.format(directory=tmp_path, port=port))

    def digest(site: Site, target: str) -> str:
        return subprocess.run(
            ["curl", "-sS", "--digest", "-u", "me:secret", site.origin + target],
            capture_output=True,
            timeout=60,
            check=True,
        ).stdout.decode()

    with application(tmp_path, port, "lighttpd", "-D", "-f", config) as url:
        with forwarded(tmp_path, url) as site:
            part = site.ask("/large", Range="bytes=10-19")
            assert (part.status, len(part.body)) == (206, 10)
            assert site.ask("/large", If_None_Match=part.headers["ETag"]).status == 304
            assert digest(site, "/app/a.txt") == "for me\n"
            assert "Digest" not in site.log.read_text()
        with forwarded(tmp_path, f"{url}/app") as site:
            assert digest(site, "/a.txt") != "for me\n"
            assert "Digest login" in site.log.read_text()


@needs("transmission-daemon")
def test_transmission_answers_with_its_session_token(tmp_path: Path) -> None:
    port = free_port()
    daemon = ("transmission-daemon", "--foreground", "--no-auth", "--no-portmap", "--no-dht")
    with (
        application(
            tmp_path, port, *daemon, "--config-dir", tmp_path / "config", "--port", port
        ) as url,
        forwarded(tmp_path, url) as site,
    ):
        question = b'{"method": "session-get"}'
        # Its guard against pages of others: a field that only its own can read and send.
        refused = site.ask("/transmission/rpc", "POST", question, Origin=site.origin)
        assert refused.status == 409
        token = refused.headers["X-Transmission-Session-Id"]
        answer = site.ask("/transmission/rpc", "POST", question, X_Transmission_Session_Id=token)
        assert json.loads(answer.body)["result"] == "success"
