"""Depthwise kernels across channels give what the plain loops give, statement by statement.

Random layers of every kind that the form takes: strides, dilation, padding, multipliers, channels
that are no multiple of four, bytes and int16, bounds inside of the type, results that another
tensor takes part in.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Invoke, Module, Store
from utvm.ir.rewrite import statements
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.op.requantize_linear import RequantizeLinearAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.depthwise_across_kernel import schedule_across
from utvm.schedule.depthwise_strips import AcrossSchedule, Strips
from utvm.schedule.depthwise_sum import DepthwiseSum, read_depthwise
from utvm.schedule.options import options_of

SEEDS = 30
BOUNDS = {
    "int8": [(-128, 127), (-128, 90), (-40, 127), (-7, 66)],
    "uint8": [(0, 255), (0, 200), (30, 255), (9, 77)],
    "int16": [(-32768, 32767), (0, 32767), (0, 9999), (-5, 700)],
}


def layer(
    rng: random.Random,
    *,
    depth: int = 0,
    window: tuple[int, int] | None = None,
    strides: tuple[int, int] | None = None,
    dilation: tuple[int, int] | None = None,
    residual: bool = False,
) -> Module:
    """A layer whose rescale is one multiply-add; what is not given is drawn."""
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    pixel = rng.choice((DType.INT8, DType.INT8, DType.UINT8, DType.INT16))
    depth = depth or rng.choice([4, 5, 7, 8, 11, 12])
    filters = depth * rng.choice([1, 1, 2, 3])
    kh, kw = window or rng.choice([(1, 1), (3, 3), (2, 3), (1, 5), (3, 1), (2, 2), (4, 1)])
    dilation = dilation or (rng.choice([1, 1, 2]), rng.choice([1, 1, 3]))
    reach = [(k - 1) * d + 1 for k, d in zip((kh, kw), dilation, strict=True)]
    height, width = (size + rng.randint(0, 6) for size in reach)
    pads = [rng.randint(0, 1) if rng.random() < 0.5 else 0 for _ in range(4)]
    attrs = Conv2dAttrs(
        strides=strides or (rng.randint(1, 3), rng.randint(1, 3)),
        dilation=dilation,
        padding=tuple(min(p, reach[i // 2] - 1) for i, p in enumerate(pads)),  # type: ignore[arg-type]
        input_zero_point=0 if pixel is DType.INT16 else rng.randint(0, 100),
    )
    x = b.input("x", TensorType((rng.randint(1, 2), height, width, depth), pixel))
    weight = b.constant(data.integers(-128, 128, (1, kh, kw, filters), dtype=np.int8))
    bias = b.constant(data.integers(-999, 999, (filters,), dtype=np.int32))
    total = b.emit("depthwise_conv2d", [x, weight, bias], attrs)
    low, high = rng.choice(BOUNDS[pixel.value])
    each = filters if rng.random() < 0.7 else 1
    words = (
        data.integers(1 << 28, 1 << 31, each),
        data.integers(-500, 500, each),
        data.integers(3, 7, each if rng.random() < 0.5 else 1),
    )
    names = [b.constant(word.astype(np.int32)) for word in words]
    rescale = RequantizeLinearAttrs(pixel.value, low, high, left_shift=rng.choice([0, 3]))
    result = b.emit("requantize_linear", [total, *names], rescale)
    if residual:
        result = b.emit("maximum", [result, b.input("z", b.type_of(result))], BinaryAttrs())
    b.output(result)
    return lower(fuse_ops(b.build(), find_op), find_op)


def read(module: Module) -> DepthwiseSum:
    found = read_depthwise(module.functions[0], module.constants)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(SEEDS))
def test_across_keeps_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    module = layer(rng)
    schedule = AcrossSchedule(
        rng.randint(1, 5), rng.choice([2, 4]), rng.choice([16, 200, 4000]), rng.random() < 0.5
    )
    scheduled = schedule_across(module.functions[0], module.constants, schedule)
    assert scheduled is not None
    expect_equal(module, scheduled, seed)


@pytest.mark.parametrize("seed", range(6))
def test_results_with_another_tensor(seed: int) -> None:
    """The other tensor may lie where results go: no channel may be made twice."""
    rng = random.Random(seed)
    module = layer(rng, depth=rng.choice([4, 8]), residual=True)
    scheduled = schedule_across(module.functions[0], module.constants, AcrossSchedule())
    assert scheduled is not None
    expect_equal(module, scheduled, seed)
    module = layer(rng, depth=6, residual=True)
    assert schedule_across(module.functions[0], module.constants, AcrossSchedule()) is None


def test_fewer_than_four_channels_stay_on_planes() -> None:
    module = layer(random.Random(1), depth=3)
    assert schedule_across(module.functions[0], module.constants, AcrossSchedule()) is None
    options = options_of(module.functions[0], module.constants)
    assert {dict(o.config)["template"] for o in options} == {"depthwise"}


def test_blocks_run_along_the_axis_that_shares_words() -> None:
    rng, once = random.Random(3), (1, 1)
    tall = Strips(read(layer(rng, window=(3, 1), strides=once, dilation=once)), AcrossSchedule())
    flat = Strips(read(layer(rng, window=(1, 3), strides=once, dilation=once)), AcrossSchedule())
    assert tall.places.vertical
    assert not flat.places.vertical


def test_bounds_are_kept_for_a_word_at_a_time() -> None:
    """Where bounds lie inside of the type, one word is stored for four bytes or two int16."""
    found: dict[int, set[int]] = {8: set(), 16: set()}
    for seed in range(60):
        module = layer(random.Random(seed), depth=8)
        scheduled = schedule_across(module.functions[0], module.constants, AcrossSchedule())
        assert scheduled is not None
        w, micro = read(module), scheduled.micros[0]
        lanes = {s.lanes for s in statements(micro.body) if isinstance(s, Store) and s.indices}
        limits = (w.function.outputs[0].dtype, w.multiplier)
        if limits[1] == 1:
            found[limits[0].bits] |= lanes
    assert found == {8: {1, 4}, 16: {1, 2}}


def test_nothing_is_copied_where_windows_stay_inside() -> None:
    rng = random.Random(0)
    for seed in range(20):
        module = layer(rng, depth=8)
        scheduled = schedule_across(module.functions[0], module.constants, AcrossSchedule())
        assert scheduled is not None, seed
        calls = [s for s in statements(scheduled.function.body) if isinstance(s, Invoke)]
        direct = Strips(read(module), AcrossSchedule()).direct
        assert direct == (len(calls) == 1) == (not scheduled.function.workspace)


@pytest.mark.parametrize(
    ("window", "strides", "expected"),
    [((3, 3), (1, 1), "depthwise"), ((3, 3), (3, 3), "across"), ((3, 1), (2, 2), "across")],
)
def test_the_form_follows_strides_and_taps(
    window: tuple[int, int], strides: tuple[int, int], expected: str
) -> None:
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 24, 24, 16), DType.INT8))
    weight = b.constant(np.ones((1, *window, 16), np.int8))
    bias = b.constant(np.zeros(16, np.int32))
    total = b.emit("depthwise_conv2d", [x, weight, bias], Conv2dAttrs(strides=strides))
    words = [b.constant(np.array([n], np.int32)) for n in (1 << 30, 0, 6)]
    b.output(b.emit("requantize_linear", [total, *words], RequantizeLinearAttrs("int8", -128, 127)))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    defaults = [o for o in options_of(module.functions[0], module.constants) if o.default]
    best = min(defaults, key=lambda o: o.cycles)
    assert dict(best.config)["template"] == expected
