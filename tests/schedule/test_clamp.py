"""Clamps of bytes with the lower bound in the addend: same results, one saturation.

Random bounds around and beyond what rescaled sums reach, filters that do and do not fill words of
four, one constant for all filters or one each; and sums so large that nothing may be moved.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Module
from utvm.ir.print_loop import print_function
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.op.requantize_linear import RequantizeLinearAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.clamp import read_clamp
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.weighted_sum import known_bias, largest_sum, read_weighted_sum

BOUNDS = {
    "int8": [(-128, 126), (-127, 127), (0, 127), (-1, 127), (5, 127), (-50, 13), (96, 127), (3, 4)],
    "uint8": [(0, 254), (1, 255), (128, 255), (7, 255), (47, 99), (0, 127), (250, 255), (9, 10)],
}


def layer(
    seed: int,
    bounds: tuple[int, int],
    dtype: str = "int8",
    filters: int = 4,
    less: int = 0,
    addend: int = 1000,
) -> Module:
    """A convolution whose rescaled sums reach beyond the bounds on both sides."""
    data = np.random.default_rng(seed)
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 3, 5, 4), DType.INT8))
    weight = b.constant(data.integers(-128, 128, (filters, 2, 2, 4), dtype=np.int8))
    bias = b.constant(data.integers(-9999, 9999, (filters,), dtype=np.int32))
    total = b.emit("conv2d", [x, weight, bias], Conv2dAttrs())
    each = (filters if seed % 2 else 1,)
    multiplier = b.constant(data.integers(1 << 29, 1 << 30, each, dtype=np.int32))
    addends = b.constant(data.integers(addend // 2, addend, each, dtype=np.int32))
    shift = b.constant(np.array([6], np.int32))
    attrs = RequantizeLinearAttrs(dtype, *bounds, negative_less=less)
    b.output(b.emit("requantize_linear", [total, multiplier, addends, shift], attrs))
    return lower(fuse_ops(b.build(), find_op), find_op)


def scheduled(module: Module, knobs: ConvSchedule) -> Scheduled:
    made = schedule_conv(module.functions[0], module.constants, knobs)
    assert made is not None
    return made


@pytest.mark.parametrize("filters", [1, 3, 4, 5, 8, 12])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_clamps_keep_the_meaning(dtype: str, filters: int) -> None:
    for seed, bounds in enumerate(BOUNDS[dtype]):
        module = layer(seed, bounds, dtype, filters, less=seed % 3)
        knobs = ConvSchedule(pixels=1 + seed % 2, filters=4, wide=seed % 3 == 0)
        expect_equal(module, scheduled(module, knobs), seed)


@pytest.mark.parametrize(
    ("bounds", "filters", "found", "missing"),
    [
        ((5, 127), 4, ["uqadd8", " ^ ", "lanes 4"], ["max(v", "sadd8"]),
        ((5, 100), 4, ["uqadd8", "sadd8", "lanes 4"], ["max(v"]),
        ((5, 127), 6, ["uqadd8"], ["lanes 4", "sadd8"]),
        ((96, 127), 4, ["31)", "sadd8", "lanes 4"], ["uqadd8"]),
        ((0, 127), 4, ["127)"], ["uqadd8", "sadd8", "lanes 4"]),
        ((-128, 127), 4, ["-128), 127)"], ["uqadd8", "lanes 4"]),
    ],
)
def test_only_what_is_needed_is_done(
    bounds: tuple[int, int], filters: int, found: list[str], missing: list[str]
) -> None:
    made = scheduled(layer(1, bounds, filters=filters), ConvSchedule())
    text = "".join(print_function(m) for m in made.micros if m.name.startswith("conv2x4"))
    results = text[text.index("mulhi" if "mulhi" in text else "smmla") :].replace("x0_0", "")
    assert [word for word in found if word not in results] == []
    assert [word for word in missing if word in results] == []


@pytest.mark.parametrize(("addend", "moved"), [(1000, True), ((1 << 31) - 1, False)])
def test_addends_that_might_leave_32_bits_stay(addend: int, moved: bool) -> None:
    module = layer(1, (-128, 5))
    w = read_weighted_sum(module.functions[0], module.constants)
    assert w is not None
    (name,) = (name for name in module.constants if name.endswith("addend"))
    constants = {**module.constants, name: np.full(4, addend, np.int32)}
    biases = known_bias(w.bias, w.filters, constants)
    assert biases is not None
    most = largest_sum(w.weights, w.source.dtype, biases)
    assert (read_clamp(w.epilogue, constants, 4, w.acc, most) is not None) == moved
