"""The micro function of a depthwise convolution across channels: four of a few pixels at a time.

In: the geometry, and how pixels and lines lie in memory. Out: a micro function that walks groups of
four channels, and results along two axes, and its stream of constants. A tap is one word of four
bytes: SXTB16 makes channels 0 and 2, and 1 and 3 of it, and each product is one SMLAxy with weights
in the same order. Words that several pixels of a block see are loaded once, and weights serve all
of its pixels. No plane is spread, so this suits windows with strides and windows of few taps, where
planes cost more than products.

    e = sxtb16(x[tap]);  acc0 = smlabb(e, w02, acc0);  acc2 = smlatt(e, w02, acc2);  ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Alloc, Buffer, Call, Expr, For, Function, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import Linear, simplify_body
from utvm.schedule.clamp import Clamp, read_clamp, value_of
from utvm.schedule.depthwise_sum import DepthwiseSum, Prepared
from utvm.schedule.epilogue import Epilogue
from utvm.schedule.weighted_sum import folded_shift, largest_sum
from utvm.schedule.window_layout import pair_words

GROUP = 4
GROUPS, OUTER = Var("groups"), Var("outer")
_GROUP, _FILTER, _ROW, _BLOCK = Var("group"), Var("filter"), Var("row"), Var("block")
HALVES = ((0, 2), (1, 3))
"""Channels whose bytes SXTB16 takes out of a word, plain and rotated."""
WIDE_HALVES = ((0, 1), (2, 3))
"""Channels of two words of int16."""
Use = tuple[int, list[tuple[int, int]]]
"""Where a word of pixels lies, and of which pixels of the block it is which tap."""


@dataclass(frozen=True)
class Places:
    """Elements from a pixel to the next, and from a line to the next; ``rows`` of results that are
    walked at a time. ``vertical``: blocks are of results one above the other, and rows of them lie
    side by side."""

    pixel: int
    line: int
    rows: int
    vertical: bool = False


def words_of_block(taps: Sequence[int], pixels: int, step: int, shares: bool) -> list[Use]:
    """The words that ``pixels`` windows, ``step`` elements apart, see. Where neighbours see them
    one tap apart (``shares``) each is loaded once; further apart, weights would have to wait."""
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for tap, offset in enumerate(taps):
        for p in range(pixels):
            found.setdefault((offset + p * step, 0 if shares else tap), []).append((p, tap))
    return [(place, products) for (place, _), products in found.items()]


@dataclass
class AcrossBuilder:
    """Makes the micro function; ``pixels`` make a block, of which ``lanes`` channels, 2 or 4, are
    summed at a time; ``plain`` blocks store results one by one."""

    ready: Prepared
    places: Places
    pixels: int
    lanes: int
    plain: bool = False
    epilogue: Epilogue = field(init=False)
    clamp: Clamp | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        w = self.w
        terms = [("c", w.multiplier)] + ([("m", 1)] if w.multiplier > 1 else [])
        row, column = w.axes
        inner = row if self.places.vertical else column
        last = {row: 0, column: 0, "c": GROUP - 1, "m": w.multiplier - 1}
        last[inner] = self._count - 1
        most = largest_sum(w.weights, w.source.dtype, self.ready.biases)
        if not self.plain:
            self.clamp = read_clamp(w.epilogue, self.ready.constants, w.filters, w.acc, most)
        self.epilogue = Epilogue(
            self.clamp.statements if self.clamp else w.epilogue,
            w.acc,
            w.filters,
            Linear(0, tuple(sorted(terms))),
            last,
            frozenset(("n", "y", "x", "c", "m")),
        )

    @property
    def w(self) -> DepthwiseSum:
        return self.ready.w

    def build(self, groups: Sequence[int]) -> tuple[Function, np.ndarray] | None:
        """The micro function and its stream for groups of channels that begin at ``groups``; None
        where the epilogue cannot be taken over."""
        whole, rest = divmod(self._count, self.pixels)
        body: tuple[Stmt, ...] = ()
        if whole:
            block = tuple(self._block(_BLOCK * self.pixels, 0, self.pixels))
            body += (For(_BLOCK, Imm(0), Imm(whole), block),)
        if rest:
            body += tuple(self._block(Imm(0), whole * self.pixels, rest))
        if not self.epilogue.legal:
            return None
        body = (For(_ROW, Imm(0), OUTER, body),)
        body = (For(_FILTER, Imm(0), Imm(self.w.multiplier), body),)
        body = simplify_body((For(_GROUP, Imm(0), GROUPS, body),))
        return self._function(body), self._stream(groups)

    # Geometry.

    @property
    def _count(self) -> int:
        """Results along the axis of the blocks."""
        return self.w.rows if self.places.vertical else self.w.columns

    @cached_property
    def _steps(self) -> tuple[int, int]:
        """Elements from a result to the next, along blocks and from row to row of these."""
        down = self.w.strides[0] * self.places.line
        right = self.w.strides[1] * self.places.pixel
        return (down, right) if self.places.vertical else (right, down)

    @cached_property
    def _taps(self) -> list[int]:
        """Where the taps of a window lie, line by line along the axis of the blocks."""
        w = self.w
        down, right = w.row_dilation * self.places.line, w.column_dilation * self.places.pixel
        return [ky * down + kx * right for ky, kx in self._order]

    @cached_property
    def _order(self) -> list[tuple[int, int]]:
        """The taps in the order of the stream."""
        kh, kw = self.w.window
        if self.places.vertical:
            return [(ky, kx) for kx in range(kw) for ky in range(kh)]
        return [(ky, kx) for ky in range(kh) for kx in range(kw)]

    # Constants.

    @cached_property
    def _halves(self) -> tuple[tuple[int, int], ...]:
        return HALVES if self.w.source.dtype.bits == 8 else WIDE_HALVES

    @property
    def group_words(self) -> int:
        """Words of the stream per filter of four channels."""
        return GROUP + 2 * len(self._taps) + GROUP * len(self.epilogue.per_filter)

    @cached_property
    def _shift(self) -> int:
        """How far left weights and biases are shifted, so that the epilogue need not shift sums."""
        w = self.w
        return folded_shift(self.epilogue.left_shift, w.weights, w.source.dtype, self.ready.biases)

    def _stream(self, groups: Sequence[int]) -> np.ndarray:
        """Per group of channels and filter of these: biases, weights tap by tap, constants of the
        rescale channel by channel."""
        constants = {**self.ready.constants, **(self.clamp.constants if self.clamp else {})}
        per_filter = self.epilogue.streamed(constants)
        rows, columns = np.array(self._order).T
        weights = self.w.weights[:, rows, columns].astype(np.int16) << self._shift
        order = [channel for half in self._halves for channel in half]
        m = np.arange(self.w.multiplier)[:, None]
        first = np.array(groups)[:, None, None]
        own = (first + np.arange(GROUP)) * self.w.multiplier + m
        shape = (*own.shape[:2], -1)
        taps = np.moveaxis(weights[own[..., order]], 2, 3).reshape(shape)
        rescale = (
            np.stack([data[own] for data in per_filter], axis=3) if per_filter else own[..., :0]
        )
        parts = [self.ready.biases[own] << self._shift, pair_words(taps), rescale.reshape(shape)]
        return np.concatenate(parts, axis=2).astype(np.int32).reshape(-1)

    def _word(self, at: int) -> Load:
        """A word of the stream of this group and filter."""
        words = self.group_words
        every = self.w.multiplier * words
        index = _GROUP * every + _FILTER * words + at
        return Load(Buffer("w", DType.INT32, (every,), "input"), (index,))

    def _constant(self, channel: int, i: int) -> Load:
        before = GROUP + 2 * len(self._taps)
        return self._word(before + channel * len(self.epilogue.per_filter) + i)

    # One block.

    def _block(self, at: Expr, first: int, pixels: int) -> list[Stmt]:
        """The results of ``pixels`` from ``at + first`` on: sums of some channels, then of the
        others, each with its results; stores where these are words."""
        result: list[Stmt] = []
        stores: dict[tuple[int, int], Store] = {}
        every = len(self._halves)
        together = every if self.lanes == GROUP else 1
        for begin in range(0, every, together):
            halves = range(begin, begin + together)
            accs = {
                (p, c): Buffer(f"acc{first}_{p}_{c}", DType.INT32, (), "register")
                for half in halves
                for c in self._halves[half]
                for p in range(pixels)
            }
            result += [Alloc(acc) for acc in accs.values()]
            result += self._sums(at, first, halves, accs)
            result += self._results(at, first, accs, stores)
        if stores and self.clamp is not None:
            for p in range(pixels):
                for c in range(0, GROUP, self.clamp.lanes):
                    own = [stores[p, c + lane] for lane in range(self.clamp.lanes)]
                    result.append(self.clamp.packed(own))
        return result

    def _sums(
        self, at: Expr, first: int, halves: range, accs: Mapping[tuple[int, int], Buffer]
    ) -> list[Stmt]:
        """All products of some channels, word of pixels by word of pixels."""
        uses = self._uses(1 + max(p for p, _ in accs))
        started: dict[tuple[int, int], Expr] = {}
        weights: dict[tuple[int, int], Var] = {}
        result: list[Stmt] = []
        for _, c in sorted({(0, c) for _, c in accs}):
            bias = Var(f"bias{first}_{c}")
            result.append(Let(bias, self._word(c)))
            started |= {(p, c): bias for p, other in accs if other == c}
        for number, (offset, products) in enumerate(uses):
            own = f"{first}_{halves.start}_{number}"
            for half, pair in self._pair_of(at, first, halves, offset, own, result):
                for p, tap in products:
                    if (tap, half) not in weights:
                        weights[tap, half] = Var(f"w{first}_{tap}_{half}")
                        load = self._word(GROUP + 2 * tap + half)
                        result.append(Let(weights[tap, half], load))
                    for i, c in enumerate(self._halves[half]):
                        acc = accs[p, c]
                        before = started.pop((p, c), Load(acc))
                        args = (pair, weights[tap, half], before)
                        name = "smlatt" if i else "smlabb"
                        result.append(Store(acc, (), Call(name, args, DType.INT32)))
        return result

    def _uses(self, pixels: int) -> list[Use]:
        """The words of pixels that a block sees, in the order of their use."""
        w = self.w
        at = 0 if self.places.vertical else 1
        dilation = (w.row_dilation, w.column_dilation)[at]
        return words_of_block(self._taps, pixels, self._steps[0], w.strides[at] <= dilation)

    def _pair_of(
        self, at: Expr, first: int, halves: range, offset: int, own: str, result: list[Stmt]
    ) -> list[tuple[int, Var]]:
        """Pairs of channels of the pixel ``offset`` elements behind the first one's first tap."""
        place = _GROUP * GROUP + _ROW * self._steps[1] + (at + first) * self._steps[0] + offset
        pairs: list[tuple[int, Var]] = []
        source = self._source()
        if source.dtype.bits == 16:
            for half in halves:
                pair = Var(f"x{own}_{half}")
                result.append(Let(pair, Load(source, (place + 2 * half,), 2)))
                pairs.append((half, pair))
            return pairs
        word = Var(f"x{own}")
        result.append(Let(word, Load(source, (place,), GROUP)))
        expand = "sxtb16" if source.dtype.is_signed else "uxtb16"
        for half in halves:
            pair = Var(f"h{own}_{half}")
            name = f"{expand}_ror8" if half else expand
            result.append(Let(pair, Call(name, (word,), DType.INT32)))
            pairs.append((half, pair))
        return pairs

    def _results(
        self,
        at: Expr,
        first: int,
        accs: Mapping[tuple[int, int], Buffer],
        stores: dict[tuple[int, int], Store],
    ) -> list[Stmt]:
        """What becomes of the sums; stores that will be words are kept back."""
        w = self.w
        inner, outer = w.axes if self.places.vertical else w.axes[::-1]
        result: list[Stmt] = []
        for channel in sorted({c for _, c in accs}):
            words = [Var(f"constant{first}_{channel}_{i}")
                     for i in range(len(self.epilogue.per_filter))]  # fmt: skip
            result += [Let(var, self._constant(channel, i)) for i, var in enumerate(words)]
            for p in sorted({p for p, _ in accs}):
                inside: dict[str, Expr] = {
                    outer: _ROW,
                    inner: at + (first + p),
                    "c": _GROUP * GROUP + channel,
                }
                if w.multiplier > 1:
                    inside["m"] = _FILTER
                tag = f"{first}_{p}_{channel}"
                made = self.epilogue.result(
                    inside, accs[p, channel], words.__getitem__, tag, self._shift
                )
                last = made[-1] if made else None
                if self.clamp is not None and isinstance(last, Store) and w.multiplier > 1:
                    made[-1] = self.clamp.alone(last)
                elif self.clamp is not None and isinstance(last, Store):
                    byte = Var(f"byte{tag}")
                    made[-1] = Let(byte, value_of(last))
                    stores[p, channel] = Store(last.buffer, last.indices, byte)
                result += made
        return result

    def _source(self) -> Buffer:
        w, places = self.w, self.places
        down = (w.window[0] - 1) * w.row_dilation + (places.rows - 1) * w.strides[0]
        right = (w.window[1] - 1) * w.column_dilation + (w.columns - 1) * w.strides[1]
        extent = down * places.line + right * places.pixel + GROUP
        return Buffer("x", w.source.dtype, (extent,), "input")

    def _function(self, body: tuple[Stmt, ...]) -> Function:
        kh, kw = self.w.window
        about = f"{kh}x{kw} depthwise across channels, {self.pixels} pixels of four at a time."
        inputs, outputs = self.epilogue.parameters()
        weights = Buffer("w", DType.INT32, (self.w.multiplier * self.group_words,), "input")
        return Function(
            f"across{kh}x{kw}_{self.pixels}",
            (self._source(), weights, *inputs),
            outputs,
            self.epilogue.resized(body),
            comment=(about,),
            scalars=(GROUPS, OUTER),
        )
