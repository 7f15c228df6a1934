"""Pools over packed words: the largest, or the sum, of four channels at a time.

In: a pool and the size of a window inside of the image. Out: the micro function for runs of such
windows in one row. A column of the window is brought to one word (or to two of halfwords, for sums)
first, since neighbouring windows share columns. The larger of two unsigned bytes is
``b + saturate(a - b)``: UQSUB8 and SADD8, for four at once; signed bytes are brought there and
back by their highest bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
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
from utvm.ir.rewrite import rename_buffers, simplify_body
from utvm.schedule.pool_average import SUM, LinearAverage, linear_average
from utvm.schedule.pool_window import WORD, Pool

I32 = DType.INT32
COUNT, TURN, GROUP, ROW, COLUMN = Var("count"), Var("turn"), Var("group"), Var("ky"), Var("kx")
HIGH_BITS = -0x7F7F7F80
"""The highest bit of each byte, as int32."""

MOST_UNROLLED = 20
"""Words of a window, or of two that share columns, that are loaded without a loop."""
MOST_SUMMED = {DType.INT8: 255, DType.UINT8: 257}
"""Bytes whose sum fits a halfword."""


@dataclass
class PoolBlock:
    """``results`` windows side by side of ``rows`` x ``columns`` each; ``at`` is the row and the
    column of a result with such a window."""

    pool: Pool
    rows: int
    columns: int
    results: int
    at: tuple[int, int]
    names: int = 0
    body: list[Stmt] = field(default_factory=list)

    @property
    def signed(self) -> bool:
        return self.pool.source.dtype.is_signed

    @property
    def span(self) -> int:
        """Columns of the image that all windows see."""
        return (self.results - 1) * self.pool.strides[1] + self.columns

    @property
    def unrolled(self) -> bool:
        return self.rows * self.span <= MOST_UNROLLED

    def build(self) -> Function | None:
        """The micro function; None where sums do not fit."""
        pool, channels = self.pool, self.pool.channels
        if not pool.takes_maximum and self.rows * self.columns > MOST_SUMMED[pool.source.dtype]:
            return None
        whole = channels - channels % WORD
        groups = For(GROUP, Imm(0), Imm(whole), self._group(GROUP), WORD, parallel=True)
        body: tuple[Stmt, ...] = (groups,)
        if channels % WORD:
            # The last channels once more, together with those before them.
            body += self._group(Imm(channels - WORD))
        tables = {
            table.name: Buffer(f"table{i}", table.dtype, table.shape, "input")
            for i, table in enumerate(pool.lookups(*self.at))
        }
        body = rename_buffers(body, tables)
        kind = "max" if pool.takes_maximum else "sum"
        size = f"{self.rows}x{self.columns}"
        return Function(
            f"{kind}_{size}",
            (self._source(), *tables.values()),
            (self._out(),),
            simplify_body((For(TURN, Imm(0), COUNT, body, parallel=True),)),
            comment=(f"{kind} of {size} windows, {self.results} at a time, 4 channels per word.",),
            scalars=(COUNT,),
        )

    def _source(self) -> Buffer:
        _, _, width, channels = self.pool.image
        extent = ((self.rows - 1) * width + self.span) * channels
        return Buffer("x", self.pool.source.dtype, (extent,), "input")

    def _out(self) -> Buffer:
        out = self.pool.function.outputs[0]
        return Buffer("out", out.dtype, (self.results * self.pool.channels,), "output")

    def _word(self, channel: Expr, row: Expr, column: Expr) -> Load:
        """Four channels of one pixel of the windows."""
        _, _, width, channels = self.pool.image
        start = TURN * (self.results * self.pool.strides[1] * channels)
        index = start + row * (width * channels) + column * channels + channel
        return Load(self._source(), (index,), WORD)

    def _let(self, value: Expr) -> Expr:
        self.names += 1
        var = Var(f"v{self.names}")
        self.body.append(Let(var, value))
        return var

    def _register(self, name: str) -> Buffer:
        self.names += 1
        return Buffer(f"{name}{self.names}", I32, (), "register")

    def _group(self, channel: Expr) -> tuple[Stmt, ...]:
        """All windows of a turn for the four channels from ``channel`` on."""
        self.body = []
        maximum = self.pool.takes_maximum
        if self.unrolled:
            results = self._maxima(channel) if maximum else self._averages(channel)
        else:
            results = [self._looped_maximum(channel) if maximum else self._looped_average(channel)]
        for x, values in enumerate(results):
            at = TURN * (self.results * self.pool.channels) + (x * self.pool.channels) + channel
            if len(values) == 1:
                self.body.append(Store(self._out(), (at,), values[0], WORD))
                continue
            for lane, value in enumerate(values):
                self.body.append(Store(self._out(), (at + lane,), value))
        return tuple(self.body)

    def _windows(self) -> list[range]:
        """The columns of each window."""
        starts = (x * self.pool.strides[1] for x in range(self.results))
        return [range(first, first + self.columns) for first in starts]

    def _seen(self) -> list[int]:
        """The columns that some window sees: strides may leave others out."""
        return sorted({x for window in self._windows() for x in window})

    # Maxima.

    def _larger(self, a: Expr, b: Expr) -> Expr:
        """The larger bytes of two words."""
        above = self._let(Call("uqsub8", (a, b), I32))
        return self._let(Call("sadd8", (above, b), I32))

    def _smaller(self, a: Expr, b: Expr) -> Expr:
        """The smaller bytes of two words."""
        above = self._let(Call("uqsub8", (a, b), I32))
        return self._let(Call("ssub8", (a, above), I32))

    def _loops(
        self, registers: list[Buffer], channel: Expr, update: Callable[[Expr], list[Stmt]]
    ) -> None:
        """Registers from zero on, updated by each word of a window, row by row."""
        for register in registers:
            self.body += [Alloc(register), Store(register, (), Imm(0))]
        step = next(n for n in (4, 3, 5, 2, 1) if self.columns % n == 0)
        inner: list[Stmt] = []
        for x in range(step):
            word = Var(f"word{x}_{self.names}")
            inner.append(Let(word, self._word(channel, ROW, COLUMN + x)))
            inner += update(word)
        columns = For(COLUMN, Imm(0), Imm(self.columns), tuple(inner), step)
        self.body.append(For(ROW, Imm(0), Imm(self.rows), (columns,)))

    def _unsigned(self, word: Expr) -> Expr:
        return Binary("^", word, Imm(HIGH_BITS)) if self.signed else word

    def _maxima(self, channel: Expr) -> list[list[Expr]]:
        columns: dict[int, Expr] = {}
        for x in self._seen():
            words = (self._word(channel, Imm(y), Imm(x)) for y in range(self.rows))
            columns[x] = self._largest([self._let(self._unsigned(word)) for word in words])
        windows = ([columns[x] for x in window] for window in self._windows())
        return [self._limited(self._largest(window)) for window in windows]

    def _limited(self, result: Expr) -> list[Expr]:
        """The epilogue: four clamps at once, else whatever it is for each of four bytes."""
        limits = self._limits()
        if limits is None:
            word, dtype = self._let(self._unsigned(result)), self.pool.source.dtype
            lanes = [Cast(I32, Cast(dtype, word >> 8 * i if i else word)) for i in range(WORD)]
            return [self.pool.finished(self._let(lane), *self.at) for lane in lanes]
        low, high = (limit - self.pool.source.dtype.minimum for limit in limits)
        if low > 0:
            result = self._larger(result, Imm(_four(low)))
        if high < 255:
            result = self._smaller(result, Imm(_four(high)))
        return [self._unsigned(result)]

    def _looped_maximum(self, channel: Expr) -> list[Expr]:
        """One window by loops; 0 is the least byte."""
        largest = self._register("largest")

        def update(word: Expr) -> list[Stmt]:
            above = Call("uqsub8", (Load(largest), self._unsigned(word)), I32)
            return [Store(largest, (), Call("sadd8", (above, self._unsigned(word)), I32))]

        self._loops([largest], channel, update)
        return self._limited(Load(largest))

    def _largest(self, words: list[Expr]) -> Expr:
        result = words[0]
        for word in words[1:]:
            result = self._larger(result, word)
        return result

    def _limits(self) -> tuple[int, int] | None:
        """The epilogue of a maximum as inclusive bounds; None if it is something else."""
        dtype = self.pool.source.dtype
        value = self.pool.finished(Load(self.pool.acc), *self.at)
        if self.pool.function.outputs[0].dtype is not dtype or value.dtype is not dtype:
            return None
        return _bounds(value, self.pool.acc, dtype)

    # Averages.

    def _add(self, total: Expr, word: Expr, half: int) -> Expr:
        """Halfwords plus bytes 0 and 2 of a word, or 1 and 3."""
        name = ("sxtab16" if self.signed else "uxtab16") + ("_ror8" if half else "")
        return Call(name, (total, word), I32)

    def _extended(self, word: Expr, half: int) -> Expr:
        name = ("sxtb16" if self.signed else "uxtb16") + ("_ror8" if half else "")
        return Call(name, (word,), I32)

    def _averages(self, channel: Expr) -> list[list[Expr]]:
        columns: dict[int, list[Expr]] = {}
        for x in self._seen():
            words = [self._let(self._word(channel, Imm(y), Imm(x))) for y in range(self.rows)]
            sums = [self._let(self._extended(words[0], half)) for half in range(2)]
            for word in words[1:]:
                sums = [self._let(self._add(sums[half], word, half)) for half in range(2)]
            columns[x] = sums
        results: list[list[Expr]] = []
        for window in self._windows():
            sums = columns[window[0]]
            for x in window[1:]:
                pairs = zip(sums, columns[x], strict=True)
                sums = [self._let(Call("sadd16", pair, I32)) for pair in pairs]
            results.append(self._finished(sums))
        return results

    def _looped_average(self, channel: Expr) -> list[Expr]:
        """One window by loops."""
        sums = [self._register("sum") for _ in range(2)]

        def update(word: Expr) -> list[Stmt]:
            return [
                Store(one, (), self._add(Load(one), word, half)) for half, one in enumerate(sums)
            ]

        self._loops(sums, channel, update)
        return self._finished([Load(one) for one in sums])

    def _finished(self, sums: list[Expr]) -> list[Expr]:
        """The four results behind their sums: channels 0 and 2 are in the first word."""
        average = self._average()
        if average is not None:
            return [self._linear(average, sums[lane % 2], lane // 2) for lane in range(WORD)]
        results: list[Expr] = []
        for lane in range(WORD):
            word = sums[lane % 2]
            narrow = DType.INT16 if self.signed else DType.UINT16
            total: Expr = Cast(I32, Cast(narrow, word if lane < 2 else word >> 16))
            results.append(self.pool.finished(self._let(total), *self.at))
        return results

    def _average(self) -> LinearAverage | None:
        """The division as a multiply-accumulate."""
        count, dtype = self.rows * self.columns, self.pool.source.dtype
        value = self.pool.finished(SUM, *self.at)
        bounds = count * int(dtype.minimum), count * int(dtype.maximum)
        return linear_average(value, count, *bounds)

    def _linear(self, average: LinearAverage, word: Expr, half: int) -> Expr:
        """The result of the sum in one half of a word."""
        name = "smlatb" if half else "smlabb"
        total = Call(name, (word, Imm(average.factor), Imm(average.addend)), I32)
        limited = Binary("max", Binary("min", total >> average.shift, Imm(average.high)),
                         Imm(average.low))  # fmt: skip
        return Cast(self.pool.function.outputs[0].dtype, limited)


def _four(byte: int) -> int:
    """A byte in all four places of an int32."""
    word = byte * 0x01010101
    return word - (1 << 32) if word >> 31 else word


def _bounds(value: Expr, acc: Buffer, dtype: DType) -> tuple[int, int] | None:
    """Of clamps around a register, the least and the greatest result."""
    match value:
        case Load(buffer) if buffer == acc:
            return dtype.minimum, dtype.maximum
        case Cast(_, inner) if inner.dtype is I32 or inner.dtype is dtype:
            return _bounds(inner, acc, dtype)
        case Binary("min" | "max" as op, inner, Imm(value=int(limit))):
            bounds = _bounds(inner, acc, dtype)
            if bounds is None:
                return None
            low, high = bounds
            if not dtype.minimum <= limit <= dtype.maximum:
                return None
            pick = min if op == "min" else max
            return pick(low, limit), pick(high, limit)
    return None
