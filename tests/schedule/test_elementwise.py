"""Element-wise micro functions and short rescales compute what the plain loops compute.

Random chains of rescales, sums and extremes on 8 and 16 bits, with broadcasting, over the whole
range of the types. The loops are executed statement by statement, so an overflow is an error, too;
then the same networks run in assembly on emulated cores.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.compiled import run_graphs
from tests.loop_interpreter import run_function
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.loop import Binary, Call, Cast, Expr, Function, Imm, Var
from utvm.ir.rewrite import expressions
from utvm.ir.verify_loop import verify_function
from utvm.op.builder import GraphBuilder
from utvm.op.elementwise import BinaryAttrs
from utvm.op.leaky_relu import LeakyRequantizeAttrs
from utvm.op.registry import find_op
from utvm.op.requantize import RequantizeAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.elementwise_kernel import schedule_elementwise, shortened
from utvm.schedule.options import kernel_options
from utvm.schedule.short_rescale import bounds
from utvm.target.target import load_target

CASES = 30


def rescaled(b: GraphBuilder, rng: random.Random, x: str, attrs: RequantizeAttrs) -> str:
    """``x`` times a random factor of at most one."""
    multiplier = rng.choice([1 << 30, rng.randint(1 << 30, (1 << 31) - 1)])
    shift = rng.randint(0, 3)
    right = shift > 0 and rng.random() < 0.7
    words = [np.array([multiplier], np.int32), np.array([shift if right else -shift], np.int32)]
    attrs = RequantizeAttrs(**{**vars(attrs), "right": right})
    return b.emit("requantize", [x, *map(b.constant, words)], attrs)


def network(rng: random.Random) -> Graph:
    """Sums as of quantized ADD, perhaps of a row that is broadcast, or a leaky rescale."""
    b = GraphBuilder("net", find_op)
    dtype = rng.choice([DType.INT8, DType.UINT8, DType.INT16])
    shape = (rng.randint(1, 3), rng.randint(1, 4), rng.choice([8, 9, 13, 16, 40]))
    x = b.input("x", TensorType(shape, dtype))
    if dtype is DType.INT16 and rng.random() < 0.3:
        scales = [rng.randint(1 << 30, (1 << 31) - 1) for _ in range(2)]
        shifts = [rng.randint(-3, 1) for _ in range(2)]
        attrs = LeakyRequantizeAttrs(scales[0], shifts[0], scales[1], shifts[1], rng.random() < 0.5)
        b.output(b.emit("leaky_requantize", [x], attrs))
        return b.build()
    if dtype is not DType.INT16 and rng.random() < 0.4:
        table = np.random.default_rng(rng.randint(0, 999)).integers(-128, 128, 256, dtype=np.int8)
        b.output(b.emit("lut", [x, b.constant(table)]))
        return b.build()
    y = b.input("y", TensorType(rng.choice([shape, shape, shape[-1:], (1,)]), dtype))
    headroom = 15 if dtype is DType.INT16 else 20
    wide = RequantizeAttrs(
        "int32", DType.INT32.minimum, DType.INT32.maximum, 0, headroom - rng.randint(0, 2)
    )
    total = b.emit("add", [rescaled(b, rng, name, wide) for name in (x, y)], BinaryAttrs())
    narrow = RequantizeAttrs(dtype.value, dtype.minimum, dtype.maximum)
    result = b.emit(
        "requantize",
        [
            total,
            b.constant(np.array([rng.randint(1 << 30, (1 << 31) - 1)], np.int32)),
            b.constant(np.array([headroom], np.int32)),
        ],
        RequantizeAttrs(**{**vars(narrow), "right": True}),
    )
    if rng.random() < 0.3:
        result = b.emit("maximum", [result, x], BinaryAttrs())
    b.output(result)
    return b.build()


def data(rng: np.random.Generator, type: TensorType) -> np.ndarray:
    """Anything, with both ends of the type."""
    values = rng.integers(type.dtype.minimum, type.dtype.maximum + 1, type.shape)
    if values.size > 1:
        values.flat[0], values.flat[-1] = type.dtype.minimum, type.dtype.maximum
    return values.astype(type.dtype.numpy)


@pytest.mark.parametrize("seed", range(CASES))
def test_micro_functions_keep_the_meaning(seed: int) -> None:
    graph = network(random.Random(seed))
    module = lower(fuse_ops(graph, find_op), find_op)
    function = module.functions[0]
    arrays = {
        buffer.name: data(np.random.default_rng(seed), TensorType(buffer.shape, buffer.dtype))
        for buffer in function.inputs
    }
    expected = run_function(function, arrays | dict(module.constants))
    short = shortened(function)
    verify_function(short, after=f"seed {seed}")
    found = run_function(short, arrays | dict(module.constants))
    np.testing.assert_array_equal(found["out0"], expected["out0"])
    scheduled = schedule_elementwise(function)
    if scheduled is None:
        return
    for option in kernel_options(function, module.constants, load_target("cortex-m4")):
        other = option.build()
        assert other is not None and (not option.default or other.micros == scheduled.micros)
        micros = {micro.name: micro for micro in other.micros}
        for micro in other.micros:
            verify_function(micro, after=f"seed {seed}")
        verify_function(other.function, after=f"seed {seed}", micros=micros)
        found = run_function(other.function, arrays | dict(module.constants), micros=other.micros)
        np.testing.assert_array_equal(found["out0"], expected["out0"])


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_assembled_kernels_equal_the_reference(target: str) -> None:
    cases, expected = [], []
    for seed in range(CASES):
        graph = network(random.Random(seed))
        rng = np.random.default_rng(seed)
        values = {name: data(rng, graph.values[name].type) for name in graph.inputs}
        cases.append((graph, [values[name] for name in graph.inputs]))
        known = values | dict(graph.constants)
        for node in graph.nodes:
            inputs = tuple(known[name] for name in node.inputs)
            (known[node.outputs[0]],) = find_op(node.op).reference(inputs, node.attrs)
        expected.append(known[graph.outputs[0]])
    for (found,), wanted in zip(run_graphs(cases, target), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def add_of_int16() -> Function:
    """The plain loops of a quantized ADD on int16."""
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((64,), DType.INT16))
    limits = DType.INT32.minimum, DType.INT32.maximum
    half = b.constant(np.array([1 << 30], np.int32))
    zero, fifteen = (b.constant(np.array([s], np.int32)) for s in (0, 15))
    wide = b.emit("requantize", [x, half, zero], RequantizeAttrs("int32", *limits, 0, 15))
    narrow = RequantizeAttrs("int16", -32768, 32767, right=True)
    b.output(b.emit("requantize", [wide, half, fifteen], narrow))
    return lower(fuse_ops(b.build(), find_op), find_op).functions[0]


def test_small_numbers_are_rescaled_by_one_high_product() -> None:
    function = add_of_int16()
    before = {e.name for e in expressions(function.body) if isinstance(e, Call)}
    after = {e.name for e in expressions(shortened(function).body) if isinstance(e, Call)}
    assert before == {"requantize", "requantize_right"}
    assert "requantize" not in after and "requantize_right" not in after


def test_floats_and_short_loops_stay_loops() -> None:
    for dtype, extent in ((DType.FLOAT32, 32), (DType.INT8, 7)):
        b = GraphBuilder("net", find_op)
        names = [b.input(name, TensorType((extent,), dtype)) for name in "xy"]
        b.output(b.emit("maximum", names, BinaryAttrs()))
        module = lower(fuse_ops(b.build(), find_op), find_op)
        assert schedule_elementwise(module.functions[0]) is None


def test_bounds_of_expressions() -> None:
    x = Var("x")
    known = {"x": (-10, 20)}
    cases: list[tuple[Expr, tuple[int, int]]] = [
        (x + 5, (-5, 25)),
        (x - Var("x"), (-30, 30)),
        (x * -2, (-40, 20)),
        (x >> 1, (-5, 10)),
        (Binary("min", x, Imm(3)), (-10, 3)),
        (Cast(DType.UINT8, x), (0, 255)),
        (Call("smmulr", (x, Imm(1 << 30)), DType.INT32), (-2, 5)),
    ]
    for expr, wanted in cases:
        assert bounds(expr, known) == wanted, expr
