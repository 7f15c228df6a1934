"""What is worth remembering of an expression while a kernel is counted.

In: expressions and accesses of one function. Out: facts about each, made once and found again by
the object itself, since bodies are walked many times: a number that equal values share, what the
value depends on, its operations and operands, and the form of its address.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from utvm.codegen.forecast_operations import load_operation, operations_of
from utvm.ir.loop import Buffer, Expr, Imm, Load, Stmt, Store, Var, View
from utvm.ir.rewrite import Linear, linear, map_expr

ANY_MEMORY = "@"
"""What every value that is read from memory depends on; a buffer's own name follows the mark."""


@dataclass(frozen=True)
class Address:
    """The place of an access: ``form`` in elements if it is linear, else its ``indices``."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    form: Linear | None

    @property
    def key(self) -> tuple[str, object]:
        """What accesses share that differ by a constant."""
        return self.buffer.name, self.indices if self.form is None else self.form.terms

    @property
    def constant_bytes(self) -> int:
        return 0 if self.form is None else self.form.constant * self.buffer.dtype.size_bytes

    @property
    def residue(self) -> int | None:
        """Bytes behind a multiple of four, wherever the loops stand that move by more than one
        element; None where they decide.
        """
        if self.form is None:
            return None
        size = self.buffer.dtype.size_bytes
        if any(step * size % 4 for _, step in self.form.terms if step != 1):
            return None
        return self.constant_bytes % 4


@dataclass(frozen=True)
class Fact:
    """``plain``: literals, variables and registers, which cost nothing."""

    expr: Expr
    number: int
    plain: bool
    names: frozenset[str]
    operations: tuple[tuple[str, float], ...]
    operands: tuple[Expr, ...]
    address: Address | None


class Facts:
    """The facts about one function's expressions."""

    def __init__(self) -> None:
        self._by_object: dict[int, Fact] = {}
        self._numbers: dict[Expr, int] = {}
        self._addresses: dict[int, tuple[Stmt, Address]] = {}
        self.using: dict[str, set[int]] = defaultdict(set)

    def of(self, expr: Expr) -> Fact:
        """The facts about a value."""
        found = self._by_object.get(id(expr))
        if found is None or found.expr is not expr:
            found = self._by_object[id(expr)] = self._made(expr)
        return found

    def _made(self, expr: Expr) -> Fact:
        number = self._numbers.setdefault(expr, len(self._numbers))
        names = names_in(expr)
        for name in names:
            self.using[name].add(number)
        register = isinstance(expr, Load) and expr.buffer.scope == "register"
        plain = register or isinstance(expr, Imm | Var)
        if plain:
            return Fact(expr, number, True, names, (), (), None)
        if isinstance(expr, Load):
            address = address_of(expr.buffer, expr.indices)
            return Fact(expr, number, False, names, ((load_operation(expr), 1),), (), address)
        operations, operands = operations_of(expr)
        return Fact(expr, number, False, names, operations, operands, None)

    def place(self, stmt: Store | View) -> Address:
        """Where a statement stores, or what it points at."""
        found = self._addresses.get(id(stmt))
        if found is None or found[0] is not stmt:
            if isinstance(stmt, View):
                flat = replace(stmt.base, shape=(stmt.base.elements,))
                found = stmt, address_of(flat, (stmt.offset,))
            else:
                found = stmt, address_of(stmt.buffer, stmt.indices)
            self._addresses[id(stmt)] = found
        return found[1]


def address_of(buffer: Buffer, indices: tuple[Expr, ...]) -> Address:
    """The place of an element."""
    offset: Expr = Imm(0)
    for extent, index in zip(buffer.shape, indices, strict=True):
        offset = offset * extent + index
    return Address(buffer, indices, linear(offset))


def names_in(expr: Expr) -> frozenset[str]:
    """The variables, registers, pointers and (marked) memories that a value depends on."""
    names: set[str] = set()

    def visit(node: Expr) -> Expr:
        match node:
            case Var(name):
                names.add(name)
            case Load(buffer):
                names.add(buffer.name)
                if buffer.scope != "register":
                    names.update((memory_name(buffer.name), ANY_MEMORY))
        return node

    map_expr(expr, visit)
    return frozenset(names)


def memory_name(name: str) -> str:
    """A buffer's contents, as ``names_in`` gives them."""
    return ANY_MEMORY + name
