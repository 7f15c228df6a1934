"""Functions become C: the text of every kind of statement, names, qualifiers and line breaks."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from utvm.codegen.c_function import FunctionPrinter, aligned, workspace_bytes
from utvm.codegen.c_layout import CALL, PROTOTYPE, comment, wrap_arguments
from utvm.codegen.c_names import KEYWORDS, constant_names, field_names
from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Call,
    Cast,
    Comment,
    Expr,
    For,
    Function,
    If,
    Imm,
    Let,
    Load,
    Select,
    Stmt,
    Store,
    Var,
    View,
    clamp,
)

INT8, INT32 = DType.INT8, DType.INT32
REPOSITORY = Path(__file__).parents[2]
X = Buffer("in0", INT8, (4, 8), "input")
Y = Buffer("out0", INT8, (4, 8), "output")
ACC = Buffer("acc", INT32, (), "register")
ROWS = Buffer("rows", INT8, (3,), "workspace")
SUMS = Buffer("sums", INT32, (2,), "workspace")
WEIGHT = Buffer("conv2d_3_weight", INT8, (8,), "const")
OUTER, INNER = Var("i"), Var("j")


def printed(function: Function, in_place: bool = False) -> str:
    symbols = {buffer.name: f"net_{buffer.name}" for buffer in function.constants}
    return FunctionPrinter(function, "net_f", symbols, in_place).definition()


def body_of(*body: Stmt, constants: tuple[Buffer, ...] = ()) -> list[str]:
    """The lines of a body that follow the signature, without their common indentation."""
    function = Function("f_0", (X,), (Y,), body, (ROWS, SUMS), constants)
    lines = printed(function).splitlines()
    first = next(i for i, line in enumerate(lines) if line.endswith("{"))
    return [line.removeprefix("  ") for line in lines[first + 1 : -1] if "(void)" not in line]


def test_every_statement() -> None:
    pointer = Buffer("p0", INT8, (32,), "input")
    body = For(
        OUTER,
        Imm(0),
        Imm(8),
        (
            Alloc(ACC),
            Store(ACC, (), Imm(3)),
            View(pointer, X, OUTER * 8),
            For(
                INNER,
                Imm(0),
                OUTER + 1,
                (Store(ACC, (), Load(ACC) + Cast(INT32, Load(pointer, (INNER,)))),),
            ),
            Let(Var("v0"), Load(ACC) >> 2),
            Comment("a word to the reader"),
            If(
                Binary("<", Var("v0"), Imm(5)),
                (Store(Y, (OUTER, Imm(0)), Cast(INT8, Var("v0"))),),
                (Store(Y, (OUTER, Imm(1)), Imm(-1, INT8)),),
            ),
        ),
        step=2,
    )
    assert printed(Function("f_0", (X,), (Y,), (body,), comment=("ADD #1", "add(x)"))) == (
        """/* ADD #1
 * add(x) */
void net_f(const int8_t *restrict in0, int8_t *restrict out0) {
  for (int32_t i = 0; i < 8; i += 2) {
    int32_t acc = 3;
    const int8_t *const p0 = in0 + i * 8;
    for (int32_t j = 0; j < i + 1; j++) {
      acc += p0[j];
    }
    const int32_t v0 = acc >> 2;
    /* a word to the reader */
    if (v0 < 5) {
      out0[i * 8] = (int8_t)v0;
    } else {
      out0[i * 8 + 1] = -1;
    }
  }
}
"""
    )


def test_a_register_without_a_first_value_is_declared_alone() -> None:
    lines = body_of(
        Alloc(ACC),
        If(Binary("<", Imm(1), Imm(2)), (Store(ACC, (), Imm(1)),), (Store(ACC, (), Imm(2)),)),
    )
    assert lines[:3] == ["int32_t acc;", "if (1 < 2) {", "  acc = 1;"]


def test_workspace_is_divided_in_aligned_parts() -> None:
    lines = body_of(Store(ROWS, (Imm(0),), Imm(1, INT8)), Store(SUMS, (Imm(1),), Imm(2)))
    assert lines[:2] == [
        "int8_t *const rows = workspace;",
        "int32_t *const sums = (void *)((uint8_t *)workspace + 8);",
    ]
    function = Function("f_0", (X,), (Y,), (), (ROWS, SUMS))
    assert workspace_bytes(function) == 16
    assert (aligned(0), aligned(1), aligned(8)) == (0, 8, 8)


def test_in_place_kernels_promise_nothing_about_aliasing() -> None:
    function = Function("f_0", (X,), (Y,), (), (ROWS,))
    assert "void net_f(const int8_t *in0, int8_t *out0, void *workspace) {" in printed(
        function, in_place=True
    )
    assert printed(function).count("restrict") == 3


def test_operands_that_are_not_read_cause_no_warning() -> None:
    function = Function("f_0", (X,), (Y,), (Store(Y, (Imm(0), Imm(0)), Imm(1, INT8)),))
    assert "(void)in0;" in printed(function)
    assert "(void)out0;" not in printed(function)


def test_constants_are_named_by_role_around_other_names() -> None:
    shared = Buffer("dense_7_weight", INT8, (8,), "const")
    acc = Buffer("dense_7_acc", INT8, (8,), "const")
    body = (Alloc(ACC), Store(ACC, (), Imm(0)))
    function = Function("f_0", (X,), (Y,), body, constants=(WEIGHT, shared, acc))
    assert constant_names(function) == {
        "conv2d_3_weight": "weight",
        "dense_7_weight": "weight_2",
        "dense_7_acc": "acc_2",
    }
    lines = body_of(Store(Y, (Imm(0), Imm(0)), Load(WEIGHT, (Imm(2),))), constants=(WEIGHT, shared))
    assert lines == ["const int8_t *const weight = net_conv2d_3_weight;", "out0[0] = weight[2];"]


def test_long_statements_are_cut_into_named_parts() -> None:
    long: Expr = Var("an_operand_with_a_rather_long_name_0")
    for k in range(1, 5):
        long = Call("mulhi", (long, Var(f"an_operand_with_a_rather_long_name_{k}")), INT32)
    lines = body_of(Store(Y, (Imm(0), Imm(0)), Cast(INT8, clamp(long - 128, -128, 127))))
    assert all(len(line) <= 98 for line in lines)
    assert lines[0].startswith("const int32_t t0 =")
    assert lines[-1].startswith("out0[0] = (int8_t)")


def test_a_guarded_load_stays_behind_its_condition() -> None:
    i, x = Var("i" * 30), Buffer("x" * 30, INT32, (9,), "input")
    inside = Binary("and", Binary(">=", i, Imm(0)), Binary("<", i, Imm(9)))
    guarded = Select(inside, Load(x, (i,)), Imm(0))
    lines = body_of(Let(Var("v0"), guarded + Load(x, (Imm(3),)) * 7))
    text = " ".join(lines)
    assert "? xxx" in text
    assert len(lines) > 1
    assert not re.search(r"= *x+\[i", text)


def test_comments_are_harmless_and_wrapped() -> None:
    lines = comment(('*/ "quoted\n" \\ ' + "word " * 40, "second"), "  ")
    text = "\n".join(lines)
    assert text.startswith("  /* ") and text.endswith(" */")
    assert text.count("*/") == 1 and '"' not in text and "\\" not in text
    assert len(lines) > 3 and all(len(line) <= 100 for line in lines)
    assert comment(()) == []


def test_field_names_are_different_and_no_keywords() -> None:
    assert field_names(("x", "class", "int", "int_", "workspace")) == (
        "x",
        "class_",
        "int_",
        "int__",
        "workspace_",
    )
    assert {"register", "virtual", "int8_t"} <= KEYWORDS


def random_lists(seed: int, count: int) -> list[str]:
    """Prototypes and calls with names and lists of every length, as the layout breaks them."""
    pick = random.Random(seed)
    parts: list[str] = []
    for number in range(count):
        name = f"tvmgen_{'m' * pick.randint(1, 40)}_{'k' * pick.randint(3, 22)}_{number}"
        arguments = [
            pick.choice(
                [f"const int8_t *restrict in{k}", f"float *out{k}", f"void *restrict workspace{k}"]
            )
            for k in range(pick.randint(1, 12))
        ]
        if pick.random() < 0.5:
            parts.append(wrap_arguments(f"void {name}(", arguments, ");", "", PROTOTYPE))
        else:
            names = [
                pick.choice(
                    [f"at({pick.randint(0, 99999)})", f"inputs->{'i' * pick.randint(1, 40)}"]
                )
                for _ in arguments
            ]
            call = wrap_arguments(f"{name}(", names, ");", "  ", CALL)
            parts.append(f"void f{number}(void) {{\n{call}\n}}")
    return parts


def test_argument_lists_break_as_clang_format_breaks_them() -> None:
    text = "\n\n".join(random_lists(5, 400)) + "\n"
    assert formatted(text) == text


@cache
def formatted(text: str) -> str:
    """What clang-format makes of a text with the repository's settings."""
    beside = Path(sys.executable).with_name("clang-format")
    program = str(beside) if beside.exists() else shutil.which("clang-format")
    if program is None:
        pytest.skip("needs clang-format")
    command = [program, f"--style=file:{REPOSITORY / '.clang-format'}", "--assume-filename=lists.c"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
