"""The plots are well-formed and show what they were given."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from bench.plot import WIDTH, Chart, draw

SVG = "{http://www.w3.org/2000/svg}"


def test_a_plot_has_its_labels_and_one_color_for_each_name(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    rate = Chart("rate", "Mbit/s", 0.1, {"one": [0.0, 10.0], "<other>": [5.0, 5.0]})
    queue = Chart("queue", "ms", 0.1, {"one": [0.0, 0.0]})
    draw(path, [[rate], [queue]])
    root = ElementTree.parse(path).getroot()
    assert [line.get("points") for line in root.iter(f"{SVG}polyline")] == [
        f"{WIDTH / 2:.1f},150.0 {WIDTH}.0,0.0",
        f"{WIDTH / 2:.1f},75.0 {WIDTH}.0,75.0",
        f"{WIDTH / 2:.1f},150.0 {WIDTH}.0,150.0",
    ]
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[:2] == ["one", "<other>"]
    assert {"rate (Mbit/s)", "queue (ms)", "10"} <= set(texts)
    colors = [line.get("stroke") for line in root.iter(f"{SVG}polyline")]
    assert colors[0] == colors[2] != colors[1]
