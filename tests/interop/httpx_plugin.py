"""A pytest plugin that points httpx's own tests at a peer (see test_httpx_suite.py).

Their server fixture starts uvicorn in the test process, on a port that we name; its URL becomes
that of the peer behind which our proxy forwards to that port. Their clients get our transport.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from peerfetch_fast.httpx import SyncTransport, Transport


def _of(kind: Any) -> Any:
    return lambda **_: kind(
        signaling=os.environ["PEERFETCH_TEST_SIGNALING"],
        known_peers=Path(os.environ["PEERFETCH_TEST_KNOWN_PEERS"]),
    )


def _with_port(init: Any) -> Any:
    @functools.wraps(init)
    def wrapped(self: Any, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, port=int(os.environ["PEERFETCH_TEST_PORT"]), **options)

    return wrapped


httpx._client.AsyncHTTPTransport = _of(Transport)  # type: ignore[attr-defined]
httpx._client.HTTPTransport = _of(SyncTransport)  # type: ignore[attr-defined]
uvicorn.Config.__init__ = _with_port(uvicorn.Config.__init__)  # type: ignore[method-assign]

# They are imported for tests that are not run, or only to see that they are there.
for name in ("chardet", "h2", "sniffio", "trio", "trustme"):
    if importlib.util.find_spec(name) is None:
        sys.modules[name] = types.ModuleType(name)
sys.modules["sniffio"].current_async_library = lambda: "asyncio"  # type: ignore[attr-defined]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import tests.conftest as theirs  # type: ignore[import-not-found,unused-ignore]

    url = httpx.URL(f"peer://{os.environ['PEERFETCH_TEST_PEER']}/")
    theirs.TestServer.url = property(lambda self: url)
