"""`utvm tune` on the command line: tables, JSON, progress, refusals. Devices are stood in for."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from tests.tune.networks import TARGET, write_network
from tests.tune.test_tuner import FakePool
from utvm.cli.main import main
from utvm.cli.tune_curve import curve_lines
from utvm.tune import tuner
from utvm.tune.curve import Point


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuner, "Pool", FakePool)


def _arguments(folder: Path, *more: str) -> list[str]:
    model, params = write_network(folder)
    records = str(folder / "r.jsonl")
    return [
        "tune",
        str(model),
        "--params",
        str(params),
        "--target",
        TARGET,
        "--records",
        records,
        *more,
    ]


def test_a_table_of_what_was_gained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(tmp_path, "--trials", "30")) == 0
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["kernel", "calls", "trials", "space", "untuned", "tuned", "gain", "schedule"]
    assert [row[:2] for row in rows[1:3]] == [["conv2d_0", "2"], ["conv2d_2", "1"]]
    assert "trials       30 in the file, 30 new" in out
    assert err.splitlines()[-1].startswith("30/30 trials, ")
    assert main(_arguments(tmp_path, "--trials", "30")) == 0
    assert "30 in the file, 0 new" in capsys.readouterr().out


def test_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(tmp_path, "--trials", "20", "--json", "--search", "random")) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert err == ""
    assert (report["trials"], report["new_trials"], report["interrupted"]) == (20, 20, False)
    assert [task["kernels"] for task in report["tasks"]] == [["conv2d_0", "conv2d_1"], ["conv2d_2"]]
    for task in report["tasks"]:
        assert task["tuned_cycles"] <= task["untuned_cycles"]
        assert task["config"]["template"] in ("direct", "winograd")
    assert report["curve"] == sorted(report["curve"], reverse=True)


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_arguments(tmp_path, "--devices", "telnet")) == 1
    assert "unknown transport 'telnet'" in capsys.readouterr().err
    (tmp_path / "r.jsonl").write_text("hello\n")
    assert main(_arguments(tmp_path)) == 1
    err = capsys.readouterr().err
    assert "the file holds no tuning records" in err and len(err.splitlines()) == 1
    assert (tmp_path / "r.jsonl").read_text() == "hello\n"


def test_the_curve_falls_from_its_highest_bar() -> None:
    console = Console(force_terminal=False, width=200)
    assert curve_lines([], console) == []
    points = [Point(3, 1400), Point(4, 1200, seconds=2.5), Point(5, 1000, seconds=4.0)]
    assert curve_lines(points, console) == [
        "         1,400 |=",
        "               |=",
        "               |=-",
        "               |==",
        "         1,000 |==_",
        "                3 to 5 trials, 4 s",
    ]
    many = curve_lines([Point(n, 5000 - n) for n in range(1, 501)], console)
    assert {len(line) for line in many[-2:-1]} == {76}
    terminal = curve_lines(points, Console(force_terminal=True, legacy_windows=False))
    assert terminal[0].endswith("│█") or terminal[0].endswith("|=")


def test_a_drawing_of_the_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = tmp_path / "curve.svg"
    assert main(_arguments(tmp_path, "--trials", "30", "--plot", str(drawing))) == 0
    texts = [node.text for node in ElementTree.parse(drawing).iter() if node.text]
    lines = capsys.readouterr().out.splitlines()
    (cycles,) = (line for line in lines if line.startswith("cycles "))
    tuned = cycles.split("untuned, ")[1].split(" ")[0]
    assert f"best {tuned}" in texts
    assert "small, cortex-m4: cycles of the kernels that are tuned" in texts
    assert main(_arguments(tmp_path, "--plot", str(tmp_path / "no" / "curve.svg"))) == 1
    assert "the curve cannot be drawn there" in capsys.readouterr().err
