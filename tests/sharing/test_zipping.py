"""The ZIP that is made while it is sent."""

from __future__ import annotations

import random
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from tests.sharing.conftest import contents_of, offer_of

from peerfetch_fast.sharing.manifest import Entry
from peerfetch_fast.sharing.source import Changed, Item, Offer
from peerfetch_fast.sharing.zipping import CHUNK, Zip, ZipReader
from processes import posix_only

pytestmark = posix_only


def octets(layout: Zip, start: int = 0, stop: int | None = None) -> bytes:
    reader = ZipReader(layout, start, layout.size if stop is None else stop)
    found = b""
    while pieces := reader.read():
        found += b"".join(pieces)
    reader.close()
    return found


def zip_of(offer: Offer) -> Zip:
    return Zip(list(offer.items.values()))


def test_all_files_are_in_it(tmp_path: Path, source: Offer) -> None:
    whole = octets(zip_of(source))
    assert len(whole) == zip_of(source).size
    (tmp_path / "x.zip").write_bytes(whole)
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.testzip() is None
        found = {
            info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()
        }
        assert "src/nothing/in/here/" in archive.namelist()
    assert found == {f"src/{path}": data for path, data in contents_of(tmp_path / "src").items()}


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_unzip_takes_it(tmp_path: Path, source: Offer) -> None:
    (tmp_path / "x.zip").write_bytes(octets(zip_of(source)))
    subprocess.run(["unzip", "-tq", tmp_path / "x.zip"], check=True)


@pytest.mark.parametrize("known", [True, False], ids=["read-before", "never-read"])
def test_any_range_of_it(source: Offer, known: bool) -> None:
    layout = zip_of(source)
    whole = octets(layout)
    rng = random.Random(5)
    for _ in range(200):
        start = rng.randrange(layout.size)
        stop = rng.randrange(start, layout.size + 1)
        other = layout if known else zip_of(source)
        assert octets(other, start, stop) == whole[start:stop]


@pytest.mark.parametrize("behind", [True, False], ids=["the-directory", "the-end-of-a-file"])
def test_what_is_read_for_a_crc_alone_is_read_step_by_step(tmp_path: Path, behind: bool) -> None:
    """Who asks for the end, and goes, keeps no thread until all is read."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(64 * CHUNK)
    offer = offer_of(tmp_path / "large")
    layout = zip_of(offer)
    reader = ZipReader(layout, layout.places[-1] - 100 * (not behind), layout.size)
    steps = [reader.read() for _ in range(10)]
    assert steps == [[b""]] * 10
    reader.close()
    assert layout.crcs == {}
    offer.close()


def test_more_than_4_gib_and_65535_files(source: Offer) -> None:
    """The directory of a large one: nothing of its contents is read for that."""
    tree = next(iter(source.items.values())).tree
    sizes = [5_000_000_000, *[1] * 70_000]
    items = [
        Item(Entry(f"{number}", size, 1, 0o644), tree, b"", 0, 0)
        for number, size in enumerate(sizes)
    ]
    layout = Zip(items)
    layout.crcs.update(dict.fromkeys(range(len(items)), 0))
    directory = octets(layout, layout.places[-1])

    class Sparse:
        """A file of which only the end is there."""

        def __init__(self) -> None:
            self.at = 0

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            self.at = offset + (0, self.at, layout.size)[whence]
            return self.at

        def tell(self) -> int:
            return self.at

        def read(self, size: int = -1) -> bytes:
            begin = self.at - layout.places[-1]
            stop = len(directory) if size < 0 else begin + size
            self.at += len(directory[begin:stop])
            return directory[begin:stop]

    archive = zipfile.ZipFile(Sparse())  # type: ignore[call-overload]
    found = [(info.file_size, info.header_offset) for info in archive.infolist()]
    assert found == list(zip(sizes, layout.places[:-1], strict=True))


def test_a_file_that_has_changed_breaks_it_off(tmp_path: Path, source: Offer) -> None:
    layout = zip_of(source)
    (tmp_path / "src/plain.txt").write_text("another")
    with pytest.raises(Changed):
        octets(layout)
