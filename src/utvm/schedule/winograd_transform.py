"""Winograd's transforms: pixels, and weights at run time, to the values of all products.

In: geometry. Out: micro functions that add and subtract words of two channels, as
winograd_algorithm.py says. ``transform`` walks along the tiles of a strip once per product of the
rows: the sums over a column of pixels that the next tile needs, too, stay in registers.

    for each product of the rows: for group of 4 channels:
      for tile: sums of the new columns; values from all columns; keep those of the next tile
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from utvm.ir.dtype import DType
from utvm.ir.loop import Alloc, Buffer, Call, Expr, For, Function, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import simplify_body
from utvm.schedule.weighted_sum import WeightedSum
from utvm.schedule.winograd_algorithm import Product, Tile, tile_algorithm

I16, I32 = DType.INT16, DType.INT32
FILTERS = 4
"""Filters whose weights lie interleaved, where nothing else was measured."""
_EXPAND = {
    DType.INT8: ("sxtb16", "sxtb16_ror8"),
    DType.UINT8: ("uxtb16", "uxtb16_ror8"),
}
COUNT = Var("count")
_TILE, _GROUP, _F = Var("tile"), Var("group"), Var("f")


def tile_of(w: WeightedSum) -> Tile:
    """The algorithm of a convolution."""
    return tile_algorithm(w.window, w.strides)


def weights_micro(w: WeightedSum, filters: int = FILTERS) -> Function:
    """G g G' of ``count`` filters at run time, from weights of one byte to the stream's words;
    those of so many ``filters`` are interleaved.

    Filters lie one behind the other, and so do their words; a word holds two channels.
    """
    tile, depth, steps = tile_of(w), w.depth, w.depth // 2
    kh, kw = w.window
    taps = Buffer("g", DType.INT8, (kh * kw * depth,), "input")
    size = len(tile.products) * steps * filters
    words = Buffer("u", I32, (size - filters + 1,), "output")
    body: list[Stmt] = []
    halves: dict[tuple[int, int, int], Expr] = {}
    for i, j in product(range(kh), range(kw)):
        word = Var(f"g{i}_{j}")
        index = _F * (kh * kw * depth) + _GROUP * 4 + (kw * i + j) * depth
        body.append(Let(word, Load(taps, (index,), 4)))
        for half, name in enumerate(_EXPAND[DType.INT8]):
            halves[i, j, half] = Var(f"g{i}_{j}_{half}")
            body.append(Let(Var(f"g{i}_{j}_{half}"), Call(name, (word,), I32)))
    for half in range(2):
        column: dict[tuple[int, int], Expr] = {}
        for i, j in product(range(len(tile.rows.products)), range(kw)):
            terms = [(halves[tap, j, half], f) for tap, f in tile.rows.products[i].taps]
            column[i, j] = Var(f"h{i}_{j}_{half}")
            body.append(Let(Var(f"h{i}_{j}_{half}"), _sum_of(terms)))
        for at, (i, j) in enumerate(tile.products):
            terms = [(column[i, tap], f) for tap, f in tile.columns.products[j].taps]
            index = _F + _GROUP * (2 * filters) + (at * steps * filters + half * filters)
            body.append(Store(words, (index,), _sum_of(terms)))
    inner = For(_GROUP, Imm(0), Imm(depth // 4), tuple(body), parallel=True)
    return Function(
        f"winograd_weights{kh}x{kw}_{depth}",
        (taps,),
        (words,),
        simplify_body((For(_F, Imm(0), COUNT, (inner,), parallel=True),)),
        comment=(
            f"Weights of {kh}x{kw} taps, {depth} channels, to {len(tile.products)} values each.",
        ),
        scalars=(COUNT,),
    )


@dataclass(frozen=True, eq=False)
class TransformBuilder:
    """Makes the micro function that transforms ``count`` times ``unroll`` tiles side by side;
    ``line`` bytes from one row of pixels to the next. Values of a tile lie one behind the other,
    ``depth`` int16 each.
    """

    w: WeightedSum
    line: int
    unroll: int = 1

    @property
    def tile(self) -> Tile:
        return tile_of(self.w)

    @property
    def name(self) -> str:
        return f"winograd_transform{self._shape}_{self.w.depth}"

    @property
    def _shape(self) -> str:
        return f"{self.tile.rows.extent}x{self.tile.columns.extent}"

    @property
    def _step(self) -> int:
        """Columns of pixels from one tile to the next."""
        return 2 * self.w.strides[1]

    @property
    def _kept(self) -> tuple[int, ...]:
        """Columns of a tile that were columns of the tile before."""
        return tuple(range(self.tile.columns.extent - self._step))

    @property
    def _pixels(self) -> Buffer:
        columns = self.tile.columns.extent + (self.unroll - 1) * self._step
        reach = (self.tile.rows.extent - 1) * self.line + columns * self.w.depth
        return Buffer("x", self.w.source.dtype, (reach,), "input")

    @property
    def _values_buffer(self) -> Buffer:
        size = len(self.tile.products) * self.w.depth * self.unroll
        return Buffer("v", I16, (size,), "output")

    def build(self) -> Function:
        w, tile = self.w, self.tile
        groups = Imm(w.depth // 4)
        passes = [
            For(_GROUP, Imm(0), groups, tuple(self._pass(turn, row)))
            for turn, row in enumerate(tile.rows.products)
        ]
        about = f"Tiles of {self._shape} pixels, {w.depth} channels, to {len(tile.products)} values"
        return Function(
            self.name,
            (self._pixels,),
            (self._values_buffer,),
            simplify_body(tuple(passes)),
            comment=(f"{about} each.",),
            scalars=(COUNT,),
        )

    def _pass(self, turn: int, row: Product) -> list[Stmt]:
        """The values of one product of the rows with all of the columns, of all tiles."""
        result: list[Stmt] = []
        kept = {
            (j, half): Buffer(f"kept{turn}_{j}_{half}", I32, (), "register")
            for j in self._kept
            for half in range(2)
        }
        for j in self._kept:
            words = self._column(turn, row, j, Imm(0), f"first{turn}", result)
            for half, word in enumerate(words):
                result += [Alloc(kept[j, half]), Store(kept[j, half], (), word)]
        body: list[Stmt] = []
        columns: dict[tuple[int, int], Expr] = {key: Load(b) for key, b in kept.items()}
        for u in range(self.unroll):
            tile = _TILE * self.unroll + u
            for j in range(len(self._kept), self.tile.columns.extent):
                for half, word in enumerate(self._column(turn, row, j, tile, f"c{turn}_{u}", body)):
                    columns[j, half] = word
            body += self._values(turn, tile, columns)
            columns = {(j, half): columns[j + self._step, half] for j, half in kept}
        body += [Store(buffer, (), columns[key]) for key, buffer in kept.items()]
        return [*result, For(_TILE, Imm(0), COUNT, tuple(body))]

    def _column(
        self, turn: int, row: Product, j: int, tile: Expr, tag: str, body: list[Stmt]
    ) -> list[Expr]:
        """Four channels of column ``j``, summed as the product of the rows says, as two words."""
        depth = self.w.depth
        halves: list[list[tuple[Expr, int]]] = [[], []]
        for i, sign in row.pixels:
            word = Var(f"{tag}_d{i}_{j}")
            index = tile * (self._step * depth) + _GROUP * 4 + (i * self.line + j * depth)
            body.append(Let(word, Load(self._pixels, (index,), 4)))
            for half, name in enumerate(_EXPAND[self.w.source.dtype]):
                var = Var(f"{tag}_d{i}_{j}_{half}")
                body.append(Let(var, Call(name, (word,), I32)))
                halves[half].append((var, sign))
        result: list[Expr] = []
        for half in range(2):
            var = Var(f"{tag}_{j}_{half}")
            body.append(Let(var, _sum_of(halves[half])))
            result.append(var)
        return result

    def _values(self, turn: int, number: Expr, columns: dict[tuple[int, int], Expr]) -> list[Stmt]:
        tile, depth = self.tile, self.w.depth
        size = len(tile.products) * depth
        places = {pair: at for at, pair in enumerate(tile.products)}
        result: list[Stmt] = []
        for at, one in enumerate(tile.columns.products):
            for half in range(2):
                value = _sum_of([(columns[j, half], sign) for j, sign in one.pixels])
                index = number * size + _GROUP * 4 + (places[turn, at] * depth + 2 * half)
                result.append(Store(self._values_buffer, (index,), value, 2))
        return result


def _sum_of(terms: Sequence[tuple[Expr, int]]) -> Expr:
    """Words of two channels times factors of at most 2."""
    ahead = sorted(terms, key=lambda term: term[1] < 0)
    value, factor = ahead[0]
    if factor < 0:
        value = Call("ssub16", (Imm(0), value), I32)
    total = value
    for word, sign in [(value, 1)] * (abs(factor) - 1) + [
        (word, 1 if f > 0 else -1) for word, f in ahead[1:] for _ in range(abs(f))
    ]:
        total = Call("sadd16" if sign > 0 else "ssub16", (total, word), I32)
    return total
