"""What the loop verifier proves: accesses stay inside, parallel iterations stay apart.

In: a function whose names and types are right. An index that is linear in loop variables must stay
inside its buffer for all their values, given the conditions around it; a data-dependent index is
not judged. Iterations of a parallel loop must not write what another one reads or writes; this is
checked by listing the elements where the indices are linear and the loops small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Expr,
    For,
    Function,
    If,
    Imm,
    Invoke,
    Let,
    Load,
    Select,
    Stmt,
    Store,
    View,
)
from utvm.ir.print_loop import print_expr
from utvm.ir.rewrite import Linear, linear, statements, substitute_expr
from utvm.support.errors import InternalError

MAX_POINTS = 1 << 14
"""Elements listed for one access in a parallel loop; larger ones are not judged."""

MAX_ITERATIONS = 16
"""Iterations of a parallel loop that are compared; a broken promise shows among the first."""

Interval = tuple[int, int]
_NEGATED = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}


def verify_bounds(function: Function, where: str, micros: Mapping[str, Function]) -> None:
    """Raises InternalError for an access outside its buffer or a broken promise of a loop."""
    _Place(where, {}, {}, {}, (), micros).body(function.body)


@dataclass(frozen=True)
class _Place:
    """What is known at one place.

    ``ranges``: the values of loop variables, inclusive. ``lets``: names for linear expressions.
    ``views``: pointers as root buffer and offset. ``facts``: linear forms that are not negative.
    ``micros``: the micro functions that may be invoked.
    """

    where: str
    ranges: dict[str, Interval]
    lets: dict[str, Expr]
    views: dict[str, tuple[Buffer, Linear | None]]
    facts: tuple[Linear, ...]
    micros: Mapping[str, Function]

    def form(self, expr: Expr) -> Linear | None:
        """The linear form in loop variables, or None."""
        form = linear(substitute_expr(expr, self.lets))
        if form is None or any(name not in self.ranges for name, _ in form.terms):
            return None
        return form

    def body(self, body: tuple[Stmt, ...]) -> None:
        place = self
        for stmt in body:
            place = place.stmt(stmt)

    def stmt(self, stmt: Stmt) -> _Place:
        """Checks one statement; the place behind it."""
        match stmt:
            case For():
                self._for(stmt)
            case If(condition, then, orelse):
                self.expr(condition)
                self.given(condition, True).body(then)
                self.given(condition, False).body(orelse)
            case Store(buffer, indices, value, lanes):
                self.expr(value)
                self._access(buffer, indices, lanes)
            case Invoke():
                self._invoke(stmt)
            case Let(var, value):
                self.expr(value)
                if self.form(value) is not None:
                    return replace(self, lets={**self.lets, var.name: value})
            case View(pointer, base, offset):
                root, form = self.rooted(base, (offset,))
                if form is not None:
                    self._inside(root, form, root.elements + 1, (offset,))
                return replace(self, views={**self.views, pointer.name: (root, form)})
        return self

    def _for(self, stmt: For) -> None:
        start, stop = self.form(stmt.start), self.form(stmt.stop)
        if start is None or stop is None:
            self.body(stmt.body)
            return
        low, end = self.range_of(start)[0], self.range_of(stop)[1]
        if end <= low:
            return
        name = stmt.var.name
        if not start.terms and not stop.terms:
            end = low + (end - 1 - low) // stmt.step * stmt.step + 1
        var = Linear(0, ((name, 1),))
        facts = (plus(var, start, -1), plus(Linear(stop.constant - 1, stop.terms), var, -1))
        inner = replace(
            self, ranges={**self.ranges, name: (low, end - 1)}, facts=self.facts + facts
        )
        if stmt.parallel and not start.terms and not stop.terms:
            _check_parallel(inner, stmt)
        inner.body(stmt.body)

    def expr(self, expr: Expr) -> None:
        """Checks the loads of an expression under the conditions of its selects."""
        match expr:
            case Select(condition, a, b):
                self.expr(condition)
                self.given(condition, True).expr(a)
                self.given(condition, False).expr(b)
            case Load(buffer, indices, lanes):
                for index in indices:
                    self.expr(index)
                self._access(buffer, indices, lanes)
            case _:
                for child in children(expr):
                    self.expr(child)

    def given(self, condition: Expr, holds: bool) -> _Place:
        """The place where a condition is known."""
        return replace(self, facts=self.facts + tuple(self._facts(condition, holds)))

    def exact_facts(self, condition: Expr, holds: bool) -> tuple[Linear, ...] | None:
        """Forms that are not negative exactly when the condition is known so; None if unknown."""
        if isinstance(condition, Binary) and condition.op in ("and", "or"):
            if (condition.op == "and") != holds:
                return None
            left = self.exact_facts(condition.a, holds)
            right = self.exact_facts(condition.b, holds)
            return None if left is None or right is None else left + right
        return tuple(self._facts(condition, holds)) or None

    def _facts(self, condition: Expr, holds: bool) -> Iterator[Linear]:
        if not isinstance(condition, Binary):
            return
        op, a, b = condition.op, condition.a, condition.b
        if op == ("and" if holds else "or"):
            yield from self._facts(a, holds)
            yield from self._facts(b, holds)
            return
        left, right = self.form(a), self.form(b)
        if op not in _NEGATED or left is None or right is None:
            return
        op = op if holds else _NEGATED[op]
        above, below = plus(left, right, -1), plus(right, left, -1)
        if op in (">=", "=="):
            yield above
        if op in ("<=", "=="):
            yield below
        if op == ">":
            yield Linear(above.constant - 1, above.terms)
        if op == "<":
            yield Linear(below.constant - 1, below.terms)

    def rooted(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Buffer, Linear | None]:
        """The memory that an access means and the flat offset in it."""
        root, form = self.views.get(buffer.name, (buffer, Linear(0)))
        for stride, index in zip(_strides(buffer), indices, strict=True):
            part = self.form(index)
            form = None if form is None or part is None else plus(form, part, stride)
        return root, form

    def _invoke(self, stmt: Invoke) -> None:
        """What the micro function may touch lies inside of what the pointers point into."""
        for pointer in stmt.pointers:
            self.expr(pointer.offset)
        micro = self.micros.get(stmt.function)
        if micro is None:
            return
        for pointer, declared in zip(stmt.pointers, (*micro.inputs, *micro.outputs), strict=True):
            flat = pointer.buffer.view(pointer.buffer.elements)
            root, form = self.rooted(flat, (pointer.offset,))
            if form is not None:
                room = root.elements - declared.elements + 1
                self._inside(root, form, room, (pointer.offset,))

    def _access(self, buffer: Buffer, indices: tuple[Expr, ...], lanes: int) -> None:
        if buffer.name in self.views or lanes > 1:
            root, form = self.rooted(buffer, indices)
            if form is not None:
                self._inside(root, form, root.elements - lanes + 1, indices)
            return
        for extent, index in zip(buffer.shape, indices, strict=True):
            form = self.form(index)
            if form is not None:
                self._inside(buffer, form, extent, indices)

    def _inside(self, root: Buffer, form: Linear, extent: int, at: tuple[Expr, ...]) -> None:
        """0 <= form < extent must be provable."""
        above = plus(Linear(extent - 1), form, -1)
        if not (self._provable(form) and self._provable(above)):
            index = ", ".join(print_expr(i) for i in at)[:80]
            low, high = self.range_of(form)
            raise InternalError(
                f"{self.where}: an access outside of {root.name}; "
                f"expected 0 to {extent - 1}; found {low} to {high} for [{index}]"
            )

    def _provable(self, form: Linear) -> bool:
        """Whether ``form >= 0`` follows from the ranges, alone or with a multiple of one fact."""
        if self.range_of(form)[0] >= 0:
            return True
        return any(
            self.range_of(plus(form, fact, -factor))[0] >= 0
            for fact in self.facts
            for factor in _factors(form, fact)
        )

    def range_of(self, form: Linear) -> Interval:
        low = high = form.constant
        for name, coefficient in form.terms:
            ends = [coefficient * end for end in self.ranges[name]]
            low, high = low + min(ends), high + max(ends)
        return low, high


def plus(a: Linear, b: Linear, factor: int) -> Linear:
    """``a + factor * b``."""
    terms = dict(a.terms)
    for name, coefficient in b.terms:
        terms[name] = terms.get(name, 0) + factor * coefficient
    kept = tuple(sorted((name, c) for name, c in terms.items() if c))
    return Linear(a.constant + factor * b.constant, kept)


def _strides(buffer: Buffer) -> list[int]:
    strides, size = [], 1
    for extent in reversed(buffer.shape):
        strides.append(size)
        size *= extent
    return strides[::-1]


def _factors(form: Linear, fact: Linear) -> set[int]:
    """Positive multiples of a fact that cancel a variable of the form."""
    coefficients = dict(form.terms)
    quotients = {divmod(coefficients.get(name, 0), c) for name, c in fact.terms}
    return {1, *(quotient for quotient, rest in quotients if rest == 0 and quotient > 0)}


@dataclass(frozen=True)
class _Access:
    """An access in a parallel loop: its flat index where all ``conditions`` are not negative."""

    root: Buffer
    is_store: bool
    index: Linear
    conditions: tuple[Linear, ...]
    axes: dict[str, range]


def _check_parallel(place: _Place, stmt: For) -> None:
    """No iteration writes an element that another one reads or writes."""
    first, last = place.ranges[stmt.var.name]
    iterations = range(first, last + 1, stmt.step)[:MAX_ITERATIONS]
    own = frozenset(s.buffer.name for s in statements(stmt.body) if isinstance(s, Alloc))
    accesses = list(_Lister(own).body(place, {stmt.var.name: iterations}, (), stmt.body))
    for name in {access.root.name for access in accesses if access.is_store}:
        same = [access for access in accesses if access.root.name == name]
        touched = [_elements(place, access, stmt.var.name) for access in same]
        written = [e for e, access in zip(touched, same, strict=True) if access.is_store]
        pairs = np.unique(np.concatenate(touched), axis=0)
        shared = pairs[np.isin(pairs[:, 0], np.concatenate(written)[:, 0]), 0]
        if len(np.unique(shared)) < len(shared):
            raise InternalError(
                f"{place.where}: the loop {stmt.var.name} is parallel, but one iteration writes "
                f"an element of {name} that another one uses"
            )


def _elements(place: _Place, access: _Access, name: str) -> np.ndarray:
    """Rows (element, iteration) of an access, with all outer variables at their first value."""
    values = {outer: np.array(low) for outer, (low, _) in place.ranges.items()}
    names = list(access.axes)
    for position, axis in enumerate(names):
        shape = [1] * len(names)
        shape[position] = -1
        values[axis] = np.array(access.axes[axis]).reshape(shape)

    def evaluate(form: Linear) -> np.ndarray:
        total = np.array(form.constant)
        for variable, coefficient in form.terms:
            total = total + coefficient * values[variable]
        return total

    holds = np.array(True)
    for condition in access.conditions:
        holds = holds & (evaluate(condition) >= 0)
    index, iteration, holds = np.broadcast_arrays(evaluate(access.index), values[name], holds)
    return np.stack([index[holds], iteration[holds]], axis=1)


@dataclass(frozen=True)
class _Lister:
    """Lists the accesses of a parallel loop that are linear and few, under linear conditions.

    Registers that each iteration has for itself (``own``) are left out.
    """

    own: frozenset[str]

    def body(
        self,
        place: _Place,
        axes: dict[str, range],
        conditions: tuple[Linear, ...],
        body: tuple[Stmt, ...],
    ) -> Iterator[_Access]:
        for stmt in body:
            match stmt:
                case For(var, Imm(value=start), Imm(value=stop), below, step):
                    values = range(int(start), int(stop), step)
                    if len(values):
                        ranges = {**place.ranges, var.name: (values[0], values[-1])}
                        inner = replace(place, ranges=ranges)
                        yield from self.body(inner, {**axes, var.name: values}, conditions, below)
                case If(condition, then, orelse):
                    for holds, branch in ((True, then), (False, orelse)):
                        facts = place.exact_facts(condition, holds)
                        if facts is not None:
                            yield from self.body(place, axes, conditions + facts, branch)
                case Let(var, value):
                    yield from self._loads(place, axes, conditions, value)
                    if place.form(value) is not None:
                        place = replace(place, lets={**place.lets, var.name: value})
                case View(pointer, base, offset):
                    rooted = place.rooted(base, (offset,))
                    place = replace(place, views={**place.views, pointer.name: rooted})
                case Store(buffer, indices, value):
                    yield from self._loads(place, axes, conditions, value)
                    yield from self._listed(place, axes, conditions, buffer, indices, True)

    def _loads(
        self, place: _Place, axes: dict[str, range], conditions: tuple[Linear, ...], value: Expr
    ) -> Iterator[_Access]:
        """The loads that are surely executed: none in a select."""
        if isinstance(value, Load):
            yield from self._listed(place, axes, conditions, value.buffer, value.indices, False)
        if not isinstance(value, Select):
            for child in children(value):
                yield from self._loads(place, axes, conditions, child)

    def _listed(
        self,
        place: _Place,
        axes: dict[str, range],
        conditions: tuple[Linear, ...],
        buffer: Buffer,
        indices: tuple[Expr, ...],
        is_store: bool,
    ) -> Iterator[_Access]:
        if buffer.scope in ("input", "const") or buffer.name in self.own:
            return
        root, form = place.rooted(buffer, indices)
        if form is None:
            return
        used = {name for each in (form, *conditions) for name, _ in each.terms}
        loop, *inner = axes
        needed = {name: axes[name] for name in (loop, *(name for name in inner if name in used))}
        if prod(map(len, needed.values())) <= MAX_POINTS:
            yield _Access(root, is_store, form, conditions, needed)


def children(expr: Expr) -> Iterator[Expr]:
    """The expressions directly inside an expression."""
    for part in vars(expr).values():
        for child in part if isinstance(part, tuple) else (part,):
            if isinstance(child, Expr):
                yield child
