"""Some layers of the sweep on every kind of core; ``shape_sweep`` itself runs hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.random_shapes import KINDS, random_shape
from tests.models.shape_sweep import read_lines, sweep

CORES = ["host", "cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33"]


@pytest.mark.slow
@pytest.mark.parametrize("target", CORES)
def test_random_layers_are_exact(target: str) -> None:
    lines = list(sweep(7, 20 * CORES.index(target), 20, target))
    assert [(str(line.shape), line.wrong) for line in lines if line.wrong] == []
    assert all((line.cycles > 0) == (target != "host") for line in lines)


def test_a_layer_depends_on_seed_and_number_only() -> None:
    shape, model = random_shape(7, 3)
    again, same = random_shape(7, 3)
    assert shape == again and model.data == same.data
    assert {random_shape(7, number)[0].kind for number in range(60)} == set(KINDS)


def test_a_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    shape = (
        '{"kind": "pool", "dtype": "int8", "image": [1, 2, 2, 1], "window": [2, 2], "channels": 1,'
        ' "results": [1, 1, 1], "strides": [1, 1], "dilation": [1, 1], "groups": 1, "note": "max"}'
    )
    path.write_text(f'{{"number": 3, "shape": {shape}, "cycles": 9, "wrong": ""}}\n{{"number":')
    (line,) = read_lines(path)
    assert (line.number, line.cycles, line.shape.macs) == (3, 9, 4)
    assert str(line.shape) == "pool 2x2 int8 1x2x2x1 -> 1 max"
