"""Receiving: whole files, what broke off, what is damaged, and what must not be written."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

import orjson
import pytest
from tests.sharing.conftest import contents_of, fill, offer_of, pass_on

from peerfetch_fast.errors import FilesExist, SharingError, UnsafeName
from peerfetch_fast.sharing import directory as directory_module
from peerfetch_fast.sharing.manifest import PIECE, Entry, encode_entry
from peerfetch_fast.sharing.records import DATA, DIGEST, END, FAILED, FILE, Wanted, record_head
from peerfetch_fast.sharing.sending import Digests, Outgoing
from peerfetch_fast.sharing.source import Offer
from peerfetch_fast.sharing.storing import IfExists, Storing, WrongPiece, partial_name
from processes import posix_only

pytestmark = posix_only

LARGE = 2 * PIECE + 12_345


def storing_of(offer: Offer, where: Path, if_exists: IfExists = "refuse") -> Storing:
    return Storing(where, [item.entry for item in offer.items.values()], if_exists)


def get(offer: Offer, where: Path, if_exists: IfExists = "refuse") -> Storing:
    storing = storing_of(offer, where, if_exists)
    storing.begin()
    pass_on(offer, storing)
    assert storing.complete
    storing.finish()
    storing.close()
    return storing


def record(kind: int, body: bytes = b"") -> bytes:
    return record_head(kind, len(body)) + body


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    return path


def test_all_of_it_arrives(tmp_path: Path, source: Offer) -> None:
    (tmp_path / "src/plain.txt").chmod(0o640)
    os.utime(tmp_path / "src/plain.txt", (1_500_000_000, 1_500_000_000))
    offer = offer_of(tmp_path / "src")
    storing = get(offer, tmp_path / "out")
    assert storing.failed == []
    assert contents_of(tmp_path / "out/src") == contents_of(tmp_path / "src")
    assert (tmp_path / "out/src/nothing/in/here").is_dir()
    found = (tmp_path / "out/src/plain.txt").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o640, 1_500_000_000)
    offer.close()


def test_no_mode_gives_more_than_permissions(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "x").chmod(0o4755)
    offer = offer_of(tmp_path / "x")
    get(offer, tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/x").stat().st_mode) == 0o755
    offer.close()


def test_a_second_time_nothing_has_to_come(tmp_path: Path, source: Offer) -> None:
    get(source, tmp_path / "out")
    storing = storing_of(source, tmp_path / "out")
    assert storing.begin() == source.total
    assert storing.ask(1000) == []
    storing.close()


@pytest.mark.parametrize("have", [1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, LARGE - 1, LARGE])
def test_what_broke_off_is_gone_on_with(tmp_path: Path, large: Path, have: int) -> None:
    offer = offer_of(large)
    first = storing_of(offer, tmp_path / "out")
    first.begin()
    first.ask(1)
    first.feed([record(FILE, encode_entry(offer.items["large"].entry))])
    content = large.read_bytes()

    for begin in range(0, have, PIECE):
        piece = content[begin : min(begin + PIECE, have)]
        first.feed([record(DATA, piece)])
        if begin + PIECE < have:
            first.feed([record(DIGEST, hashlib.sha256(piece).digest())])
    first._close()  # the process is killed

    second = storing_of(offer, tmp_path / "out")
    second.begin()
    assert second.have == have
    pass_on(offer, second)
    assert second.received == LARGE - have
    assert (tmp_path / "out/large").read_bytes() == content
    second.close()
    offer.close()


def test_what_is_gone_on_with_is_read_again_by_one_piece_at_most(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = offer_of(large)
    (tmp_path / "out").mkdir()
    part = tmp_path / "out" / partial_name(offer.items["large"].entry)
    part.write_bytes(large.read_bytes()[: 2 * PIECE + 5])
    read = 0
    original = os.read

    def counting(descriptor: int, size: int) -> bytes:
        nonlocal read
        data = original(descriptor, size)
        read += len(data)
        return data

    monkeypatch.setattr(os, "read", counting)
    again = storing_of(offer, tmp_path / "out")
    again.begin()
    pass_on(offer, again)
    assert read == 5
    assert (tmp_path / "out/large").read_bytes() == large.read_bytes()
    again.close()
    offer.close()


@pytest.mark.parametrize("where", [PIECE + 7, 2 * PIECE + 3])
def test_a_damaged_piece_is_asked_for_again(tmp_path: Path, large: Path, where: int) -> None:
    """What is on the disk was damaged while the process was away: what is in its last piece."""
    offer = offer_of(large)
    first = storing_of(offer, tmp_path / "out")
    first.begin()
    first.ask(1)
    first.close()
    entry = offer.items["large"].entry
    part = tmp_path / "out" / partial_name(entry)
    data = bytearray(large.read_bytes()[: where + 100])
    data[where] ^= 1
    part.write_bytes(data)
    storing = storing_of(offer, tmp_path / "out")
    storing.begin()
    with pytest.raises(WrongPiece):
        pass_on(offer, storing)
    [wanted] = storing.ask(1)
    assert wanted.offset == where // PIECE * PIECE
    pass_on(offer, storing)
    assert (tmp_path / "out/large").read_bytes() == large.read_bytes()
    storing.close()
    offer.close()


def test_who_sends_damaged_pieces_all_the_time_is_given_up(tmp_path: Path, large: Path) -> None:
    offer = offer_of(large)
    storing = storing_of(offer, tmp_path / "out")
    storing.begin()

    def damage(data: bytes) -> list[bytes]:
        return [data[:-7] + bytes(7)]

    with pytest.raises(SharingError, match="damaged"):
        for _ in range(10):
            try:
                pass_on(offer, storing, damage)
            except WrongPiece:
                continue
    assert not (tmp_path / "out/large").exists()
    storing.close()
    offer.close()


def test_nothing_is_overwritten_unasked(tmp_path: Path, source: Offer) -> None:
    (tmp_path / "out/src").mkdir(parents=True)
    (tmp_path / "out/src/plain.txt").write_text("mine")
    storing = storing_of(source, tmp_path / "out")
    with pytest.raises(FilesExist, match=r"src/plain\.txt"):
        storing.begin()
    assert contents_of(tmp_path / "out") == {"src/plain.txt": b"mine"}
    storing.close()


@pytest.mark.parametrize(
    ("if_exists", "mine", "theirs"),
    [("overwrite", b"theirs", None), ("rename", b"mine", b"theirs"), ("skip", b"mine", None)],
)
def test_what_is_there_already(
    tmp_path: Path, if_exists: IfExists, mine: bytes, theirs: bytes | None
) -> None:
    (tmp_path / "x.txt").write_bytes(b"theirs")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/x.txt").write_bytes(b"mine")
    offer = offer_of(tmp_path / "x.txt")
    assert get(offer, tmp_path / "out", if_exists).failed == []
    found = contents_of(tmp_path / "out")
    assert found.get("x.txt") == mine
    assert found.get("x (2).txt") == theirs
    offer.close()


@pytest.mark.parametrize("links", [True, False], ids=["links", "no-links"])
def test_what_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def link(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(directory_module.os, "link", link)
    (tmp_path / "x").write_text("theirs")
    offer = offer_of(tmp_path / "x")
    storing = storing_of(offer, tmp_path / "out")
    storing.begin()
    (tmp_path / "out/x").write_text("mine")
    pass_on(offer, storing)
    assert storing.failed == ["x: there is a file of that name meanwhile"]
    assert (tmp_path / "out/x").read_text() == "mine"
    storing.close()
    offer.close()


def test_without_links_files_arrive_as_well(
    tmp_path: Path, source: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(directory_module.os, "link", link)
    get(source, tmp_path / "out")
    assert contents_of(tmp_path / "out/src") == contents_of(tmp_path / "src")


def test_no_link_is_written_through(tmp_path: Path, source: Offer) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/src").symlink_to(tmp_path / "elsewhere")
    storing = storing_of(source, tmp_path / "out")
    with pytest.raises((UnsafeName, FilesExist)):
        storing.begin()
    assert not contents_of(tmp_path / "elsewhere")
    storing.close()


def test_a_link_in_the_place_of_what_has_come_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("theirs")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "out").mkdir()
    offer = offer_of(tmp_path / "x")
    (tmp_path / "out" / partial_name(offer.items["x"].entry)).symlink_to(tmp_path / "mine")
    storing = storing_of(offer, tmp_path / "out")
    storing.begin()
    with pytest.raises(OSError, match="symbolic link"):
        pass_on(offer, storing)
    assert (tmp_path / "mine").read_text() == "mine"
    storing.close()
    offer.close()


@pytest.mark.parametrize("change", ["grow", "shrink", "vanish"])
def test_a_file_that_changes_is_said_and_the_others_arrive(
    tmp_path: Path, source: Offer, change: str
) -> None:
    file = tmp_path / "src/plain.txt"
    if change == "vanish":
        file.unlink()
    else:
        file.write_bytes(b"x" * (5 if change == "shrink" else 5000))
    storing = get(source, tmp_path / "out")
    [failed] = storing.failed
    assert failed.startswith("src/plain.txt: ")
    expected = contents_of(tmp_path / "src")
    expected.pop("plain.txt", None)
    assert contents_of(tmp_path / "out/src") == expected


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite"])
def test_a_file_that_changes_while_it_is_sent_is_not_kept(
    tmp_path: Path, large: Path, change: str
) -> None:
    offer = offer_of(large)
    storing = storing_of(offer, tmp_path / "out")
    storing.begin()
    outgoing = Outgoing(offer, storing.ask(1), Digests())
    storing.feed(outgoing.read())
    with large.open("r+b") as file:
        if change == "shrink":
            file.truncate(PIECE + 1)
        else:
            file.seek(0, os.SEEK_END if change == "grow" else os.SEEK_SET)
            file.write(b"more")
    os.utime(large, ns=(1, 1))
    while pieces := outgoing.read():
        storing.feed(pieces)
    assert len(storing.failed) == len(outgoing.failed) == 1
    assert contents_of(tmp_path / "out") == {}
    storing.close()
    offer.close()


def test_a_full_disk_ends_it_and_is_gone_on_with(
    tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = offer_of(large)
    original, room = os.write, PIECE + 100

    def write(descriptor: int, data: bytes | memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = original(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write)
    storing = storing_of(offer, tmp_path / "out")
    storing.begin()
    with pytest.raises(OSError, match="No space"):
        pass_on(offer, storing)
    storing.close()
    room = LARGE
    again = storing_of(offer, tmp_path / "out")
    again.begin()
    assert again.have == PIECE + 100
    pass_on(offer, again)
    assert (tmp_path / "out/large").read_bytes() == large.read_bytes()
    again.close()
    offer.close()


ENTRY = Entry("x", 5, 1000, 0o644)
ABOUT = orjson.dumps({"path": "x", "size": 5, "modified": 1000, "mode": 0o644})


@pytest.mark.parametrize(
    "data",
    [
        record(DATA, b"12345"),
        record(DIGEST, bytes(32)),
        record(FILE, b"{}"),
        record(FILE, b"["),
        record(FILE, ABOUT.replace(b"5", b"6", 1)),
        record(FILE, ABOUT.replace(b'"x"', b'"../x"')),
        record(FILE, ABOUT) * 2,
        record(FILE, ABOUT) + record(DATA, b"123456"),
        record(FILE, ABOUT) + record(DATA, b"1234") + record(DIGEST, bytes(32)),
        record(FAILED, b"a") + record(FAILED, b"b"),
        record(FAILED, b"a") + record(FILE, ABOUT),
        record(END),
        record(FILE, ABOUT) + record(DATA, b"12345") + record(END),
        b"\0\0\0\0\0",
    ],
)
def test_a_sender_that_says_one_thing_and_does_another(tmp_path: Path, data: bytes) -> None:
    storing = Storing(tmp_path / "out", [ENTRY])
    storing.begin()
    storing.ask(1)
    with pytest.raises(SharingError):
        storing.feed([data])
    assert contents_of(tmp_path / "out").get("x") is None
    storing.close()


def test_an_answer_that_ends_early_is_not_complete(tmp_path: Path) -> None:
    storing = Storing(tmp_path / "out", [ENTRY])
    storing.begin()
    storing.ask(1)
    storing.feed([record(FILE, ABOUT), record(DATA, b"12345")])
    assert not storing.complete
    assert not (tmp_path / "out/x").exists()
    assert storing.ask(1) == [Wanted("x", 5)]
    storing.close()


def test_why_files_do_not_come_is_kept_in_short(tmp_path: Path) -> None:
    storing = Storing(tmp_path / "out", [ENTRY])
    storing.begin()
    storing.ask(1)
    storing.feed([record(FAILED, b"x" * 60_000), record(END)])
    assert storing.complete
    assert [len(failure) < 300 for failure in storing.failed] == [True]
    storing.close()


def test_files_of_an_unusual_kind_in_the_way(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "out/src/plain.txt").mkdir(parents=True)
    offer = offer_of(tmp_path / "src")
    for if_exists in ("refuse", "overwrite"):
        storing = storing_of(offer, tmp_path / "out", if_exists)
        with pytest.raises(FilesExist):
            storing.begin()
        storing.close()
    offer.close()
