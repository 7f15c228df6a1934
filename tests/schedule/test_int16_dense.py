"""Dense layers of int16, whose rescale by a double is a long multiply-add, in register blocks.

Random layers, executed statement by statement: blocks give what the plain loops give, with numbers
of their own or shared by scalars. Their micro functions have instructions.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from utvm.codegen.thumb.select import select
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import Module
from utvm.op.builder import GraphBuilder
from utvm.op.dense import DenseAttrs
from utvm.op.registry import find_op
from utvm.op.requantize_long import RequantizeLongAttrs
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.conv_kernel import ConvSchedule
from utvm.schedule.conv_schedule import schedule_conv
from utvm.target.target import load_target


def layer(rng: random.Random) -> Module:
    data = np.random.default_rng(rng.randint(0, 1 << 30))
    b = GraphBuilder("net", find_op)
    depth, filters = rng.choice([8, 13, 32]), rng.choice([4, 5, 12])
    x = b.input("x", TensorType((rng.choice([1, 2, 3]), depth), DType.INT16))
    weights = b.constant(data.integers(-128, 128, (filters, depth), dtype=np.int8))
    bias = b.constant(data.integers(-1000, 1000, (filters,), dtype=np.int32))
    total = b.emit("dense", [x, weights, bias], DenseAttrs())
    words = rng.choice([1, filters])
    high = b.constant(data.integers(1 << 29, 1 << 31, (words,)).astype(np.int32))
    low = b.constant(data.integers(-(1 << 31), 1 << 31, (words,)).astype(np.int32))
    left = rng.randint(0, 3)
    attrs = RequantizeLongAttrs("int16", rng.choice([-32768, 0]), 32767, left, left + 11)
    b.output(b.emit("requantize_long", [total, high, low], attrs))
    return lower(fuse_ops(b.build(), find_op), find_op)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_blocks_keep_the_meaning(seed: int, shared: bool) -> None:
    rng = random.Random(seed)
    module = layer(rng)
    wide, steps = rng.choice([False, True]), rng.choice([2, 4])
    schedule = ConvSchedule(rng.randint(1, 2), rng.choice([2, 4]), wide, steps, shared)
    scheduled = schedule_conv(module.functions[0], module.constants, schedule)
    if scheduled is None:
        assert shared  # odd depths, or more literals than scalars
        return
    expect_equal(module, scheduled, seed)
    programs = [select(micro, load_target("cortex-m4")) for micro in scheduled.micros]
    insts = [inst for program in programs for block in program.blocks for inst in block.insts]
    assert any(inst.op == "smlal" for inst in insts)
