"""httpx's own tests of a live server, through a peer, by both of its clients.

They come with the source distribution of the httpx that is installed, which pip fetches once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from processes import ROOT, environment, free_port, posix_only, start_proxy

httpx = pytest.importorskip("httpx")

pytestmark = posix_only

CLIENT = "tests/client/test_async_client.py"
SYNC_CLIENT = "tests/client/test_client.py"
API = "tests/test_api.py"
TIMEOUTS = "tests/test_timeouts.py"

ASYNC = [
    f"{CLIENT}::test_get",
    f"{CLIENT}::test_build_request",
    f"{CLIENT}::test_post",
    f"{CLIENT}::test_post_json",
    f"{CLIENT}::test_stream_response",
    f"{CLIENT}::test_access_content_stream_response",
    f"{CLIENT}::test_stream_request",
    f"{CLIENT}::test_cannot_stream_sync_request",
    f"{CLIENT}::test_raise_for_status",
    f"{CLIENT}::test_options",
    f"{CLIENT}::test_head",
    f"{CLIENT}::test_put",
    f"{CLIENT}::test_patch",
    f"{CLIENT}::test_delete",
    f"{CLIENT}::test_100_continue",
    f"{CLIENT}::test_server_extensions",
    f"{CLIENT}::test_get_invalid_url[asyncio-scheme-not-http(s)]",
    f"{CLIENT}::test_get_invalid_url[asyncio-no-scheme]",
    f"{CLIENT}::test_get_invalid_url[asyncio-no-host]",
    f"{TIMEOUTS}::test_read_timeout",
    f"{TIMEOUTS}::test_write_timeout",
    f"{TIMEOUTS}::test_async_client_new_request_send_timeout",
]

SYNC = [
    f"{SYNC_CLIENT}::test_get",
    f"{SYNC_CLIENT}::test_get_invalid_url[scheme-not-http(s)]",
    f"{SYNC_CLIENT}::test_get_invalid_url[no-scheme]",
    f"{SYNC_CLIENT}::test_get_invalid_url[no-host]",
    f"{SYNC_CLIENT}::test_build_request",
    f"{SYNC_CLIENT}::test_build_post_request",
    f"{SYNC_CLIENT}::test_post",
    f"{SYNC_CLIENT}::test_post_json",
    f"{SYNC_CLIENT}::test_stream_response",
    f"{SYNC_CLIENT}::test_stream_iterator",
    f"{SYNC_CLIENT}::test_raw_iterator",
    f"{SYNC_CLIENT}::test_cannot_stream_async_request",
    f"{SYNC_CLIENT}::test_raise_for_status",
    f"{SYNC_CLIENT}::test_options",
    f"{SYNC_CLIENT}::test_head",
    f"{SYNC_CLIENT}::test_put",
    f"{SYNC_CLIENT}::test_patch",
    f"{SYNC_CLIENT}::test_delete",
    f"{SYNC_CLIENT}::test_base_url",
    f"{SYNC_CLIENT}::test_server_extensions",
    f"{API}::test_get",
    f"{API}::test_post",
    f"{API}::test_post_byte_iterator",
    f"{API}::test_post_byte_stream",
    f"{API}::test_options",
    f"{API}::test_head",
    f"{API}::test_put",
    f"{API}::test_patch",
    f"{API}::test_delete",
    f"{API}::test_stream",
]

# Not run, and why:
#
# - every test under trio: the connections are asyncio's;
# - tests/test_main.py: httpx's command line, which has a list of the schemes that it takes;
# - tests/client/test_event_hooks.py::test_event_hooks_raising_exception, test_api.py's
#   test_httpcore_lazy_loading and the one of tests/test_exceptions.py: of httpcore's insides;
# - tests/test_utils.py::test_logging_request and test_logging_redirect_chain: what they log names
#   the http:// URL of their server;
# - tests/test_config.py: TLS between client and server, which a peer does not have;
# - tests/test_timeouts.py::test_connect_timeout: an IP address that does not answer;
#   tests/test_httpx.py has a peer that does not;
# - tests/test_timeouts.py::test_pool_timeout: the one TCP connection is in use; tests/test_httpx.py
#   uses up the streams of a peer;
# - all others: of no live server, but of models, decoders, and the mock, ASGI and WSGI transports.


@pytest.fixture(scope="module")
def suite(pytestconfig: pytest.Config) -> Path:
    """The directory with httpx's sources and tests."""
    name = f"httpx-{httpx.__version__}"
    cache = Path(pytestconfig.cache.mkdir("httpx"))  # type: ignore[union-attr]
    if not (cache / name).exists():
        fetched = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "httpx"),
                *(f"httpx=={httpx.__version__}", "-d", str(cache)),
            ],
            capture_output=True,
            timeout=120,
            check=False,
        )
        if fetched.returncode:
            pytest.skip(f"pip cannot get the sources of httpx: {fetched.stderr.decode()[-200:]}")
        with tarfile.open(cache / f"{name}.tar.gz") as archive:
            # Python 3.11.2, of Debian 12, has no filters yet.
            archive.extractall(
                cache, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
            )
    return cache / name


def test_httpx_passes_its_own_tests_through_a_peer(
    suite: Path, tmp_path: Path, transport: str
) -> None:
    port = free_port()
    wanted = [name if "[" in name else f"{name}[asyncio]" for name in ASYNC] + SYNC
    with start_proxy(tmp_path, f"http://127.0.0.1:{port}", transport) as proxy:
        arguments = "-v -p httpx_plugin -p no:hypothesispytest -o addopts= -o filterwarnings=error"
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", *arguments.split()),
                *("-o", f"cache_dir={tmp_path / 'cache'}", *wanted),
            ],
            cwd=suite,
            env={
                **environment(tmp_path),
                "PYTHONPATH": os.pathsep.join(
                    [str(ROOT / "tests" / "interop"), os.environ.get("PYTHONPATH", "")]
                ).rstrip(os.pathsep),
                "PEERFETCH_TEST_PEER": proxy.ready["peer_id"],
                "PEERFETCH_TEST_SIGNALING": proxy.ready["signaling"],
                "PEERFETCH_TEST_KNOWN_PEERS": str(tmp_path / "known_peers"),
                "PEERFETCH_TEST_PORT": str(port),
            },
            capture_output=True,
            timeout=120,
            check=False,
        )
    output = ran.stdout.decode() + ran.stderr.decode()
    assert ran.returncode == 0, output
    assert sorted(re.findall(r"^(\S+) PASSED", output, re.M)) == sorted(wanted), output
