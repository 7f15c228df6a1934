"""The linear form of a rescaling: equal on every accumulator of a range, or refused.

Ranges small enough are compared exhaustively; wide ones around every step and at random points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from utvm.ir.dtype import DType
from utvm.op.fixed_point import Int64Array, int64_of
from utvm.op.fixed_point_linear import LinearForm, linear_reference, rescale_steps
from utvm.op.quantize_conv import (
    ConvParams,
    FullyConnectedParams,
    conv_params,
    conv_rescale,
    fully_connected_params,
    fully_connected_rescale,
)
from utvm.op.quantize_params import Activation, Quant

CHANNELS = 24


def quants(rng: np.random.Generator) -> tuple[Quant, tuple[float, ...], Quant]:
    x = Quant(float(np.float32(rng.uniform(0.01, 0.1))), -4, DType.INT8)
    filters = tuple(float(np.float32(2.0 ** rng.uniform(-12, -4))) for _ in range(CHANNELS))
    return x, filters, Quant(float(np.float32(rng.uniform(0.05, 0.5))), -7, DType.INT8)


def convolution(rng: np.random.Generator, activation: Activation) -> tuple[ConvParams, list[float]]:
    x, filters, out = quants(rng)
    scales = [x.f64 * scale / out.f64 for scale in filters]
    return conv_params(x, filters, 0, out, activation), scales


def linear_form(
    rescale: Callable[[Int64Array], Int64Array], *arguments: Any, one_shift: bool = False
) -> LinearForm | None:
    """The linear form of a rescale's steps."""
    known = rescale_steps(rescale, *arguments)
    return None if known is None else known.form(one_shift)


def bounds(low: int, high: int) -> tuple[Int64Array, Int64Array]:
    return int64_of([low] * CHANNELS), int64_of([high] * CHANNELS)


def assert_equal_around_steps(
    form: LinearForm,
    p: ConvParams | FullyConnectedParams,
    scales: list[float],
    limit: int,
    rng: np.random.Generator,
) -> None:
    steps = (np.arange(-140, 140)[:, None] + 0.5) / np.array(scales)
    near = np.concatenate([int64_of(steps) + offset for offset in range(-4, 5)])
    spread = rng.integers(-limit, limit + 1, (2000, CHANNELS))
    acc = np.clip(np.concatenate([near, spread]), -limit, limit)
    rescaled = (
        conv_rescale(acc, p) if isinstance(p, ConvParams) else fully_connected_rescale(acc, p)
    )
    np.testing.assert_array_equal(linear_reference(acc, form, p.qmin, p.qmax), rescaled)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("activation", [Activation.NONE, Activation.RELU, Activation.RELU6])
def test_convolution_has_a_linear_form(seed: int, activation: Activation) -> None:
    rng = np.random.default_rng(seed)
    p, scales = convolution(rng, activation)
    limit = 1 << 22
    form = linear_form(
        lambda acc: conv_rescale(acc, p),
        tuple(scales),
        bounds(-limit, limit),
        p.zero_point,
        p.qmin,
        p.qmax,
    )
    assert form is not None
    assert_equal_around_steps(form, p, scales, limit, rng)
    if activation is not Activation.NONE:
        # Only results of one sign are left, so the sign of the accumulator plays no part.
        assert form.addends == form.negative_addends


def test_small_range_is_equal_everywhere() -> None:
    rng = np.random.default_rng(5)
    p, scales = convolution(rng, Activation.NONE)
    form = linear_form(
        lambda acc: conv_rescale(acc, p),
        tuple(scales),
        bounds(-3000, 5000),
        p.zero_point,
        p.qmin,
        p.qmax,
    )
    assert form is not None
    acc = np.broadcast_to(np.arange(-3000, 5001)[:, None], (8001, CHANNELS))
    result = linear_reference(acc, form, p.qmin, p.qmax)
    np.testing.assert_array_equal(result, conv_rescale(acc, p))
    assert len(np.unique(result)) > 10


@pytest.mark.parametrize("seed", range(4))
def test_fully_connected_needs_no_double(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, filters, out = quants(rng)
    p = fully_connected_params(x, filters, 0, out, Activation.NONE)
    limit = 1 << 22
    form = linear_form(
        lambda acc: fully_connected_rescale(acc, p),
        p.scales,
        bounds(-limit, limit),
        p.zero_point,
        p.qmin,
        p.qmax,
    )
    assert form is not None
    assert_equal_around_steps(form, p, list(p.scales), limit, rng)


def test_exact_halves_keep_their_direction() -> None:
    x, out = Quant(0.5, 0, DType.INT8), Quant(1.0, 0, DType.INT8)
    p = fully_connected_params(x, (1.0,), 0, out, Activation.NONE)
    form = linear_form(
        lambda acc: fully_connected_rescale(acc, p),
        p.scales,
        (int64_of([-100]), int64_of([100])),
        0,
        p.qmin,
        p.qmax,
    )
    assert form is not None
    halves = np.array([[-3], [-1], [1], [3]])
    np.testing.assert_array_equal(linear_reference(halves, form, -128, 127).ravel(), [-2, -1, 1, 2])


def test_a_factor_that_overflows_has_no_form() -> None:
    x, out = Quant(1.0, 0, DType.INT8), Quant(2.0**-12, 0, DType.INT8)
    p = conv_params(x, (1.0,), 0, out, Activation.NONE)
    form = linear_form(
        lambda acc: conv_rescale(acc, p), (4096.0,), (int64_of([-(1 << 22)]), int64_of([1 << 22])),
        0, -128, 127,
    )  # fmt: skip
    assert form is None


def test_a_function_that_is_not_a_rescaling_is_noticed() -> None:
    form = linear_form(
        lambda acc: np.clip(acc // 3, -128, 127),
        (0.25,),
        (int64_of([-1000]), int64_of([1000])),
        0,
        -128,
        127,
    )
    assert form is None


def test_an_output_without_steps_has_no_form() -> None:
    """A fused activation may leave a single value; there is nothing to fit then."""
    p, scales = convolution(np.random.default_rng(1), Activation.NONE)
    form = linear_form(lambda acc: conv_rescale(acc, p), tuple(scales), bounds(-9, 9), 3, 5, 5)
    assert form is None


def test_one_accumulator_is_the_addend_alone() -> None:
    """A filter of zeros has only its bias, and often a scale that no other one comes near."""
    multipliers, shifts = (1 << 30, 1 << 30, 1 << 30), (-40, -8, 7)
    p = ConvParams(0, 0, multipliers, shifts, -7, -128, 127, False)
    low, high = int64_of([-(2**31), -9000, 3]), int64_of([-(2**31), 9000, 3])
    form = linear_form(
        lambda acc: conv_rescale(acc, p),
        tuple(2.0 ** (shift - 1) for shift in shifts),
        (low, high),
        -7,
        -128,
        127,
        one_shift=True,
    )
    assert form is not None
    assert form.multipliers[0] == form.multipliers[2] == 0
    for acc in (low, high, int64_of([-(2**31), 0, 3])):
        expected = conv_rescale(acc, p)
        np.testing.assert_array_equal(linear_reference(acc, form, -128, 127), expected)
