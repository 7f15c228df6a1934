"""Register blocks without packed words compute what their plain loops compute.

Random convolutions (bytes with and without a sign and int16, strides, dilation, padding, groups,
depths that are no whole words), depthwise layers and Winograd's algorithm are executed statement by
statement; and no micro function names an instruction of the DSP extension.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.schedule.test_conv_blocks import expect_equal
from tests.schedule.test_depthwise_across import layer as depthwise
from tests.schedule.test_raw_blocks import layer
from tests.schedule.test_sharing import Network
from utvm.ir.dtype import DType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import Call
from utvm.ir.rewrite import expressions
from utvm.schedule.conv_kernel import ConvSchedule, Scheduled
from utvm.schedule.conv_schedule import schedule_conv
from utvm.schedule.depthwise_across_kernel import schedule_across
from utvm.schedule.depthwise_plain import elements_of_block
from utvm.schedule.depthwise_strips import AcrossSchedule
from utvm.schedule.folded_block import is_folded
from utvm.schedule.module import schedule_module
from utvm.schedule.options import kernel_options
from utvm.schedule.split_kernel import schedule_split
from utvm.schedule.weighted_sum import read_weighted_sum
from utvm.schedule.winograd_block import WinogradSchedule
from utvm.schedule.winograd_kernel import schedule_winograd
from utvm.target.target import load_target

M3 = load_target("cortex-m3")


def expect_plain(made: Scheduled) -> None:
    calls = {e.name for m in made.micros for e in expressions(m.body) if isinstance(e, Call)}
    assert not calls & set(INSTRUCTIONS)


def knobs(rng: random.Random, wide: bool = False) -> ConvSchedule:
    pixels, filters = rng.randint(1, 4), rng.randint(1, 4)
    return ConvSchedule(pixels, filters, wide, rng.choice([4, 8]), plain=True)


@pytest.mark.parametrize("pixel", [DType.INT8, DType.UINT8, DType.INT16])
@pytest.mark.parametrize("seed", range(5))
def test_blocks_keep_the_meaning(seed: int, pixel: DType) -> None:
    rng = random.Random(seed)
    module = layer(rng, pixel, rng.choice([1, 3, 4, 5, 12]))
    made = schedule_conv(module.functions[0], module.constants, knobs(rng, seed % 2 == 1))
    assert made is not None and all(b.name == "rows" for b in made.function.workspace)
    expect_plain(made)
    expect_equal(module, made, seed)


@pytest.mark.parametrize("seed", range(8))
def test_two_taps_a_word_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    module = layer(rng, DType.INT8, rng.choice([2, 4, 6, 10]))
    schedule = replace(knobs(rng), steps=rng.choice([4, 8]), folded=True)
    w = read_weighted_sum(module.functions[0], module.constants)
    made = schedule_conv(module.functions[0], module.constants, schedule)
    assert w is not None and (made is not None) == is_folded(w)
    if made is not None:
        expect_plain(made)
        expect_equal(module, made, seed)


def test_half_of_a_word_holds_two_products() -> None:
    ends = np.array([-128, -127, -1, 0, 1, 126, 127], np.int64)
    a, b, v, w = (axis.reshape(-1) for axis in np.meshgrid(ends, ends, ends, ends))
    word = (a + (b << 16)) * (v + (w << 16)) + (1 << 15)
    upper = (word & 0xFFFFFFFF).astype(np.uint32).view(np.int32) >> 16
    fits = np.abs(v) + np.abs(w) < 256
    assert np.array_equal(upper[fits], (a * w + b * v)[fits])
    assert not np.array_equal(upper, a * w + b * v)
    assert sorted(set(zip(v[~fits], w[~fits], strict=True))) == [(-128, -128)]


@pytest.mark.parametrize("seed", range(5))
def test_groups_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    module = layer(rng, DType.INT8, rng.choice([3, 4]), groups=rng.choice([2, 3]))
    made = schedule_split(module.functions[0], module.constants, knobs(rng))
    assert made is not None
    expect_plain(made)
    expect_equal(module, made, seed)


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_winograd_keeps_the_meaning(seed: int, expanded: bool) -> None:
    seeds = (s for s in range(100 * seed, 100 * seed + 100))
    for other in seeds:
        rng = random.Random(other)
        module = layer(rng, DType.INT8, rng.choice([4, 8]))
        schedule = WinogradSchedule(steps=2, expanded=expanded, plain=True)
        made = schedule_winograd(module.functions[0], module.constants, schedule)
        if made is not None:
            expect_plain(made)
            expect_equal(module, made, seed)
            return
    pytest.fail("no layer had a form")


def test_a_core_without_dsp_has_blocks_and_loops_to_choose_from() -> None:
    module = Network(1, (1, 4, 4, 12)).conv(8).module()
    (function,) = module.functions
    options = kernel_options(function, module.constants, M3, named=())
    templates = [dict(o.config)["template"] for o in options if o.default]
    assert {"direct", "loops"} <= set(templates)
    assert all(dict(o.config).get("plain") == 1 for o in options if "pixels" in dict(o.config))
    assert schedule_module(module, M3).micros


def test_rescales_that_the_back_end_lacks_leave_a_layer_in_loops() -> None:
    """Rescales rounded twice, by numbers that each filter has of its own."""
    module = layer(random.Random(3), DType.INT8, 12)
    options = kernel_options(module.functions[0], module.constants, M3, named=())
    assert {dict(o.config)["template"] for o in options} == {"loops"}


@pytest.mark.parametrize("seed", range(16))
def test_depthwise_layers_keep_the_meaning(seed: int) -> None:
    rng = random.Random(seed)
    module = depthwise(rng, residual=seed % 4 == 0)
    schedule = AcrossSchedule(rng.randint(1, 6), 1, rng.choice([256, 4096]), seed % 3 == 0, True)
    made = schedule_across(module.functions[0], module.constants, schedule)
    if made is not None:
        expect_plain(made)
        expect_equal(module, made, seed)
    else:
        assert seed % 4 == 0, "only results that other tensors take part in may have no form"


def test_elements_of_a_line_are_loaded_once_where_its_weights_wait() -> None:
    assert [offset for offset, _ in elements_of_block([0, 1, 2], 3, 2, 3)] == [0, 1, 2, 3, 4, 5, 6]
    assert len(elements_of_block(list(range(7)), 3, 2, 7)) == 21
