"""Micro functions for the tests: register blocks as schedules make them, and random nests.

A block of P pixels times C filters has P*C accumulators. Its window words are int16 pairs; weights
are int16 pairs too, or two int8 taps of two filters in a word, expanded by two SXTB16.
"""

from __future__ import annotations

import numpy as np

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
    If,
    Imm,
    Let,
    Load,
    Select,
    Stmt,
    Store,
    Var,
    clamp,
    loop,
)

I8, I16, I32 = DType.INT8, DType.INT16, DType.INT32


def call(name: str, *args: Expr) -> Call:
    return Call(name, args, I32)


def block(
    pixels: int,
    filters: int,
    *,
    wide: bool,
    unrolled: int,
    rounds: int,
    blocks: int = 2,
    pairs: bool = False,
) -> Function:
    """``rounds`` of ``unrolled`` steps of two taps, with ``wide`` (int16) or int8 weights.

    One sequential stream of words: per block the biases, the weights, a multiplier per filter.
    ``pairs`` adds a loop over pixel groups whose number is a scalar.
    """
    o, k, g = Var("o"), Var("k"), Var("g")
    taps = 2
    step_words = filters if wide else filters // 2
    words = step_words * unrolled * rounds  # of weights per block
    size = words + 2 * filters
    reach = taps * unrolled * rounds  # elements of a pixel's window
    groups = 3 if pairs else 1
    x = Buffer("x", I16, (groups * pixels * reach,), "input")
    stream = Buffer("stream", I32, (blocks * size,), "input")
    out = Buffer("out", I8, (groups * pixels * filters * blocks,), "output")
    acc = [
        [Buffer(f"acc{p}{c}", I32, (), "register") for c in range(filters)] for p in range(pixels)
    ]
    body: list[Stmt] = []
    for c in range(filters):
        body.append(Let(Var(f"bias{c}"), Load(stream, (o * size + c,))))
        for p in range(pixels):
            body.append(Alloc(acc[p][c]))
            body.append(Store(acc[p][c], (), Var(f"bias{c}")))
    sums: list[Stmt] = []
    for u in range(unrolled):
        at = o * size + k * (unrolled * step_words) + Imm(filters + u * step_words)
        window = [
            (g * pixels + p) * reach + k * (taps * unrolled) + taps * u for p in range(pixels)
        ]
        step = _wide_step if wide else _narrow_step
        sums += step(acc, x, stream, window, at, u)
    body.append(loop(k, rounds, *sums))
    for c in range(filters):
        body.append(Let(Var(f"m{c}"), Load(stream, (o * size + (filters + words + c),))))
        for p in range(pixels):
            scaled = call("mulhi", Load(acc[p][c]), Var(f"m{c}")) + 3
            value = Cast(I8, clamp(scaled >> 4, -128, 127))
            place = (g * pixels + p) * (filters * blocks) + o * filters + c
            body.append(Store(out, (place,), value))
    whole: Stmt = loop(o, blocks, *body)
    scalars: tuple[Var, ...] = ()
    if pairs:
        scalars = (Var("groups"),)
        whole = For(g, Imm(0), Var("groups"), (whole,))
    comment = (f"{pixels} pixels x {filters} filters, int{16 if wide else 8} weights",)
    nest = (whole,) if pairs else (Let(g, Imm(0)), whole)
    return Function("block", (x, stream), (out,), nest, comment=comment, scalars=scalars)


def _wide_step(
    acc: list[list[Buffer]], x: Buffer, stream: Buffer, window: list[Expr], at: Expr, u: int
) -> list[Stmt]:
    """Two taps: each window word meets each weight word."""
    body: list[Stmt] = []
    for p, place in enumerate(window):
        body.append(Let(Var(f"x{p}_{u}"), Load(x, (place,), 2)))
    for c in range(len(acc[0])):
        body.append(Let(Var(f"w{c}_{u}"), Load(stream, (at + c,))))
        for p in range(len(acc)):
            product = call("smlad", Var(f"x{p}_{u}"), Var(f"w{c}_{u}"), Load(acc[p][c]))
            body.append(Store(acc[p][c], (), product))
    return body


def _narrow_step(
    acc: list[list[Buffer]], x: Buffer, stream: Buffer, window: list[Expr], at: Expr, u: int
) -> list[Stmt]:
    """Two taps; a weight word holds those of two filters."""
    body: list[Stmt] = []
    for p, place in enumerate(window):
        body.append(Let(Var(f"x{p}_{u}"), Load(x, (place,), 2)))
    for c in range(len(acc[0])):
        both = Var(f"both{c // 2}_{u}")
        if c % 2 == 0:
            body.append(Let(both, Load(stream, (at + c // 2,))))
        weight = Var(f"w{c}_{u}")
        body.append(Let(weight, call("sxtb16_ror8" if c % 2 else "sxtb16", both)))
        for p in range(len(acc)):
            product = call("smlad", Var(f"x{p}_{u}"), weight, Load(acc[p][c]))
            body.append(Store(acc[p][c], (), product))
    return body


MOST_SCALAR = 4
"""Of a random nest's scalars, which are not negative."""


class RandomNest:
    """A micro function from a seed: loops, accumulators, loads of all widths, conditions.

    Every value is kept small enough by masks and clamps that no sum overflows. With ``strides``,
    scalars are strides and offsets, too; a scalar is at most ``MOST_SCALAR``. Without ``packed``
    words, every load is aligned and no instruction is one of the DSP extension.
    """

    def __init__(self, seed: int, strides: bool = False, packed: bool = True) -> None:
        self.random = np.random.default_rng(seed)
        self.strides = strides
        self.packed = packed
        self.count = 0
        types = (DType.INT8, DType.UINT8, DType.INT16, DType.INT32)
        self.inputs = tuple(
            Buffer(f"in{n}", types[self.random.integers(len(types))], (900,), "input")
            for n in range(self.random.integers(1, 4))
        )
        kind = (DType.INT8, DType.INT16, DType.INT32)[self.random.integers(3)]
        self.out = Buffer("out", kind, (256,), "output")
        self.accumulators = [
            Buffer(f"acc{n}", I32, (), "register") for n in range(self.random.integers(1, 13))
        ]
        self.scalars = (Var("n"), Var("m"))[: self.random.integers(0, 3)]
        if strides:
            self.scalars = (Var("n"), Var("m"), Var("pitch"))

    def pick(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def function(self) -> Function:
        body: list[Stmt] = []
        for acc in self.accumulators:
            body += [Alloc(acc), Store(acc, (), Imm(self.pick(-5, 5)))]
        body += self.nest([], self.pick(1, 2))
        for n, acc in enumerate(self.accumulators):
            value = clamp(Load(acc) >> self.pick(0, 9), -100, 100)
            body.append(Store(self.out, (Imm(200 + n),), self.narrowed(value)))
        return Function("nest", self.inputs, (self.out,), tuple(body), scalars=self.scalars)

    def narrowed(self, value: Expr) -> Expr:
        return value if self.out.dtype is I32 else Cast(self.out.dtype, value)

    def name(self, stem: str) -> Var:
        self.count += 1
        return Var(f"{stem}{self.count}")

    def nest(self, around: list[tuple[Var, int]], depth: int) -> list[Stmt]:
        body = self.straight(around)
        for _ in range(self.pick(1, 2) if depth > 1 else self.pick(0, 1)):
            var = self.name("i")
            rounds = self.pick(1, 4)
            stop: Expr = Imm(rounds)
            if self.scalars and self.pick(0, 3) == 0:
                stop, rounds = self.scalars[0], MOST_SCALAR
                if self.strides and self.pick(0, 1):
                    stop, rounds = self.scalars[0] + 1, MOST_SCALAR + 1
            inner = self.nest if depth > 1 else self.leaf
            inside = inner([*around, (var, rounds)], depth - 1)
            step = 2 if self.pick(0, 5) == 0 else 1
            body.append(For(var, Imm(0), stop, tuple(inside), step))
            body += self.straight(around)
        return body

    def leaf(self, around: list[tuple[Var, int]], _: int) -> list[Stmt]:
        return self.straight(around)

    def straight(self, around: list[tuple[Var, int]]) -> list[Stmt]:
        body: list[Stmt] = []
        for _ in range(self.pick(1, 3)):
            kind = self.pick(0, 9)
            if kind < 6:
                body += self.accumulate(around)
            elif kind < 8:
                body.append(self.store(around))
            elif around and kind == 8:
                then, orelse = self.accumulate(around), self.accumulate(around)
                condition = Binary("<", around[-1][0], Imm(self.pick(0, 3)))
                body.append(If(condition, tuple(then), tuple(orelse) if self.pick(0, 1) else ()))
            else:
                body += self.accumulate(around)
        return body

    def index(self, around: list[tuple[Var, int]], room: int) -> Expr:
        """An index below ``room``: constant plus strides of some of the loops around."""
        parts: Expr = Imm(self.pick(0, 20))
        left = room - 25
        for var, rounds in around if self.strides else ():
            if self.pick(0, 2) == 0:
                factor = self.pick(0, min(5, left // (2 * MOST_SCALAR * rounds)))
                parts = parts + var * self.scalars[-1] * factor
                left -= factor * MOST_SCALAR * rounds
        if self.strides and self.pick(0, 1):
            factor = self.pick(0, min(7, left // (2 * MOST_SCALAR)))
            parts = parts + self.scalars[-1] * factor
            left -= factor * MOST_SCALAR
        for var, rounds in around:
            if self.pick(0, 3):
                stride = self.pick(0, max(0, left // (8 * rounds)))
                parts = parts + var * stride
                left -= stride * rounds
        return parts

    def accumulate(self, around: list[tuple[Var, int]]) -> list[Stmt]:
        acc = self.accumulators[self.pick(0, len(self.accumulators) - 1)]
        var = self.name("t")
        value = clamp(Load(acc) + self.value(around, 2), -(1 << 24), 1 << 24)
        if self.pick(0, 1):
            return [Let(var, self.value(around, 2)), Store(acc, (), self.limited(var, acc))]
        return [Store(acc, (), value)]

    def limited(self, var: Expr, acc: Buffer) -> Expr:
        return clamp(Binary("+", Load(acc), var), -(1 << 24), 1 << 24)

    def store(self, around: list[tuple[Var, int]]) -> Stmt:
        value = clamp(self.value(around, 2), -128, 127)
        return Store(self.out, (self.index(around, 190),), self.narrowed(value))

    def value(self, around: list[tuple[Var, int]], depth: int) -> Expr:
        """An expression within +-2^20."""
        buffer = self.inputs[self.pick(0, len(self.inputs) - 1)]
        lanes = 4 // buffer.dtype.size_bytes
        plain = Load(buffer, (self.index(around, 890 - lanes),))
        small: Expr = plain if buffer.dtype is I32 else Cast(I32, plain)
        if buffer.dtype is I32:
            small = clamp(small, -1000, 1000)
        if depth == 0:
            choices: list[Expr] = [small, Imm(self.pick(-300, 300))]
            choices += [var for var, _ in around[-1:]] + list(self.scalars[:1])
            return choices[self.pick(0, len(choices) - 1)]
        a, b = self.value(around, depth - 1), self.value(around, depth - 1)
        kind = self.pick(0, 9)
        word = Load(buffer, (self.index(around, 890 - lanes),), lanes if lanes > 1 else 1)
        packed = clamp(call("smuad", word, Imm(0x00010001)), -100000, 100000)
        tame = [clamp(a, -500, 500), clamp(b, -500, 500)]
        choices = [
            a + b if depth == 1 else tame[0] + tame[1],
            tame[0] * tame[1],
            tame[0] - (tame[1] >> self.pick(1, 5)),
            Binary("&", a, Imm(255)),
            Binary("^", tame[0], tame[1]),
            Select(Binary("<", a, b), tame[0], Imm(7)) if not _loads(tame[0]) else tame[0] + 1,
            packed if self.packed else small,
            call("mulhi", tame[0] * 4096, word) if buffer.dtype is I32 else small,
            Binary("max", tame[0], tame[1]),
            clamp(a, 0, 255),
        ]
        return clamp(choices[kind], -(1 << 20), 1 << 20)


def _loads(expr: Expr) -> bool:
    return "Load(" in repr(expr)
