"""Micro functions that layers share: they compute the same, and equal ones become one.

Random 1x1 convolutions, dense and depthwise layers on shared micro functions are executed statement
by statement and compared with their plain loops. Two layers of other sizes must come out with the
same micro functions, whatever else differs; and which objective shares is held here.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.compiled import run_graphs
from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.loop import Module
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.op.requantize_linear import RequantizeLinearAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise
from utvm.schedule.module import schedule_module
from utvm.schedule.panel_kernel import panel_filters
from utvm.schedule.weighted_sum import read_weighted_sum
from utvm.target.target import load_target

M4 = load_target("cortex-m4")
NARROW = ConvSchedule(pixels=4, filters=2, steps=4, shared=True)
WIDE = ConvSchedule(pixels=2, filters=4, wide=True, steps=4, shared=True)


class Network:
    """A chain of quantized layers with random weights."""

    def __init__(self, seed: int, shape: tuple[int, ...], dtype: DType = DType.INT8) -> None:
        self.data = np.random.default_rng(seed)
        self.b = GraphBuilder("net", find_op)
        self.value = self.b.input("x", TensorType(shape, dtype))

    def conv(self, filters: int, window: tuple[int, int] = (1, 1), **attrs: Any) -> Network:
        depth = self.b.type_of(self.value).shape[-1]
        weight = self.constant(-128, 128, (filters, *window, depth), np.int8)
        return self.layer("conv2d", weight, Conv2dAttrs(**attrs), filters)

    def depthwise(self, window: int = 3, times: int = 1, **attrs: Any) -> Network:
        filters = self.b.type_of(self.value).shape[-1] * times
        weight = self.constant(-128, 128, (1, window, window, filters), np.int8)
        return self.layer("depthwise_conv2d", weight, Conv2dAttrs(**attrs), filters)

    def dense(self, filters: int) -> Network:
        depth = self.b.type_of(self.value).shape[-1]
        weight = self.constant(-128, 128, (filters, depth), np.int8)
        return self.layer("dense", weight, DenseAttrs(), filters)

    def layer(self, op: str, weight: str, attrs: Any, filters: int) -> Network:
        bias = self.constant(-999, 999, (filters,))
        total = self.b.emit(op, [self.value, weight, bias], attrs)
        if filters % 3:
            shifts = self.constant(int(self.data.integers(8, 12)), 13, (1,))
            constants = [self.constant(1 << 29, 1 << 30, (filters,)), bias, shifts]
            shift = RequantizeLinearAttrs("int8", -128, 127, left_shift=1 + filters % 5)
            self.value = self.b.emit("requantize_linear", [total, *constants], shift)
        else:
            constants = [self.constant(0, 1 << 30, (filters,)), self.constant(-12, 1, (filters,))]
            self.value = self.b.emit(
                "requantize", [total, *constants], RequantizeAttrs("int8", -128, 127)
            )
        return self

    def residual(self) -> Network:
        other = self.b.input("z", self.b.type_of(self.value))
        self.value = self.b.emit("maximum", [self.value, other], BinaryAttrs())
        return self

    def constant(self, low: int, high: int, shape: tuple[int, ...], dtype: Any = np.int32) -> str:
        return self.b.constant(self.data.integers(low, high, shape, dtype=dtype))

    def module(self) -> Module:
        return lower(fuse_ops(self.graph(), find_op), find_op)

    def graph(self) -> Graph:
        self.b.output(self.value)
        return self.b.build()


def scheduled(module: Module, knobs: ConvSchedule | DepthwiseSchedule) -> Scheduled:
    function = module.functions[0]
    made = (
        schedule_conv(function, module.constants, knobs)
        if isinstance(knobs, ConvSchedule)
        else schedule_depthwise(function, module.constants, knobs)
    )
    assert made is not None, function
    return made


@pytest.mark.parametrize("seed", range(12))
def test_pixels_by_themselves_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    shape = (rng.randint(1, 2), rng.randint(1, 3), rng.randint(1, 21), rng.choice([4, 8, 12, 20]))
    strides = (rng.randint(1, 2), rng.randint(1, 2))
    dtype = rng.choice([DType.INT8, DType.INT8, DType.UINT8])
    network = Network(seed, shape, dtype).conv(rng.choice([1, 2, 6, 8, 9]), strides=strides)
    if rng.random() < 0.3:
        network.residual()
    module = network.module()
    expect_equal(module, scheduled(module, rng.choice([NARROW, WIDE])), seed)


@pytest.mark.parametrize("seed", range(12))
def test_windows_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    kh, kw, depth = rng.randint(1, 3), rng.randint(2, 4), rng.choice([4, 8, 12])
    padding = tuple(rng.randint(0, side - 1) for side in (kh, kh, kw, kw))
    if sum(padding) == 0 and kw == 4:
        depth = rng.choice([1, 3])
    shape = (rng.randint(1, 2), rng.randint(3, 6), rng.randint(4, 14), depth)
    attrs: dict[str, Any] = {"padding": padding, "input_zero_point": rng.randint(0, 99)}
    attrs["strides"] = (rng.randint(1, 2), rng.randint(1, 2))
    attrs["dilation"] = (rng.randint(1, 2) if kh < 3 else 1, 1)
    network = Network(seed, shape, rng.choice([DType.INT8, DType.UINT8]))
    network.conv(rng.choice([2, 4, 5, 8]), (kh, kw), **attrs)
    if rng.random() < 0.3:
        network.residual()
    module = network.module()
    expect_equal(module, scheduled(module, rng.choice([NARROW, WIDE])), seed)


@pytest.mark.parametrize("filters", [2, 8, 10, 12, 66, 67])
def test_dense_layers_keep_the_meaning(filters: int) -> None:
    for batch in (1, 3, 5):
        module = Network(filters, (batch, 24)).dense(filters).module()
        expect_equal(module, scheduled(module, NARROW), filters)


def test_results_in_the_memory_of_an_operand_are_made_once() -> None:
    module = Network(1, (1, 1, 9, 8)).conv(4).residual().module()
    function = module.functions[0]
    assert function.in_place, "a residual operand may be overwritten"
    made = scheduled(module, NARROW)
    assert "4x" not in made.micros[0].name, "nine columns need one more than two blocks"
    expect_equal(module, made, 1)
    alone = replace(module, functions=(replace(function, in_place=()),))
    assert "4x" in scheduled(alone, NARROW).micros[0].name


@pytest.mark.parametrize("seed", range(12))
def test_planes_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    columns = rng.choice([3, 4, 5, 6, 7, 9, 12])
    stride, window, pad = rng.randint(1, 2), rng.choice([2, 3, 5]), rng.randint(0, 1)
    width = (columns - 1) * stride + window - 2 * pad
    shape = (rng.randint(1, 2), rng.randint(4, 7), width, rng.choice([3, 4, 6, 8]))
    network = Network(seed, shape, rng.choice([DType.INT8, DType.UINT8]))
    attrs = {"strides": (1, stride), "padding": (pad,) * 4, "input_zero_point": rng.randint(0, 9)}
    if window == 5:
        attrs["padding"] = (1, 1, pad, pad)
    module = network.depthwise(window, rng.choice([1, 1, 2]), **attrs).module()
    knobs = DepthwiseSchedule(plane_bytes=rng.choice([200, 6144]), shared=True)
    made = schedule_depthwise(module.functions[0], module.constants, knobs)
    if made is None:
        assert columns in (4, 9) or columns * stride % 2, "blocks begin at words"
        return
    expect_equal(module, made, seed)


def test_layers_of_other_sizes_share() -> None:
    """Depth, filters, pixels, shifts, and what surrounds a layer make no difference."""
    one = Network(1, (1, 4, 8, 8)).conv(14).module()
    other = Network(2, (1, 1, 9, 64)).conv(26).module()
    third = Network(2, (1, 7, 9, 4)).conv(16, (3, 5), padding=(1, 1, 2, 2)).module()
    assert micros(one, NARROW) == micros(other, NARROW) == micros(third, NARROW)
    one = Network(3, (1, 6, 12, 8)).depthwise(padding=(1, 1, 1, 1)).module()
    other = Network(4, (1, 30, 30, 20)).depthwise(padding=(1, 1, 1, 1)).module()
    assert micros(one, DepthwiseSchedule(shared=True)) == micros(
        other, DepthwiseSchedule(shared=True)
    )


def micros(module: Module, knobs: ConvSchedule | DepthwiseSchedule) -> set[Any]:
    """Those that are not for padding."""
    found = scheduled(module, knobs).micros
    return {m for m in found if not m.name.startswith(("blank", "copy"))}


def mobile() -> Module:
    """Six pairs of layers; the first one has nearly all products."""
    network = Network(7, (1, 24, 24, 8))
    network.depthwise(padding=(1, 1, 1, 1)).conv(160).conv(8, strides=(4, 4))
    for filters in (16, 28, 20, 22, 26):
        network.depthwise(padding=(1, 1, 1, 1)).conv(filters)
    return network.module()


def test_objectives_share_what_they_should() -> None:
    module = mobile()
    counts = {
        objective: sum(
            micro.name.startswith(("conv", "panel", "depthwise"))
            for micro in schedule_module(module, M4, objective).micros
        )
        for objective in ("cycles", "balanced", "size")
    }
    assert counts["size"] < counts["balanced"] < counts["cycles"]
    names = {m.name for m in schedule_module(module, M4, "cycles").micros}
    assert not any(name.startswith("panel") for name in names)


def test_only_less_code_is_shared() -> None:
    """One layer of whole blocks gains nothing; one with filters left over needs two functions."""
    for filters, shares in ((8, False), (10, True)):
        module = Network(5, (1, 8)).dense(filters).module()
        names = {m.name for m in schedule_module(module, M4, "size").micros}
        assert any(name.startswith("panel") for name in names) == shares


def test_winograd_stays() -> None:
    network = Network(6, (1, 8, 8, 16))
    for _ in range(3):
        network.conv(16, (3, 3), padding=(1, 1, 1, 1))
    names = {m.name for m in schedule_module(network.module(), M4, "size").micros}
    assert any(name.startswith("winograd") for name in names)
    assert not any(name.startswith("panel") for name in names)


def test_blocks_of_filters_leave_few_functions() -> None:
    def widths(filters: int, most: int) -> tuple[tuple[int, int], ...]:
        function = Network(1, (1, 8)).dense(filters).module()
        w = read_weighted_sum(function.functions[0], function.constants)
        assert w is not None
        return panel_filters(w, most)

    assert widths(128, 8) == ((128, 8),)
    assert widths(12, 8) == ((12, 4),)
    assert widths(10, 8) == ((10, 2),)
    assert widths(1001, 8) == ((1000, 8), (1, 1))
    assert widths(66, 8) == ((64, 8), (2, 2))


def some_network(seed: int) -> Network:
    """Layers of all kinds that share."""
    rng = random.Random(seed)
    shape = (1, rng.randint(5, 9), rng.choice([5, 6, 12]), rng.choice([4, 8]))
    network = Network(seed, shape)
    for _ in range(3):
        same = {"padding": (1, 1, 1, 1), "input_zero_point": rng.randint(-9, 9)}
        network.depthwise(**same).conv(rng.choice([8, 12, 20, 22]))
    return network.conv(rng.choice([8, 16]), (2, 3), padding=(0, 1, 1, 0))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_assembled_networks_equal_the_reference(target: str) -> None:
    cases, expected = [], []
    for seed in range(8):
        graph = some_network(seed).graph()
        data = np.random.default_rng(seed).integers(-128, 128, graph.values["x"].type.shape)
        known = {"x": data.astype(np.int8), **graph.constants}
        for node in graph.nodes:
            inputs = tuple(known[name] for name in node.inputs)
            (known[node.outputs[0]],) = find_op(node.op).reference(inputs, node.attrs)
        cases.append((graph, [known["x"]]))
        expected.append(known[graph.outputs[0]])
    for (found,), wanted in zip(run_graphs(cases, target, objective="size"), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
