"""Records, in whatever pieces they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.errors import SharingError
from peerfetch_fast.sharing.records import (
    DATA,
    DIGEST,
    END,
    FAILED,
    FILE,
    MAX_RECORD,
    RecordReader,
    record_head,
)

records = st.lists(
    st.tuples(st.sampled_from([FILE, DATA, DIGEST, FAILED, END]), st.binary(max_size=50))
)


@given(records, st.integers(1, 20))
def test_what_was_written_is_read(written: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(record_head(kind, len(body)) + body for kind, body in written)
    reader, found = RecordReader(), []
    for at in range(0, len(data), size):
        found += [(kind, bytes(body)) for kind, body in reader.feed(data[at : at + size])]
    assert [one for one in found if one[0] != DATA] == [one for one in written if one[0] != DATA]
    joined = b"".join(body for kind, body in written if kind == DATA)
    assert b"".join(body for kind, body in found if kind == DATA) == joined


@given(st.binary())
def test_anything_else_is_refused_or_waited_for(data: bytes) -> None:
    reader = RecordReader()
    try:
        for _ in reader.feed(data):
            pass
    except SharingError:
        pass


@pytest.mark.parametrize("head", [b"\0\0\0\0\0", b"\6\0\0\0\0", record_head(FILE, MAX_RECORD + 1)])
def test_what_is_no_record_is_refused(head: bytes) -> None:
    with pytest.raises(SharingError):
        list(RecordReader().feed(head))
