"""Downloads into a file that break off, and go on or start again: never silently wrong."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast.cli.download import Download, NotSaved, ResumeFailed
from peerfetch_fast.cli.progress import Bar
from peerfetch_fast.errors import MessageTruncated, RequestLost, StreamReset
from peerfetch_fast.http import codes
from peerfetch_fast.http.client import Response
from peerfetch_fast.http.server import Exchange, Handler
from support import Pair, http_pair, virtually

DATA = bytes(range(256)) * 400


@dataclass
class Origin:
    """A server of one file that breaks off when told to."""

    data: bytes = DATA
    headers: list[tuple[str, str]] = field(default_factory=lambda: [("etag", '"v1"')])
    breaks: list[int] = field(default_factory=list)
    """After how many bytes each of the next answers breaks off."""
    statuses: list[int] = field(default_factory=list)
    """Statuses with which the next requests are answered."""
    ranges: bool = True
    answer: dict[str, str] = field(default_factory=dict)
    """Headers of a 206 that are not what they should be."""
    asked: list[str] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        asked = exchange.headers.get("range", "")
        self.asked.append(asked)
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            exchange.respond(status, [], b"an error page")
            return
        start, status, headers = 0, 200, list(self.headers)
        current = dict(headers).get("etag", dict(headers).get("last-modified"))
        if asked and self.ranges and exchange.headers.get("if-range") == current:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            status = 206
            found = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
            headers = [*dict([*headers, ("content-range", found), *self.answer.items()]).items()]
        rest = self.data[start:]
        exchange.start(status, [*headers, ("content-length", str(len(rest)))], len(rest))
        if self.breaks:
            await exchange.write(rest[: self.breaks.pop(0)])
            await asyncio.sleep(0.1)
            exchange.break_off(codes.UPSTREAM_ERROR)
            return
        await exchange.write(rest)
        exchange.end()


def save(
    origin: Handler,
    output: Path,
    *,
    target: str = "/file",
    ask: Callable[[Pair, list[tuple[str, str]]], Awaitable[Response]] | None = None,
    **options: Any,
) -> int:
    """Download; ``ask`` is what asks in the place of a plain fetch."""

    async def main() -> int:
        async with http_pair(origin) as pair:
            download = Download(
                **{
                    "ask": lambda more: (
                        pair.fetch(target, headers=more) if ask is None else ask(pair, more)
                    ),
                    "url": f"peer://device{target}",
                    "output": output,
                    "go_on": False,
                    "resumable": True,
                    "head": lambda _: b"",
                    "fail": False,
                    "patience": 60.0,
                }
                | options
            )
            with Bar(show=False) as bar:
                return await download.run(bar)

    return virtually(main())


def left(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir())


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "file"


def test_a_whole_answer_is_saved_and_nothing_else_left(output: Path) -> None:
    assert save(Origin(), output) == 200
    assert output.read_bytes() == DATA
    assert left(output) == ["file"]


def test_an_empty_file_is_saved_as_one(output: Path) -> None:
    save(Origin(data=b""), output)
    assert output.read_bytes() == b""
    assert left(output) == ["file"]


def test_it_goes_on_where_it_broke_off(output: Path, capfd: Any) -> None:
    origin = Origin(breaks=[1000, 0, 5000])
    assert save(origin, output) == 206
    assert output.read_bytes() == DATA
    assert origin.asked == ["", "bytes=1000-", "bytes=1000-", "bytes=6000-"]
    assert left(output) == ["file"]
    assert "broken off after 1000 bytes" in capfd.readouterr().err


def test_a_date_tells_versions_apart_when_it_is_old_enough(output: Path) -> None:
    old = [
        ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
        ("date", "Mon, 01 Jan 2024 00:01:00 GMT"),
    ]
    origin = Origin(headers=old, breaks=[1000])
    save(origin, output)
    assert output.read_bytes() == DATA
    assert origin.asked == ["", "bytes=1000-"]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("etag", 'W/"weak"')],
        [("etag", "unquoted")],
        [("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")],
        [("last-modified", "yesterday"), ("date", "today")],
        [
            ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("date", "Mon, 01 Jan 2024 00:00:30 GMT"),
        ],
    ],
)
def test_without_a_strong_validator_it_fails_and_keeps_what_came(
    output: Path, headers: list[tuple[str, str]], capfd: Any
) -> None:
    output.write_bytes(b"what was there before")
    origin = Origin(headers=headers, breaks=[1000])
    with pytest.raises(StreamReset):
        save(origin, output)
    assert origin.asked == [""]
    assert output.read_bytes() == b"what was there before"
    assert left(output) == ["file", "file.part"]
    assert output.with_name("file.part").read_bytes() == DATA[:1000]
    assert "cannot be gone on with" in capfd.readouterr().err
    # Nobody knows what that was a part of, so a later command starts again.
    assert save(origin, output, go_on=True) == 200
    assert output.read_bytes() == DATA
    assert origin.asked == ["", ""]
    assert left(output) == ["file"]


def test_a_request_that_is_not_resumable_fails(output: Path) -> None:
    origin = Origin(breaks=[1000])
    with pytest.raises(StreamReset):
        save(origin, output, resumable=False)
    assert origin.asked == [""]


def test_a_file_that_changed_is_fetched_again_from_its_beginning(output: Path, capfd: Any) -> None:
    origin = Origin(breaks=[1000])
    before = origin.__call__

    async def changing(exchange: Exchange) -> None:
        if origin.asked == [""]:
            origin.data, origin.headers = DATA[::-1], [("etag", '"v2"')]
        await before(exchange)

    assert save(changing, output) == 200
    assert output.read_bytes() == DATA[::-1]
    assert "another one now: starting again" in capfd.readouterr().err


def test_a_server_without_ranges(output: Path, capfd: Any) -> None:
    origin = Origin(breaks=[1000], ranges=False)
    assert save(origin, output) == 200
    assert output.read_bytes() == DATA
    assert "does not send parts of it: starting again" in capfd.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"content-range": f"bytes 999-{len(DATA) - 1}/{len(DATA)}"},
        {"content-range": f"bytes 1000-{len(DATA) - 1}/{len(DATA) + 1}"},
        {"content-range": "bytes */5"},
        {"content-range": ""},
        {"etag": '"v2"'},
    ],
)
def test_another_part_than_was_asked_for_is_refused(output: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(ResumeFailed, match="another part"):
        save(Origin(breaks=[1000], answer=wrong), output)
    assert left(output) == ["file.part", "file.part.json"]
    assert output.with_name("file.part").read_bytes() == DATA[:1000]


def test_a_device_whose_server_is_not_up_yet_is_waited_for(output: Path) -> None:
    origin = Origin(breaks=[1000], statuses=[200, 502, 503, 504])
    assert save(origin, output) == 206
    assert output.read_bytes() == DATA


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_file_that_is_gone(output: Path, status: int) -> None:
    with pytest.raises(ResumeFailed, match=f"status {status}"):
        save(Origin(breaks=[1000], statuses=[200, status]), output)
    assert output.with_name("file.part").read_bytes() == DATA[:1000]


def test_patience_comes_to_an_end(output: Path) -> None:
    origin = Origin(breaks=[1000] + [0] * 1000)
    with pytest.raises(StreamReset):
        save(origin, output, patience=30.0)
    assert 5 < len(origin.asked) < 60
    with pytest.raises(ResumeFailed, match="status 502"):
        save(Origin(statuses=[502] * 1000), output, patience=30.0, go_on=True)
    assert output.with_name("file.part").read_bytes() == DATA[:1000]
    # And later it goes on all the same.
    origin.breaks = []
    assert save(origin, output, go_on=True) == 206
    assert output.read_bytes() == DATA


def test_a_connection_that_breaks_before_the_rest_is_answered(output: Path) -> None:
    asked = 0

    async def ask(pair: Pair, more: list[tuple[str, str]]) -> Response:
        nonlocal asked
        asked += 1
        if 1 < asked < 4:
            await asyncio.sleep(1)
            raise RequestLost("twice")
        return await pair.fetch("/", headers=more)

    save(Origin(breaks=[1000]), output, ask=ask)
    assert output.read_bytes() == DATA
    assert asked == 4


def test_a_later_command_goes_on(output: Path, capfd: Any) -> None:
    with pytest.raises(StreamReset):
        save(Origin(breaks=[1000, 500]), output, patience=0.0)
    assert "with -C -" in capfd.readouterr().err
    assert left(output) == ["file.part", "file.part.json"]
    origin = Origin()
    assert save(origin, output, go_on=True) == 206
    assert origin.asked == ["bytes=1000-"]
    assert output.read_bytes() == DATA


@pytest.mark.parametrize(
    "how",
    ["not asked to", "another URL", "no record", "garbage", "no number", "no text", "too long"],
)
def test_a_later_command_starts_again(output: Path, how: str) -> None:
    with pytest.raises(StreamReset):
        save(Origin(breaks=[1000]), output, patience=0.0)
    record = output.with_name("file.part.json")
    if how == "no record":
        record.unlink()
    elif how == "garbage":
        record.write_text(json.dumps(["garbage"]))
    elif how == "no number":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"total": "many"}))
    elif how == "no text":
        record.write_text(json.dumps(json.loads(record.read_text()) | {"validator": 5}))
    elif how == "too long":
        output.with_name("file.part").write_bytes(DATA + b"more")
    origin = Origin()
    target = "/other" if how == "another URL" else "/file"
    assert save(origin, output, go_on=how != "not asked to", target=target) == 200
    assert origin.asked == [""]
    assert output.read_bytes() == DATA
    assert left(output) == ["file"]


def test_a_part_that_is_whole_already(output: Path) -> None:
    with pytest.raises(StreamReset):
        save(Origin(breaks=[len(DATA)]), output, patience=0.0)
    assert output.with_name("file.part").read_bytes() == DATA
    origin = Origin()
    save(origin, output, go_on=True)
    assert output.read_bytes() == DATA
    assert not origin.asked


def test_a_part_of_which_nothing_is_left_at_the_server(output: Path) -> None:
    with pytest.raises(StreamReset):
        save(Origin(breaks=[1000]), output, patience=0.0)
    origin = Origin(data=b"short now", statuses=[416])
    assert save(origin, output, go_on=True) == 200
    assert output.read_bytes() == b"short now"


def test_two_commands_do_not_write_to_one_file(output: Path) -> None:
    pytest.importorskip("fcntl")
    from peerfetch_fast.cli.download import Partial

    with Partial(output).opened(), pytest.raises(ResumeFailed, match="another program"):
        save(Origin(), output)


def test_errors_are_saved_or_not(output: Path) -> None:
    assert save(Origin(statuses=[404]), output) == 404
    assert output.read_bytes() == b"an error page"
    with pytest.raises(NotSaved, match="404"):
        save(Origin(statuses=[404]), output.with_name("other"), fail=True)
    assert left(output) == ["file"]


def test_the_head_comes_first(output: Path) -> None:
    save(Origin(), output, resumable=False, head=lambda response: b"%d\n" % response.status)
    assert output.read_bytes() == b"200\n" + DATA


def test_a_body_without_a_length_is_whole_at_its_end(output: Path) -> None:
    async def handler(exchange: Exchange) -> None:
        exchange.start(200, [("etag", '"v1"')], None)
        await exchange.write(DATA)
        exchange.end()

    save(handler, output)
    assert output.read_bytes() == DATA


def test_a_rest_that_is_too_short(output: Path) -> None:
    with pytest.raises(StreamReset):
        save(Origin(breaks=[1000]), output, patience=0.0)
    short = Origin(data=DATA[:-1], answer={"content-range": f"bytes 1000-{len(DATA) - 1}/*"})
    with pytest.raises(MessageTruncated):
        save(short, output, go_on=True, patience=0.0)
    assert not output.exists()


def test_a_symbolic_link_stays_one(output: Path) -> None:
    real = output.with_name("real")
    real.write_bytes(b"old")
    os.symlink(real, output)
    save(Origin(), output)
    assert output.is_symlink()
    assert real.read_bytes() == DATA
