"""Certificates by ACME, from pebble: Let's Encrypt's own small server for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
from cryptography import x509

from certificates import self_signed
from peerfetch_fast.errors import RendezvousError
from peerfetch_fast.rendezvous import renewal
from peerfetch_fast.rendezvous.challenges import Challenges, Kind
from peerfetch_fast.rendezvous.issuing import Issuer
from peerfetch_fast.rendezvous.server import Authority, RendezvousSettings, rendezvous
from peerfetch_fast.signaling.peerjs.settings import SignalingServerSettings
from processes import accepts, free_port, peerfetch, posix_only, running
from support import until

PEBBLE = shutil.which("pebble", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

pytestmark = [
    posix_only,
    pytest.mark.skipif(
        PEBBLE is None,
        reason="pebble is not installed (./run setup builds it, where there is Go)",
    ),
]

DOMAIN = "meet.example"


@dataclass
class Zone:
    """What pebble is told by DNS: every name is this machine's, unless it is ``lost``."""

    port: int
    texts: Path
    lost: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        question = query.question[0]
        name = question.name.to_text()
        self.asked.append(name)
        kind = question.rdtype.name
        if kind == "A" and not self.lost:
            response.answer.append(dns.rrset.from_text(question.name, 0, "IN", "A", "127.0.0.1"))
        elif kind == "TXT" and self.texts.exists():
            values = [
                line.split()[1]
                for line in self.texts.read_text().splitlines()
                if line.split()[0] == name
            ]
            if values:
                response.answer.append(dns.rrset.from_text(question.name, 0, "IN", "TXT", *values))
        return response.to_wire()


@dataclass
class Pebble:
    directory: str
    dns_port: int
    http_port: int
    tls_port: int


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    place = tmp_path_factory.mktemp("pebble")
    certificate, key = self_signed(place, "localhost")
    port, dns_port, http_port, tls_port = (free_port() for _ in range(4))
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{free_port()}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": http_port,
        "tlsPort": tls_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (place / "config.json").write_text(json.dumps({"pebble": config}))
    with (
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("PEBBLE_VA_NOSLEEP", "1")
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with running(
            *(PEBBLE, "-config", place / "config.json", "-dnsserver", f"127.0.0.1:{dns_port}"),
            log=place / "log",
            ready=lambda: accepts(port),
        ):
            yield Pebble(f"https://localhost:{port}/dir", dns_port, http_port, tls_port)


@contextlib.asynccontextmanager
async def zone(pebble: Pebble, directory: Path) -> AsyncIterator[Zone]:
    made = Zone(pebble.dns_port, directory / "texts")

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # DNS over TCP, as pebble asks.
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                size = int.from_bytes(await reader.readexactly(2), "big")
                answer = made.answer(await reader.readexactly(size))
                writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", made.port)
    async with server:
        yield made


def authority(
    pebble: Pebble, directory: Path, *kinds: Kind, hook: Path | None = None, wild: bool = False
) -> Authority:
    challenges = Challenges(hook)
    names = [DOMAIN, f"*.{DOMAIN}"] if wild else [DOMAIN]
    issuer = Issuer(
        pebble.directory, names, directory, challenges, email="me@example.org", kinds=kinds
    )
    return Authority(issuer, challenges, directory / "it.pem", ("127.0.0.1", pebble.http_port))


def settings(pebble: Pebble) -> RendezvousSettings:
    return RendezvousSettings(
        DOMAIN, "127.0.0.1", pebble.tls_port, SignalingServerSettings(), None, 600.0
    )


async def connect(pebble: Pebble) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """A connection to the server, and the serial number of the certificate that it shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", pebble.tls_port, ssl=context, server_hostname=DOMAIN
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(True)
    return reader, writer, x509.load_der_x509_certificate(shown).serial_number


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET /peerjs/id HTTP/1.1\r\nHost: x\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    return await reader.readexactly(32)


def hook_of(directory: Path, texts: Path) -> Path:
    hook = directory / "hook"
    hook.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        "from pathlib import Path\n"
        f"path = Path({str(texts)!r})\n"
        "lines = path.read_text().splitlines() if path.exists() else []\n"
        "what, line = sys.argv[1], ' '.join(sys.argv[2:])\n"
        "lines = [*lines, line] if what == 'present' else [it for it in lines if it != line]\n"
        "path.write_text('\\n'.join(lines))\n"
    )
    hook.chmod(0o755)
    return hook


@pytest.mark.parametrize("kind", ["http-01", "tls-alpn-01"])
async def test_the_first_certificate_comes_and_is_served(
    pebble: Pebble, tmp_path: Path, kind: Kind
) -> None:
    made = authority(pebble, tmp_path, kind)
    async with zone(pebble, tmp_path), rendezvous(settings(pebble), made) as server:
        assert not server.certified.is_set()
        await server.certified.wait()
        reader, writer, serial = await connect(pebble)
        found = x509.load_pem_x509_certificates(made.path.read_bytes())
        assert found[0].serial_number == serial
        assert "Pebble" in found[0].issuer.rfc4514_string()
        assert len(await ask(reader, writer)) == 32
        writer.close()
        assert made.path.stat().st_mode & 0o777 == 0o600
    # It is kept: the next run asks for none.
    async with rendezvous(settings(pebble), made) as server:
        await server.certified.wait()
        _, writer, again = await connect(pebble)
        assert again == serial
        writer.close()


async def test_names_below_the_domain_are_proved_by_dns(pebble: Pebble, tmp_path: Path) -> None:
    hook = hook_of(tmp_path, tmp_path / "texts")
    made = authority(pebble, tmp_path, "dns-01", hook=hook, wild=True)
    async with zone(pebble, tmp_path) as names, rendezvous(settings(pebble), made) as server:
        await server.certified.wait()
        found = x509.load_pem_x509_certificates(made.path.read_bytes())[0]
        alternative = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert set(alternative.value.get_values_for_type(x509.DNSName)) == {
            DOMAIN,
            f"*.{DOMAIN}",
        }
        assert f"_acme-challenge.{DOMAIN}." in names.asked
        assert not names.texts.read_text()  # and are there no more


async def test_it_is_renewed_and_who_is_connected_stays_so(
    pebble: Pebble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = authority(pebble, tmp_path, "tls-alpn-01", "http-01")
    async with zone(pebble, tmp_path):
        async with rendezvous(settings(pebble), made) as server:
            await server.certified.wait()
        # From now on every certificate is due as soon as it is there.
        monkeypatch.setattr(renewal, "LEFT", 2)
        monkeypatch.setattr(renewal, "RETRY_FIRST", 0.5)
        before = made.path.read_bytes()
        async with rendezvous(settings(pebble), made) as server:
            reader, writer, serial = await connect(pebble)
            await until(lambda: made.path.read_bytes() != before)
            await server.certified.wait()
            other = await connect(pebble)
            assert other[2] != serial
            assert len(await ask(reader, writer)) == 32
            assert len(await ask(*other[:2])) == 32
            for stream in (writer, other[1]):
                stream.close()


async def test_a_failure_is_said_and_another_attempt_made(
    pebble: Pebble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(renewal, "RETRY_FIRST", 0.5)
    made = authority(pebble, tmp_path, "tls-alpn-01", "http-01")
    async with zone(pebble, tmp_path) as names:
        names.lost = True
        async with rendezvous(settings(pebble), made) as server:
            await until(lambda: "could not check" in caplog.text)
            assert f"could not check {DOMAIN} by tls-alpn-01: " in caplog.text
            assert not server.certified.is_set()
            names.lost = False
            await asyncio.wait_for(server.certified.wait(), 60)


async def test_the_program_says_that_it_waits_and_is_ready_with_a_certificate(
    pebble: Pebble, tmp_path: Path
) -> None:
    def started() -> Any:
        return peerfetch(
            tmp_path,
            *("rendezvous", "--domain", DOMAIN, "--no-turn", "--acme-directory", pebble.directory),
            *("--listen", f"127.0.0.1:{pebble.tls_port}"),
            *("--http-listen", f"127.0.0.1:{pebble.http_port}"),
        )

    async with zone(pebble, tmp_path):
        # Its start waits for the certificate, whose authority asks our names here.
        with contextlib.ExitStack() as stack:
            server = await asyncio.to_thread(stack.enter_context, started())
            assert "a certificate is asked for" in server.output
            assert server.ready["page"] == f"https://{DOMAIN}:{pebble.tls_port}/"
            _, writer, serial = await connect(pebble)
            writer.close()
            plain, other = await asyncio.open_connection("127.0.0.1", pebble.http_port)
            other.write(b"GET /~peerfetch/?a=b HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")
            head = await plain.read()
            assert b" 308 " in head
            place = f"https://{DOMAIN}:{pebble.tls_port}/~peerfetch/?a=b"
            assert f"Location: {place}\r\n".encode() in head
            other.close()
        with contextlib.ExitStack() as stack:
            server = await asyncio.to_thread(stack.enter_context, started())
            assert "a certificate is asked for" not in server.output
            _, writer, again = await connect(pebble)
            writer.close()
            assert again == serial


async def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    issuer = Issuer(f"https://localhost:{free_port()}/dir", [DOMAIN], tmp_path, Challenges())
    with pytest.raises(RendezvousError, match=r"https://localhost:.* cannot be asked"):
        issuer.obtain()
