"""hoist-addresses: what an address does not owe to the innermost loop is computed before it.

Runs last on each function. Loads and stores in a loop without inner loops become elements of
pointers that are made once per run of the loop. Accesses that differ by a constant share a pointer,
so that the constant becomes the instruction's offset. A load that is made only sometimes may lie
outside of its array when it is not made, so it makes no pointer, but it may use one:

    for r: acc += in[y * 512 + x * 16 + r] * w[c * 144 + r]
    ---
    p0 = in + (y * 512 + x * 16);  p1 = w + c * 144;  for r: acc += p0[r] * p1[r]
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from utvm.ir.loop import Buffer, Expr, For, Function, If, Imm, Let, Load, Stmt, Store, View
from utvm.ir.rewrite import Linear, from_linear, linear, map_certain, map_stmt, used_names


def hoist_addresses(function: Function) -> Function:
    """The function with pointers in front of its innermost loops."""
    return replace(function, body=_body(function.body, _Pointers(used_names(function))))


@dataclass
class _Pointers:
    """Numbers pointers across one function, around the names that are ``taken``."""

    taken: set[str]
    count: int = 0

    def fresh(self) -> str:
        while f"p{self.count}" in self.taken:
            self.count += 1
        self.count += 1
        return f"p{self.count - 1}"


def _body(body: tuple[Stmt, ...], pointers: _Pointers) -> tuple[Stmt, ...]:
    result: list[Stmt] = []
    made: dict[tuple[Buffer, Expr], Buffer] = {}
    for stmt in body:
        match stmt:
            case For(body=inner) if not any(isinstance(s, For | If) for s in inner):
                result += _hoisted(stmt, pointers, made)
            case For(body=inner):
                result.append(replace(stmt, body=_body(inner, pointers)))
            case If(condition, then, orelse):
                result.append(If(condition, _body(then, pointers), _body(orelse, pointers)))
            case _:
                result.append(stmt)
    return tuple(result)


Key = tuple[Buffer, tuple[tuple[str, int], ...], int]


@dataclass
class _Accesses:
    """The accesses of one loop by what they share; the smallest constant of each group.

    Constants count from the loop's first iteration, so that no pointer lies in front of its array.
    """

    name: str
    start: int
    local: frozenset[str]
    lowest: dict[Key, int] = field(default_factory=dict)

    def key(self, buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Key, int] | None:
        """(base, outer terms, stride of the loop) and the constant; None if it stays as it is."""
        if buffer.scope == "register":
            return None
        form = _flat(buffer, indices)
        if form is None or any(name in self.local for name, _ in form.terms):
            return None
        outer = tuple(term for term in form.terms if term[0] != self.name)
        base = replace(buffer, shape=(buffer.elements,))
        stride = form.coefficient(self.name)
        return (base, outer, stride), form.constant + stride * self.start

    def note(self, buffer: Buffer, indices: tuple[Expr, ...]) -> None:
        found = self.key(buffer, indices)
        if found is not None:
            key, constant = found
            self.lowest[key] = min(constant, self.lowest.get(key, constant))

    def note_all(self, stmt: Stmt) -> None:
        """Every access that the statement surely makes."""

        def note(expr: Expr) -> Expr:
            if isinstance(expr, Load):
                self.note(expr.buffer, expr.indices)
            return expr

        match stmt:
            case Let(value=value):
                map_certain(value, note)
            case Store(buffer, indices, value):
                for expr in (*indices, value):
                    map_certain(expr, note)
                self.note(buffer, indices)


def _flat(buffer: Buffer, indices: tuple[Expr, ...]) -> Linear | None:
    offset: Expr = Imm(0)
    for extent, index in zip(buffer.shape, indices, strict=True):
        offset = offset * extent + index
    return linear(offset)


def _hoisted(stmt: For, pointers: _Pointers, made: dict[tuple[Buffer, Expr], Buffer]) -> list[Stmt]:
    """The loop behind the pointers it needs; those in ``made`` stand before it already."""
    start = stmt.start.value if isinstance(stmt.start, Imm) else 0
    local = frozenset(s.var.name for s in stmt.body if isinstance(s, Let))
    accesses = _Accesses(stmt.var.name, int(start), local)

    for inner in stmt.body:
        accesses.note_all(inner)
    views: dict[Key, Buffer] = {}
    new: list[Stmt] = []
    for key, lowest in accesses.lowest.items():
        base, outer, _ = key
        offset = from_linear(Linear(lowest, outer))
        if (base, offset) not in made:
            made[base, offset] = replace(base, name=pointers.fresh())
            new.append(View(made[base, offset], base, offset))
        views[key] = made[base, offset]

    def moved(buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Buffer, tuple[Expr, ...]]:
        found = accesses.key(buffer, indices)
        if found is None or found[0] not in views:
            return buffer, indices
        key, constant = found
        terms = ((stmt.var.name, key[2]),) if key[2] else ()
        first = constant - accesses.lowest[key] - key[2] * accesses.start
        return views[key], (from_linear(Linear(first, terms)),)

    def change(expr: Expr) -> Expr:
        if not isinstance(expr, Load):
            return expr
        buffer, indices = moved(expr.buffer, expr.indices)
        return replace(expr, buffer=buffer, indices=indices)

    body: list[Stmt] = []
    for inner in stmt.body:
        inner = map_stmt(inner, change)
        if isinstance(inner, Store):
            buffer, indices = moved(inner.buffer, inner.indices)
            inner = replace(inner, buffer=buffer, indices=indices)
        body.append(inner)
    return [*new, replace(stmt, body=tuple(body))]
