"""Winograd's algorithm computes what the sums say: all windows and strides, exactly.

First the algorithm alone, on integers of any size, then whole layers: executed statement by
statement, and assembled for the emulator.
"""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tests.compiled import run_graphs
from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.options import kernel_options
from utvm.schedule.winograd_algorithm import Line, tile_algorithm
from utvm.schedule.winograd_block import WinogradSchedule
from utvm.schedule.winograd_kernel import schedule_winograd
from utvm.target.target import load_target

WINDOWS = [((3, 3), (1, 1)), ((5, 5), (1, 1)), ((3, 3), (2, 2)), ((2, 2), (1, 1))]
OTHERS = [((3, 5), (1, 2)), ((2, 4), (1, 1)), ((5, 3), (2, 1)), ((4, 4), (2, 2))]


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("window", list(product((1, 2, 3, 5, 7), (1, 3, 4, 6))))
def test_the_algorithm_is_exact(window: tuple[int, int], strides: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    tile = tile_algorithm(window, strides)
    weights = rng.integers(-(1 << 20), 1 << 20, (2, *window, 3))
    pixels = rng.integers(-(1 << 20), 1 << 20, (tile.rows.extent, tile.columns.extent, 3))
    transformed = tile.weights(weights)
    found = np.zeros((2, 2, 2), np.int64)
    number = 0
    for (row, column), pairs in tile.sums.items():
        total = np.zeros(2, np.int64)
        for i, j in pairs:
            terms = product(tile.rows.products[i].pixels, tile.columns.products[j].pixels)
            value = sum(fy * fx * pixels[y, x] for (y, fy), (x, fx) in terms)
            total += (transformed[:, number] * value).sum(axis=1)
            number += 1
        signs = np.outer(Line.signs(row), Line.signs(column))
        found += total[:, None, None] * signs
    for y, x in product(range(2), range(2)):
        begin = y * strides[0], x * strides[1]
        part = pixels[begin[0] :, begin[1] :][: window[0], : window[1]]
        expected = (weights * part).sum(axis=(1, 2, 3)) * tile.scale
        np.testing.assert_array_equal(found[:, y, x], expected)


def test_products_that_are_known() -> None:
    counts = {key: len(tile_algorithm(*key).products) for key in [*WINDOWS, *OTHERS]}
    assert [counts[key] for key in WINDOWS] == [16, 49, 25, 9]


def layer(
    rng: random.Random,
    window: tuple[int, int],
    strides: tuple[int, int],
    most: int = 6,
    odd: bool = False,
) -> Graph:
    """A layer with an even number of rows and columns of results, and whole words of channels; or,
    ``odd``, with any numbers."""
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    dtype = rng.choice([DType.INT8, DType.INT8, DType.UINT8])
    depth, filters = rng.choice([4, 8, 16, 20]), rng.choice([4, 8])
    if odd:
        depth, filters = rng.choice([4, 5, 7, 11, 16]), rng.choice([2, 3, 4, 5, 6, 11])
    sides = [
        (rng.choice(range(2, most + 1, 1 if odd else 2)) - 1) * step + taps
        for taps, step in zip(window, strides, strict=True)
    ]
    padding = tuple(n for taps in window for n in _shares(rng, taps - 1))
    shape = sides[0] - sum(padding[:2]), sides[1] - sum(padding[2:])
    if min(shape) < 1:
        padding, shape = (0, 0, 0, 0), (sides[0], sides[1])
    batch = rng.randint(1, 2)
    x = b.input("x", TensorType((batch, *shape, depth), dtype))
    weight = b.constant(data.integers(-128, 128, (filters, *window, depth), dtype=np.int8))
    bias = b.constant(data.integers(-1000, 1000, (filters,), dtype=np.int32))
    zero = rng.randint(dtype.minimum, dtype.maximum)
    attrs = Conv2dAttrs(
        strides=strides,
        padding=padding,  # type: ignore[arg-type]
        input_zero_point=int(zero),
        weight_zero_point=rng.choice([0, 100]) if odd else 0,
    )
    total = b.emit("conv2d", [x, weight, bias], attrs)
    multiplier = b.constant(data.integers(0, 1 << 30, (filters,), dtype=np.int32))
    shift = b.constant(data.integers(-12, 1, (filters,), dtype=np.int32))
    b.output(b.emit("requantize", [total, multiplier, shift], RequantizeAttrs("int8", -128, 127)))
    return b.build()


def _shares(rng: random.Random, most: int) -> tuple[int, int]:
    first = rng.randint(0, min(most, 1))
    return first, rng.randint(0, min(most, 2))


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("window", "strides"), [*WINDOWS, *OTHERS])
def test_layers_keep_the_meaning(
    window: tuple[int, int], strides: tuple[int, int], seed: int, expanded: bool
) -> None:
    graph = layer(random.Random(seed), window, strides, most=4)
    module = lower(fuse_ops(graph, find_op), find_op)
    scheduled = schedule_winograd(
        module.functions[0], module.constants, WinogradSchedule(expanded=expanded)
    )
    saved = 4 * window[0] * window[1] - len(tile_algorithm(window, strides).products)
    assert (scheduled is not None) == (saved > 0)
    if scheduled is not None:
        expect_equal(module, scheduled, seed)


@pytest.mark.parametrize("seed", range(24))
def test_odd_layers_keep_the_meaning(seed: int) -> None:
    """Odd numbers of rows, columns, channels and filters, all blocks of tiles and filters, weights
    that need nine bits."""
    rng = random.Random(seed)
    graph = layer(rng, (3, 3), (1, 1), most=9, odd=True)
    module = lower(fuse_ops(graph, find_op), find_op)
    schedule = WinogradSchedule(
        tiles=rng.choice([1, 2, 3]), filters=rng.choice([2, 4]), value_bytes=rng.choice([600, 9216])
    )
    scheduled = schedule_winograd(module.functions[0], module.constants, schedule)
    assert scheduled is not None
    expect_equal(module, scheduled, seed)


def test_nothing_is_made_twice_that_overwrites_an_operand() -> None:
    rng = random.Random(0)
    graphs = [layer(rng, (3, 3), (1, 1), most=9, odd=True) for _ in range(12)]
    functions = [lower(fuse_ops(graph, find_op), find_op) for graph in graphs]
    even = 0
    for module in functions:
        (function,) = module.functions
        shape = function.outputs[0].shape
        whole = shape[1] % 2 == 0 and shape[2] % 2 == 0
        alone = replace(function, in_place=(0,))
        assert (schedule_winograd(alone, module.constants) is not None) == whole
        even += whole
    assert 0 < even < len(functions)


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_assembled_kernels_equal_the_reference(target: str) -> None:
    cases, expected = [], []
    for seed, (window, strides) in enumerate([*WINDOWS, OTHERS[0], WINDOWS[0], WINDOWS[0]]):
        odd = seed > len(WINDOWS)
        graph = layer(random.Random(100 + seed), window, strides, most=10, odd=odd)
        type = graph.values[graph.inputs[0]].type
        data = np.random.default_rng(seed).integers(type.dtype.minimum, 127, type.shape)
        known = {graph.inputs[0]: data.astype(type.dtype.numpy), **graph.constants}
        cases.append((graph, [known[graph.inputs[0]]]))
        for node in graph.nodes:
            inputs = tuple(known[name] for name in node.inputs)
            (known[node.outputs[0]],) = find_op(node.op).reference(inputs, node.attrs)
        expected.append(known[graph.outputs[0]])
    for (found,), wanted in zip(
        run_graphs(cases, target, objective="cycles"), expected, strict=True
    ):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("expanded", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_every_knob_keeps_the_meaning(seed: int, expanded: int) -> None:
    graph = layer(
        random.Random(seed), ((3, 3), (5, 5), (3, 3))[seed], ((1, 1), (1, 1), (2, 2))[seed]
    )
    module = lower(fuse_ops(graph, find_op), find_op)
    options = kernel_options(module.functions[0], module.constants, load_target("cortex-m4"))
    found = [o for o in options if ("expanded", expanded) in o.config]
    random.Random(seed).shuffle(found)
    values: dict[str, set[object]] = {}
    for option in found[:8]:
        scheduled = option.build()
        assert scheduled is not None, option.config
        expect_equal(module, scheduled, seed)
        for name, value in option.config:
            values.setdefault(name, set()).add(value)
    assert all(len(values[name]) > 1 for name in ("tiles", "filters", "results"))


def test_it_is_an_option_where_it_saves() -> None:
    graph = layer(random.Random(1), (5, 5), (1, 1))
    module = lower(fuse_ops(graph, find_op), find_op)
    options = kernel_options(module.functions[0], module.constants, load_target("cortex-m4"))
    templates = {dict(option.config)["template"] for option in options}
    assert "winograd" in templates
