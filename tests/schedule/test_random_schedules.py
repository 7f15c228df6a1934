"""Random sequences of schedule primitives never change what a kernel computes.

Small networks with random shapes are lowered; primitives are applied to random loops, where they
are legal. Every step is verified, and the result is executed and compared with the unscheduled
kernel.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.loop_interpreter import run_function
from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import Function, Load, Module, Select
from utvm.ir.parse_loop import parse_function
from utvm.ir.print_loop import print_function
from utvm.ir.rewrite import expressions
from utvm.ir.verify_loop import verify_function
from utvm.op.builder import GraphBuilder
from utvm.op.clip import ClipAttrs
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.pool2d import AvgPool2dAttrs, MaxPool2dAttrs
from utvm.op.registry import find_op
from utvm.passes.bind_loads import bind_loads
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.hoist_addresses import hoist_addresses
from utvm.passes.lower import lower
from utvm.schedule.compute_at import compute_at
from utvm.schedule.partition import hoist_condition, partition
from utvm.schedule.primitives import loops, reorder, split, unroll, unroll_jam
from utvm.support.errors import ScheduleError

Array = npt.NDArray[Any]
BATCHES = 10
SEEDS_PER_BATCH = 12
MOST_TEXT = 20_000


def random_module(rng: random.Random) -> Module:
    """One kernel: an operator with loops of its own, perhaps an elementwise one behind it."""
    b = GraphBuilder("net", find_op)
    kind = rng.choice(["conv2d", "dense", "max_pool2d", "avg_pool2d", "add"])
    result = _operator(b, rng, kind)
    if rng.random() < 0.5:
        result = b.emit("clip", [result], ClipAttrs(low=-100))
    b.output(result)
    return lower(fuse_ops(b.build(), find_op), find_op)


def _operator(b: GraphBuilder, rng: random.Random, kind: str) -> str:
    height, width, depth, filters = (rng.randint(2, 5) for _ in range(4))
    data = np.random.default_rng(rng.randint(0, 1 << 30))

    def constant(*shape: int) -> str:
        return b.constant(data.integers(-128, 128, shape, dtype=np.int8))

    if kind == "dense":
        x = b.input("x", TensorType((2, depth), DType.INT8))
        return b.emit("dense", [x, constant(filters, depth), constant(filters)], DenseAttrs())
    if kind == "add":
        x = b.input("x", TensorType((2, height, depth), DType.INT32))
        shape = (depth,) if rng.random() < 0.5 else (2, height, depth)
        z = b.input("z", TensorType(shape, DType.INT32))
        return b.emit("add", [x, z], BinaryAttrs())
    x = b.input("x", TensorType((1, height, width, depth), DType.INT8))
    window = (2, rng.randint(1, 3))
    strides = (rng.randint(1, 2), rng.randint(1, 2))
    sides = (rng.randint(0, 1), rng.randint(0, 1)) if window[1] > 1 else (0, 0)
    padding = (rng.randint(0, 1), rng.randint(0, 1), *sides)
    if width + sum(sides) < window[1]:
        window = (2, 2)
    if kind == "conv2d":
        operands = [x, constant(filters, *window, depth), constant(filters)]
        return b.emit(kind, operands, Conv2dAttrs(strides=strides, padding=padding))
    attrs: type[Attrs] = MaxPool2dAttrs if kind == "max_pool2d" else AvgPool2dAttrs
    return b.emit(kind, [x], attrs(window=window, strides=strides, padding=padding))  # type: ignore[call-arg]


def random_step(rng: random.Random, function: Function) -> Function:
    """One primitive on a random loop; the function itself where that is refused."""
    names = sorted({loop.var.name for loop in loops(function)})
    if not names:
        return function
    name, other, factor = rng.choice(names), rng.choice(names), rng.randint(1, 4)
    steps: list[Callable[[], Function]] = [
        lambda: split(function, name, factor),
        lambda: reorder(function, name, other),
        lambda: unroll(function, name),
        lambda: unroll_jam(function, name),
        lambda: compute_at(function, "rows", name),
        lambda: hoist_condition(function, name),
        lambda: partition(function, name),
    ]
    try:
        changed = rng.choice(steps)()
    except ScheduleError:
        return function
    return changed if len(print_function(changed)) < MOST_TEXT else function


def has_guarded_loads(function: Function) -> bool:
    """Whether a load is evaluated only sometimes; its address may not be computed before."""
    selects = [e for e in expressions(function.body) if isinstance(e, Select)]
    return any(isinstance(side, Load) for e in selects for side in (e.a, e.b))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_schedules_keep_the_meaning(batch: int) -> None:
    for seed in range(batch * SEEDS_PER_BATCH, (batch + 1) * SEEDS_PER_BATCH):
        rng = random.Random(seed)
        module = random_module(rng)
        (original,) = module.functions
        arrays: dict[str, Array] = {
            buffer.name: np.random.default_rng(seed)
            .integers(-128, 128, buffer.shape)
            .astype(buffer.dtype.numpy)
            for buffer in original.inputs
        }
        arrays |= module.constants
        expected = run_function(original, arrays)
        function = original
        for _ in range(rng.randint(1, 6)):
            function = random_step(rng, function)
            verify_function(function, after=f"seed {seed}")
        function = bind_loads(function)
        if not has_guarded_loads(function):
            function = hoist_addresses(function)
        verify_function(function, after=f"seed {seed}, last passes")
        assert parse_function(print_function(function)) == function
        found = run_function(function, arrays)
        for name, data in expected.items():
            np.testing.assert_array_equal(found[name], data, err_msg=f"seed {seed}")
