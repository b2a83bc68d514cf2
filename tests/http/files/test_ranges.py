from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerfetch_fast.http.files.ranges import MAX_RANGES, PART_OVERHEAD, select_ranges


@pytest.mark.parametrize(
    ("field", "ranges"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-499", [(0, 500)]),
        ("Bytes=500-", [(500, 1000)]),
        ("bytes=999-", [(999, 1000)]),
        ("bytes=-1", [(999, 1000)]),
        ("bytes=-5000", [(0, 1000)]),
        ("bytes=900-5000", [(900, 1000)]),
        ("bytes=900-" + "9" * 5000, [(900, 1000)]),
        ("bytes=0000000000000000000000007-7", [(7, 8)]),
        ("bytes= 1-2 ,\t500-501 , ", [(1, 3), (500, 502)]),
        ("bytes=500-501,1-2", [(500, 502), (1, 3)]),
        # What is not there does not count beside what is.
        ("bytes=1000-,1-2", [(1, 3)]),
        # Overlapping, touching and nearly touching ones become one, in place of the first.
        ("bytes=500-600,0-1,550-700", [(500, 701), (0, 2)]),
        ("bytes=0-9,10-19", [(0, 20)]),
        (f"bytes=0-9,{10 + PART_OVERHEAD}-200", [(0, 201)]),
        (f"bytes=0-9,{11 + PART_OVERHEAD}-200", [(0, 10), (11 + PART_OVERHEAD, 201)]),
        # None of them is in the file.
        ("bytes=1000-", []),
        ("bytes=-0", []),
        ("bytes=" + "9" * 5000 + "-", []),
        ("bytes=,", []),
        # Not understood, so as if it were not there.
        ("bytes", None),
        ("lines=1-2", None),
        ("bytes=-", None),
        ("bytes=2-1", None),
        ("bytes=1-2,x", None),
        ("bytes=1", None),
        ("bytes=1-2-3", None),
        ("bytes=+1-2", None),
        ("bytes=\u0661-", None),
        ("bytes=" + ",".join(f"{at}-{at}" for at in range(0, 1000, 200)) * 50, None),
    ],
)
def test_ranges_select_the_bytes_of_rfc_9110(
    field: str, ranges: list[tuple[int, int]] | None
) -> None:
    assert select_ranges(field, 1000) == ranges


def test_of_an_empty_file_no_range_can_be_satisfied() -> None:
    assert select_ranges("bytes=0-", 0) == []
    assert select_ranges("bytes=-1", 0) is None


def test_more_ranges_than_allowed_are_ignored() -> None:
    def asked(count: int) -> str:
        return "bytes=" + ",".join(f"{at * 1000}-{at * 1000}" for at in range(count))

    assert len(select_ranges(asked(MAX_RANGES), 1 << 20) or ()) == MAX_RANGES
    assert select_ranges(asked(MAX_RANGES + 1), 1 << 20) is None


ends = st.integers(0, 3000)
specs = st.one_of(
    st.tuples(ends, ends).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    ends.map(lambda end: f"-{end}"),
    ends.map(lambda end: f"{end}-"),
)


@given(st.lists(specs, min_size=1, max_size=MAX_RANGES), st.integers(1, 2000))
def test_every_byte_asked_for_comes_and_none_twice(asked: list[str], size: int) -> None:
    wanted: set[int] = set()
    for spec in asked:
        first, last = spec.split("-")
        if first:
            wanted.update(range(int(first), min(int(last or size), size - 1) + 1))
        else:
            wanted.update(range(max(size - int(last), 0), size))
    selected = select_ranges("bytes=" + ",".join(asked), size)
    assert selected is not None
    given_ = [at for start, stop in selected for at in range(start, stop)]
    assert wanted <= set(given_)
    assert len(given_) == len(set(given_)) <= size
    assert bool(given_) == bool(wanted)
    assert all(0 <= start < stop <= size for start, stop in selected)


@given(st.text())
def test_nonsense_is_ignored_or_nowhere(field: str) -> None:
    for start, stop in select_ranges(field, 100) or ():
        assert 0 <= start < stop <= 100
