"""Reads the loops of a transposed convolution: one weighted sum per pair of phases.

In: an unscheduled function of ``transpose_conv2d_phases``. Out: its weighted sums, those of one
phase of rows together, since they see the same rows of the image; or None where the kernel is of
another kind. A weighted sum begins anywhere in the image, so ``origin`` may be negative; where its
results go stands in its epilogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Cast,
    Expr,
    For,
    Function,
    If,
    Imm,
    Let,
    Load,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import Linear, substitute
from utvm.schedule.primitives import extent, writes
from utvm.schedule.weighted_sum import (
    PIXELS,
    Array,
    WeightedSum,
    flat_form,
    less_zero_point,
    offset_product_of,
    peel,
    read_stage,
)

Padding = tuple[str, tuple[int, int], int]


@dataclass(frozen=True, eq=False)
class Phases:
    """``groups``: the weighted sums by phase of rows; ``constants``: biases that they name."""

    groups: tuple[tuple[WeightedSum, ...], ...]
    constants: Mapping[str, Array]


def read_transposed(function: Function, constants: Mapping[str, Array]) -> Phases | None:
    """The weighted sums of a kernel, or None."""
    if function.op != "transpose_conv2d_phases":
        return None
    stage = [s for s in function.body if writes((s,), "rows")]
    rest = tuple(s for s in function.body if s not in stage)
    padding = read_stage(stage[0]) if stage else (function.inputs[0].name, (0, 0), 0)
    if len(stage) > 1 or padding is None:
        return None
    turns = 1
    while len(rest) == 1 and isinstance(rest[0], For) and rest[0].var.name in ("n", "y"):
        if rest[0].var.name == "y":
            turns = extent(rest[0])
        rest = rest[0].body
    reader = _Reader(function, constants, padding, {})
    sums: list[WeightedSum] = []
    for rows, nest in _nests(rest, turns):
        found = reader.read(nest, rows, len(sums))
        if found is None:
            return None
        sums.append(found)
    groups = groupby(sums, key=lambda w: (w.rows, w.origin[0], w.window[0]))
    return Phases(tuple(tuple(group) for _, group in groups), reader.biases) if sums else None


def _nests(body: tuple[Stmt, ...], turns: int) -> list[tuple[int, Stmt]]:
    """The nests of the phases, each with the number of its rows."""
    found: list[tuple[int, Stmt]] = []
    for stmt in body:
        match stmt:
            case If(Binary("<", Var("y"), Imm(value=int(rows))), then, ()):
                found += [(rows, nest) for nest in then]
            case _:
                found.append((turns, stmt))
    return found


@dataclass(frozen=True, eq=False)
class _Reader:
    function: Function
    constants: Mapping[str, Array]
    padding: Padding
    biases: dict[str, Array]

    def read(self, nest: Stmt, rows: int, number: int) -> WeightedSum | None:
        """One phase: loops x and c around the sum."""
        outer, body = peel(nest, parallel=True)
        if set(outer) - {"x", "c"} or len(body) < 4 or not isinstance(body[0], Alloc):
            return None
        acc, initial = body[0].buffer, body[1]
        inner, update = peel(body[2], parallel=False)
        product = offset_product_of(update, acc)
        if product is None or set(inner) - {"ky", "r"} or not isinstance(initial, Store):
            return None
        pixel, weight, zero = product
        data = less_zero_point(self.constants.get(weight.buffer.name), zero)
        filters = outer.get("c", 1)
        place = self._place(pixel, inner)
        taps = self._taps(weight, inner, filters, data)
        bias = self._bias(initial.value, filters, number)
        if place is None or taps is None or bias is None:
            return None
        source = next(b for b in self.function.inputs if b.name == self.padding[0])
        n, height, width, depth = source.shape
        if taps.shape[3] != depth or source.dtype not in PIXELS:
            return None
        return WeightedSum(
            self.function,
            source,
            (n, height, width, depth),
            taps,
            rows=rows,
            columns=outer.get("x", 1),
            strides=(1, 1),
            row_dilation=1,
            origin=place,
            padding=self.padding[2],
            bias=bias,
            acc=acc,
            epilogue=_renamed(body[3:]),
            variables={name: name for name in ("n", "y", "x", "c")},
        )

    def _place(self, pixel: Load, inner: Mapping[str, int]) -> tuple[int, int] | None:
        """How far above and left of the image the first window begins."""
        buffer, form = pixel.buffer, flat_form(pixel.buffer, pixel.indices)
        depth = self.function.inputs[0].shape[3]
        if form is None:
            return None
        line, image = buffer.shape[-1], buffer.elements // buffer.shape[0]
        wanted = {"n": image, "y": line, "x": depth, "ky": line, "r": 1}
        if any(wanted.get(name) != coefficient for name, coefficient in form.terms):
            return None
        if any(not form.coefficient(name) for name in inner):
            return None
        row, rest = divmod(form.constant, line)
        _, (above, left), _ = self.padding
        column, element = divmod(rest, depth)
        return None if element or left % depth else (above - row, left // depth - column)

    def _taps(
        self, weight: Load, inner: Mapping[str, int], filters: int, data: Array | None
    ) -> Array | None:
        """The weights [filters, kh, kw, depth] of a phase."""
        form, depth = flat_form(weight.buffer, weight.indices), self.function.inputs[0].shape[3]
        kh, span = inner.get("ky", 1), inner.get("r", 1)
        if form is None or data is None or span % depth:
            return None
        wanted = {"c": kh * span if filters > 1 else 0, "ky": span if kh > 1 else 0, "r": 1}
        terms = tuple(sorted((k, v) for k, v in wanted.items() if v and (k != "r" or span > 1)))
        if form != Linear(form.constant, terms):
            return None
        own = data.reshape(-1)[form.constant : form.constant + filters * kh * span]
        return own.reshape(filters, kh, span // depth, depth)

    def _bias(self, initial: Expr, filters: int, number: int) -> Expr | None:
        """The biases of a phase as a constant of their own."""
        load = initial.value if isinstance(initial, Cast) else initial
        if isinstance(load, Imm):
            return load
        if not isinstance(load, Load) or load.buffer.name not in self.constants:
            return None
        form = flat_form(load.buffer, load.indices)
        terms = (("c", 1),) if filters > 1 else ()
        if form is None or form.terms != terms:
            return None
        data = self.constants[load.buffer.name].reshape(-1)[form.constant :][:filters]
        if data.dtype != np.int32:
            return None
        name = f"{self.function.name}_bias_{number}"
        self.biases[name] = data
        return Load(Buffer(name, load.buffer.dtype, (filters,), "const"), (Var("c"),))


def _renamed(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Lets named by position, so that phases that are equal are so to the letter."""
    result: list[Stmt] = []
    names: dict[str, Expr] = {}
    for stmt in body:
        (stmt,) = substitute((stmt,), names)
        if isinstance(stmt, Let):
            var = Var(f"v{len(names)}", stmt.var.dtype)
            names[stmt.var.name] = var
            stmt = Let(var, stmt.value)
        result.append(stmt)
    return tuple(result)
