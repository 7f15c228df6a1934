"""The drawing of a tuning run: well-formed, the same each time, nothing outside of it."""

from __future__ import annotations

from xml.etree import ElementTree

from utvm.tune.curve import Point, curve_svg

_CURVE = [
    Point(1, 5_000_000, 5_000_000, 0.5),
    Point(2, 1_200_000, 1_200_000, 1.0),
    Point(3, 1_200_000, None, 1.5),
    Point(10, 1_000_000, 1_000_000, 7.0),
    Point(20, 1_000_000, 1_300_000, 14.0),
]
_SVG = "{http://www.w3.org/2000/svg}"


def test_a_staircase_with_a_dot_for_each_trial() -> None:
    drawing = curve_svg(_CURVE, "a < b", 1_200_000)
    assert drawing == curve_svg(_CURVE, "a < b", 1_200_000)
    root = ElementTree.fromstring(drawing)
    texts = [node.text for node in root.iter(f"{_SVG}text")]
    assert "a < b" in texts and "best 1,000,000" in texts and "untuned 1,200,000" in texts
    assert texts[texts.index("20") + 1] == "14 s"
    dots = list(root.iter(f"{_SVG}circle"))
    assert len(dots) == 4  # one trial failed
    assert all(34 <= float(dot.get("cy", "0")) <= 266 for dot in dots)
    (path,) = root.iter(f"{_SVG}path")
    assert path.get("d", "").count("V") == 2


def test_a_curve_of_one_point() -> None:
    texts = [n.text for n in ElementTree.fromstring(curve_svg([Point(1, 7)], "x")).iter()]
    assert "best 7" in texts
