"""``utvm run --transport`` and ``--show-memory``: what is printed; right it is in tests/models.

The digits network with the graph on the host, over the emulated core's memory.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Utvm

SESSION = ("--board", "emu_cortex_m4", "--executor", "host")


def test_operators_are_counted_by_the_device(utvm: Utvm, digits: Path, digits_rows: Path) -> None:
    data = ("--input", digits_rows, "--expect", digits_rows)
    done = utvm("run", digits, *SESSION, *data, "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["transport"], report["executor"]) == ("memory", "host")
    assert (report["matches"], report["instructions"]) == (True, None)
    assert report["cycle_model"] == "cortex-m4"
    listed = [operator["cycles"] for operator in report["operators"]]
    assert sum(listed) == pytest.approx(report["cycles"], rel=0.01) and min(listed) > 0
    assert report["flash_bytes"] == {"code": 0, "constants": 0}, "nothing is flashed"
    assert 0 < report["stack_bytes"] < 8192


def test_the_way_is_named(utvm: Utvm, digits: Path) -> None:
    done = utvm("run", digits, "--target", "host", "--executor", "graph", "--transport", "process")
    assert done.code == 0, done.err
    assert "(host), graph over process, zig" in done.out


@pytest.mark.parametrize("way", [SESSION, ("--board", "emu_cortex_m4", "--executor", "aot")])
def test_memory_is_shown(utvm: Utvm, digits: Path, way: tuple[str, ...]) -> None:
    report = json.loads(utvm("run", digits, *way, "--show-memory", "--json").out)
    placed = report["memory_map"]
    sections = {section["name"]: section for section in placed["sections"]}
    kernels = [f for f in placed["functions"] if f["name"] == "tvmgen_digits_dense_6"]
    assert [kernel["section"] for kernel in kernels] == [".text"]
    text = sections[".text"]
    assert text["memory"] == ("ram" if way == SESSION else "flash")
    inside = kernels[0]["address"] - text["address"]
    assert 0 <= inside <= text["size_bytes"] - kernels[0]["size_bytes"]
    for gap in placed["free"]:
        end = gap["address"] + gap["size_bytes"]
        behind = [s for s in placed["sections"] if gap["address"] <= s["address"] < end]
        assert not behind and end % (4 << 20) == 0, "free up to the end of the memory"
    shown = utvm("run", digits, *way, "--show-memory").out
    assert f"{kernels[0]['address']:#010x}" in shown and " free" in shown


def test_a_native_program_has_no_memory_to_show(utvm: Utvm, digits: Path) -> None:
    done = utvm("run", digits, "--target", "host", "--show-memory")
    assert done.code == 1
    assert "host: there is no program here whose memory could be shown" in done.err


def test_parameters_are_loaded_if_asked_for(utvm: Utvm, digits: Path, digits_rows: Path) -> None:
    data = ("--input", digits_rows, "--expect", digits_rows)
    for executor in ("graph", "host"):
        way = ("--target", "host", "--executor", executor, "--transport", "process")
        done = utvm("run", digits, *way, "--load-params", *data)
        assert done.code == 0 and "bit for bit" in done.out, done.err
    refused = utvm("run", digits, "--load-params")
    assert (refused.code, refused.out) == (1, "")
    assert "executor 'aot' has no parameters that are loaded" in refused.err
