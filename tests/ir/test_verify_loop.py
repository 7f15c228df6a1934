"""Every rule of the loop verifier: a function that breaks it, and what the verifier says.

Functions are written in the text form where that can express the mistake, and made directly where
the parser would refuse it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from utvm.ir.dtype import DType
from utvm.ir.loop import Alloc, Binary, Buffer, Function, Imm, Let, Load, Module, Stmt, Store, Var
from utvm.ir.parse_loop import parse_function, parse_module
from utvm.ir.verify_loop import verify_function, verify_module
from utvm.support.errors import InternalError

HEAD = """function f {
  input x: int8[4,4]
  const t: int8[8]
  workspace w: int32[8]
  output y: int32[16]
"""

GOOD = {
    "views and conditions": """
        for i in 0..6 parallel {
          if i >= 1 and i < 5 {
            view p: int8[16] = x.view(16)[4 * i - 4]
            for j in 0..4 parallel { y[i * 2 + j % 2] = int32(p[j]) }
          }
        }""",
    "a select guards its load": """
        for i in 0..18 parallel {
          y[min(i, 15)] = select(i >= 1 and i < 17, int32(x.view(16)[i - 1]), 0)
        }""",
    "the other branch of a condition": """
        for i in 0..20 parallel { if i >= 16 { w[0] = 1 } else { y[i] = 2 } }""",
    "bounds of outer loops": """
        for i in 0..16 step 4 parallel { for j in i..i + 4 parallel { y[j] = 0 } }""",
    "a stepping loop ends at its last step": """
        for i in 0..14 step 4 parallel { for j in 0..4 parallel { y[i + j] = 0 } }""",
    "data-dependent indices are not judged": """
        for i in 0..4 parallel { y[i] = int32(t[int32(x[i, 0])]) }""",
    "a reduction in a sequential loop": """
        alloc acc: int32[]
        acc[] = 0
        for i in 0..4 { acc[] = acc[] + int32(x[0, i]) }
        y[0] = acc[]""",
    "conditions keep iterations apart": """
        for i in 0..2 parallel { if i < 1 { y[0] = 1 } else { y[1] = 1 } }""",
    "names of an earlier loop": """
        for i in 0..4 parallel { let v: int32 = i y[i] = v }
        for i in 4..8 parallel { let v: int32 = i y[i] = v }""",
}


def function_of(body: str) -> Function:
    return parse_function(f"{HEAD}{body}\n}}")


@pytest.mark.parametrize("name", list(GOOD))
def test_good_functions_pass(name: str) -> None:
    verify_function(function_of(GOOD[name]))


BROKEN = {
    "y[16] = 0": "f: an access outside of y; expected 0 to 15; found 16 to 16 for [16]",
    "for i in 0..5 { y[i] = int32(x[i, 0]) }": "f: an access outside of x; expected 0 to 3; "
    "found 0 to 4 for [i, 0]",
    "for i in 0..4 { y[i] = int32(x[i, i - 1]) }": "f: an access outside of x; expected 0 to 3; "
    "found -1 to 2 for [i, i - 1]",
    "for i in 0..4 { y[i] = select(i >= 1, 0, int32(x[i - 1, 0])) }": "f: an access outside of x; "
    "expected 0 to 3; found -1 to 2 for [i - 1, 0]",
    "for i in 0..4 { view p: int8[16] = x.view(16)[i - 1] y[i] = int32(p[1]) }": "f: an access "
    "outside of x; expected 0 to 16; found -1 to 2 for [i - 1]",
    "for i in 0..4 { view p: int8[16] = x.view(16)[i + 8] y[i] = int32(p[i + 2]) }": "f: an "
    "access outside of x; expected 0 to 15; found 10 to 16 for [i + 2]",
    "for i in 0..16 step 4 { for j in i..i + 5 { y[j] = 0 } }": "f: an access outside of y; "
    "expected 0 to 15; found 0 to 16 for [j]",
    "for i in 0..4 parallel { y[0] = i }": "f: the loop i is parallel, but one iteration writes "
    "an element of y that another one uses",
    "for i in 0..4 parallel { for j in 0..2 { y[i + j] = 0 } }": "f: the loop i is parallel, but "
    "one iteration writes an element of y that another one uses",
    "for i in 0..4 parallel { w[i + 1] = w[i] }": "f: the loop i is parallel, but one iteration "
    "writes an element of w that another one uses",
    "for k in 0..2 { for i in 0..4 parallel { if i >= 1 { w[k] = 0 } } }": "f: the loop i is "
    "parallel, but one iteration writes an element of w that another one uses",
    "alloc a: int32[] for i in 0..4 parallel { a[] = i }": "f: the loop i is parallel, but one "
    "iteration writes an element of a that another one uses",
    "x[0, 0] = 0i8": "f: a store to what is only read; found x",
    "t[0] = 0i8": "f: a store to what is only read; found t",
    "y[0] = x[0, 0]": "f: the value stored to y is not int32; found int8 in x[0, 0]",
    "y[0] = 1 + 1i8": "f: the right side of + is not int32; found int8 in 1i8",
    "y[0, 0] = 1": "f: wrong number of indices; found y, rank 1",
    "y[1i8] = 1": "f: an index into y is not int32; found int8 in 1i8",
    "y[0] = select(1, 2, 3)": "f: a condition is not bool; found int32 in 1",
    "y[0] = select(1 < 2, 2, 3i8)": "f: the second value of a select is not int32; found int8 "
    "in 3i8",
    "if 1 { }": "f: a condition is not bool; found int32 in 1",
    "y[0] = 1 / 0": "f: a division by zero; found 1 / 0",
    "y[0] = 1 << 32": "f: a shift by too many bits; found 1 << 32",
    "y[0] = clz(1i8)": "f: an argument of clz is not int32; found int8 in 1i8",
    "y[0] = int32(clz:int8(1))": "f: not its result type; found clz",
    "let v: int8 = 1": "f: the value of v is not int8; found int32 in 1",
    "let v: int32 = 1 let v: int32 = 2": "f: a name is defined twice; found v",
    "for i in 0..2 { for i in 0..2 { y[i] = 0 } }": "f: a name is defined twice; found i",
    "alloc w: int32[]": "f: two buffers bear one name; found w",
    "view p: int32[16] = x.view(16)[0]": "f: a view is of another type than its base; found p",
    "for i in 0..4 step 0 { }": "f: a loop does not advance; found i",
    "for i in 0i8..4 { }": "f: the start of i is not int32; found int8 in 0i8",
}  # fmt: skip


@pytest.mark.parametrize("body", list(BROKEN))
def test_broken(body: str) -> None:
    with pytest.raises(InternalError) as caught:
        verify_function(function_of(body))
    assert str(caught.value) == BROKEN[body]


Y = Buffer("y", DType.INT32, (16,), "output")
ACC = Buffer("acc", DType.INT32, (), "register")

MADE: dict[str, tuple[Stmt, ...]] = {
    "f: a buffer is not declared here; found acc": (Store(ACC, (), Imm(0)),),
    "f: a variable is not defined here; found i": (Store(Y, (Var("i"),), Imm(0)),),
    "f: a variable is not defined here; found v": (
        Let(Var("v"), Imm(1)),
        Store(Y, (Imm(0),), Binary("+", Imm(1), Load(Y, (Var("v", DType.INT8),)))),
    ),
    "f: a view is of another type or size than its buffer; found y": (
        Store(replace(Y, shape=(4,)), (Imm(0),), Imm(0)),
    ),
    "f: no such operator; found **": (Store(Y, (Imm(0),), Binary("**", Imm(1), Imm(1))),),
    "f: a literal is out of range; found Imm(value=2147483648, type=<DType.INT32: 'int32'>)": (
        Store(Y, (Imm(0),), Imm(2**31)),
    ),
}


@pytest.mark.parametrize("text", list(MADE))
def test_broken_beyond_the_text(text: str) -> None:
    with pytest.raises(InternalError) as caught:
        verify_function(replace(function_of(""), body=MADE[text]))
    assert str(caught.value) == text


def test_registers_are_allocated_as_such() -> None:
    wrong = replace(function_of(""), body=(Alloc(replace(ACC, scope="output")),))
    with pytest.raises(InternalError, match="only registers are allocated"):
        verify_function(wrong)


def test_roles_and_scopes_agree() -> None:
    wrong = replace(function_of(""), inputs=(replace(Y, name="z"),))
    with pytest.raises(InternalError, match="a buffer of scope output is input"):
        verify_function(wrong, after="lower")


MODULE = """module net(x) -> (y) {
  tensor x: int8[2,2]
  tensor z: int8[4]
  tensor y: int8[4]
  alias z = x
  const t: int8[1] = [6]
  call copy_0(z) -> (y)
  function copy_0 {
    input in0: int8[4]
    const t: int8[1]
    output out0: int8[4]
    for i in 0..4 parallel { out0[i] = in0[i] + t[0] }
  }
}"""

BROKEN_MODULES = {
    "copy_0(z)": ("copy_1(z)", "a call of an unknown function; found copy_1"),
    "(z) -> (y)": ("(y) -> (y)", "a tensor is read before it is written; found y"),
    "-> (y)\n  f": ("-> (x)\n  f", "a tensor is written twice; found x"),
    "alias z = x": ("alias z = t", "an alias names no tensor; found z"),
    "tensor x: int8[2,2]": (
        "tensor x: int8[2]",
        "an alias is of another size or type than its tensor; found z",
    ),
    "t: int8[1] = [6]": (
        "t: int8[2] = [6, 6]",
        "a constant's data is of another size or type; found t",
    ),
    "const t: int8[1] = [6]\n": ("\n", "a constant has no data; found t"),
    "call copy_0(z) -> (y)": ("", "nothing writes this output; found y"),
    "tensor y: int8[4]": (
        "tensor y: int8[5]",
        "an argument is of another size or type; found copy_0, y",
    ),
    "call copy_0(z)": ("call copy_0(z, z)", "wrong number of arguments; found copy_0"),
}


def test_good_modules_pass() -> None:
    verify_module(parse_module(MODULE))


@pytest.mark.parametrize("old", list(BROKEN_MODULES))
def test_broken_modules(old: str) -> None:
    new, message = BROKEN_MODULES[old]
    text = MODULE.replace(old, new) if "\n" not in old else MODULE.replace(old, new, 1)
    assert text != MODULE
    with pytest.raises(InternalError) as caught:
        verify_module(parse_module(text), after="lower")
    assert str(caught.value) == f"after lower: module net: {message}"


def test_names_of_functions_differ() -> None:
    module = parse_module(MODULE)
    twice: Module = replace(module, functions=module.functions * 2)
    with pytest.raises(InternalError, match="two functions bear one name"):
        verify_module(twice)


def test_functions_of_a_module_are_verified() -> None:
    module = parse_module(MODULE.replace("0..4", "0..5"), {"t": np.zeros(1, np.int8)})
    with pytest.raises(InternalError, match="after lower: copy_0: an access outside of in0"):
        verify_module(module, after="lower")
