"""Bodies of requests: how long they are, what is sent, and whether it can be sent again."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peerfetch_fast.errors import InvalidRequest
from peerfetch_fast.http.content import PIECE, Content, make_content

LARGE = bytes(range(256)) * (3 * PIECE // 256) + b"end"


def sent(content: Content) -> bytes:
    async def main() -> bytes:
        return b"".join([bytes(piece) async for piece in content.pieces()])

    return asyncio.run(main())


@pytest.mark.parametrize(
    "data", [b"", b"abc", bytearray(b"abc"), memoryview(b"abcd").cast("H"), "ä"]
)
def test_bytes_and_text_are_sent_whole_and_can_be_sent_again(data: Any) -> None:
    content = make_content(data)
    whole = data.encode() if isinstance(data, str) else bytes(data)
    assert (content.length, content.repeatable) == (len(whole), True)
    assert sent(content) == sent(content) == whole


def test_a_path_is_sent_whole_and_can_be_sent_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    content = make_content(tmp_path / "file")
    assert (content.length, content.repeatable) == (len(LARGE), True)
    assert sent(content) == sent(content) == LARGE


def test_a_file_is_sent_from_where_it_stands_and_stays_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(LARGE)
    with (tmp_path / "file").open("rb") as file:
        file.seek(10)
        content = make_content(file)
        assert (content.length, content.repeatable) == (len(LARGE) - 10, True)
        assert sent(content) == sent(content) == LARGE[10:]
        assert not file.closed
    assert sent(make_content(io.BytesIO(b"in memory"))) == b"in memory"


def test_a_file_that_grows_is_sent_as_it_was_announced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    content = make_content(path)
    path.write_bytes(b"1234567")
    assert sent(content) == b"12345"


def test_a_pipe_has_no_length_and_comes_once() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb") as file, open(writing, "wb") as pipe:
        content = make_content(file)
        assert (content.length, content.repeatable) == (None, False)
        threading.Timer(0.05, lambda: (pipe.write(b"through"), pipe.close())).start()
        assert sent(content) == b"through"


def test_files_are_not_read_in_the_event_loop(tmp_path: Path) -> None:
    threads = set()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            threads.add(threading.get_ident())
            return super().read(size)

    assert sent(make_content(Slow(b"abc"))) == b"abc"
    assert threading.get_ident() not in threads


def test_an_iterator_is_closed_when_it_is_left() -> None:
    closed = []

    async def source() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    async def main() -> None:
        content = make_content(source())
        assert (content.length, content.repeatable) == (None, False)
        pieces = content.pieces()
        assert await anext(pieces) == b"one"
        await pieces.aclose()
        assert closed

    asyncio.run(main())


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_content(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        sent(make_content(tmp_path))
    with pytest.raises(InvalidRequest, match="mode 'rb'"):
        make_content(io.StringIO("text"))  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [1, [b"a"], object()])
def test_bodies_that_are_none(body: Any) -> None:
    with pytest.raises(InvalidRequest, match="async iterable"):
        make_content(body)
