"""Winograd F(2x2, 3x3) in exact integers: the micro functions of a 3x3 convolution with stride 1.

A tile of 2x2 results takes 16 products per channel instead of 36. With d the 4x4 pixels and g the
weights, Y = A'[(G g G') * (B' d B)]A (Winograd 1980; Lavin and Gray, arXiv:1509.09308). B and A
hold only 0, 1 and -1. G holds halves, so weights are scaled by 4, and sums divided by 4, exactly.

    B' = 1  0 -1  0      2G = 2  0  0      A' = 1  1  1  0
         0  1  1  0           1  1  1           0  1 -1 -1
         0 -1  1  0           1 -1  1
         0  1  0 -1           0  0  2

In: geometry and constants. Out: ``transform`` (pixels of a row of tiles to 16 values each) and
``multiply`` (products, sums, results, epilogue), and the stream of transformed weights.

Sums lie where the values of the tile before were, which are of no more use, row by row as far
apart: one pointer serves both, and registers are what limits the inner loop. Tile 0 is left free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Alloc, Buffer, Call, Expr, For, Function, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import Linear, simplify_body
from utvm.schedule.epilogue import Epilogue
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import pair_words

I16, I32 = DType.INT16, DType.INT32
PRODUCTS = 16
FILTERS = 4
MOST_UNROLLED = 16
"""Steps of two channels that are unrolled without a loop around them."""
_ORDER = np.array([0, 2, 1, 3])
_G2 = np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]])

COUNT = Var("count")
_TILE, _GROUP, _PAIR, _BLOCK = Var("tile"), Var("group"), Var("pair"), Var("block")
_PRODUCT, _STEP, _T, _F = Var("product"), Var("k"), Var("t"), Var("f")


def transformed_weights(w: WeightedSum) -> np.ndarray:
    """4 G g G' of every filter and channel, int16 [filters, 16, depth], channels in the order that
    SXTB16 yields."""
    g = w.weights.astype(np.int64)
    u = np.einsum("ai,fijc,bj->fabc", _G2, g, _G2).reshape(w.filters, PRODUCTS, -1, 4)
    return np.ascontiguousarray(u[..., _ORDER].reshape(w.filters, PRODUCTS, -1)).astype(np.int16)


def weights_micro(w: WeightedSum) -> Function:
    """4 G g G' of ``count`` filters at run time, from weights of one byte to the stream's words.

    Filters lie one behind the other, and so do their words; a word holds two channels.
    """
    depth, steps = w.depth, w.depth // 2
    taps = Buffer("g", DType.INT8, (9 * depth,), "input")
    words = Buffer("u", I32, (PRODUCTS * steps * FILTERS - FILTERS + 1,), "output")
    body: list[Stmt] = []
    halves: dict[tuple[int, int, int], Expr] = {}
    for j in range(3):
        for i in range(3):
            word = Var(f"g{i}{j}")
            index = _F * (9 * depth) + _GROUP * 4 + (3 * i + j) * depth
            body.append(Let(word, Load(taps, (index,), 4)))
            for half, name in enumerate(("sxtb16", "sxtb16_ror8")):
                halves[i, j, half] = Var(f"g{i}{j}_{half}")
                body.append(Let(Var(f"g{i}{j}_{half}"), Call(name, (word,), I32)))
    for half in range(2):
        column: dict[tuple[int, int], Expr] = {}
        for j in range(3):
            for i, value in enumerate(_spread_weights([halves[i, j, half] for i in range(3)])):
                column[i, j] = Var(f"h{i}{j}_{half}")
                body.append(Let(Var(f"h{i}{j}_{half}"), value))
        for i in range(4):
            for j, value in enumerate(_spread_weights([column[i, j] for j in range(3)])):
                at = (4 * i + j) * steps * FILTERS + half * FILTERS
                body.append(Store(words, (_F + _GROUP * (2 * FILTERS) + at,), value))
    inner = For(_GROUP, Imm(0), Imm(depth // 4), tuple(body), parallel=True)
    return Function(
        f"winograd_weights_{depth}",
        (taps,),
        (words,),
        simplify_body((For(_F, Imm(0), COUNT, (inner,), parallel=True),)),
        comment=(f"Weights of 3x3 taps, {depth} channels, to 16 values each: 4 G g G'.",),
        scalars=(COUNT,),
    )


def _spread_weights(g: list[Expr]) -> list[Expr]:
    """2G times three words of two channels."""

    def word(name: str, a: Expr, b: Expr) -> Expr:
        return Call(name, (a, b), I32)

    outer = word("sadd16", g[0], g[2])
    return [
        word("sadd16", g[0], g[0]),
        word("sadd16", outer, g[1]),
        word("ssub16", outer, g[1]),
        word("sadd16", g[2], g[2]),
    ]


def fits_int32(w: WeightedSum) -> bool:
    """Whether no sum of products can overflow; a value is a sum of four pixels, of 128 at most."""
    largest = np.abs(transformed_weights(w).astype(np.int64)).sum(axis=2).max()
    # A result adds nine sums and four times the bias.
    return bool(9 * 512 * int(largest) < 1 << 31)


def transform_micro(w: WeightedSum, line: int) -> Function:
    """B' d B of ``count`` tiles side by side; ``line`` bytes from one row of pixels to the next.

    Values of a tile lie one behind the other, ``depth`` int16 each.
    """
    depth = w.depth
    pixels = Buffer("x", DType.INT8, (3 * line + 4 * depth,), "input")
    values = Buffer("v", I16, (PRODUCTS * depth,), "output")
    body: list[Stmt] = []
    halves: dict[tuple[int, int, int], Expr] = {}
    for j in range(4):
        for i in range(4):
            word = Var(f"d{i}{j}")
            index = _TILE * (2 * depth) + _GROUP * 4 + (i * line + j * depth)
            body.append(Let(word, Load(pixels, (index,), 4)))
            for half, name in enumerate(("sxtb16", "sxtb16_ror8")):
                var = Var(f"d{i}{j}_{half}")
                body.append(Let(var, Call(name, (word,), I32)))
                halves[i, j, half] = var
    for half in range(2):
        column: dict[tuple[int, int], Expr] = {}
        for j in range(4):
            part = _spread([halves[i, j, half] for i in range(4)])
            for i, value in enumerate(part):
                var = Var(f"c{i}{j}_{half}")
                body.append(Let(var, value))
                column[i, j] = var
        for i in range(4):
            for j, value in enumerate(_spread([column[i, j] for j in range(4)])):
                at = (4 * i + j) * depth + 2 * half
                index = _TILE * (PRODUCTS * depth) + _GROUP * 4 + at
                body.append(Store(values, (index,), value, 2))
    inner = For(_GROUP, Imm(0), Imm(depth // 4), tuple(body), parallel=True)
    return Function(
        f"winograd_transform_{depth}",
        (pixels,),
        (values,),
        simplify_body((For(_TILE, Imm(0), COUNT, (inner,), parallel=True),)),
        comment=(f"Tiles of 4x4 pixels, {depth} channels, to 16 values each: B' d B.",),
        scalars=(COUNT,),
    )


def _spread(d: list[Expr]) -> list[Expr]:
    """B' times four words of two channels."""

    def word(name: str, a: Expr, b: Expr) -> Expr:
        return Call(name, (a, b), I32)

    return [
        word("ssub16", d[0], d[2]),
        word("sadd16", d[1], d[2]),
        word("ssub16", d[2], d[1]),
        word("ssub16", d[1], d[3]),
    ]


@dataclass
class MultiplyBuilder:
    """Makes the micro function that multiplies values of ``tiles`` tiles at a time."""

    w: WeightedSum
    tiles: int
    biases: Array
    constants: Mapping[str, Array]
    epilogue: Epilogue = field(init=False)

    def __post_init__(self) -> None:
        w = self.w
        self.epilogue = Epilogue(
            w.epilogue,
            w.acc,
            w.filters,
            Linear(0, (("c", 1),)),
            {"y": 1, "x": 2 * self.tiles - 1, "c": w.filters - 1},
            frozenset(("n", "y", "x", "c")),
            streams_literals=True,
        )

    @property
    def apart(self) -> bool:
        """Whether sums need a buffer of their own: too few channels leave no room for them."""
        return self.w.depth < 2 * self.tiles * FILTERS

    def build(self) -> Function | None:
        """The micro function; None where the epilogue cannot be taken over."""
        products = For(_PRODUCT, Imm(0), Imm(PRODUCTS), tuple(self._products()))
        results: tuple[Stmt, ...] = tuple(self._results())
        if not self.epilogue.legal:
            return None
        results = (For(_F, Imm(0), Imm(FILTERS), results),)
        results = (For(_T, Imm(0), Imm(self.tiles), results),)
        blocks = self.w.filters // FILTERS
        body: tuple[Stmt, ...] = (For(_BLOCK, Imm(0), Imm(blocks), (products, *results)),)
        body = simplify_body((For(_PAIR, Imm(0), COUNT, body),))
        inputs, outputs = self.epilogue.parameters()
        about = f"Products of {self.tiles} tiles and {FILTERS} filters, their sums and results."
        return Function(
            f"winograd{self.tiles}x{FILTERS}_{self.w.depth}",
            (self._stream_buffer(), *inputs),
            (*outputs, self._values(), *((self._sums(),) if self.apart else ())),
            self.epilogue.resized(body),
            comment=(about,),
            scalars=(COUNT,),
        )

    def rescale(self) -> np.ndarray:
        """Bias and constants of the rescale [filters, words]."""
        per_filter = self.epilogue.streamed(self.constants)
        return np.stack([self.biases << self._shift, *per_filter], axis=1).astype(np.int32)

    def stream(self) -> np.ndarray:
        """Per block: weights product by product, then bias and rescale filter by filter."""
        u = transformed_weights(self.w)
        rescale = self.rescale()
        parts: list[np.ndarray] = []
        for begin in range(0, self.w.filters, FILTERS):
            own = u[begin : begin + FILTERS]
            words = pair_words(own.reshape(-1)).reshape(FILTERS, PRODUCTS, -1)
            parts.append(words.transpose(1, 2, 0).reshape(-1))
            parts.append(rescale[begin : begin + FILTERS].reshape(-1))
        return np.concatenate(parts).astype(np.int32)

    @property
    def _steps(self) -> int:
        return self.w.depth // 2

    @property
    def block_words(self) -> int:
        rescale = 1 + len(self.epilogue.per_filter)
        return FILTERS * (PRODUCTS * self._steps + rescale)

    def _values(self) -> Buffer:
        return Buffer("v", I16, ((self.tiles + 1) * PRODUCTS * self.w.depth,), "output")

    def _stream_buffer(self) -> Buffer:
        return Buffer("w", I32, (self.block_words * (self.w.filters // FILTERS),), "input")

    def _sums(self) -> Buffer:
        return Buffer("sums", I32, (PRODUCTS * self.tiles * FILTERS,), "output")

    def _sum(self, product: Expr, place: Expr) -> tuple[Buffer, tuple[Expr, ...], int]:
        """Where the sum of a product for one tile and filter lies: buffer, index, lanes."""
        if self.apart:
            return self._sums(), (product * (self.tiles * FILTERS) + place,), 1
        depth = self.w.depth
        tile = _PAIR * (self.tiles * PRODUCTS * depth)
        return self._values(), (tile + product * depth + place * 2,), 2

    def _acc(self, t: int, f: int) -> Buffer:
        return Buffer(f"acc_{t}_{f}", I32, (), "register")

    def _products(self) -> list[Stmt]:
        """One of the 16 products: sums over channels, kept in memory."""
        accs = [(t, f) for t in range(self.tiles) for f in range(FILTERS)]
        result: list[Stmt] = [Alloc(self._acc(t, f)) for t, f in accs]
        steps = self._steps
        if steps <= MOST_UNROLLED:
            for u in range(steps):
                result += self._step(None, u, first=u == 0)
        else:
            many = next(n for n in (8, 4, 2, 1) if steps % n == 0)
            result += [Store(self._acc(t, f), (), Imm(0)) for t, f in accs]
            body = tuple(s for u in range(many) for s in self._step(_STEP, u, first=False))
            result.append(For(_STEP, Imm(0), Imm(steps), body, many))
        for t, f in accs:
            buffer, index, lanes = self._sum(_PRODUCT, Imm(t * FILTERS + f))
            result.append(Store(buffer, index, Load(self._acc(t, f)), lanes))
        return result

    def _step(self, k: Expr | None, u: int, first: bool) -> list[Stmt]:
        """Two channels of all tiles against those of all filters."""
        depth = self.w.depth
        value = _PAIR * (self.tiles * PRODUCTS * depth) + _PRODUCT * depth
        weight = _BLOCK * self.block_words + _PRODUCT * (FILTERS * self._steps)
        if k is not None:
            value, weight = value + k * 2, weight + k * FILTERS
        result: list[Stmt] = []
        for t in range(self.tiles):
            at = (t + 1) * PRODUCTS * depth + 2 * u
            load = Load(self._values(), (value + at,), 2)
            result.append(Let(Var(f"v{t}_{u}"), load))
        for f in range(FILTERS):
            word = Var(f"w{f}_{u}")
            result.append(Let(word, Load(self._stream_buffer(), (weight + (FILTERS * u + f),))))
            for t in range(self.tiles):
                acc, operand = self._acc(t, f), Var(f"v{t}_{u}")
                total = (
                    Call("smuad", (operand, word), I32)
                    if first
                    else Call("smlad", (operand, word, Load(acc)), I32)
                )
                result.append(Store(acc, (), total))
        return result

    def _results(self) -> list[Stmt]:
        """The 2x2 results of one tile and one filter: A' sums A, a quarter of it, the epilogue."""
        result: list[Stmt] = []

        def named(name: str, value: Expr) -> Expr:
            result.append(Let(Var(name), value))
            return Var(name)

        rows: list[list[Expr]] = [[], []]
        for j in range(4):
            m = []
            for i in range(4):
                place = self._sum(Imm(4 * i + j), _T * FILTERS + _F)
                m.append(named(f"m{i}{j}", Load(*place)))
            rows[0].append(named(f"s{j}", m[0] + m[1] + m[2]))
            rows[1].append(named(f"d{j}", m[1] - m[2] - m[3]))
        bias = named("bias", self._rescale_word(-1))
        shift = self._shift
        for i, (a, b, c, d) in enumerate(rows):
            for j, total in enumerate((a + b + c, b - c - d)):
                acc = Buffer(f"total_{i}{j}", I32, (), "register")
                result += [Alloc(acc), Store(acc, (), bias + _quarter(total, shift))]
                x = _PAIR * (2 * self.tiles) + _T * 2 + j
                inside = {"y": Imm(i), "x": x, "c": _BLOCK * FILTERS + _F}
                result += self.epilogue.result(inside, acc, self._rescale_word, f"{i}{j}", shift)
        return result

    @property
    def _shift(self) -> int:
        """How far left sums are shifted with the division by 4, if the epilogue asks for it."""
        shift = self.epilogue.left_shift
        largest = 4 * 128 * int(np.abs(self.w.weights.astype(np.int64)).sum(axis=(1, 2, 3)).max())
        return shift if largest << max(shift - 2, 0) < 1 << 31 else 0

    def _rescale_word(self, i: int) -> Load:
        """Constant ``i`` of the filter's epilogue; -1 is its bias."""
        per_filter = 1 + len(self.epilogue.per_filter)
        first = PRODUCTS * self._steps * FILTERS + 1 + i
        return Load(self._stream_buffer(), (_BLOCK * self.block_words + _F * per_filter + first,))


def _quarter(total: Expr, shift: int) -> Expr:
    """A quarter of four times a sum, ``shift``ed left."""
    return total >> 2 - shift if shift < 2 else total * (1 << shift - 2)
