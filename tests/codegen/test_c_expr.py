"""Expressions become C with the same value: text of every kind of node, then random trees.

Trees are computed by the loop interpreter and by compiled C, natively with a checker for undefined
behaviour, too; a tree that overflows or divides by zero has no meaning and is not tried.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.codegen.programs import Array, run_functions
from tests.loop_interpreter import run_function
from utvm.codegen.c_expr import ExprPrinter, flat_offset, literal
from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    Function,
    Imm,
    Load,
    Select,
    Store,
    Var,
    clamp,
    maximum,
    minimum,
)

INT8, INT32, INT64, FLOAT32 = DType.INT8, DType.INT32, DType.INT64, DType.FLOAT32
A, B, C = Var("a"), Var("b"), Var("c")
D, E = Var("d", INT8), Var("e", INT8)
F, G = Var("f", FLOAT32), Var("g", FLOAT32)
P, Q, R = (Binary("<", x, y) for x, y in ((A, B), (B, C), (C, A)))
TABLE = Buffer("table", INT8, (4, 5), "const")
ACC = Buffer("acc", INT32, (), "register")


INPUTS = tuple(
    Buffer(f"in{k}", dtype, (6,), "input")
    for k, dtype in enumerate((INT8, DType.UINT8, DType.INT16, INT32))
)
ARRAYS: dict[str, Array] = {
    "in0": np.array([-128, -1, 0, 1, 77, 127], np.int8),
    "in1": np.array([0, 1, 2, 128, 200, 255], np.uint8),
    "in2": np.array([-32768, -300, -1, 0, 5, 32767], np.int16),
    "in3": np.array([-(1 << 31), -70000, -1, 0, 9, (1 << 31) - 1], np.int32),
}


def op(operator: str, a: Expr, b: Expr) -> Expr:
    return Binary(operator, a, b)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (A + B * 3, "a + b * 3"),
        ((A + B) * C, "(a + b) * c"),
        (A - (B - C), "a - (b - c)"),
        (A - B - C, "a - b - c"),
        (A + (B + C), "a + (b + c)"),
        (A * op("/", B, C), "a * (b / c)"),
        (op("%", A * B, C), "a * b % c"),
        (A - Imm(-5), "a - -5"),
        (op("<<", A + 1, Imm(2)), "(a + 1) << 2"),
        (op("<<", A, Imm(2)) + 1, "(a << 2) + 1"),
        (A >> 3, "a >> 3"),
        (op("<", A >> 3, B), "(a >> 3) < b"),
        (op("&", op("&", A, B), C), "a & b & c"),
        (op("&", A + B, op("|", B, C)), "(a + b) & (b | c)"),
        (op("^", A, op("^", B, C)), "a ^ (b ^ c)"),
        (op("and", op("and", P, Q), R), "a < b && b < c && c < a"),
        (op("or", op("and", P, Q), R), "(a < b && b < c) || c < a"),
        (op("and", P, op("or", Q, R)), "a < b && (b < c || c < a)"),
        (op("==", P, Q), "(a < b) == (b < c)"),
        (minimum(A, 3), "utvm_min_int32(a, 3)"),
        (maximum(F, G), "utvm_max_float(f, g)"),
        (minimum(Var("w", INT64), 1), "utvm_min_int64(w, INT64_C(1))"),
        (maximum(Var("u", DType.UINT32), 1), "utvm_max_uint32(u, 1u)"),
        (clamp(A, -128, 127), "utvm_clamp_int32(a, -128, 127)"),
        (clamp(D, 0, 6), "(int8_t)utvm_clamp_int32(d, 0, 6)"),
        (D + E, "(int8_t)(d + e)"),
        (Cast(INT32, D) * Cast(INT32, E), "d * e"),
        (Cast(INT8, A + B), "(int8_t)(a + b)"),
        (Cast(INT64, A) * Cast(INT64, B), "(int64_t)a * (int64_t)b"),
        (Cast(FLOAT32, A), "(float)a"),
        (Cast(DType.BOOL, A), "a != 0"),
        (Cast(DType.BOOL, F + G), "f + g != 0.0f"),
        (F + (G + F), "f + (g + f)"),
        (Select(P, A, B), "a < b ? a : b"),
        (Select(P, Select(Q, A, B), Select(R, B, C)), "a < b ? (b < c ? a : b) : c < a ? b : c"),
        (Select(P, A, B) + 1, "(a < b ? a : b) + 1"),
        (Call("mulhi", (A, B + 1), INT32), "utvm_mulhi(a, b + 1)"),
        (Call("exp", (F,), FLOAT32), "utvm_expf(f)"),
        (Load(ACC), "acc"),
        (Load(TABLE, (A, B + 1)), "table[a * 5 + b + 1]"),
        (Load(TABLE, (Imm(1), Imm(2))), "table[7]"),
    ],
)  # fmt: skip
def test_text(expr: Expr, text: str) -> None:
    assert ExprPrinter(lambda buffer: buffer.name).text(expr) == text


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (-(1 << 31), INT32, "INT32_MIN"),
        ((1 << 31) - 1, INT32, "2147483647"),
        (-128, INT8, "-128"),
        (-(1 << 63), INT64, "INT64_MIN"),
        (5, INT64, "INT64_C(5)"),
        ((1 << 32) - 1, DType.UINT32, "4294967295u"),
        (1.0, FLOAT32, "1.0f"),
        (-0.0, FLOAT32, "-0.0f"),
        (0.1, FLOAT32, "0.100000001f"),
        (1e-45, FLOAT32, "1.40129846e-45f"),
        (1e20, FLOAT32, "1.00000002e+20f"),
        (float("inf"), FLOAT32, "(1.0f / 0.0f)"),
    ],
)
def test_literal(value: float, dtype: DType, text: str) -> None:
    assert literal(value, dtype) == text


def test_offset_is_canonical() -> None:
    offset = flat_offset(Buffer("x", INT8, (2, 3, 4), "input"), (A, B + 2, C - 1))
    assert ExprPrinter(lambda buffer: buffer.name).text(offset) == "a * 12 + b * 4 + c + 7"


def stores(values: list[Expr], inputs: tuple[Buffer, ...] = ()) -> list[Function]:
    """One function per result type that stores the values of that type."""
    functions = []
    for dtype in dict.fromkeys(value.dtype for value in values):
        chosen = [value for value in values if value.dtype is dtype]
        out = Buffer("out0", dtype, (len(chosen),), "output")
        body = tuple(Store(out, (Imm(i),), value) for i, value in enumerate(chosen))
        functions.append(Function(f"{dtype.value}_0", inputs, (out,), body))
    return functions


def test_literals_round_trip(tmp_path: Path) -> None:
    bits = np.random.default_rng(3).integers(0, 1 << 32, 200, np.uint32)
    special = np.array(
        [0, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0x80000001], np.uint32
    )
    floats = np.concatenate([bits, special]).view(np.float32)
    floats = floats[~np.isnan(floats)]
    whole: list[Expr] = [
        Imm(v, t)
        for t in (INT32, INT64, DType.UINT32)
        for v in (t.minimum, t.minimum + 1, 0, t.maximum)
    ]
    values = [*whole, *(Imm(float(value), FLOAT32) for value in floats)]
    functions = stores(values, INPUTS)
    results = run_functions(functions, [list(ARRAYS.values()) for _ in functions], tmp_path)
    for function, (got,) in zip(functions, results, strict=True):
        wanted = [s.value.value for s in function.body if isinstance(s, Store)]
        expected = np.array(wanted, function.outputs[0].dtype.numpy)
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_every_conversion_compiles_without_a_warning(tmp_path: Path, toolchain: str) -> None:
    inputs = tuple(Buffer(f"in{k}", dtype, (2,), "input") for k, dtype in enumerate(DType))
    loads = [Load(buffer, (Imm(0),)) for buffer in inputs]
    values: list[Expr] = []
    for load in loads:
        other = Load(load.buffer, (Imm(1),))
        less = Binary("<", load, other)
        values += [Cast(dtype, load) for dtype in DType]
        values += [Select(less, load, other), minimum(load, other), less]
        values += arithmetic(load, other)
    functions = stores(values, inputs)
    arrays = [np.array([1, 2], buffer.dtype.numpy) for buffer in inputs]
    results = run_functions(functions, [arrays for _ in functions], tmp_path, "host", toolchain)
    for function, (got,) in zip(functions, results, strict=True):
        named = {buffer.name: a for buffer, a in zip(inputs, arrays, strict=True)}
        np.testing.assert_array_equal(got, run_function(function, named)["out0"])


def arithmetic(a: Expr, b: Expr) -> list[Expr]:
    if a.dtype is DType.BOOL:
        return [Binary("and", a, b), Binary("or", a, b)]
    whole = () if a.dtype.is_float else ("/", "%", "<<", ">>", "&", "|", "^")
    return [Binary(operator, b, a) for operator in ("+", "-", "*", *whole)]


ALWAYS = ("+", "-", "*", "min", "max", "&", "|", "^")


def random_tree(random: np.random.Generator, depth: int, compared: bool = False) -> Expr:
    """An int32 expression; every operator occurs at every place.

    What is ``compared`` reads int32 only: compilers warn where a narrow type decides a comparison.
    """

    def sub() -> Expr:
        return random_tree(random, depth - 1, compared)

    if depth <= 0 or random.random() < 0.1:
        if random.random() < 0.3:
            return Imm(int(random.choice([-100, -9, -1, 0, 1, 2, 100])))
        buffer = INPUTS[-1 if compared else random.integers(len(INPUTS))]
        load = Load(buffer, (Imm(int(random.integers(buffer.elements))),))
        return load if load.dtype is INT32 else Cast(INT32, load)
    kind = random.integers(10)
    if kind == 0:
        return Select(random_condition(random, depth - 1), sub(), sub())
    if kind == 1 and not compared:
        narrow = (INT8, DType.UINT8, DType.INT16, INT64)[random.integers(4)]
        return Cast(INT32, Cast(narrow, sub()))
    if kind == 2:
        return Binary(">>", sub(), Imm(int(random.integers(31))))
    if kind == 3:  # C defines no left shift of a negative number
        return Binary("<<", maximum(sub(), 0), Imm(int(random.integers(4))))
    if kind == 4:
        divisor = sub() - Load(INPUTS[-1], (Imm(int(random.integers(6))),))
        return Binary(str(random.choice(["/", "%"])), sub(), divisor)
    if kind == 5:
        return clamp(sub(), -100, int(random.integers(100)))
    return Binary(str(random.choice(ALWAYS)), sub(), sub())


def random_condition(random: np.random.Generator, depth: int) -> Expr:
    if depth > 0 and random.random() < 0.4:
        a, b = (random_condition(random, depth - 1) for _ in range(2))
        return Binary(str(random.choice(["and", "or", "==", "!="])), a, b)
    operator = str(random.choice(["<", "<=", ">", ">=", "==", "!="]))
    a, b = (random_tree(random, depth - 1, compared=True) for _ in range(2))
    return Binary(operator, a, b if a != b else b + 1)


def meaningful_trees(count: int) -> list[Expr]:
    random = np.random.default_rng(8)
    trees: list[Expr] = []
    while len(trees) < count:
        tree = random_tree(random, int(random.integers(1, 6)))
        try:
            run_function(*program([tree]))
        except (AssertionError, ZeroDivisionError):
            continue
        trees.append(tree)
    return trees


def program(trees: list[Expr]) -> tuple[Function, dict[str, Array]]:
    (function,) = stores(trees, INPUTS)
    return function, ARRAYS


@pytest.mark.parametrize("how", ["zig", "gcc", "sanitizer"])
def test_random_trees(tmp_path: Path, how: str) -> None:
    function, arrays = program(meaningful_trees(400))
    results = run_functions(
        [function], [list(arrays.values())], tmp_path, "host", how, sanitize=how == "sanitizer"
    )
    np.testing.assert_array_equal(results[0][0], run_function(function, arrays)["out0"])
