"""What is offered, and files that change afterwards."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from tests.sharing.conftest import offer_of

from peerfetch_fast.errors import SharingError
from peerfetch_fast.sharing import source as module
from peerfetch_fast.sharing.source import Changed, collect
from processes import posix_only

pytestmark = posix_only


def test_links_lead_to_what_is_below_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    top = tmp_path / "src"
    (top / "sub").mkdir(parents=True)
    (top / "sub/file").write_text("x")
    (top / "inside").symlink_to("sub/file")
    (top / "outside").symlink_to(tmp_path / "secret")
    (top / "up").symlink_to("../secret")
    (top / "directory").symlink_to("sub")
    (top / "loop").symlink_to("loop")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(top / "socket"))
        offer = offer_of(top)
    assert list(offer.items) == ["src/", "src/inside", "src/sub/", "src/sub/file"]
    left_out = {line.partition(":")[0] for line in offer.left_out}
    names = ("outside", "up", "directory", "loop", "pipe", "socket")
    assert left_out == {f"src/{name}" for name in names}
    assert (offer.files, offer.total) == (2, 2)
    offer.close()


def test_what_was_named_is_followed_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/real").write_text("real")
    (tmp_path / "link").symlink_to("a/real")
    offer = offer_of(tmp_path / "link")
    node = offer.items["link"].open()
    assert os.pread(node.descriptor, 10, 0) == b"real"
    node.close()
    offer.close()


def test_two_of_one_name_are_both_offered(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(name)
    offer = offer_of(tmp_path / "a/x.txt", tmp_path / "b/x.txt")
    assert list(offer.items) == ["x.txt", "x.txt (2)"]
    offer.close()


def test_names_that_are_no_text_are_offered_under_one_that_is(tmp_path: Path) -> None:
    top = tmp_path / "src"
    top.mkdir()
    for name in (b"\xff", b"\xfe"):
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_bytes(name)
    offer = offer_of(top)
    assert list(offer.items) == ["src/", "src/\ufffd", "src/\ufffd (2)"]
    offer.close()


def test_the_directory_that_one_is_in_has_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/x").write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    offer = offer_of(Path("."))
    assert list(offer.items) == ["here/", "here/x"]
    offer.close()


@pytest.mark.parametrize("what", ["missing", "pipe"])
def test_what_cannot_be_shared_is_said(tmp_path: Path, what: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises((SharingError, FileNotFoundError)):
        collect([tmp_path / what])


def test_more_than_can_be_offered_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    for number in range(4):
        (tmp_path / str(number)).write_text("")
    with pytest.raises(SharingError, match="archive"):
        collect([tmp_path])


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "vanish", "link", "directory"])
def test_a_file_that_is_another_one_is_not_opened(tmp_path: Path, change: str) -> None:
    file = tmp_path / "x"
    file.write_text("12345")
    offer = offer_of(file)
    if change == "grow":
        file.write_text("123456")
    elif change == "shrink":
        file.write_text("1")
    elif change == "rewrite":
        file.write_text("54321")
        os.utime(file, ns=(1, 1))
    else:
        file.unlink()
        if change == "link":
            (tmp_path / "y").write_text("12345")
            file.symlink_to("y")
        elif change == "directory":
            file.mkdir()
    with pytest.raises((Changed, FileNotFoundError)):
        offer.items["x"].open()
    offer.close()
