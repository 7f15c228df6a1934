"""fold-channels: channels without effect go, with all that feeds only them; no bit changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.compiled import run_graphs
from tests.passes.channel_graphs import assert_equal, macs_of, random_graph, random_inputs
from utvm.driver.evaluate import evaluate
from utvm.driver.load import import_model, load_model
from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.loop import Module
from utvm.ir.verify_graph import verify_graph
from utvm.op.builder import GraphBuilder
from utvm.op.clip import ClipAttrs
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.op.reshape import ReshapeAttrs
from utvm.passes.fold_channels import fold_channels
from utvm.target.target import load_target

BYTE = RequantizeAttrs("int8", -128, 127, output_zero_point=-7, right=True)


class Net:
    """Builds small networks; filters and inputs in ``dead`` have weights of zero."""

    def __init__(self, channels: int = 3) -> None:
        self.random = np.random.default_rng(401)
        self.b = GraphBuilder("net", find_op)
        self.x = self.b.input("x", TensorType((1, 5, 5, channels), DType.INT8))

    def weights(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.random.integers(1, 100, shape).astype(np.int8)

    def rescale(self, total: str) -> str:
        channels = self.b.type_of(total).shape[-1]
        multiplier = self.b.constant(
            self.random.integers(1 << 30, (1 << 31) - 1, channels).astype(np.int32)
        )
        shift = self.b.constant(np.full(channels, 6, np.int32))
        return self.b.emit("requantize", [total, multiplier, shift], BYTE)

    def conv(
        self,
        x: str,
        filters: int,
        dead: tuple[int, ...] = (),
        unread: tuple[int, ...] = (),
        attrs: Conv2dAttrs | None = None,
        window: int = 1,
    ) -> str:
        weight = self.weights((filters, window, window, self.b.type_of(x).shape[-1]))
        weight[list(dead)] = 0
        weight[..., list(unread)] = 0
        bias = self.random.integers(-900, 900, filters).astype(np.int32)
        operands = [x, self.b.constant(weight, "weight"), self.b.constant(bias, "bias")]
        return self.rescale(self.b.emit("conv2d", operands, attrs or Conv2dAttrs(), "conv"))

    def depthwise(self, x: str, dead: tuple[int, ...] = (), zero: int = 0) -> str:
        weight = self.weights((1, 3, 3, self.b.type_of(x).shape[-1]))
        weight[..., list(dead)] = 0
        attrs = Conv2dAttrs(padding=(1, 1, 1, 1), input_zero_point=zero)
        total = self.b.emit("depthwise_conv2d", [x, self.b.constant(weight, "weight")], attrs)
        return self.rescale(total)

    def folded(self, *outputs: str, multiple: int = 1) -> Graph:
        """The graph after the pass, verified and equal to what it was."""
        for name in outputs:
            self.b.output(name)
        graph = self.b.build()
        folded = fold_channels(graph, find_op, multiple)
        verify_graph(folded, find_op, after="fold-channels", plain=True)
        assert_equal(graph, folded)
        return folded


def channels(graph: Graph, op: str = "conv2d") -> list[tuple[int, int]]:
    """Input and output channels of every node of a kind."""
    return [
        (graph.inputs_of(node)[0].shape[-1], graph.outputs_of(node)[0].shape[-1])
        for node in graph.nodes
        if node.op == op
    ]


def test_zero_filters_go_into_the_bias_of_what_reads_them() -> None:
    net = Net()
    y = net.conv(net.conv(net.x, 8, dead=(1, 4, 5)), 6)
    assert channels(net.folded(y)) == [(3, 5), (5, 6)]


def test_inputs_nobody_reads_go_with_what_makes_them() -> None:
    net = Net()
    y = net.conv(net.conv(net.conv(net.x, 8, dead=(0,)), 7), 6, unread=(2, 3))
    assert channels(net.folded(y)) == [(3, 7), (7, 5), (5, 6)]


def test_what_only_feeds_a_dead_filter_goes() -> None:
    net = Net()
    x = net.conv(net.x, 4)
    first = net.conv(x, 3, unread=(2,))
    x = net.depthwise(net.conv(net.conv(first, 5), 4), dead=(0, 1))
    assert channels(net.folded(net.conv(x, 2))) == [(3, 3), (3, 3), (3, 5), (5, 2), (2, 2)]


@pytest.mark.parametrize(("zero", "width"), [(-7, 2), (3, 4)])
def test_padding_must_hold_what_the_channel_holds(zero: int, width: int) -> None:
    """A bias of zero makes a dead channel the zero point of the rescale, -7."""
    net = Net()
    weight = net.weights((4, 1, 1, 3))
    weight[[0, 2]] = 0
    bias = net.b.constant(np.zeros(4, np.int32))
    x = net.rescale(net.b.emit("conv2d", [net.x, net.b.constant(weight), bias]))
    attrs = Conv2dAttrs(padding=(1, 0, 1, 0), input_zero_point=zero)
    y = net.conv(x, 5, attrs=attrs, window=2)
    assert channels(net.folded(y)) == [(3, width), (width, 5)]


def test_a_sum_of_branches_keeps_what_either_needs() -> None:
    net = Net()
    left = net.conv(net.x, 6, dead=(0, 1, 2))
    right = net.conv(net.x, 6, dead=(1, 2, 3))
    y = net.conv(net.b.emit("maximum", [left, right]), 2)
    assert channels(net.folded(y)) == [(3, 4), (3, 4), (4, 2)]


def test_a_clamp_that_hides_everything_makes_a_constant() -> None:
    net = Net()
    x = net.b.emit("clip", [net.conv(net.x, 4)], ClipAttrs(9, 9))
    assert channels(net.folded(net.conv(x, 2))) == [(3, 1), (1, 2)]


def test_a_flattened_channel_is_every_so_many_inputs() -> None:
    net = Net()
    x = net.conv(net.x, 4, dead=(2,))
    flat = net.b.emit("reshape", [x], ReshapeAttrs((1, 100)))
    weight = net.b.constant(net.weights((3, 100)))
    folded = net.folded(net.b.emit("dense", [flat, weight]))
    assert channels(folded, "dense") == [(75, 3)]
    assert len(folded.nodes[-1].inputs) == 3


def test_interfaces_and_floats_are_never_narrowed() -> None:
    net = Net()
    hidden = net.conv(net.x, 4, dead=(2,))
    assert channels(net.folded(hidden, net.conv(hidden, 2))) == [(3, 4), (4, 2)]
    b = GraphBuilder("floats", find_op)
    x = b.input("x", TensorType((1, 2, 2, 4), DType.FLOAT32))
    zeros = b.constant(np.zeros((4, 1, 1, 4), np.float32))
    b.output(b.emit("conv2d", [b.emit("conv2d", [x, zeros]), zeros]))
    graph = b.build()
    assert fold_channels(graph, find_op) is graph


def test_groups_keep_all() -> None:
    net = Net(4)
    weight = net.weights((4, 1, 1, 2))
    weight[1] = 0
    x = net.rescale(net.b.emit("conv2d", [net.x, net.b.constant(weight)]))
    assert channels(net.folded(net.conv(x, 4, dead=(1,)))) == [(4, 4), (4, 4)]


@pytest.mark.parametrize(("dead", "left"), [(3, 8), (4, 4), (5, 4), (8, 4)])
def test_numbers_of_channels_are_multiples(dead: int, left: int) -> None:
    net = Net()
    y = net.conv(net.conv(net.x, 8, dead=tuple(range(dead))), 3)
    assert channels(net.folded(y, multiple=4)) == [(3, left), (left, 3)]


def test_a_bias_that_would_overflow_keeps_its_inputs() -> None:
    net = Net()
    x = net.b.emit("clip", [net.conv(net.x, 4)], ClipAttrs(100, 100))
    weight = net.b.constant(net.weights((2, 1, 1, 4)))
    bias = net.b.constant(np.full(2, (1 << 31) - 1, np.int32))
    total = net.b.emit("conv2d", [x, weight, bias])
    assert channels(net.folded(net.rescale(total))) == [(3, 4), (4, 2)]


@pytest.mark.parametrize("seed", range(120))
def test_random_networks_stay_the_same(seed: int) -> None:
    graph = random_graph(seed)
    for multiple in (1, 4):
        folded = fold_channels(graph, find_op, multiple)
        verify_graph(folded, find_op, after="fold-channels", plain=True)
        assert_equal(graph, folded)
        assert macs_of(folded) <= macs_of(graph)


def test_most_random_networks_lose_channels() -> None:
    shrunk = [s for s in range(40) if fold_channels(g := random_graph(s), find_op, 1) is not g]
    assert len(shrunk) >= 20


def test_compiled_networks_stay_the_same() -> None:
    graphs = [random_graph(seed) for seed in range(500, 512)]
    inputs = [list(next(random_inputs(graph)).values()) for graph in graphs]
    found = run_graphs(list(zip(graphs, inputs, strict=True)))
    for graph, arrays, outputs in zip(graphs, inputs, found, strict=True):
        wanted = evaluate(graph, dict(zip(graph.inputs, arrays, strict=True)), find_op)
        for a, b in zip(wanted.values(), outputs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_half_of_a_real_network_goes(shared_models: Path) -> None:
    model = load_model(shared_models / "mlperf_vww96_int8" / "model.tflite")
    plain: list[Graph] = []

    def keep(stage: str, ir: Graph | Module) -> None:
        if stage == "fold-constants" and isinstance(ir, Graph):
            plain.append(ir)

    compile_graph(import_model(model), load_target("cortex-m4"), keep)
    (graph,) = plain
    assert macs_of(graph) == 7_489_664
    assert macs_of(fold_channels(graph, find_op, 1)) < 3_740_000
    assert macs_of(fold_channels(graph, find_op)) < 3_780_000
    assert_equal(graph, fold_channels(graph, find_op))
