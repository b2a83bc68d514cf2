from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.differences import differences, figures


def ours(**figure: Any) -> dict[str, Any]:
    return {"environment": {}, "results": [{"stack": "native", "runs": 5, **figure}]}


def test_a_figure_is_known_by_what_is_no_figure() -> None:
    assert figures(ours(mb_per_s=1.5)) == {("stack native", "mb_per_s"): 1.5}
    told = {"benchmarks": [{"name": "test_time[heads]", "stats": {"median": 0.25}}]}
    assert figures(told) == {("test_time[heads]", "seconds"): 0.25}
    counted = {"results": [{"workload": "heads", "instructions": 7, "declared": 7}]}
    assert figures(counted)["heads", "instructions"] == 7


def test_what_has_changed_is_told_and_marked(tmp_path: Path) -> None:
    for name, figure in (("old", 100.0), ("new", 90.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sctp.json").write_text(json.dumps(ours(mb_per_s=figure)))
    (tmp_path / "new" / "only.json").write_text(json.dumps(ours(mb_per_s=1.0)))
    (_, _, line) = differences(tmp_path / "old", tmp_path / "new")
    assert line == "| sctp | stack native | mb_per_s | 100 | 90 | -10.0% **!** |"
