from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from peerfetch_fast.http.files.tree import MAX_DEPTH, Forbidden, Tree
from processes import posix_only

pytestmark = posix_only

SECRET = b"not for you"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "file").write_bytes(b"root's")
    (root / "a" / "file").write_bytes(b"a's")
    (root / "a" / "b" / "file").write_bytes(b"b's")
    return root


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    before = descriptors()
    tree = Tree(root)
    yield tree
    tree.close()
    assert descriptors() == before


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def read(tree: Tree, path: str) -> bytes:
    node = tree.open(os.fsencode(path).split(b"/"))
    try:
        assert not node.is_directory
        return os.read(node.descriptor, 100)
    finally:
        node.close()


def link(path: Path, target: str) -> None:
    path.symlink_to(target)


def test_files_and_directories_are_opened_below_the_root(tree: Tree) -> None:
    assert read(tree, "file") == b"root's"
    assert read(tree, "a/b/file") == b"b's"
    for path in (b"a", b""):
        node = tree.open([path])
        assert node.is_directory
        node.close()


@pytest.mark.parametrize("path", ["none", "a/none", "file/x", "x" * 300, "none/../file"])
def test_what_is_not_there_is_an_oserror(tree: Tree, path: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - of several kinds
        read(tree, path)


def test_a_name_that_is_no_text(root: Path, tree: Tree) -> None:
    (Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe"))).write_bytes(b"here")
    assert read(tree, os.fsdecode(b"\xff\xfe")) == b"here"


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("file", b"a's"),
        ("b/file", b"b's"),
        ("./b/../file", b"a's"),
        ("../file", b"root's"),
        ("b//file", b"b's"),
        ("{root}/a/b/file", b"b's"),
    ],
)
def test_links_that_stay_inside(root: Path, tree: Tree, target: str, content: bytes) -> None:
    link(root / "a" / "link", target.format(root=root))
    assert read(tree, "a/link") == content


def test_a_link_to_a_directory_on_the_way(root: Path, tree: Tree) -> None:
    link(root / "short", "a/b/")
    link(root / "back", "short/../..")
    assert read(tree, "short/file") == b"b's"
    assert read(tree, "back/file") == b"root's"


@pytest.mark.parametrize(
    "target",
    [
        "../secret",
        "../../../../../../../../etc/passwd",
        "../root/../secret",
        "../root/file",
        "/etc/passwd",
        "{root}-else/file",
        "{root}/../secret",
        "outside",
    ],
)
def test_links_that_lead_out(root: Path, tree: Tree, target: str) -> None:
    (root.parent / "root-else").mkdir()
    (root.parent / "root-else" / "file").write_bytes(SECRET)
    link(root / "outside", "..")
    link(root / "link", target.format(root=root))
    with pytest.raises(Forbidden, match="out of"):
        read(tree, "link")
    with pytest.raises(Forbidden, match="out of"):
        read(tree, "outside/secret")
    assert {name for name, _ in entries(tree)} == {b"a", b"file"}


def entries(tree: Tree) -> list[tuple[bytes, os.stat_result]]:
    node = tree.open([])
    try:
        return list(tree.entries([], node))
    finally:
        node.close()


def test_links_in_a_circle(root: Path, tree: Tree) -> None:
    link(root / "one", "two")
    link(root / "two", "one")
    with pytest.raises(OSError, match="symbolic"):
        read(tree, "one")


def test_a_tree_that_is_too_deep(root: Path, tree: Tree) -> None:
    deep = root
    for _ in range(MAX_DEPTH):
        deep = deep / "d"
        deep.mkdir()
    (deep / "file").write_bytes(b"deep")
    (deep.parent / "file").write_bytes(b"deep")
    assert read(tree, "d/" * (MAX_DEPTH - 1) + "file") == b"deep"
    with pytest.raises(OSError, match="too long"):
        read(tree, "d/" * MAX_DEPTH + "file")


def test_pipes_sockets_and_devices(root: Path, tree: Tree) -> None:
    os.mkfifo(root / "pipe")
    link(root / "null", "/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        for name in ("pipe", "socket", "null"):
            with pytest.raises(Forbidden):
                read(tree, name)
    assert {name for name, _ in entries(tree)} == {b"a", b"file"}


def test_entries_leave_out_what_is_hidden(root: Path, tree: Tree) -> None:
    (root / ".git").mkdir()
    (root / ".env").write_bytes(SECRET)
    link(root / "link", "a/file")
    link(root / "dangling", "nowhere")
    found = dict(entries(tree))
    assert found.keys() == {b"a", b"file", b"link"}
    assert found[b"link"].st_size == 3


def test_a_directory_that_is_swapped_for_a_link_all_the_time(root: Path, tree: Tree) -> None:
    """However the race ends, what is outside is never read."""
    outside = root.parent / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "file").write_bytes(SECRET)
    (outside / "b" / "file").write_bytes(SECRET)
    link(root / "evil", str(outside))
    stop = threading.Event()

    def swap() -> None:
        # rename() is atomic: at every moment there is a directory or a link of that name.
        while not stop.is_set():
            for _ in range(2):
                os.rename(root / "a", root / "t")
                os.rename(root / "evil", root / "a")
                os.rename(root / "t", root / "evil")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        outcomes = set()
        for _ in range(3000):
            for path in ("a/file", "a/b/file", "evil/b/file"):
                try:
                    outcomes.add(read(tree, path))
                except OSError:
                    outcomes.add(b"refused")
    finally:
        stop.set()
        swapping.join()
    assert SECRET not in outcomes
    assert outcomes <= {b"a's", b"b's", b"refused"}
    assert b"refused" in outcomes


@pytest.mark.parametrize("name", ["none", "root/file"])
def test_a_root_that_is_no_directory(root: Path, name: str) -> None:
    before = descriptors()
    with pytest.raises(ValueError, match="cannot be served"):
        Tree(root.parent / name)
    assert descriptors() == before
