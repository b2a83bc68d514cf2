"""What a sender tells a receiver: a manifest, and behind a NUL the records of what it offers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from peerfetch_fast.errors import SharingError
from peerfetch_fast.sharing.manifest import Entry, Heading, ManifestReader, manifest_lines
from peerfetch_fast.sharing.names import check_path, clean_name
from peerfetch_fast.sharing.records import DATA, DIGEST, END, FAILED, FILE, record_head
from peerfetch_fast.sharing.storing import Storing

MAX_FILES = 50


def share(data: bytes) -> None:
    """All that is written is below the directory, under names that were offered."""
    manifest, _, records = data.partition(b"\0")
    name = clean_name(manifest.decode(errors="replace"))
    assert check_path(name, windows=True) == name
    reader = ManifestReader()
    try:
        for at in range(0, len(manifest), 100):
            reader.feed(manifest[at : at + 100])
        heading = reader.finish()
    except SharingError:
        return
    assert heading.entries == len(reader.entries)
    if len(reader.entries) <= MAX_FILES:
        _store(reader.entries, records)


def _store(entries: list[Entry], records: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "in"
        storing = Storing(place, entries)
        try:
            storing.begin()
            storing.ask(MAX_FILES)
            storing.feed([records])
            storing.finish()
        except (SharingError, OSError):
            pass
        finally:
            storing.close()
        assert [path.name for path in Path(directory).iterdir()] == ["in"]
        offered = {entry.path for entry in entries}
        for path in place.rglob("*"):
            if path.is_file() and not path.name.startswith(".peerfetch-"):
                assert str(path.relative_to(place)) in offered


def share_seeds() -> list[bytes]:
    """An offer of a directory with two files, one of which fails."""
    from hashlib import sha256

    entries = [Entry("a/", 0, 5, 0o755), Entry("a/b", 5, 1000, 0o644), Entry("c", 0, 1, 0o600)]
    manifest = b"".join(manifest_lines(Heading("t", "b", 3, 2, 5, "text"), entries))
    about = manifest.splitlines()[2]
    sent = [(FILE, about), (DATA, b"12345"), (DIGEST, sha256(b"12345").digest())]
    sent += [(FAILED, b"why"), (END, b"")]
    records = b"".join(record_head(kind, len(body)) + body for kind, body in sent)
    return [manifest, manifest + b"\0" + records, b"../../etc/passwd"]
