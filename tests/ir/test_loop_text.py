"""The text form of the loop IR: what is printed parses back to an equal function.

Errors give line and column; random expressions survive printing and parsing.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utvm.ir.dtype import DType
from utvm.ir.intrinsics import INTRINSICS
from utvm.ir.loop import (
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    For,
    Function,
    Imm,
    Load,
    Select,
    Store,
    Var,
)
from utvm.ir.parse_loop import parse_function, parse_module
from utvm.ir.print_loop import PRECEDENCE, print_expr, print_function, print_module
from utvm.ir.verify_loop import verify_module
from utvm.support.errors import InternalError, ModelError

EVERYTHING = """function conv2d_0 op "conv2d" macs 576 in_place [0] {
  about "conv2d(int8[4,4]) -> int8[4,4]"
  input x: int8[4,4]
  const w: int8[3]
  workspace rows: int8[18]
  output y: int8[4,4]
  note "the first line"
  for i in 1..16 step 2 parallel {
    if i >= 4 and i < 12 {
      rows[i] = x.view(16)[i - 1]
    } else {
      rows[i] = -1i8
    }
  }
  for i in 0..16 {
    alloc acc: int32[]
    acc[] = 0
    view p0: int8[16] = rows[i]
    for k in i..i + 3 {
      acc[] = acc[] + int32(p0[k - i]) * int32(w[k - i])
    }
    let v0: int32 = requantize(acc[] << 2, 1073741824, -3)
    let v1: float32 = select(v0 < 3, float32(v0), -0.5f) * 1e-07f
    y.view(16)[i] = int8(min(max(v0 - (v0 - 1), -128), 127))
  }
}
"""

MODULE = """module net(x) -> (y) {
  tensor x: int8[2,2]
  tensor flat: int8[4]
  tensor y: int8[4]
  alias flat = x
  const bound: int8[1] = [6]
  const table: int32[20]
  call min_0(flat) -> (y)

  function min_0 {
    input in0: int8[4]
    const bound: int8[1]
    const table: int32[20]
    output out0: int8[4]
    for i in 0..4 parallel {
      out0[i] = min(in0[i], bound[0])
    }
  }
}
"""


def test_every_statement_is_printed_as_it_was_read() -> None:
    text = EVERYTHING
    function = parse_function(text)
    assert print_function(function) == text
    assert (function.op, function.macs, function.in_place) == ("conv2d", 576, (0,))
    assert function.comment == ("conv2d(int8[4,4]) -> int8[4,4]",)
    loop = function.body[1]
    assert isinstance(loop, For)
    assert (loop.step, loop.parallel) == (2, True)


def test_modules_are_printed_as_they_were_read() -> None:
    table = np.arange(20, dtype=np.int32)
    module = parse_module(MODULE, {"table": table})
    assert print_module(module) == MODULE
    assert module.aliases == {"flat": "x"}
    assert module.constants["bound"].tolist() == [6]
    np.testing.assert_array_equal(module.constants["table"], table)


X = Buffer("x", DType.INT32, (4, 4), "input")
LEAVES = (
    st.sampled_from([Var("i"), Var("j")])
    | st.integers(-(2**31), 2**31 - 1).map(Imm)
    | st.sampled_from([Load(X, (Var("i"), Imm(0))), Load(X.view(16), (Var("j"),))])
)
BINARY = [op for op in (*PRECEDENCE, "min", "max") if op not in ("and", "or")]


def grow(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    """Expressions of int32 over others."""
    binary = st.builds(Binary, st.sampled_from(BINARY), inner, inner)
    conditions = st.builds(Binary, st.sampled_from(["<", "!="]), inner, inner)
    both = st.builds(Binary, st.sampled_from(["and", "or"]), conditions, conditions)
    casts = st.builds(Cast, st.sampled_from(list(DType)), inner)
    calls = st.builds(
        lambda a, b: Call(
            "shift_right_rounding", (a, b), INTRINSICS["shift_right_rounding"].result
        ),
        inner,
        inner,
    )
    odd = st.builds(lambda a: Call("clz", (a,), DType.INT8), inner)
    return binary | casts | calls | odd | st.builds(Select, conditions | both, inner, inner)


@settings(deadline=None)
@given(st.recursive(LEAVES, grow, max_leaves=12))
def test_expressions_are_exact(expr: Expr) -> None:
    y = Buffer("y", DType.INT32, (4,), "output")
    body = (For(Var("j"), Imm(0), Imm(4), (Store(y, (Var("j"),), expr),)),)
    body = (For(Var("i"), Imm(0), Imm(4), body),)
    function = Function("f", (X,), (y,), body)
    assert parse_function(print_function(function)) == function


@settings(deadline=None)
@given(
    st.one_of(
        st.builds(Imm, st.floats(width=32, allow_nan=False), st.just(DType.FLOAT32)),
        *(
            st.builds(Imm, st.integers(dtype.minimum, dtype.maximum), st.just(dtype))
            for dtype in DType
            if not dtype.is_float
        ),
    )
)
def test_literals_are_exact(literal: Imm) -> None:
    y = Buffer("y", literal.dtype, (1,), "output")
    function = Function("f", (), (y,), (Store(y, (Imm(0),), literal),))
    assert parse_function(print_function(function)) == function


def test_only_needed_parentheses_are_printed() -> None:
    a, b, c = Var("a"), Var("b"), Var("c")
    assert print_expr((a + b) + c) == "a + b + c"
    assert print_expr(a + (b + c)) == "a + (b + c)"
    assert print_expr(a + b * c) == "a + b * c"
    assert print_expr((a + b) * c) == "(a + b) * c"
    assert print_expr(Binary("and", Binary("<", a, b), Binary("<", b, c))) == "a < b and b < c"


REFUSED = {
    "function f {": 'loop:1:13: unexpected text; expected a statement; found the end of the text',
    "function f {} }": 'loop:1:15: something follows; expected the end of the text; found "}"',
    "function f { output y: int8[2] z[0] = 1i8 }": "loop:1:32: no such buffer here; expected y; "
    'found "z"',
    "function f { output y: int8[2] y[i] = 1i8 }": 'loop:1:34: no such variable here; found "i"',
    "function f { output y: int8[2] y.view(3)[0] = 1i8 }": "loop:1:32: the view has another size; "
    'expected 2; found "y"',
    "function f { output y: int8[2] y[0] = 300i8 }": "loop:1:39: the literal is out of range; "
    'expected int8; found "300"',
    "function f { output y: int8[2] y[0] = 1.5i8 }": "loop:1:39: not an integer; expected int8; "
    'found "1.5"',
    "function f { output y: int8[2] y[0] = min(1) }": "loop:1:39: wrong number of arguments; "
    'expected 2; found "min"',
    "function f { output y: bool[2] y[0] = 1 < 2 < 3 }": "loop:1:45: comparisons do not chain; "
    'expected parentheses; found "<"',
    "function f { output y: int8[2] y[0] = " + "(" * 80: "loop:1:102: nested too deeply; "
    'expected at most 64 levels; found "("',
    "module m() -> (y) { what }": "loop:1:21: a line of a module begins otherwise; expected "
    '"tensor", "alias", "const", "call", "function", "micro" or "}"; found "what"',
}  # fmt: skip


@pytest.mark.parametrize("text", list(REFUSED))
def test_refused(text: str) -> None:
    parse = parse_module if text.startswith("module") else parse_function
    with pytest.raises(ModelError) as caught:
        parse(text, file="loop")
    assert str(caught.value) == REFUSED[text]


def test_names_end_with_their_block() -> None:
    text = "function f { output y: int32[4] for i in 0..4 { y[i] = 0 } y[0] = i }"
    with pytest.raises(ModelError, match="no such variable here"):
        parse_function(text)


def test_words_and_micro_functions() -> None:
    text = """module m(x) -> (y) {
  tensor x: int8[8]
  tensor y: int32[2]
  call f(x) -> (y)

  function f {
    input in0: int8[8]
    output out0: int32[2]
    for i in 0..2 parallel {
      invoke dot(in0[4 * i], out0[i], 3)
    }
  }

  micro function dot scalars (n) {
    input a: int8[4]
    output b: int32[1]
    alloc acc: int32[]
    acc[] = n
    acc[] = smlad(sxtb16(a[0] lanes 4), sxtb16_ror8(a[0] lanes 4), acc[])
    b[0] = acc[]
  }
}
"""
    module = parse_module(text)
    verify_module(module)
    assert print_module(module) == text


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("in0[4 * i]", "in0[8 * i]", "outside of in0"),
        ("a[0] lanes 4", "a[0] lanes 2", "make no word"),
        ("out0[i], 3", "out0[i]", "wrong number of arguments"),
        ("invoke dot", "invoke other", "no such micro function"),
        ("input a: int8[4]", "input a: int8[3]", "outside of a"),
    ],
)
def test_wrong_micro_functions(old: str, new: str, what: str) -> None:
    text = """module m(x) -> (y) {
  tensor x: int8[8]
  tensor y: int32[2]
  call f(x) -> (y)
  function f {
    input in0: int8[8]
    output out0: int32[2]
    for i in 0..2 parallel {
      invoke dot(in0[4 * i], out0[i], 3)
    }
  }
  micro function dot scalars (n) {
    input a: int8[4]
    output b: int32[1]
    b[0] = smuad(a[0] lanes 4, n)
  }
}
"""
    module = parse_module(text.replace(old, new))
    with pytest.raises(InternalError, match=what):
        verify_module(module)
