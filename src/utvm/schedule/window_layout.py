"""How the windows of a convolution lie in a line buffer, and its weights in one stream.

The line buffer holds one column of the padded image after the other, each with its kh rows of one
window height as int16: a window, kw columns wide, is contiguous, whatever its height. Four bytes
become two words by SXTB16, bytes 0 and 2 in the first and 1 and 3 in the second; that order is kept
and the weights follow it, so that nothing is shuffled at run time.

    columns:  x0: [row 0: c0 c2 c1 c3 ...][row 1: ...][row 2: ...]   x1: [row 0: ...] ...

In a ring, a row of the image keeps its place in a column for all rows of results that see it, so
that it is expanded once. Then row y + 1 of results begins further down: the weights are turned, and
the stream is there once for every turn.

The stream holds, per block of filters and in order of use: biases, weights, and what the rescale
needs per filter. So a kernel reads its constants through one pointer.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt

from utvm.schedule.weighted_sum import WeightedSum

Words = npt.NDArray[np.int32]
GROUPED = np.array([0, 2, 1, 3])
"""The bytes of a word in the order in which SXTB16 leaves them."""


@dataclass(frozen=True)
class WindowLayout:
    """``column`` is the int16 elements of a column in the buffer, with those of no use: windows
    begin at whole words, and end there, perhaps with an element of what follows.
    ``columns`` how many columns the buffer holds; ``step`` is from one window to the next. ``name``
    is the buffer's: a kernel may have several.
    """

    column: int
    columns: int
    step: int
    grouped: bool
    name: str = "lines"
    ring: bool = False

    @property
    def elements(self) -> int:
        return even(self.column * self.columns)


def even(count: int) -> int:
    """So many elements and perhaps one more."""
    return count + count % 2


def has_ring(w: WeightedSum) -> bool:
    """Whether neighbouring rows of results see the same rows of the image."""
    return w.rows > 1 and w.row_dilation == 1 and w.strides[0] < w.window[0]


def ring_turns(w: WeightedSum) -> int:
    """Rows of results until their windows begin at the same place of a ring."""
    kh = w.window[0]
    return kh // gcd(kh, w.strides[0])


def window_layout(w: WeightedSum, columns: int, ring: bool = False) -> WindowLayout:
    """The line buffer for ``columns`` results side by side."""
    kh, kw = w.window
    used = kh * w.depth
    step = 1 if kw == 1 else w.strides[1]
    grouped = w.depth % 4 == 0 and w.source.dtype.bits == 8
    column = used if columns == 1 or step * used % 2 == 0 else even(used)
    return WindowLayout(column, (columns - 1) * step + kw, step, grouped, ring=ring)


def taps_in_order(w: WeightedSum, layout: WindowLayout, turn: int = 0) -> npt.NDArray[np.int16]:
    """The weights [filters, taps] in the order of the line buffer, zeros where it has no use; for
    a turn of the ring, if it is one."""
    filters = w.filters
    kh, kw = w.window
    turned = np.roll(w.weights, turn * gcd(w.window[0], w.strides[0]), axis=1)
    columns = np.moveaxis(turned, 2, 1).reshape(filters, kw, kh * w.depth).astype(np.int16)
    if layout.grouped:
        grouped = columns.reshape(filters, kw, -1, 4)[..., GROUPED]
        columns = grouped.reshape(filters, kw, -1)
    spare = layout.column - columns.shape[2]
    taps = np.pad(columns, ((0, 0), (0, 0), (0, spare))).reshape(filters, -1)
    return np.pad(taps, ((0, 0), (0, taps.shape[1] % 2)))


def pack_words(taps: npt.NDArray[np.int16], wide: bool) -> Words:
    """One block's weights [filters, taps] as words [steps, words].

    ``wide``: a word is two taps of one filter. Else it is two taps of two filters, as bytes a0 b0
    a1 b1, so that SXTB16 gives those of a and, rotated by 8, those of b.
    """
    filters, count = taps.shape
    pairs = taps.reshape(filters, count // 2, 2).astype(np.int64)
    if wide:
        words = (pairs[..., 0] & 0xFFFF) | (pairs[..., 1] & 0xFFFF) << 16
        return _words(words.T)
    even = np.pad(pairs, ((0, filters % 2), (0, 0), (0, 0)))
    return _words(_quads(even[0::2], even[1::2]).T)


def pair_words(taps: npt.NDArray[np.int16]) -> Words:
    """An even number of taps on the last axis as words of two, the first one lowest."""
    pairs = taps.reshape(*taps.shape[:-1], -1, 2).astype(np.int64) & 0xFFFF
    return _words(pairs[..., 0] | pairs[..., 1] << 16)


def quad_words(taps: npt.NDArray[np.int16]) -> Words:
    """Words of two taps of two filters, [..., filter, tap], in the order of ``pack_words``."""
    return _words(_quads(taps[..., 0, :].astype(np.int64), taps[..., 1, :].astype(np.int64)))


def _quads(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pairs of taps of two filters as bytes a0 b0 a1 b1."""
    a, b = a & 0xFF, b & 0xFF
    return a[..., 0] | b[..., 0] << 8 | a[..., 1] << 16 | b[..., 1] << 24


def _words(values: npt.NDArray[np.int64]) -> Words:
    return np.ascontiguousarray(values).astype(np.uint32).view(np.int32)
