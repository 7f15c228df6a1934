"""bind-loads moves no load to where it would read something else, or outside of its buffer."""

from __future__ import annotations

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Cast,
    Expr,
    Function,
    Imm,
    Let,
    Load,
    Select,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import statements
from utvm.passes.bind_loads import bind_loads

INT32 = DType.INT32
X = Buffer("in0", DType.INT8, (8,), "input")
Y = Buffer("out0", INT32, (8,), "output")
A = Buffer("acc", INT32, (), "register")
B = Buffer("index", INT32, (), "register")
I = Var("i")  # noqa: E741


def x(index: Expr) -> Expr:
    return Cast(INT32, Load(X, (index,)))


def bound(*body: Stmt) -> list[Let]:
    function = Function("f_0", (X,), (Y,), (Alloc(A), Alloc(B), *body))
    return [s for s in statements(bind_loads(function).body) if isinstance(s, Let)]


def test_guarded_loads_stay_guarded() -> None:
    guarded = Select(Binary(">=", I, Imm(1)), x(I - 1), Imm(0))
    assert bound(Store(A, (), guarded), Store(B, (), guarded)) == []


def test_a_load_beside_a_guarded_one_is_bound_alone() -> None:
    guarded = Select(Binary("<", x(I), Imm(1)), x(I), Imm(0))
    assert bound(Store(A, (), guarded), Store(B, (), x(I) + 1)) == [Let(Var("a0"), x(I))]


def test_the_right_side_of_a_condition_stays() -> None:
    both = Binary("and", Binary(">=", I, Imm(1)), Binary("<", x(I - 1), Imm(3)))
    chosen = Select(both, Imm(1), Imm(2))
    assert bound(Store(A, (), chosen), Store(B, (), chosen)) == []


def test_an_index_in_a_register_may_change_in_the_run() -> None:
    element = x(Load(B))
    body = (Store(A, (), element), Store(B, (), Load(B) + 1), Store(A, (), element))
    assert bound(*body) == []


def test_names_avoid_those_that_are_taken() -> None:
    taken = Let(Var("a0"), Imm(5))
    lets = bound(taken, Store(A, (), x(I)), Store(B, (), x(I)))
    assert [let.var.name for let in lets] == ["a0", "a1"]


def test_a_store_to_memory_ends_the_run() -> None:
    y = Load(Y, (I,))
    assert bound(Store(A, (), y), Store(Y, (I,), Imm(1)), Store(B, (), y)) == []
