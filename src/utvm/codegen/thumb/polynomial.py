"""Byte offsets as polynomials over names: what addresses are made of.

A monomial is a sorted tuple of names, the constant is the empty one. ``Polynomial`` is immutable
and hashable, so equal offsets are equal keys. Loop IR index expressions become polynomials where
they are sums and products; any other part gets a name of its own from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from utvm.ir.loop import Binary, Expr, Imm, Var

Monomial = tuple[str, ...]


@dataclass(frozen=True)
class Polynomial:
    """The sum of ``coefficient * product of names``; terms are sorted, none is zero."""

    terms: tuple[tuple[Monomial, int], ...] = ()

    def __add__(self, other: Polynomial) -> Polynomial:
        if not self.terms or not other.terms:
            return self if self.terms else other
        sums = dict(self.terms)
        for names, coefficient in other.terms:
            sums[names] = sums.get(names, 0) + coefficient
        return _made(sums)

    def __neg__(self) -> Polynomial:
        return Polynomial(tuple((names, -c) for names, c in self.terms))

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + -other

    def __mul__(self, other: Polynomial) -> Polynomial:
        if other.is_constant:
            factor = other.constant
            return Polynomial(tuple((a, x * factor) for a, x in self.terms)) if factor else ZERO
        sums: dict[Monomial, int] = {}
        for a, x in self.terms:
            for b, y in other.terms:
                names = tuple(sorted(a + b))
                sums[names] = sums.get(names, 0) + x * y
        return _made(sums)

    @cached_property
    def constant(self) -> int:
        return dict(self.terms).get((), 0)

    @cached_property
    def variable(self) -> Polynomial:
        """Everything but the constant."""
        return Polynomial(tuple(term for term in self.terms if term[0]))

    @cached_property
    def is_constant(self) -> bool:
        return all(not names for names, _ in self.terms)

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(name for names, _ in self.terms for name in names)

    def slope(self, name: str) -> Polynomial | None:
        """The factor of ``name``, or None where the polynomial is not linear in it."""
        found: dict[Monomial, int] = {}
        for names, coefficient in self.terms:
            count = names.count(name)
            if count > 1:
                return None
            if count:
                found[tuple(n for n in names if n != name)] = coefficient
        return _made(found)

    def replaced(self, values: Mapping[str, Polynomial]) -> Polynomial:
        """With names replaced by polynomials."""
        result = ZERO
        for names, coefficient in self.terms:
            term = constant(coefficient)
            for name in names:
                term = term * values.get(name, symbol(name))
            result += term
        return result


def _made(sums: Mapping[Monomial, int]) -> Polynomial:
    return Polynomial(tuple(sorted((names, c) for names, c in sums.items() if c)))


ZERO = Polynomial()


def constant(value: int) -> Polynomial:
    return Polynomial((((), value),)) if value else ZERO


def symbol(name: str) -> Polynomial:
    return Polynomial((((name,), 1),))


def polynomial(
    expr: Expr, known: Mapping[str, Polynomial], opaque: Callable[[Expr], Polynomial]
) -> Polynomial:
    """``expr`` over names; ``known`` replaces variables, ``opaque`` names all that is no sum."""
    match expr:
        case Imm(value=int(value)):
            return constant(value)
        case Var(name):
            return known.get(name, symbol(name))
        case Binary("+", a, b):
            return polynomial(a, known, opaque) + polynomial(b, known, opaque)
        case Binary("-", a, b):
            return polynomial(a, known, opaque) - polynomial(b, known, opaque)
        case Binary("*", a, b):
            return polynomial(a, known, opaque) * polynomial(b, known, opaque)
        case Binary("<<", a, Imm(value=int(value))):
            return polynomial(a, known, opaque) * constant(1 << value)
    return opaque(expr)
