"""Rescales that make up for the bias: equal on every sum that can occur, in every kernel family.

Random layers with realistic scales: the numbers that are found are put in by hand and compared with
the kernel's own for each sum; scheduled kernels are executed statement by statement.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Binary, Call, Expr, Function, Imm, Let, Load, Module, Stmt, Var
from utvm.ir.rewrite import expressions
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.op.requantize_linear import RequantizeLinearAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.depthwise_kernel import DepthwiseSchedule, schedule_depthwise
from utvm.schedule.unbiased import sum_without_bias
from utvm.schedule.weighted_sum import WeightedSum, read_weighted_sum
from utvm.schedule.winograd_kernel import schedule_winograd

Array = npt.NDArray[Any]
LEFT = 4


def layer(
    seed: int,
    shape: tuple[int, int, int] = (2, 3, 8),
    window: tuple[int, int] = (1, 1),
    filters: int = 8,
    less: int = 0,
    own_shifts: bool = False,
    left: int = LEFT,
    residual: bool = False,
    depthwise: bool = False,
    single: bool = False,
) -> Module:
    """A convolution with a rescale by one multiply-add: 2^-8 to 2^-10 and a zero point."""
    data = np.random.default_rng(seed)
    b = GraphBuilder("net", find_op)
    kh, kw = window
    x = b.input("x", TensorType((1, *shape), DType.INT8))
    weights = (1, kh, kw, shape[2]) if depthwise else (filters, kh, kw, shape[2])
    filters = shape[2] if depthwise else filters
    weight = b.constant(data.integers(-127, 128, weights, dtype=np.int8))
    bias = b.constant(data.integers(-9999, 9999, (filters,), dtype=np.int32))
    padding = ((kh - 1) // 2, kh // 2, (kw - 1) // 2, kw // 2)
    attrs = Conv2dAttrs(input_zero_point=-7, padding=padding)
    total = b.emit("depthwise_conv2d" if depthwise else "conv2d", [x, weight, bias], attrs)
    shift = data.integers(9, 11, filters if own_shifts else 1)
    words = (
        data.integers(1 << 29, 1 << 31, 1 if single else filters),
        np.broadcast_to((2 * int(data.integers(-30, 30)) + 1) << shift - 1, filters),
        shift,
    )
    addend = words[1][:1] if single else words[1]
    names = [b.constant(word.astype(np.int32)) for word in (words[0], addend, shift)]
    linear = RequantizeLinearAttrs("int8", -128, 100, left_shift=left, negative_less=less)
    result = b.emit("requantize_linear", [total, *names], linear)
    if residual:
        other = b.input("z", b.type_of(result))
        result = b.emit("maximum", [result, other], BinaryAttrs())
    b.output(result)
    return lower(fuse_ops(b.build(), find_op), find_op)


def sum_of(module: Module) -> WeightedSum:
    w = read_weighted_sum(module.functions[0], module.constants)
    assert w is not None
    return w


def rescaled(w: WeightedSum, constants: Any, acc: Array, f: int) -> Array:
    """What the rescale of filter ``f`` makes of sums, before it is clamped."""

    def value(expr: Expr) -> Any:
        match expr:
            case Imm(number):
                return int(number)
            case Load(buffer) if buffer == w.acc:
                return acc
            case Load(buffer):
                data = constants[buffer.name].reshape(-1).astype(np.int64)
                return int(data[f if data.size > 1 else 0])
            case Binary("*", a, b):
                return fits(value(a) * value(b))
            case Binary("+", a, b):
                return fits(value(a) + value(b))
            case Binary(">>", a, b):
                return value(a) >> value(b)
            case Call("mulhi", (a, b)):
                return value(a) * value(b) >> 32
        raise AssertionError(expr)

    let = w.epilogue[0]
    assert isinstance(let, Let)
    return np.asarray(value(let.value))


def fits(data: Array) -> Array:
    assert np.abs(data).max() < 1 << 31
    return data


@pytest.mark.parametrize("seed", range(8))
def test_every_sum_is_rescaled_alike(seed: int) -> None:
    module = layer(seed, own_shifts=seed % 2 == 1)
    w = sum_of(module)
    bare, constants = sum_without_bias(w, module.constants)
    assert bare.bias == Imm(0), "no numbers were found"
    biases = next(data for name, data in module.constants.items() if name.endswith("bias"))
    for f in range(w.filters):
        flat = w.weights[f].astype(np.int64).reshape(-1)
        ends = flat * -128, flat * 127
        acc = np.arange(np.minimum(*ends).sum(), np.maximum(*ends).sum() + 1)
        expected = rescaled(w, module.constants, acc + int(biases[f]), f)
        found = rescaled(bare, constants, acc, f)
        np.testing.assert_array_equal(np.clip(found, -128, 100), np.clip(expected, -128, 100))


FAMILIES: dict[str, tuple[ConvSchedule | DepthwiseSchedule, dict[str, Any]]] = {
    "unrolled": (ConvSchedule(), {}),
    "looped": (ConvSchedule(pixels=3, steps=4), {"window": (3, 3), "residual": True}),
    "ring": (ConvSchedule(ring=True), {"window": (3, 3), "shape": (4, 3, 5)}),
    "image": (ConvSchedule(raw=True), {"window": (2, 2), "shape": (4, 5, 4)}),
    "panels": (ConvSchedule(4, 2, steps=4, shared=True), {"shape": (1, 9, 20)}),
    "plain": (ConvSchedule(plain=True), {}),
    "plain rows": (ConvSchedule(plain=True), {"window": (3, 3), "shape": (4, 3, 5)}),
    "shifts": (ConvSchedule(filters=3), {"own_shifts": True, "filters": 5}),
    "raised": (ConvSchedule(wide=True), {"shape": (2, 5, 12)}),
    "raised, looped": (
        ConvSchedule(wide=True, steps=4),
        {"window": (3, 3), "shape": (3, 4, 4), "own_shifts": True},
    ),
    "raised ring": (
        ConvSchedule(wide=True, steps=5, ring=True),
        {"window": (2, 3), "shape": (4, 4, 4), "residual": True},
    ),
    "planes": (DepthwiseSchedule(wide=False), {"depthwise": True, "window": (3, 3)}),
    "raised planes": (DepthwiseSchedule(), {"depthwise": True, "window": (3, 3)}),
    "raised strips": (
        DepthwiseSchedule(width=4, plane_bytes=200),
        {"depthwise": True, "window": (2, 3), "shape": (6, 7, 4), "own_shifts": True},
    ),
    "shared planes": (
        DepthwiseSchedule(shared=True, wide=False),
        {"depthwise": True, "window": (3, 3), "shape": (4, 6, 4)},
    ),
}


def scheduled(module: Module, knobs: ConvSchedule | DepthwiseSchedule) -> Scheduled:
    function = module.functions[0]
    made = (
        schedule_conv(function, module.constants, knobs)
        if isinstance(knobs, ConvSchedule)
        else schedule_depthwise(function, module.constants, knobs)
    )
    assert made is not None
    return made


def begins(micro: Function) -> set[str]:
    """What products are added to first, or sums begin with."""
    found: set[str] = set()
    for expr in expressions(micro.body):
        match expr:
            case Call("smlad" | "smlabt" | "smlatb", (_, _, Var(name))):
                found.add(name.rstrip("_0123456789"))
            case Call("smlad" | "smlabt" | "smlatb", (_, _, Imm())):
                found.add("zero")
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_keep_the_meaning(family: str) -> None:
    knobs, options = FAMILIES[family]
    for seed in range(2):
        module = layer(seed, **options)
        made = scheduled(module, knobs)
        expect_equal(module, made, seed)
        text = {name for micro in made.micros for name in begins(micro)}
        lets = {s.var.name for m in made.micros for s in lets_of(m.body)}
        assert "bias" not in text and not any(name.startswith("bias") for name in lets)
        if "planes" in family or family in ("unrolled", "raised"):
            assert text == {"zero"}, "the first product is added to nothing"


def lets_of(body: tuple[Stmt, ...]) -> list[Let]:
    found: list[Let] = []
    for stmt in body:
        found += [stmt] if isinstance(stmt, Let) else lets_of(getattr(stmt, "body", ()))
    return found


def test_winograd_adds_no_bias() -> None:
    for left, biased in ((LEFT, False), (2, True)):
        module = layer(3, (4, 4, 8), (3, 3), left=left)
        made = schedule_winograd(module.functions[0], module.constants)
        assert made is not None
        expect_equal(module, made, 3)
        names = {s.var.name for m in made.micros for s in lets_of(m.body)}
        assert any(name.startswith("biased") for name in names) == biased, "a shift by 2 is free"


@pytest.mark.parametrize("knobs", [DepthwiseSchedule(), ConvSchedule(wide=True)])
def test_pixels_are_shifted_where_a_bias_goes(knobs: ConvSchedule | DepthwiseSchedule) -> None:
    """Weights alone can't be shifted far enough; pixels of three channels are no words."""
    for depth, raised in ((8, True), (3, False)):
        module = layer(4, (4, 5, depth), (3, 3), depthwise=isinstance(knobs, DepthwiseSchedule))
        made = scheduled(module, knobs)
        expect_equal(module, made, 4)
        assert any("raised" in micro.name for micro in made.micros) == raised


def test_steps_that_fill_no_turn_begin_the_sums() -> None:
    """15 steps in turns of four: three in front of the loop, with or without a bias."""
    for options in ({}, {"left": 0}):
        module = layer(5, (1, 4, 30), **options)
        made = scheduled(module, ConvSchedule(wide=True, steps=4))
        expect_equal(module, made, 5)
        found = begins(next(m for m in made.micros if m.name.startswith("conv2x4")))
        assert found == {"bias"}, "thirty channels are no whole words: pixels stay as they are"


@pytest.mark.parametrize("options", [{"less": 2}, {"left": 0}, {"single": True}])
def test_what_keeps_its_bias(options: dict[str, Any]) -> None:
    """Rescales that bend, sums that are not shifted, filters with nothing but a bias."""
    module = layer(1, **options)
    w = sum_of(module)
    assert sum_without_bias(w, module.constants)[0] is w
    expect_equal(module, scheduled(module, ConvSchedule()), 1)
