"""Hybrid layers: float activations with int8 weights equal LiteRT's reference kernels.

Results are compared to the bit, not within a tolerance: a later hybrid layer quantizes them again,
and one bit may move a step. The same holds for the float layers between them, whose order of
additions is tested here for that reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compiled import run_graphs, run_models
from tests.litert import run_litert
from tests.op.quantized_models import Array
from tests.op.single_op_models import ConvCase, Model, conv_model
from tests.tflite_builder import ModelBuilder
from utvm.driver.pipeline import compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.loop import Module
from utvm.ir.verify_graph import verify_graph
from utvm.ir.verify_loop import verify_module
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.quantize_dynamic import OP, QuantizeDynamicAttrs
from utvm.op.registry import find_op
from utvm.support.errors import ModelError, UtvmError
from utvm.target.target import load_target

RANGES = {
    "mixed": (-2.0, 3.0),
    "positive": (0.5, 4.0),
    "negative": (-7.0, -1.0),
    "zero": (0.0, 0.0),
    "large": (-1e30, 4e30),
    "small": (-1e-30, 1e-31),
}


@dataclass(frozen=True)
class Layer:
    """One hybrid operator. ``scales``: one, equal (several of one value), or several."""

    kind: str
    shape: tuple[int, ...]
    weight: tuple[int, ...]
    out: tuple[int, ...]
    scales: str = "several"
    values: str = "mixed"
    bias: bool = True
    options: tuple[tuple[str, Any], ...] = ()


def layer_model(rng: np.random.Generator, layer: Layer) -> Model:
    """The layer with random data; its axis of channels is the last for depthwise weights."""
    builder = ModelBuilder()
    axis = 3 if layer.kind == "DEPTHWISE_CONV_2D" else 0
    channels = layer.weight[axis]
    data = rng.uniform(*RANGES[layer.values], layer.shape).astype(np.float32)
    if layer.shape[0] > 1 and layer.values == "mixed":
        data[1] *= np.float32(0.01)
    scales = rng.uniform(0.001, 0.02, channels if layer.scales == "several" else 1)
    if layer.scales == "equal":
        scales = np.repeat(scales, channels)
    source = builder.tensor(data.shape, np.float32)
    weight = rng.integers(-127, 128, layer.weight)
    operands = [
        source,
        builder.tensor(layer.weight, np.int8, scale=scales.tolist(), axis=axis, data=weight),
    ]
    if layer.bias:
        bias = rng.uniform(-1, 1, channels)
        operands.append(builder.tensor(bias.shape, np.float32, data=bias))
    result = builder.tensor(layer.out, np.float32)
    version = 3 if layer.kind == "FULLY_CONNECTED" else 6
    builder.op(layer.kind, operands, [result], version=version, **dict(layer.options))
    return Model(builder.build([source], [result]), (data,), str(layer))


def check_bits(models: Sequence[Model], target: str = "host") -> None:
    """Every model's results are LiteRT's, bit for bit."""
    results = run_models([(model.data, model.inputs) for model in models], target)
    for model, (found,) in zip(models, results, strict=True):
        (expected,) = run_litert(model.data, model.inputs)
        np.testing.assert_array_equal(found, expected, model.note)


def conv_layers() -> list[Layer]:
    """Geometries times kinds of scales, then kinds of values on one geometry."""
    pad = ("padding", "VALID")
    strides = (("stride_h", 2), ("stride_w", 1))
    dilated = (("dilation_h_factor", 2), ("dilation_w_factor", 3))
    geometries: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[Any, ...]]] = [
        ((1, 6, 5, 3), (4, 3, 3, 3), (1, 6, 5, 4), (("fused_activation_function", "RELU"),)),
        ((2, 7, 6, 2), (5, 3, 2, 2), (2, 4, 6, 5), (*strides, ("fused_activation_function",
                                                               "RELU_N1_TO_1"))),
        ((1, 5, 4, 8), (3, 1, 1, 8), (1, 5, 4, 3), (pad, ("fused_activation_function", "RELU6"))),
        ((1, 9, 9, 2), (2, 3, 3, 2), (1, 9, 9, 2), dilated),
        ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1), ()),
        ((3, 4, 4, 5), (7, 4, 4, 5), (3, 1, 1, 7), (pad,)),
    ]  # fmt: skip
    layers = [
        Layer("CONV_2D", *geometry[:3], scales=scales, options=geometry[3])
        for geometry in geometries
        for scales in ("one", "several")
    ]
    layers += [
        Layer("CONV_2D", (1, 5, 5, 4), (6, 3, 3, 4), (1, 5, 5, 6), scales, values)
        for scales, names in (("one", ("zero", "large")), ("equal", ["mixed"]), ("several", RANGES))
        for values in names
    ]
    grouped = Layer("CONV_2D", (2, 5, 5, 6), (4, 3, 3, 3), (2, 5, 5, 4))
    return [*layers, grouped]


def depthwise_layers() -> list[Layer]:
    kind = "DEPTHWISE_CONV_2D"
    layers = [
        Layer(kind, (1, 5, 5, 4), (1, 3, 3, 4), (1, 5, 5, 4), values=values) for values in RANGES
    ]
    return [
        *layers,
        Layer(kind, (2, 6, 5, 3), (1, 3, 3, 6), (2, 3, 3, 6),
              options=(("stride_h", 2), ("stride_w", 2), ("depth_multiplier", 2))),
        Layer(kind, (1, 7, 7, 3), (1, 3, 3, 3), (1, 7, 7, 3), "equal",
              options=(("dilation_h_factor", 2), ("fused_activation_function", "RELU6"))),
        Layer(kind, (1, 6, 6, 1), (1, 5, 2, 1), (1, 2, 5, 1), "one",
              options=(("padding", "VALID"),)),
    ]  # fmt: skip


def dense_layers() -> list[Layer]:
    kind = "FULLY_CONNECTED"
    layers = [
        Layer(kind, (3, 19), (5, 19), (3, 5), scales, values, bias,
              (("asymmetric_quantize_inputs", asymmetric),))
        for scales in ("one", "several")
        for asymmetric in (False, True)
        for values, bias in [("mixed", True), ("positive", False), ("zero", True), ("small", True)]
    ]  # fmt: skip
    return [
        *layers,
        Layer(kind, (2, 3, 8), (4, 8), (6, 4), "one", options=(("keep_num_dims", False),)),
        Layer(kind, (2, 3, 8), (4, 8), (2, 3, 4), options=(("keep_num_dims", True),)),
        Layer(kind, (1, 1), (1, 1), (1, 1), "one",
              options=(("fused_activation_function", "RELU"),)),
    ]  # fmt: skip


@pytest.mark.parametrize("layers", [conv_layers, depthwise_layers, dense_layers])
def test_layers_equal_litert(layers: Any) -> None:
    rng = np.random.default_rng(71)
    check_bits([layer_model(rng, layer) for layer in layers()])


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4"])
def test_cores_compute_the_same(target: str) -> None:
    rng = np.random.default_rng(72)
    layers = [*conv_layers()[:6], *depthwise_layers()[:2], *dense_layers()[:8]]
    check_bits([layer_model(rng, layer) for layer in layers], target)


def test_float_layers_add_in_the_order_of_litert() -> None:
    rng = np.random.default_rng(73)
    cases = [
        ConvCase("CONV_2D", DType.FLOAT32, (1, 7, 6, 5), (3, 3), 6),
        ConvCase("DEPTHWISE_CONV_2D", DType.FLOAT32, (1, 7, 6, 8), (3, 3), 8, (2, 1)),
        ConvCase("CONV_2D", DType.FLOAT32, (1, 5, 5, 17), (1, 1), 3, activation="RELU6"),
    ]
    check_bits([conv_model(rng, case) for case in cases])


def chain_model(rng: np.random.Generator) -> Model:
    """Hybrid, float depthwise, hybrid, hybrid: a wrong bit early would move steps later."""
    builder = ModelBuilder()
    shape = (1, 12, 10, 8)
    source = tensor = builder.tensor(shape, np.float32)
    for kind in ("CONV_2D", "DEPTHWISE_CONV_2D") * 2 + ("CONV_2D",):
        weight_shape = (1, 3, 3, 8) if kind == "DEPTHWISE_CONV_2D" else (8, 3, 3, 8)
        if kind == "CONV_2D":
            data = rng.integers(-127, 128, weight_shape)
            weight = builder.tensor(weight_shape, np.int8, scale=0.001, data=data)
        else:
            weight = builder.tensor(
                weight_shape, np.float32, data=rng.uniform(-0.4, 0.4, weight_shape)
            )
        bias = builder.tensor((8,), np.float32, data=rng.uniform(-0.3, 0.3, 8))
        result = builder.tensor(shape, np.float32)
        builder.op(kind, [tensor, weight, bias], [result], version=2)
        tensor = result
    data = rng.uniform(-3, 3, shape).astype(np.float32)
    return Model(builder.build([source], [tensor]), (data,), "chain")


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_chains_equal_litert(target: str) -> None:
    rng = np.random.default_rng(74)
    check_bits([chain_model(rng) for _ in range(3)], target)


@pytest.mark.parametrize(
    ("network", "target"),
    [
        ("mlonmcu_catdog_dynrange", "host"),
        ("mlonmcu_catdog_dynrange", "cortex-m4"),
        ("mlperf_kws_float", "host"),
        pytest.param("mlperf_kws_float", "cortex-m4", marks=pytest.mark.slow),
    ],
)
def test_real_networks(shared_models: Path, network: str, target: str) -> None:
    golden = np.load(shared_models / network / "golden.npz")
    model = (shared_models / network / "model.tflite").read_bytes()
    for row in (0, 1) if target == "host" else (2,):
        ((found,),) = run_models([(model, [golden["in0"][row]])], target)
        np.testing.assert_allclose(found, golden["out0"][row], 1e-5, 1e-6)


def test_kernels_pass_the_verifier() -> None:
    checked: list[str] = []

    def check(stage: str, ir: Graph | Module) -> None:
        if isinstance(ir, Graph):
            verify_graph(ir, find_op, after=stage)
        else:
            verify_module(ir, after=stage)
        checked.append(stage)

    rng = np.random.default_rng(77)
    for layers in (conv_layers, depthwise_layers, dense_layers):
        model = layer_model(rng, layers()[1])
        graph = import_tflite(model.data, name="model", find_op=find_op)
        compile_graph(graph, load_target("cortex-m4"), check)
    assert checked.count("lower") == 3


def special_rows() -> Array:
    """Rows whose quotients are halves, whose ranges are one-sided, empty, tiny or huge.

    Their length is a multiple of 8: the rest of a row LiteRT rounds by other instructions.
    """
    rng = np.random.default_rng(75)
    halves = np.append(np.arange(-62, 62) + 0.5, [np.nextafter(np.float32(0.5), np.float32(0)), 0])
    rows = [
        *(np.append(halves, ends) for ends in [(-127, 127), (-128, 127), (-100, 155), (-200, 55)]),
        np.abs(np.append(halves, [1, 2])),
        -np.abs(np.append(halves, [1, 2])),
        np.zeros(128),
        np.full(128, 2.5),
        np.full(128, -1e-34),
        rng.uniform(0, 1e-33, 128),
        rng.uniform(-1e38, 2e38, 128),
        np.where(np.arange(128) == 5, 1e36, 1e-36),
        *(rng.normal(rng.uniform(-2, 2), 1, 128) for _ in range(37)),
    ]
    return np.array(rows).astype(np.float32)


def dynamic_graph(x: Array, attrs: QuantizeDynamicAttrs) -> Graph:
    b = GraphBuilder("dynamic", find_op)
    steps, scales = b.emit_many(
        "quantize_dynamic", [b.input("x", TensorType(x.shape, DType.FLOAT32))], attrs
    )
    b.output(steps)
    b.output(scales)
    return b.build()


@pytest.mark.parametrize("target", ["host", "cortex-m0plus", "cortex-m7"])
def test_compiled_equals_reference(target: str) -> None:
    rows = special_rows()
    cases = [
        (shaped, QuantizeDynamicAttrs(symmetric, weight_scale))
        for shaped in (rows, rows.reshape(7, 7, 64, 2), rows.reshape(-1)[:1])
        for symmetric, weight_scale in ((True, 1.0), (True, 0.037), (False, 1.0))
    ]
    results = run_graphs([(dynamic_graph(x, attrs), [x]) for x, attrs in cases], target)
    assert OP.reference is not None
    for (x, attrs), found in zip(cases, results, strict=True):
        for one, expected in zip(found, OP.reference([x], attrs), strict=True):
            np.testing.assert_array_equal(one, expected, str(attrs))


@pytest.mark.parametrize("symmetric", [True, False])
def test_steps_equal_litert(symmetric: bool) -> None:
    rows = special_rows()
    depth = rows.shape[1]
    builder = ModelBuilder()
    source = builder.tensor(rows.shape, np.float32)
    weight = builder.tensor((depth, depth), np.int8, scale=1.0, data=np.eye(depth))
    result = builder.tensor(rows.shape, np.float32)
    builder.op(
        "FULLY_CONNECTED",
        [source, weight],
        [result],
        version=9,
        asymmetric_quantize_inputs=not symmetric,
    )
    (found,) = run_litert(builder.build([source], [result]), [rows])
    assert OP.reference is not None
    steps, scales = OP.reference([rows], QuantizeDynamicAttrs(symmetric))
    np.testing.assert_array_equal(steps * scales, found)


def test_steps_lie_around_zero() -> None:
    rows = special_rows()
    assert OP.reference is not None
    for attrs in (QuantizeDynamicAttrs(True), QuantizeDynamicAttrs(False)):
        steps, scales = OP.reference([rows], attrs)
        assert steps.dtype == attrs.dtype.numpy and scales.shape == (len(rows), 1)
        assert not steps[rows == 0].any()
        assert np.all(np.abs(steps * scales.astype(np.float64) - rows) <= 1.01 * scales)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_gives_steps_in_range(bad: float) -> None:
    x = np.ones((1, 6), np.float32)
    x[0, 2] = bad
    cases = [(dynamic_graph(x, QuantizeDynamicAttrs(s)), [x]) for s in (True, False)]
    for (steps, _), limit in zip(run_graphs(cases), (127, 255), strict=True):
        assert np.abs(steps.astype(int)).max() <= limit


def test_legalized_layers_multiply_integers() -> None:
    rng = np.random.default_rng(76)
    model = layer_model(rng, Layer("CONV_2D", (1, 4, 4, 2), (3, 1, 1, 2), (1, 4, 4, 3), "one"))
    graph = import_tflite(model.data, name="model", find_op=find_op)
    (node,) = graph.nodes
    assert isinstance(node.attrs, Conv2dAttrs)
    b = GraphBuilder("legal", find_op)
    for name, value in graph.values.items():
        b.add_value(value, graph.constants.get(name))
    legalize = find_op("conv2d").legalize
    assert legalize is not None
    (result,) = legalize(b, node) or ()
    b.output(result)
    kinds = [n.op for n in b.build().nodes]
    assert kinds == ["quantize_dynamic", "conv2d", "cast", "mul", "add"]


def test_weights_with_a_zero_point_are_refused() -> None:
    builder = ModelBuilder()
    source = builder.tensor((1, 4), np.float32)
    data = np.zeros((2, 4))
    weight = builder.tensor((2, 4), np.int8, scale=0.1, zero_point=3, data=data)
    result = builder.tensor((1, 2), np.float32)
    builder.op("FULLY_CONNECTED", [source, weight], [result], version=3)
    model = builder.build([source], [result])
    with pytest.raises(UtvmError, match="weights with a zero point are not supported"):
        import_tflite(model, name="model", find_op=find_op)


def test_type_rule_refuses_integers() -> None:
    with pytest.raises(ModelError, match="floats are quantized by batches"):
        OP.infer([TensorType((1, 4), DType.INT8)], QuantizeDynamicAttrs())
