"""``peerfetch proxy --https``: HTTPS on a local network without a domain."""

from __future__ import annotations

import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from processes import environment, start_proxy


def test_who_has_trusted_the_device_has_its_page_by_https(tmp_path: Path, site: str) -> None:
    with start_proxy(tmp_path, site, "auto", "--https") as proxy:
        place = urlsplit(proxy.ready["signaling"])
        assert place.scheme == "wss"
        origin = f"https://{place.netloc}/"
        with urllib.request.urlopen(f"http://127.0.0.1:{(place.port or 0) + 1}/") as answer:
            page = answer.read().decode()
        pin = proxy.output.partition("authority    ")[2].split()[0]
        assert pin.startswith("sha256:")
        assert pin in page
        assert origin.rstrip("/") in page
        for system in ("iPhone", "Android", "macOS", "Windows", "Firefox"):
            assert system in page
        with urllib.request.urlopen(
            f"http://127.0.0.1:{(place.port or 0) + 1}/peerfetch.crt"
        ) as answer:
            assert answer.headers["Content-Type"] == "application/x-x509-ca-cert"
            authority = answer.read()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urllib.request.urlopen(origin)
        trusting = ssl.create_default_context(cadata=authority)
        with urllib.request.urlopen(origin, context=trusting) as answer:
            assert answer.status == 200
        known = tmp_path / "authority.pem"
        known.write_text(ssl.DER_cert_to_PEM_cert(authority))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "peerfetch_fast", "fetch", "--fail"),
                *(
                    f"peer://{proxy.ready['peer_id']}/status/200",
                    "--signaling",
                    proxy.ready["signaling"],
                ),
            ],
            capture_output=True,
            timeout=60,
            env=environment(tmp_path) | {"SSL_CERT_FILE": str(known)},
        )
        assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--tls-certificate", __file__), "exclude each other"),
        (("--signaling", "ws://127.0.0.1:1"), "--https is for the embedded signaling server"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, more: tuple[str, ...], says: str) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "peerfetch_fast", "proxy", "--target", "http://127.0.0.1:1"),
            *("--https", *more),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(tmp_path),
    )
    assert done.returncode == 2
    assert says in done.stderr
