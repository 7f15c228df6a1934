"""Winograd convolution in exact integers: the micro functions of what winograd_algorithm.py says.

With d the pixels of a tile and g the weights, the 2x2 results are Y = A'[(G g G') * (B' d B)]A. B
and A hold only 0, 1 and -1. G may hold halves; then weights are scaled, and sums divided again,
exactly.

In: geometry and constants. Out: ``transform`` (pixels of a row of tiles to the values of all
products) and ``multiply`` (products, sums, results, epilogue), and the stream of transformed
weights.

Sums lie where the values of the tile before were, which are of no more use, row by row as far
apart: one pointer serves both, and registers are what limits the inner loop. Tile 0 is left free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from utvm.ir.loop import (
    Alloc,
    Buffer,
    Call,
    Cast,
    Expr,
    For,
    Function,
    Imm,
    Let,
    Load,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import Linear, simplify_body
from utvm.schedule.epilogue import Epilogue
from utvm.schedule.weighted_sum import Array, WeightedSum, largest_pixel, largest_sum
from utvm.schedule.window_layout import pair_words
from utvm.schedule.winograd_algorithm import EVERYWHERE, Line, Run, Tile
from utvm.schedule.winograd_transform import COUNT, FILTERS, I16, I32, tile_of

MOST_REACH = 4000
"""Bytes that one pointer reaches."""
_ORDER = np.array([0, 2, 1, 3])

_TILE, _GROUP, _PAIR, _BLOCK = Var("tile"), Var("group"), Var("pair"), Var("block")
_SUM, _STEP, _T, _F = Var("sum"), Var("k"), Var("t"), Var("f")


def transformed_weights(w: WeightedSum) -> np.ndarray:
    """G g G' of every filter and channel, [filters, products, depth], channels in the order that
    SXTB16 yields."""
    u = tile_of(w).weights(w.weights)
    grouped = u.reshape(*u.shape[:2], -1, 4)[..., _ORDER]
    return np.ascontiguousarray(grouped.reshape(u.shape))


def fits_words(w: WeightedSum, biases: Array) -> bool:
    """Whether weights fit int16 and no sum leaves int32; a value is a sum of four pixels."""
    tile, weights = tile_of(w), np.abs(transformed_weights(w))
    if weights.max(initial=0) >= 1 << 15:
        return False
    per_product = weights.sum(axis=2)
    sums = [
        per_product[:, run.first + i * run.each :][:, : run.each].sum(axis=1).max()
        for run in tile.runs
        for i in range(len(run.positions))
    ]
    # A result adds nine sums at most.
    partial = 9 * 4 * largest_pixel(w.source.dtype) * int(max(sums))
    return partial + tile.scale * largest_sum(w.weights, w.source.dtype, biases) < 1 << 31


@dataclass(frozen=True)
class WinogradSchedule:
    """The knobs. ``tiles`` and ``filters`` are multiplied at a time, ``steps`` of two channels in a
    turn of the loop over these, and ``results`` filters finished in one. ``together`` tiles are
    transformed in a turn, as many on end as have ``value_bytes``. Weights are transformed offline,
    or ``expanded`` at each run. ``plain``: for cores without DSP instructions."""

    tiles: int = 2
    filters: int = FILTERS
    steps: int = 8
    results: int = 2
    together: int = 2
    value_bytes: int = 9 << 10
    expanded: bool = False
    plain: bool = False


DEFAULT = WinogradSchedule()
PLAIN = WinogradSchedule(steps=4, plain=True)
"""A step without packed words is twice as many instructions, so turns have fewer."""


def turn_steps(steps: int, most: int) -> int:
    """How many of so many steps make a turn: all, if these are not more than two turns."""
    if steps <= 2 * most:
        return steps
    return next(n for n in range(most, 0, -1) if steps % n == 0)


@dataclass
class MultiplyBuilder:
    """Makes the micro function that multiplies values of ``tiles`` tiles with ``filters`` filters
    at a time, as the schedule says: those of [first, first + count). ``more``: other filters read
    the values afterwards."""

    w: WeightedSum
    tiles: int
    biases: Array
    constants: Mapping[str, Array]
    schedule: WinogradSchedule
    first: int
    count: int
    more: bool = False
    tile: Tile = field(init=False)
    epilogue: Epilogue = field(init=False)

    def __post_init__(self) -> None:
        w = self.w
        self.tile = tile_of(w)
        self.epilogue = Epilogue(
            w.epilogue,
            w.acc,
            w.filters,
            Linear(0, (("c", 1),)),
            {"y": 1, "x": 2 * self.tiles - 1, "c": self.first + self.count - 1},
            frozenset(("n", "y", "x", "c")),
            streams_literals=True,
        )

    @property
    def filters(self) -> int:
        return self.schedule.filters

    @property
    def apart(self) -> bool:
        """Whether sums need a buffer of their own: values are read again, too few channels leave no
        room for them, or so many products that no pointer reaches them all."""
        small = self.w.depth < 2 * self.tiles * self.filters
        return self.more or small or 2 * self._size > MOST_REACH

    def build(self) -> Function | None:
        """The micro function; None where the epilogue cannot be taken over."""
        products = [
            For(_SUM, Imm(0), Imm(len(run.positions)), tuple(self._sums_of(run)))
            for run in self.tile.runs
        ]
        results = tuple(s for f in range(self.schedule.results) for s in self._results(f))
        if not self.epilogue.legal:
            return None
        results = (For(_F, Imm(0), Imm(self.filters), results, self.schedule.results),)
        results = (For(_T, Imm(0), Imm(self.tiles), results),)
        blocks = self.count // self.filters
        body: tuple[Stmt, ...] = (For(_BLOCK, Imm(0), Imm(blocks), (*products, *results)),)
        body = simplify_body((For(_PAIR, Imm(0), COUNT, body),))
        inputs, outputs = self.epilogue.parameters()
        about = (
            f"Products of {self.tiles} tiles and {self.filters} filters, their sums and results."
        )
        return Function(
            f"winograd{self.tiles}x{self.filters}_{len(self.tile.products)}_{self.w.depth}",
            (self._stream_buffer(), *inputs),
            (*outputs, self._values(), *((self._sums(),) if self.apart else ())),
            self.epilogue.resized(body),
            comment=(about,),
            scalars=(COUNT,),
        )

    def rescale(self) -> np.ndarray:
        """Bias, if any, scaled as sums are, and constants of the rescale [filters, words]."""
        per_filter = self.epilogue.streamed(self.constants)
        scaled = [self.biases * self.tile.scale] if self._biased else []
        return np.stack([*scaled, *per_filter], axis=1).astype(np.int32)

    def stream(self) -> np.ndarray:
        """Per block: weights product by product, then bias and rescale filter by filter."""
        u = transformed_weights(self.w).astype(np.int16)
        rescale = self.rescale()
        parts: list[np.ndarray] = []
        for begin in range(self.first, self.first + self.count, self.filters):
            own = u[begin : begin + self.filters]
            words = pair_words(own.reshape(-1)).reshape(self.filters, len(self.tile.products), -1)
            parts.append(words.transpose(1, 2, 0).reshape(-1))
            parts.append(rescale[begin : begin + self.filters].reshape(-1))
        return np.concatenate(parts).astype(np.int32)

    @property
    def _steps(self) -> int:
        return self.w.depth // 2

    @property
    def _size(self) -> int:
        """Values of a tile."""
        return len(self.tile.products) * self.w.depth

    @property
    def block_words(self) -> int:
        products = len(self.tile.products) * self._steps
        return self.filters * (products + self._rescale_words)

    @property
    def _biased(self) -> bool:
        """Whether biases are added; a filter has some word behind its weights in any case."""
        return bool(self.biases.any()) or not self.epilogue.per_filter

    @property
    def _rescale_words(self) -> int:
        """Words of the stream per filter behind the weights."""
        return self._biased + len(self.epilogue.per_filter)

    def _values(self) -> Buffer:
        return Buffer("v", I16, ((self.tiles + 1) * self._size,), "output")

    def _stream_buffer(self) -> Buffer:
        return Buffer("w", I32, (self.block_words * (self.count // self.filters),), "input")

    def _sums(self) -> Buffer:
        return Buffer("sums", I32, (len(self.tile.sums) * self.tiles * self.filters,), "output")

    def _sum(self, run: Run, number: Expr, place: Expr) -> tuple[Buffer, tuple[Expr, ...], int]:
        """Where sum ``number`` of a run lies for one tile and filter: buffer, index, lanes."""
        if self.apart:
            ahead = sum(len(other.positions) for other in self.tile.runs if other.first < run.first)
            return self._sums(), ((number + ahead) * (self.tiles * self.filters) + place,), 1
        depth = self.w.depth
        tile = _PAIR * (self.tiles * self._size) + run.first * depth
        return self._values(), (tile + number * (run.each * depth) + place * 2,), 2

    def _acc(self, t: int, f: int) -> Buffer:
        return Buffer(f"acc_{t}_{f}", I32, (), "register")

    def _sums_of(self, run: Run) -> list[Stmt]:
        """One of the sums of a run: over its products and their channels, kept in memory."""
        accs = [(t, f) for t in range(self.tiles) for f in range(self.filters)]
        result: list[Stmt] = [Alloc(self._acc(t, f)) for t, f in accs]
        steps = run.each * self._steps
        many = turn_steps(steps, self.schedule.steps)
        if many == steps:
            for u in range(steps):
                result += self._step(run, None, u, first=u == 0)
        else:
            result += [Store(self._acc(t, f), (), Imm(0)) for t, f in accs]
            body = tuple(s for u in range(many) for s in self._step(run, _STEP, u, first=False))
            result.append(For(_STEP, Imm(0), Imm(steps), body, many))
        for t, f in accs:
            buffer, index, lanes = self._sum(run, _SUM, Imm(t * self.filters + f))
            result.append(Store(buffer, index, Load(self._acc(t, f)), lanes))
        return result

    def _step(self, run: Run, k: Expr | None, u: int, first: bool) -> list[Stmt]:
        """Two channels of all tiles against those of all filters."""
        depth = self.w.depth
        value = _PAIR * (self.tiles * self._size) + _SUM * (run.each * depth)
        weight = _BLOCK * self.block_words + _SUM * (run.each * self.filters * self._steps)
        if k is not None:
            value, weight = value + k * 2, weight + k * self.filters
        ahead = self.filters * (run.first * self._steps + u)
        if self.schedule.plain:
            value, weight = value + (run.first * depth + 2 * u), weight + ahead
            return [s for half in range(2) for s in self._channel(value, weight, u, half, first)]
        result: list[Stmt] = []
        for t in range(self.tiles):
            at = (t + 1) * self._size + run.first * depth + 2 * u
            load = Load(self._values(), (value + at,), 2)
            result.append(Let(Var(f"v{t}_{u}"), load))
        for f in range(self.filters):
            word = Var(f"w{f}_{u}")
            result.append(Let(word, Load(self._stream_buffer(), (weight + (ahead + f),))))
            for t in range(self.tiles):
                acc, operand = self._acc(t, f), Var(f"v{t}_{u}")
                total = (
                    Call("smuad", (operand, word), I32)
                    if first
                    else Call("smlad", (operand, word, Load(acc)), I32)
                )
                result.append(Store(acc, (), total))
        return result

    def _channel(self, value: Expr, weight: Expr, u: int, half: int, first: bool) -> list[Stmt]:
        """One of the two channels of step ``u``, whose values and weights are halfwords."""
        result: list[Stmt] = []
        for t in range(self.tiles):
            load = Load(self._values(), (value + ((t + 1) * self._size + half),))
            result.append(Let(Var(f"v{t}_{u}_{half}"), Cast(I32, load)))
        for f in range(self.filters):
            own = Var(f"w{f}_{u}_{half}")
            word: Expr = Load(self._stream_buffer(), (weight + f,))
            word = word >> 16 if half else word
            result.append(Let(own, Cast(I32, Cast(I16, word))))
            for t in range(self.tiles):
                acc, product = self._acc(t, f), Var(f"v{t}_{u}_{half}") * own
                begins = first and half == 0
                result.append(Store(acc, (), product if begins else Load(acc) + product))
        return result

    def _results(self, f: int) -> list[Stmt]:
        """The 2x2 results of one tile and filter F + ``f``: A' sums A, the epilogue."""
        result: list[Stmt] = []

        def named(name: str, value: Expr) -> Expr:
            var = Var(f"{name}_{f}")
            result.append(Let(var, value))
            return var

        rows: list[dict[int, Expr]] = [{}, {}]
        for column in self.tile.columns.positions:
            m: dict[int, Expr] = {}
            for row in self.tile.rows.positions:
                (run,) = [run for run in self.tile.runs if (row, column) in run.positions]
                number = Imm(run.positions.index((row, column)))
                place = self._sum(run, number, _T * self.filters + _F + f)
                m[row] = named(f"m{row}_{column}", Load(*place))
            if column == EVERYWHERE and self._biased:
                m[EVERYWHERE] = named("biased", m[EVERYWHERE] + self._rescale_word(f, -1))
            for y, name in enumerate("sd"):
                rows[y][column] = named(f"{name}{column}", _signed(m, y))
        shift = self._shift
        accs: dict[tuple[int, int], Buffer] = {}
        for i, sums in enumerate(rows):
            for j in range(2):
                accs[i, j] = Buffer(f"total_{i}{j}_{f}", I32, (), "register")
                total = _scaled(_signed(sums, j), shift - self._down)
                result += [Alloc(accs[i, j]), Store(accs[i, j], (), total)]
        words = [
            named(f"constant_{i}", self._rescale_word(f, i))
            for i in range(len(self.epilogue.per_filter))
        ]
        for (i, j), acc in accs.items():
            x = _PAIR * (2 * self.tiles) + _T * 2 + j
            inside = {"y": Imm(i), "x": x, "c": _BLOCK * self.filters + _F + (self.first + f)}
            result += self.epilogue.result(inside, acc, words.__getitem__, f"{i}{j}_{f}", shift)
        return result

    @property
    def _down(self) -> int:
        """How far sums are shifted right: the logarithm of the algorithm's scale."""
        return self.tile.scale.bit_length() - 1

    @property
    def _shift(self) -> int:
        """How far left sums are shifted when the scale is taken out, if the epilogue asks so."""
        shift = self.epilogue.left_shift
        largest = self.tile.scale * largest_sum(self.w.weights, self.w.source.dtype, self.biases)
        return shift if largest << max(shift - self._down, 0) < 1 << 31 else 0

    def _rescale_word(self, f: int, i: int) -> Load:
        """Constant ``i`` of the epilogue of filter F + ``f``; -1 is its bias."""
        per_filter = self._rescale_words
        before = len(self.tile.products) * self._steps * self.filters
        first = before + f * per_filter + self._biased + i
        return Load(self._stream_buffer(), (_BLOCK * self.block_words + _F * per_filter + first,))


def _signed(sums: Mapping[int, Expr], result: int) -> Expr:
    """What sums by position add to a result: position 0 or 1 comes first, and is added."""
    terms = [(value, Line.signs(position)[result]) for position, value in sorted(sums.items())]
    used = [(value, sign) for value, sign in terms if sign]
    total = used[0][0]
    for value, sign in used[1:]:
        total = total + value if sign > 0 else total - value
    return total


def _scaled(total: Expr, shift: int) -> Expr:
    """A sum shifted left, or right where its low bits are zero."""
    return total * (1 << shift) if shift >= 0 else total >> -shift
