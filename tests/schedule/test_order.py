"""order-by-load: taps are sorted by what they read; every register keeps its own order."""

from __future__ import annotations

from utvm.ir.dtype import DType
from utvm.ir.loop import Alloc, Buffer, Cast, Expr, For, Function, Imm, Load, Stmt, Store, Var, loop
from utvm.schedule.order import order_by_load

X = Buffer("rows", DType.INT8, (3, 40), "workspace")
W = Buffer("weight", DType.INT8, (9,), "const")
C = Var("c")


def tap(register: str, row: int, column: int, weight: int, start: Expr = C) -> Store:
    """``register += rows[row][start + column] * weight[weight]``."""
    acc = Buffer(register, DType.INT32, (), "register")
    x = Cast(DType.INT32, Load(X, (Imm(row), start + column)))
    return Store(acc, (), Load(acc) + x * Cast(DType.INT32, Load(W, (Imm(weight),))))


def ordered(body: tuple[Stmt, ...], buffer: str = "rows") -> tuple[Stmt, ...]:
    """The body of loop ``c`` after ordering."""
    function = Function("f", (), (), (loop(C, 8, *body, parallel=True),))
    (nest,) = order_by_load(function, buffer).body
    assert isinstance(nest, For)
    return nest.body


def test_taps_are_sorted_by_row_and_column() -> None:
    body = (
        tap("a", 0, 0, 0), tap("b", 0, 1, 0), tap("c", 0, 2, 0),
        tap("a", 0, 1, 1), tap("b", 0, 2, 1), tap("c", 0, 3, 1),
        tap("a", 1, 0, 2), tap("b", 1, 1, 2), tap("c", 1, 2, 2),
    )  # fmt: skip
    expected = (
        tap("a", 0, 0, 0), tap("b", 0, 1, 0), tap("a", 0, 1, 1),
        tap("c", 0, 2, 0), tap("b", 0, 2, 1), tap("c", 0, 3, 1),
        tap("a", 1, 0, 2), tap("b", 1, 1, 2), tap("c", 1, 2, 2),
    )  # fmt: skip
    assert ordered(body) == expected


def test_other_statements_split_the_run() -> None:
    acc = Buffer("a", DType.INT32, (), "register")
    body = (Alloc(acc), tap("a", 0, 5, 0), Store(acc, (), Imm(0)), tap("b", 0, 1, 0))
    assert ordered(body) == body


def test_a_register_keeps_its_order() -> None:
    body = (tap("a", 0, 5, 0), tap("a", 0, 1, 1))
    assert ordered(body) == body


def test_loads_that_cannot_be_compared_stay() -> None:
    body = (tap("a", 0, 5, 0), tap("b", 0, 1, 1, start=Var("d")))
    assert ordered(body) == body


def test_only_the_named_buffer_counts() -> None:
    body = (tap("a", 0, 5, 0), tap("b", 0, 1, 0))
    assert ordered(body, "weight") == body
    assert ordered(body) == body[::-1]
