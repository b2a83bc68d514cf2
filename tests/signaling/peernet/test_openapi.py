"""The OpenAPI document, and the server held to it by schemathesis."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from peerfetch_fast.signaling import SignalingServer, SignalingServerSettings
from peerfetch_fast.signaling.peernet.api import ROUTES
from peerfetch_fast.signaling.peernet.openapi import openapi
from peerfetch_fast.signaling.peernet.settings import PeerNetSettings

SETTINGS = PeerNetSettings(request_burst=1_000_000, max_wrong_tokens=1_000_000, max_wait=0.01)

schema = schemathesis.openapi.from_dict(openapi("/v1", SETTINGS))


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """The URL of a server in a thread of its own: schemathesis waits for answers."""
    loop = asyncio.new_event_loop()
    server = SignalingServer(SignalingServerSettings(close_timeout=0.1), peernet=SETTINGS)
    loop.run_until_complete(server.start("127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.url.replace("ws:", "http:") + "/v1"
    asyncio.run_coroutine_threadsafe(server.close(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_every_operation_is_described_once() -> None:
    document = openapi("/v1", SETTINGS)
    ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert sorted(ids) == sorted({route.id for route in ROUTES})


@schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_the_server_does_what_the_document_says(case: schemathesis.Case, base: str) -> None:
    response = case.call(base_url=base, timeout=30)
    case.validate_response(
        response,
        checks=[status_code_conformance, content_type_conformance, response_schema_conformance],
    )
    assert response.status_code < 500
