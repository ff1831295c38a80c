"""Costs as tables grow: they are measured, and drawn."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.plot import Line, Panel, svg
from tests.bench.test_bench import bench

_SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.integration
@pytest.mark.timeout(120)
def test_each_size_has_its_costs_and_they_are_drawn(tmp_path: Path) -> None:
    file, plot = tmp_path / "growth.json", tmp_path / "growth.svg"
    small = ("--nodes", "100", "--records", "2000", "--years", "2", "--hosts", "20", "--epochs", "30")
    printed = bench("growth", *small, "--json", str(file), "--svg", str(plot))
    points = json.loads(file.read_text())["growth"]
    assert [(point["what"], point["size"]) for point in points] == [("nodes", 100), ("history", 0), ("history", 600)]
    for point in points:
        assert point["records"] > 0
        assert point["worker_microseconds"] > 0
        assert point["server_microseconds"] > 0
        assert point["wal_bytes"] > 0
    assert points[2]["tables_mib"] > points[1]["tables_mib"], "the second year found the first one"
    assert "600 rows of history" in printed
    assert len(ElementTree.parse(plot).findall(f".//{_SVG}polyline")) == 4


def test_a_plot_has_its_points_where_their_values_are() -> None:
    line = Line("cost <&>", [(1_000, 10.0), (10_000, 20.0), (1_000_000, 40.0)])
    drawn = ElementTree.fromstring(svg([Panel("Cost", "nodes", "µs", [line], logarithmic=True)]))
    circles = [(float(each.get("cx", "")), float(each.get("cy", ""))) for each in drawn.iter(f"{_SVG}circle")]
    (left, _), (middle, _), (right, _) = circles
    assert middle - left == pytest.approx((right - left) / 3, abs=0.2), "a decade of three"
    heights = [circles[0][1] - y for _, y in circles]
    assert heights[2] == pytest.approx(3 * heights[1], abs=0.3)
    words = {each.text for each in drawn.iter(f"{_SVG}text")}
    assert {"Cost", "nodes, logarithmic", "µs", "1k", "10k", "1M", "cost <&>", "0", "40"} <= words
