"""What an operator tells of the integers it can yield: intervals per channel, and how they arise.

A channel is a position on the last axis. ``Op.ranges`` gets one ``Operand`` per input and the
result's type and gives the result's ``Interval``; None stands for all that the type can hold. An
interval must hold every value that any input of the network leads to, so a sum that might wrap is
unknown. Where the interval is one number, the channel is constant: ``fold_channels`` rests on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.op.fixed_point import Int64Array, int64_of

MOST_CHANNELS = 1 << 16
"""A longer last axis has one interval for all of it."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Least and greatest value, both inclusive: one per channel, or one for all channels."""

    low: Int64Array
    high: Int64Array

    @property
    def hull(self) -> Interval:
        """One interval for all channels."""
        return Interval(self.low.min(keepdims=True), self.high.max(keepdims=True))

    def with_value(self, value: int) -> Interval:
        """The interval that also holds ``value``."""
        return Interval(np.minimum(self.low, value), np.maximum(self.high, value))

    def joined(self, other: Interval) -> Interval:
        """The interval that holds both, channel by channel."""
        return Interval(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    def limited(self, least: int | None = None, most: int | None = None) -> Interval:
        """Both ends brought between two bounds."""
        return Interval(np.clip(self.low, least, most), np.clip(self.high, least, most))

    def over(self, channels: int) -> Interval:
        """The same with an entry for each of ``channels``."""
        return Interval(np.broadcast_to(self.low, channels), np.broadcast_to(self.high, channels))

    def fits(self, dtype: DType) -> bool:
        return bool(self.low.min() >= dtype.minimum and self.high.max() <= dtype.maximum)


@dataclass(frozen=True, eq=False)
class Operand:
    """An input of a node; ``data`` of a constant."""

    type: TensorType
    interval: Interval
    data: np.ndarray | None = None


Operands = Sequence[Operand]
Ranges = Callable[[Operands, TensorType, Any], Interval | None]


def whole(dtype: DType) -> Interval:
    """All that a type can hold."""
    low, high = (np.array([bound], np.int64) for bound in (dtype.minimum, dtype.maximum))
    return Interval(low, high)


def interval_of(data: np.ndarray) -> Interval:
    """What a constant holds, by channel."""
    channels = data.shape[-1] if data.ndim and data.shape[-1] <= MOST_CHANNELS else 1
    rows = int64_of(data).reshape(-1, channels)
    return Interval(rows.min(axis=0), rows.max(axis=0))


def same_range(operands: Operands, result: TensorType, attrs: object) -> Interval:
    """The result holds, in every channel, what the first operand holds there, or lies between."""
    return operands[0].interval


def at_corners(
    operands: Operands, function: Callable[..., np.ndarray], dtypes: bool = True
) -> Interval:
    """The interval of a function that rises or falls with each operand, whatever the others are.

    It then is least and greatest where every operand is. ``dtypes``: it gets operands of their own
    types, else Python's integers, which do not overflow.
    """
    ends: list[tuple[np.ndarray, ...]] = []
    for operand in operands:
        dtype = operand.type.dtype.numpy if dtypes else np.dtype(object)
        low, high = operand.interval.low.astype(dtype), operand.interval.high.astype(dtype)
        ends.append((low,) if np.array_equal(low, high) else (low, high))
    results = [function(*corner) for corner in product(*ends)]
    low, high = reduce(np.minimum, results), reduce(np.maximum, results)
    return Interval(low, high) if not dtypes else Interval(int64_of(low), int64_of(high))


def arithmetic_range(
    function: Callable[..., np.ndarray],
) -> Callable[[Operands, TensorType, Any], Interval | None]:
    """The rule of a sum, difference, product, minimum or maximum of two operands."""

    def ranges(operands: Operands, result: TensorType, attrs: object) -> Interval | None:
        exact = at_corners(operands, function, dtypes=False)
        if not exact.fits(result.dtype):
            return None
        return Interval(exact.low.astype(np.int64), exact.high.astype(np.int64))

    return ranges


def sum_range(
    x: Interval, weights: Int64Array, bias: Operand | None, dtype: DType
) -> Interval | None:
    """Sums of products in ``dtype``: ``weights`` [groups, filters, taps, depth] and per group x.

    ``x`` has an entry per channel, ``groups`` times ``depth``. None where the sum might wrap.
    """
    groups, _, _, depth = weights.shape
    low, high = (end.reshape(groups, 1, depth) for end in (x.low, x.high))
    reach = np.maximum(np.abs(low.astype(float)), np.abs(high.astype(float)))
    most = (np.abs(weights).sum(axis=2, dtype=float) * reach).sum(axis=2).max()
    if most > 2**62:
        return None
    up = np.maximum(weights, 0).sum(axis=2)
    down = np.minimum(weights, 0).sum(axis=2)
    least = ((up * low).sum(axis=2) + (down * high).sum(axis=2)).reshape(-1)
    greatest = ((up * high).sum(axis=2) + (down * low).sum(axis=2)).reshape(-1)
    sums = Interval(least, greatest)
    if bias is None:
        return sums if sums.fits(dtype) else None
    if bias.data is None or not whole_number_fits(bias.data):
        return None
    offset = int64_of(bias.data).reshape(-1)
    sums = Interval(least + offset, greatest + offset)
    return sums if sums.fits(dtype) else None


def whole_number_fits(data: np.ndarray) -> bool:
    """Whether sums with these integers stay far from the ends of int64."""
    return bool(data.dtype.kind in "iu" and np.abs(data.astype(float)).max(initial=0) < 2**62)


def reshaped(interval: Interval, before: tuple[int, ...], after: tuple[int, ...]) -> Interval:
    """The interval where the last axis has another length: element i is in channel i modulo it."""
    if len(interval.low) == 1:
        return interval
    new = after[-1] if after else 1
    shared = gcd(before[-1], new)
    if new > MOST_CHANNELS:
        return interval.hull
    low = interval.low.reshape(-1, shared).min(axis=0)
    high = interval.high.reshape(-1, shared).max(axis=0)
    return Interval(np.tile(low, new // shared), np.tile(high, new // shared))


def summed(interval: Interval, shape: tuple[int, ...], axes: tuple[int, ...]) -> Interval:
    """Sums of the elements along some axes; exact only for numbers of up to 32 bits."""
    count = prod(shape[axis] for axis in axes)
    kept = interval.hull if len(shape) - 1 in axes else interval
    return Interval(kept.low * count, kept.high * count)
