from __future__ import annotations

import json

import pytest
from bench.instructions import BASELINE, build, check, grown, sum_of
from bench.micro.workloads import WORKLOADS


def test_growth_beyond_the_tolerance_is_told_and_no_other() -> None:
    baseline = {"a": 1000, "b": 1000, "c": 1000}
    assert grown({"a": 1030, "b": 500, "c": 1000, "new": 1}, baseline) == []
    [told] = grown({"a": 1031, "b": 1000, "c": 1000}, baseline)
    assert told.startswith("a: 1,031 instructions, +3.1%")


def test_what_functions_do_themselves_is_added_up_without_the_allocator() -> None:
    dump = """\
version: 1
positions: line
events: Ir
fn=(1) main
16 400
+1 20
cfn=(2) malloc
calls=5 30
17 900
* 3
fn=(2)
30 7
cfn=(3) _int_malloc
calls=1 40
31 50
fn=(3)
40 5000
fn=(1)
18 1
totals: 5431
"""
    assert sum_of(dump) == 400 + 20 + 3 + 7 + 1


def test_what_has_no_figures_is_to_be_given_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert check({"a": 1}, {"another build": {"a": 1}}) is None
    assert "--update" in capsys.readouterr().out
    assert "new" in (check({"a": 1, "new": 1}, {build(): {"a": 1}}) or "")
    assert check({"a": 1}, {build(): {"a": 1}}) is None
    assert "a: 2" in (check({"a": 2}, {build(): {"a": 1}}) or "")


def test_each_piece_of_work_has_figures_in_every_build_that_has_any() -> None:
    for figures in json.loads(BASELINE.read_text()).values():
        assert figures.keys() == WORKLOADS.keys()


@pytest.mark.parametrize("name", WORKLOADS)
def test_each_piece_of_work_can_be_done_again(name: str) -> None:
    work = WORKLOADS[name]()
    work()
    work()
