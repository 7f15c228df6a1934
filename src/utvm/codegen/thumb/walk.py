"""Which accesses share one walking pointer.

In: a ``Nest``. Out: a ``Walker`` per pointer and, by access, which one it uses (none: its address
is computed where it is needed). A walker's register holds the buffer's address plus its *form*, a
polynomial that is known at every point of the text: each loop adds its slope, and what an access
needs beyond the form is a constant, the immediate of its instruction. So a sequential stream takes
one register at all depths, with one addition per loop:

    bias[block*S + c] | in loop k: w[block*S + 4 + 16*k + j] | behind it: w[block*S + 4 + 16*K + j]

Accesses that are a scalar's multiple apart (rows of an image whose pitch is a parameter) take a
walker each, or one that ``jumps`` by it from one access to the next: fewer registers, more
additions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from utvm.codegen.thumb.accesses import Access, Fetch, Nest, Put
from utvm.codegen.thumb.isa import OFFSET_HIGH
from utvm.codegen.thumb.polynomial import Polynomial, constant, symbol
from utvm.ir.loop import Expr, For, If, Let, Stmt, Store
from utvm.ir.rewrite import map_expr


@dataclass
class Walker:
    """A walking pointer. ``entry``: the form on entry; ``slopes`` by loop variable, in bytes."""

    buffer: str
    entry: Polynomial
    members: set[int] = field(default_factory=set)
    slopes: dict[str, Polynomial] = field(default_factory=dict)


class _Unfit(Exception):  # noqa: N818 - a signal, not an error
    """These accesses cannot share a pointer."""


def plan_walkers(nest: Nest, jumps: bool = False) -> list[Walker]:
    """The walking pointers of a nest, in the order of their first use."""
    walkers: list[Walker] = []
    at = _by_statement(nest)
    for members in _alike(nest):
        first = nest.accesses[min(members)]
        for walker in walkers:
            if walker.buffer == first.buffer and _near(nest, walker.members | members):
                joined = _walker(nest, at, walker.members | members, jumps)
                if joined is not None:
                    walkers[walkers.index(walker)] = joined
                    break
        else:
            alone = _walker(nest, at, members, jumps)
            if alone is not None:
                walkers.append(alone)
    return walkers


def _alike(nest: Nest) -> list[set[int]]:
    """Accesses of one buffer in the same loops whose forms differ by small constants only."""
    groups: dict[object, list[Access]] = {}
    for access in nest.accesses:
        key = (access.buffer, access.path, access.form.variable)
        groups.setdefault(key, []).append(access)
    result: list[set[int]] = []
    for accesses in groups.values():
        clusters: list[list[Access]] = []
        for access in sorted(accesses, key=lambda a: a.form.constant):
            if clusters and access.form.constant - clusters[-1][0].form.constant <= OFFSET_HIGH - 3:
                clusters[-1].append(access)
            else:
                clusters.append([access])
        result += [{a.number for a in cluster} for cluster in clusters]
    return sorted(result, key=min)


def _near(nest: Nest, members: set[int]) -> bool:
    """Whether a pointer has to jump at most as often as places far apart are visited once each."""
    places: dict[object, list[int]] = {}
    for number in sorted(members):
        access = nest.accesses[number]
        key = (access.path, access.form.variable)
        places.setdefault(key, []).append(access.form.constant)
    jumps, clusters = 0, 0
    for constants in places.values():
        low = constants[0]
        for value in constants:
            if not low - 255 <= value <= low + OFFSET_HIGH:
                jumps, low = jumps + 1, value
        clusters += (max(constants) - min(constants)) // (OFFSET_HIGH + 1)
    return jumps <= clusters


def _walker(
    nest: Nest, at: Mapping[int, list[int]], members: set[int], jumps: bool
) -> Walker | None:
    """The pointer that serves these accesses, or None."""
    first = nest.accesses[min(members)]
    entry = first.form
    for var in reversed(first.path):
        entry = entry.replaced({var: nest.starts[var]})
    walker = Walker(first.buffer, entry.variable, members)
    scalars = {var.name for var in nest.function.scalars}
    try:
        _Follower(nest, at, walker, scalars, jumps).body(nest.body, walker.entry)
    except _Unfit:
        return None
    return walker


@dataclass
class _Follower:
    """Follows a pointer through the text and finds its slopes. ``at``: the accesses of each
    statement."""

    nest: Nest
    at: Mapping[int, list[int]]
    walker: Walker
    scalars: set[str]
    jumps: bool

    def body(self, body: tuple[Stmt, ...], form: Polynomial) -> Polynomial:
        self._evaluable(form.names - set(self.nest.loops))
        for stmt in body:
            for number in sorted(self.walker.members.intersection(self.at[id(stmt)])):
                there = self.nest.accesses[number].form.variable
                if there != form.variable:
                    if not self.jumps:
                        raise _Unfit
                    self._evaluable((there - form.variable).names)
                    form = there
            match stmt:
                case For():
                    form = self._loop(stmt, form)
                case If(_, then, orelse):
                    self.body(then, form)
                    self.body(orelse, form)
        return form

    def _loop(self, stmt: For, form: Polynomial) -> Polynomial:
        var = stmt.var.name
        inside = [a for a in self.walker.members if var in self.nest.accesses[a].path]
        if not inside:
            return form
        forms = {self.nest.accesses[number].form.variable for number in inside}
        slopes = {form.slope(var) for form in forms}
        slope = slopes.pop()
        if slopes or slope is None:
            raise _Unfit
        self._evaluable(slope.names)
        self.walker.slopes[var] = slope
        start, end = self.nest.starts[var], self.nest.end(var)
        top = form + slope * (symbol(var) - start)
        bottom = self.body(stmt.body, top)
        step = constant(stmt.step)
        self._evaluable((top.replaced({var: symbol(var) + step}) - bottom).names)
        if slope.terms and end is None:
            raise _Unfit
        return form if not slope.terms else form + slope * ((end or start) - start)

    def _evaluable(self, names: frozenset[str]) -> None:
        if not names <= self.scalars:
            raise _Unfit


def _by_statement(nest: Nest) -> dict[int, list[int]]:
    """The accesses of every statement, by its identity."""
    result: dict[int, list[int]] = {}
    pending = list(nest.body)
    while pending:
        stmt = pending.pop()
        result[id(stmt)] = _touched(nest, stmt)
        match stmt:
            case For(body=body):
                pending += body
            case If(_, then, orelse):
                pending += (*then, *orelse)
    return result


def _touched(nest: Nest, stmt: Stmt) -> list[int]:
    """The accesses of one statement itself, without those of the statements inside of it."""
    found: list[int] = []

    def visit(expr: Expr) -> Expr:
        if isinstance(expr, Fetch):
            note(expr.number)
        return expr

    def note(number: int) -> None:
        for name in sorted(nest.accesses[number].form.names & set(nest.opaque)):
            map_expr(nest.opaque[name], visit)
        found.append(number)

    match stmt:
        case Let(value=value) | Store(value=value):
            map_expr(value, visit)
        case Put(number, value):
            map_expr(value, visit)
            note(number)
        case For(start=start, stop=stop):
            map_expr(start, visit)
            map_expr(stop, visit)
        case If(condition=condition):
            map_expr(condition, visit)
    return found
