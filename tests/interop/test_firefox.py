"""The core of the browser client in a real Firefox."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.interop.firefox import find_firefox, open_firefox

from processes import Process, posix_only
from support import run

pytestmark = [
    posix_only,
    pytest.mark.skipif(
        find_firefox() is None, reason="there is no Firefox (Debian: apt install firefox-esr)"
    ),
]

WORK = """(async () => {
  const { connect } = await import("/~peerfetch/peerfetch.js");
  const peer = await connect(LINK);
  const failure = (work) => work.then(() => null, (error) => error.name);
  const hex = (bytes) => Array.from(new Uint8Array(bytes), (b) => b.toString(16)).join();
  const hash = async (data) => hex(await crypto.subtle.digest("SHA-256", data));
  const body = new Uint8Array(4 << 20).map((_, i) => (i * 7) ^ (i >> 9));
  const put = await peer.fetch("/upload/firefox", { method: "PUT", body });
  const got = await (await peer.fetch("/upload/firefox")).arrayBuffer();
  const part = await peer.fetch("/large.bin", { headers: { range: "bytes=5-14" } });
  const lengths = await Promise.all(
    Array.from({ length: 64 }, async () => (await (await peer.fetch("/small.bin")).blob()).size),
  );
  const controller = new AbortController();
  const aborted = (await peer.fetch("/large.bin", controller)).body.getReader();
  await aborted.read();
  controller.abort();
  const found = [
    put.ok,
    (await hash(body)) === (await hash(got)),
    [part.status, (await part.text()).length > 0],
    new Set(lengths).size,
    await failure(aborted.read().then(() => aborted.read())),
    await failure(peer.fetch("https://example.com/")),
    (await peer.fetch("/missing")).status,
  ];
  await peer.close();
  return [...found, peer.state];
})()"""


def test_the_core_of_it(proxies: Callable[[str], Process], nginx: str) -> None:
    ready = proxies(nginx).ready
    link = f"peer://{ready['peer_id']}#{ready['fingerprint']}"

    async def main() -> None:
        async with open_firefox(f"http{ready['signaling'].removeprefix('ws')}/") as page:
            assert await page.evaluate(WORK.replace("LINK", f"'{link}'")) == [
                True,
                True,
                [206, True],
                1,
                "AbortError",
                "TypeError",
                404,
                "closed",
            ]

    run(main())


SERVE = """(async () => {
  const { connect, listen } = await import("/~peerfetch/peerfetch.js");
  const onpeer = (peer) => peer.serve(() => new Response("in"));
  const options = { accessToken: "grüße", identity: "printer", onpeer };
  const [one, two] = [await listen(options), await listen(options)];
  const link = `peer://${one.id}#${one.fingerprint}`;
  const wrong = await connect(link, { accessToken: "another" }).catch(({ reason }) => reason);
  const peer = await connect(link, { accessToken: "grüße" });
  const text = await (await peer.fetch("/")).text();
  const without = (await (await connect(link)).fetch("/")).status;
  return [one.fingerprint === two.fingerprint, wrong, text, without];
})()"""


def test_a_page_that_serves_with_an_access_token_and_an_identity(
    proxies: Callable[[str], Process], nginx: str
) -> None:
    ready = proxies(nginx).ready

    async def main() -> None:
        async with open_firefox(f"http{ready['signaling'].removeprefix('ws')}/") as page:
            assert await page.evaluate(SERVE) == [True, "access", "in", 401]

    run(main())
