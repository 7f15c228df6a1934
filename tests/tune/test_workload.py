"""Which kernels are the same workload."""

from __future__ import annotations

import numpy as np
import pytest

from utvm.driver.pipeline import lower_network
from utvm.ir.parse_graph import parse_graph
from utvm.op.registry import find_op
from utvm.schedule.workload import Workload, workload_of

_TEXT = """
graph {name}(%{x}: {type}[1,{size},6,4]) -> (%{y}) {{
  const %w: int8[4,3,3,4]
  const %b: int32[4] = {bias}
  const %bits: int32[1] = [{bits}]
  %s = conv2d(%{x}, %w, %b) {{padding=[{pad}], strides=[{stride}, {stride}]}}
  %t = shift_right(%s, %bits)
  %{y} = cast(%t) {{dtype="{out}", saturate=true}}
}}
"""
_DEFAULT = {
    "name": "a",
    "x": "x",
    "y": "y",
    "type": "int8",
    "size": 6,
    "bias": [1, 2, 3, 4],
    "bits": 8,
    "pad": "1, 1, 1, 1",
    "stride": 1,
    "out": "int8",
}


def _workload(seed: int = 0, **changes: object) -> Workload:
    text = _TEXT.format(**{**_DEFAULT, **changes})
    weights = np.random.default_rng(seed).integers(-128, 128, (4, 3, 3, 4)).astype(np.int8)
    _, module = lower_network(parse_graph(text, find_op, {"w": weights}, file="a.graph"))
    (function,) = module.functions
    return workload_of(function)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"name": "another"},
        {"x": "pixels", "y": "result"},
        {"bias": [9, 8, 7, 6]},
        {"bits": 5},
    ],
)
def test_names_and_numbers_do_not_matter(changes: dict[str, object]) -> None:
    assert _workload(**changes) == _workload()


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 7},
        {"type": "uint8"},
        {"out": "int16"},
        {"stride": 2},
        {"pad": "0, 1, 0, 1"},
        {"pad": "0, 0, 0, 0"},
    ],
)
def test_shapes_types_and_places_matter(changes: dict[str, object]) -> None:
    assert _workload(**changes).key != _workload().key


def test_it_can_be_read() -> None:
    about = "conv2d(int8[1,6,6,4], int8[4,3,3,4], int32[4]) -> int8[1,6,6,4]"
    assert _workload().about == about
