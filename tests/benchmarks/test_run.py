"""Which configurations a run chooses, plots that repeat, and the convolutions' graphs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.conv2d import LAYERS, write_layer
from benchmarks.measure import Case, Key, Measurement, Network, has_records, measure_case
from benchmarks.plots import HAVE_MATPLOTLIB, write_plots
from benchmarks.run import choose_cases, parse_options, shown
from tests.benchmarks.made_up import MEASUREMENT, PEERS, REFUSAL, RESULTS

NETWORKS = [Network("digits", Path("d")), Network("mlperf_ad01_int8", Path("a"))]


def _keys(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[Key]:
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    return [case.key for case in choose_cases(NETWORKS, parse_options())]


def test_by_default_networks_of_the_goals_have_all_objectives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = _keys(monkeypatch, "--records", "none")
    of_goals = [key for key in keys if key.network == "mlperf_ad01_int8"]
    others = [key for key in keys if key.network == "digits"]
    assert (len(of_goals), len(others)) == (3 * 2 * 5, 2 * 5)
    assert keys == of_goals + others
    assert {key.objective for key in others} == {"balanced"}


def test_options_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--targets", "cortex-m7", "--toolchains", "gcc", "--objectives", "size")
    keys = _keys(monkeypatch, *options, "--records", "none")
    expected = [Key(n, "cortex-m7", "gcc", "size") for n in ("mlperf_ad01_int8", "digits")]
    assert keys == expected


def test_shipped_records_are_used_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    for target in ("cortex-m0plus", "cortex-m4"):
        options = ("--targets", target, "--toolchains", "zig", "--objectives", "size")
        tuned = [key for key in _keys(monkeypatch, *options) if key.tuned]
        assert len(tuned) == (2 if has_records(target) else 0)


def test_kernels_are_kept_where_the_page_shows_them() -> None:
    assert shown(MEASUREMENT) == replace(MEASUREMENT, layers=())
    for name in ("cifar10_cnn", "conv2d_conv1"):
        known = replace(MEASUREMENT, key=Key(name, "cortex-m4"))
        assert shown(known) == known
    assert shown(REFUSAL) == REFUSAL


@pytest.mark.skipif(not HAVE_MATPLOTLIB, reason="needs matplotlib")
def test_plots_are_the_same_each_time(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_plots(RESULTS, PEERS, tmp_path / folder)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["peers_m4.svg"]
    first, second = (tmp_path / f / "peers_m4.svg" for f in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text(encoding="utf-8")
    assert "utvm, balanced" in text and "CMSIS-NN" in text and "<dc:date>" not in text


@pytest.mark.parametrize("layer", LAYERS)
def test_convolutions_alone_are_neither_all_zero_nor_saturated(layer: str, tmp_path: Path) -> None:
    network = write_layer(layer, tmp_path)
    assert network.data is not None
    with np.load(network.data) as arrays:
        outputs = arrays["out0"]
    assert len(np.unique(outputs)) > 50
    assert np.mean((outputs == 127) | (outputs == -128)) < 0.5


@pytest.mark.slow
def test_a_convolution_alone_is_exact(tmp_path: Path) -> None:
    result = measure_case(Case(write_layer("conv3", tmp_path), "cortex-m4"))
    assert isinstance(result, Measurement), result
    assert result.exact
    assert result.macs == 8 * 8 * 5 * 5 * 32 * 64
