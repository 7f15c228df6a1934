"""Fewer products for convolutions: two results of each dimension at a time, in exact integers.

In: taps and stride of one dimension. Out: a bilinear algorithm: which sums of pixels are multiplied
with which sums of weights, and where the products are added up. Taps are dealt out to the phases of
the stride, and those of a phase are cut into pieces of three, two or one:

    piece   pixels of a product       weights of it           position
    g0 g1 g2    p0 - p2               s g0                    0
                p1 + p2               s (g0 + g1 + g2) / 2    1
                p2 - p1               s (g0 - g1 + g2) / 2    2
                p1 - p3               s g2                    3
    g0 g1       p0 - p1               s g0                    0
                p1                    s (g0 + g1)             1
                p1 - p2               s g1                    3
    g0          p0                    s g0                    0
                p1                    -s g0                   3

The results are y0 = m0 + m1 + m2 and y1 = m1 - m2 - m3 for every piece, so all of them share four
sums, or three where no piece has three taps. s is 2 if one has, else 1. In two dimensions products
multiply: 3x3 takes 16 instead of 36 (Winograd 1980; Lavin and Gray, arXiv:1509.09308), 5x5 49
instead of 100, 3x3 with stride 2 25 instead of 36.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

Terms = tuple[tuple[int, int], ...]
"""Places and the factors there."""

_SIGNS = {0: (1, 0), 1: (1, 1), 2: (1, -1), 3: (0, -1)}
"""What the sum at a position adds to both results."""
EVERYWHERE = 1
"""The position that is added to both."""


@dataclass(frozen=True)
class Product:
    """Pixels with factors +1 and -1, taps with their factors, the position of the sum."""

    pixels: Terms
    taps: Terms
    position: int


@dataclass(frozen=True)
class Line:
    """The algorithm of one dimension: ``extent`` pixels to two results, ``scale`` times too big."""

    products: tuple[Product, ...]
    extent: int
    scale: int

    @property
    def positions(self) -> tuple[int, ...]:
        return tuple(sorted({product.position for product in self.products}))

    def of(self, position: int) -> tuple[int, ...]:
        """The products that are summed at a position."""
        numbered = enumerate(self.products)
        return tuple(i for i, product in numbered if product.position == position)

    @staticmethod
    def signs(position: int) -> tuple[int, int]:
        """The factors of a sum in both results."""
        return _SIGNS[position]


def line_algorithm(taps: int, stride: int) -> Line:
    """Two results of ``taps`` weights, ``stride`` pixels apart."""
    pieces = [piece for phase in range(min(stride, taps)) for piece in _pieces(phase, taps, stride)]
    scale = 2 if any(length == 3 for _, length in pieces) else 1
    products = [p for first, length in pieces for p in _products(first, length, stride, scale)]
    return Line(tuple(products), taps + stride, scale)


def _pieces(phase: int, taps: int, stride: int) -> Iterator[tuple[int, int]]:
    """First tap and length of the pieces of a phase: at most one of three, if that saves any."""
    left = len(range(phase, taps, stride))
    first = phase
    while left:
        length = 3 if left % 2 and left >= 3 else min(left, 2)
        yield first, length
        first += length * stride
        left -= length


def _products(first: int, length: int, stride: int, scale: int) -> Iterator[Product]:
    def pixels(*terms: tuple[int, int]) -> Terms:
        return tuple((first + place * stride, factor) for place, factor in terms)

    def taps(*factors: int) -> Terms:
        return tuple((first + i * stride, f) for i, f in enumerate(factors) if f)

    half = scale // 2
    if length == 3:
        yield Product(pixels((0, 1), (2, -1)), taps(scale), 0)
        yield Product(pixels((1, 1), (2, 1)), taps(half, half, half), 1)
        yield Product(pixels((2, 1), (1, -1)), taps(half, -half, half), 2)
        yield Product(pixels((1, 1), (3, -1)), taps(0, 0, scale), 3)
    elif length == 2:
        yield Product(pixels((0, 1), (1, -1)), taps(scale), 0)
        yield Product(pixels((1, 1)), taps(scale, scale), 1)
        yield Product(pixels((1, 1), (2, -1)), taps(0, scale), 3)
    else:
        yield Product(pixels((0, 1)), taps(scale), 0)
        yield Product(pixels((1, 1)), taps(-scale), 3)


@dataclass(frozen=True)
class Run:
    """Positions (row, column) behind each other whose sums have ``each`` products; the first of
    these is product ``first`` of a tile."""

    positions: tuple[tuple[int, int], ...]
    each: int
    first: int


@dataclass(frozen=True)
class Tile:
    """The algorithm of 2x2 results: products in the order of their sums, longest sums first."""

    rows: Line
    columns: Line

    @cached_property
    def sums(self) -> dict[tuple[int, int], tuple[tuple[int, int], ...]]:
        """By position of the sum: its products, each a pair of products of the dimensions."""
        found = {
            (r, c): tuple((i, j) for i in self.rows.of(r) for j in self.columns.of(c))
            for r in self.rows.positions
            for c in self.columns.positions
        }
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    @cached_property
    def products(self) -> tuple[tuple[int, int], ...]:
        return tuple(pair for pairs in self.sums.values() for pair in pairs)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        result: list[Run] = []
        first = 0
        for each in dict.fromkeys(map(len, self.sums.values())):
            positions = tuple(p for p, pairs in self.sums.items() if len(pairs) == each)
            result.append(Run(positions, each, first))
            first += each * len(positions)
        return tuple(result)

    @property
    def scale(self) -> int:
        """By how much results are too big."""
        return self.rows.scale * self.columns.scale

    def place(self, position: tuple[int, int]) -> int:
        """The first product of a sum."""
        (run,) = [run for run in self.runs if position in run.positions]
        return run.first + run.positions.index(position) * run.each

    def weights(self, weights: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """[filters, kh, kw, depth] as [filters, products, depth]."""
        _, kh, kw, _ = weights.shape
        rows, columns = _matrix(self.rows, kh), _matrix(self.columns, kw)
        both = np.einsum("ai,fijc,bj->fabc", rows, weights.astype(np.int64), columns)
        return np.stack([both[:, i, j] for i, j in self.products], axis=1)


def _matrix(line: Line, taps: int) -> npt.NDArray[np.int64]:
    result = np.zeros((len(line.products), taps), np.int64)
    for i, product in enumerate(line.products):
        for tap, factor in product.taps:
            result[i, tap] += factor
    return result


@cache
def tile_algorithm(window: tuple[int, int], strides: tuple[int, int]) -> Tile:
    """The algorithm for a window [kh, kw] and its strides."""
    (kh, kw), (sy, sx) = window, strides
    return Tile(line_algorithm(kh, sy), line_algorithm(kw, sx))
