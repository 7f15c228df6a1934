"""transform-layout: a constant lies in memory in the order in which the loops read it (TVM's layout
transform).

Layouts are words: a capital letter per axis, and behind a number the same letter in small for the
inner part of an axis that is split by this number. ``OI`` to ``OI4o``: of four neighbours along O
the elements lie together. The data is rearranged when the network is compiled; so may be its type.
What fills an axis up to a multiple is zero and is never read.

    w[o + i, k], o in steps of 4   ---  "OI" -> "OI4o"  ---   w_OI4o[o / 4, k, i]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Cast, Expr, Function, Load
from utvm.ir.print_loop import print_expr
from utvm.ir.rewrite import (
    Linear,
    expressions,
    from_linear,
    linear,
    map_body,
    simplify_body,
    statements,
    used_names,
)
from utvm.schedule.region import hands_over, multiples_of, range_of, ranges_of
from utvm.schedule.steps import primitive
from utvm.support.errors import ScheduleError

Array = npt.NDArray[Any]
_PART = re.compile(r"([A-Z])|(\d+)([a-z])")


@dataclass(frozen=True)
class Part:
    """One axis of the new layout: an axis of the old one, or its inner part of ``factor``."""

    axis: int
    inner: bool
    factor: int  # by which the axis is split; 1: not at all


@primitive
def transform_layout(
    function: Function, buffer: str, source: str, target: str, dtype: DType | None = None
) -> Function:
    """Reads constant ``buffer`` from ``<buffer>_<target>``; ``rearranged`` makes the data of it."""
    where = f"{function.name}: {buffer}"
    old = seen_shape(function, buffer)
    parts = parse_layout(source, target, len(old.shape), where)
    shape = tuple(_extent(part, old.shape) for part in parts)
    wide = dtype or old.dtype
    widens = wide.is_integer and old.dtype.is_integer and wide.minimum <= old.dtype.minimum
    if wide is not old.dtype and not (widens and wide.maximum >= old.dtype.maximum):
        raise ScheduleError(
            "the new type does not hold all values",
            where=where,
            expected=f"{old.dtype.value} or wider",
            found=wide.value,
        )
    new = Buffer(layout_name(buffer, target), wide, shape, "const")
    if new.name in used_names(function):
        raise ScheduleError("the constant has this layout already", where=where, found=target)
    index = _Index(function, parts, where)

    def change(expr: Expr) -> Expr:
        if not (isinstance(expr, Load) and expr.buffer.name == buffer):
            return expr
        load = index.load(new, expr.indices)
        return load if wide is old.dtype else Cast(old.dtype, load)

    constants = tuple(new if b.name == buffer else b for b in function.constants)
    body = map_body(function.body, change)
    body = simplify_body(map_body(body, lambda expr: _cast_once(expr, new, old.dtype)))
    return replace(function, body=body, constants=constants)


def layout_name(buffer: str, target: str) -> str:
    """The name of a constant in another layout."""
    return f"{buffer}_{target}"


def rearranged(
    data: Array, function: Function, buffer: str, layouts: tuple[str, str], dtype: DType | None
) -> Array:
    """The data of ``buffer``, as the function before the rewrite reads it, in the new layout."""
    old = seen_shape(function, buffer)
    parts = parse_layout(*layouts, len(old.shape), buffer)
    factors = [max(p.factor for p in parts if p.axis == axis) for axis in range(len(old.shape))]
    seen = data.reshape(old.shape)
    seen = np.pad(seen, [(0, -n % f) for n, f in zip(old.shape, factors, strict=True)])
    split = [side for n, f in zip(seen.shape, factors, strict=True) for side in (n // f, f)]
    order = [2 * part.axis + part.inner for part in parts]
    order += [axis for axis in range(len(split)) if axis not in order]
    moved = seen.reshape(split).transpose(order)
    shape = [_extent(part, old.shape) for part in parts]
    result: Array = np.ascontiguousarray(moved.reshape(shape))
    return result if dtype is None else result.astype(dtype.numpy)


def seen_shape(function: Function, buffer: str) -> Buffer:
    """The constant in the one shape in which it is read, element by element."""
    where = f"{function.name}: {buffer}"
    if all(buffer != b.name for b in function.constants):
        names = ", ".join(b.name for b in function.constants)
        raise ScheduleError("no such constant", where=where, expected=names, found=buffer)
    loads = [e for e in expressions(function.body) if isinstance(e, Load)]
    views = {load.buffer for load in loads if load.buffer.name == buffer}
    packed = any(load.lanes > 1 for load in loads if load.buffer.name == buffer)
    packed |= any(hands_over(stmt, buffer) for stmt in statements(function.body))
    if len(views) != 1 or packed:
        raise ScheduleError(
            "the constant is not read element by element in one shape",
            where=where,
            expected="one shape",
            found="words, or by a micro function" if packed else f"{len(views)} shapes",
            hint="change the layout before words are packed",
        )
    return views.pop()


def parse_layout(source: str, target: str, rank: int, where: str) -> tuple[Part, ...]:
    """The axes of the new layout."""
    letters = list(source)
    pieces = list(_PART.finditer(target))
    good = len(set(letters)) == rank == len(letters) and all(c.isupper() for c in letters)
    good &= "".join(piece[0] for piece in pieces) == target
    outer = [piece[1] for piece in pieces if piece[1]]
    inner = {piece[3].upper(): int(piece[2]) for piece in pieces if piece[3]}
    good &= sorted(outer) == sorted(letters) and set(inner) <= set(letters)
    good &= len(outer) + len(inner) == len(pieces) and all(f > 1 for f in inner.values())
    if not good:
        raise ScheduleError(
            "the layouts do not fit",
            where=where,
            expected=f"{rank} capital letters, and a word of the same with numbered small ones",
            found=f"{source} -> {target}",
        )
    return tuple(
        Part(letters.index(piece[1] or piece[3].upper()), bool(piece[3]),
             inner.get(piece[1] or piece[3].upper(), 1))
        for piece in pieces
    )  # fmt: skip


def _extent(part: Part, shape: tuple[int, ...]) -> int:
    return part.factor if part.inner else -(-shape[part.axis] // part.factor)


class _Index:
    """Indices into the new layout. ``multiples``: by loop variable, what divides all its values."""

    def __init__(self, function: Function, parts: tuple[Part, ...], where: str) -> None:
        self.ranges, self.multiples = ranges_of(function), multiples_of(function)
        self.parts, self.where = parts, where

    def load(self, new: Buffer, indices: tuple[Expr, ...]) -> Load:
        """The element: by one flat index where axes are split, since quotients are no sums."""
        if all(part.factor == 1 for part in self.parts):
            return Load(new, tuple(indices[part.axis] for part in self.parts))
        constant, terms = 0, dict[str, int]()
        stride = new.elements
        for part, extent in zip(self.parts, new.shape, strict=True):
            stride //= extent
            form = self._quotient_or_rest(part, indices[part.axis])
            divisor = 1 if part.inner else part.factor
            for name, coefficient in (*form.terms, ("", form.constant)):
                step, rest = divmod(stride * coefficient, divisor)
                if rest:
                    raise self._refusal(part, indices[part.axis], "keep small letters behind")
                if name:
                    terms[name] = terms.get(name, 0) + step
                else:
                    constant += step
        kept = tuple(sorted((name, c) for name, c in terms.items() if c))
        return Load(new.view(new.elements), (from_linear(Linear(constant, kept)),))

    def _quotient_or_rest(self, part: Part, index: Expr) -> Linear:
        """The whole multiples of the factor in an index, or what is left of it."""
        form = linear(index)
        if form is not None:
            whole = {n for n, c in form.terms if c * self.multiples.get(n, 1) % part.factor == 0}
            rest = tuple((name, c) for name, c in form.terms if name not in whole)
            within = Linear(form.constant % part.factor, rest)
            known = all(name in self.ranges for name, _ in rest)
            low, high = range_of(within, self.ranges) if known else (-1, 0)
            if low >= 0 and high < part.factor:
                terms = tuple((name, c) for name, c in form.terms if name in whole)
                return within if part.inner else Linear(form.constant - within.constant, terms)
        raise self._refusal(part, index, f"split its loop by {part.factor} first")

    def _refusal(self, part: Part, index: Expr, hint: str) -> ScheduleError:
        return ScheduleError(
            "the index has no whole part",
            where=self.where,
            expected=f"a multiple of {part.factor}, and less than that added",
            found=print_expr(index)[:80],
            hint=hint,
        )


def _cast_once(expr: Expr, new: Buffer, narrow: DType) -> Expr:
    """``int32(int8(x))`` of an element that was an int8 is ``int32(x)``."""
    match expr:
        case Cast(wide, Cast(inner, Load(buffer) as load)) if (
            buffer.name == new.name and inner is narrow
        ):
            if wide.is_integer and wide.bits >= new.dtype.bits:
                return load if wide is new.dtype else Cast(wide, load)
    return expr
