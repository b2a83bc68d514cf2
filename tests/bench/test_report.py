"""Medians and percentiles of the benchmarks' reports."""

from __future__ import annotations

import argparse

import pytest
from bench.report import medians, percentile, size


def test_medians_join_the_runs_that_agree_in_their_keys() -> None:
    rows = [
        {"stack": "one", "rate": 1.0},
        {"stack": "two", "rate": 10.0},
        {"stack": "one", "rate": 5.0},
        {"stack": "one", "rate": 2.0},
    ]
    assert medians(rows, "stack") == [
        {"stack": "one", "rate": 2.0, "runs": 3},
        {"stack": "two", "rate": 10.0, "runs": 1},
    ]


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 51), (99, 100), (100, 101)])
def test_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile(range(1, 102), percent) == value


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("2K", 2048), ("3m", 3 << 20)])
def test_sizes_are_read_with_their_units(text: str, value: int) -> None:
    assert size(text) == value


def test_size_is_the_type_of_an_argument() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--size", type=size)
    with pytest.raises(argparse.ArgumentError):
        parser.parse_args(["--size", "large"])
