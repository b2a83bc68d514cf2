"""HTTP as it is on the wire: a program and an upstream on bare sockets, and between them `forward`
and the proxy, or nginx.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.http.raw import Answering, RawUpstream, plain, said_to
from tests.interop import reverse_proxies
from tests.interop.raw_cases import CASES, Case

from processes import posix_only

pytestmark = posix_only


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    found = RawUpstream()
    yield found
    found.close()


@pytest.fixture(scope="module")
def forwarded(upstream: RawUpstream) -> Iterator[int]:
    with reverse_proxies.forwarded(upstream) as port:
        yield port


@pytest.fixture(scope="module")
def nginx(upstream: RawUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    try:
        with reverse_proxies.nginx(upstream, tmp_path_factory.mktemp("nginx")) as port:
            yield port
    except reverse_proxies.NoNginx as missing:
        pytest.skip(str(missing))


def check(case: Case, upstream: RawUpstream, port: int) -> None:
    upstream.requests.clear()
    upstream.doing = case.doing
    try:
        got = plain(said_to(port, case.asked, **case.saying))
    finally:
        upstream.doing = Answering()
    reached = plain(b"".join(upstream.requests))
    for part in case.reaches:
        assert part in reached
    for part in case.misses:
        assert part not in reached
    for part in case.gets:
        assert part in got
    for part in case.lacks:
        assert part not in got
    if case.count is not None:
        assert len(upstream.requests) == case.count


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_octets_arrive_through_forward_as_the_case_says(
    case: Case, upstream: RawUpstream, forwarded: int
) -> None:
    check(case, upstream, forwarded)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_nginx_does_what_the_case_says_of_it(case: Case, upstream: RawUpstream, nginx: int) -> None:
    assert bool(case.elsewhere) == bool(case.why)
    if "half_close" in case.saying:
        pytest.skip(
            "nginx takes it for gone, and may ask the upstream all the same in the next case"
        )
    check(case.of_nginx, upstream, nginx)


def test_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.source for case in CASES)
