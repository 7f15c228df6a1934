"""Each instruction and pattern of the back end computes what the loop interpreter computes.

A pattern is an expression of three int32 operands; a micro function applies it to every row of
extreme and random operands. All patterns run in one program per core and compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.codegen.thumb.programs import Case, check_cases
from utvm.codegen.thumb import NotSelectableError, assemble
from utvm.ir.dtype import DType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import (
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    Function,
    Imm,
    Let,
    Load,
    Select,
    Store,
    Var,
    clamp,
    loop,
)
from utvm.target.target import load_target

I8, I16, I32 = DType.INT8, DType.INT16, DType.INT32
U8, U16, U32 = DType.UINT8, DType.UINT16, DType.UINT32
MIN, MAX = I32.minimum, I32.maximum
EXTREME = (MIN, MIN + 1, -65536, -32769, -129, -1, 0, 1, 127, 255, 32767, 65535, MAX - 1, MAX)
Pattern = Callable[[Expr, Expr, Expr], Expr]


def call(name: str, *args: Expr) -> Call:
    return Call(name, args, I32)


def small(x: Expr, bits: int = 20) -> Expr:
    """An operand of at most ``32 - bits`` bits, so that sums and products stay in range."""
    return x >> bits


def masked(x: Expr, mask: int, shift: int) -> Expr:
    """Some bits, further up."""
    kept = Binary("&", Cast(U32, x), Imm(mask, U32))
    return Cast(I32, Binary("<<", kept, Imm(shift, U32)))


def compare(op: str) -> Pattern:
    return lambda a, b, c: Select(Binary(op, a, b), c, Imm(-5))


PATTERNS: dict[str, tuple[Pattern, str]] = {
    "mla": (lambda a, b, c: small(a) * small(b) + small(c), " mla "),
    "mls": (lambda a, b, c: small(c) - small(a) * small(b), " mls "),
    "mul": (lambda a, b, c: small(a) * small(b), " mul "),
    "smuad of smlad": (lambda a, b, c: call("smlad", a >> 1, b >> 1, Imm(0)), " smuad "),
    "smulbt of smlabt": (lambda a, b, c: call("smlabt", a, b, Imm(0)), " smulbt "),
    "masked, shifted": (lambda a, b, c: masked(a, 0x00FF00FF, 8), ", lsl #8"),
    "times 8": (lambda a, b, c: small(a) * 8, " lsl "),
    "times 9": (lambda a, b, c: small(a) * 9, " mul "),
    "add shifted": (lambda a, b, c: small(a) + (b >> 7), ", asr #7"),
    "shifted first": (lambda a, b, c: (b >> 7) + call("clz", a), ", asr #7"),
    "sub shifted": (lambda a, b, c: small(a) - (b >> 3), ", asr #3"),
    "rsb shifted": (lambda a, b, c: (b >> 3) - call("clz", a), " rsb "),
    "rsb literal": (lambda a, b, c: Imm(100) - small(b), " rsb "),
    "add 4095": (lambda a, b, c: small(a) + 4095, " add "),
    "add 70000": (lambda a, b, c: small(a) + 70000, "movt "),
    "sub 3": (lambda a, b, c: small(a) - 3, " sub "),
    "and": (lambda a, b, c: Binary("&", a, b), " and "),
    "and 255": (lambda a, b, c: Binary("&", a, Imm(255)), " uxtb "),
    "and 65535": (lambda a, b, c: Binary("&", a, Imm(65535)), " uxth "),
    "and wide literal": (lambda a, b, c: Binary("&", a, Imm(0x00FF00FF)), "#16711935"),
    "or shifted": (lambda a, b, c: Binary("|", a, b >> 16), ", asr #16"),
    "xor": (lambda a, b, c: Binary("^", a, Imm(-1)), " eor "),
    "shift by register": (lambda a, b, c: Binary(">>", a, Binary("&", b, Imm(31))), " asr "),
    "mulhi": (lambda a, b, c: call("mulhi", a, b), " smmul "),
    "smmla": (lambda a, b, c: call("mulhi", a, b) + small(c, 1), " smmla "),
    "smmla literal": (lambda a, b, c: call("mulhi", small(a, 1), Imm(MAX)) + 3, " smmla "),
    "mulhi_long": (lambda a, b, c: call("mulhi_long", a, small(b, 1), c), " smlal "),
    "mulhi_long and a literal": (
        lambda a, b, c: call("mulhi_long", small(a, 1), small(b, 1), c) + (1 << 20),
        ", asr #31",
    ),
    "mulhi_rounding": (lambda a, b, c: call("mulhi_rounding", a, b), " qadd "),
    "mulhi_rounding literal": (
        lambda a, b, c: call("mulhi_rounding", a, Imm((1 << 30) - 1)),
        " smmulr ",
    ),
    "mulhi_rounding large": (lambda a, b, c: call("mulhi_rounding", a, Imm(MAX)), " smull "),
    "requantize_right": (
        lambda a, b, c: call("requantize_right", a, Imm(1518500250), Imm(7)),
        " smull ",
    ),
    "requantize_right by 1": (
        lambda a, b, c: call("requantize_right", small(a, 1), Imm(1 << 30), Imm(1)),
        " smull ",
    ),
    "ssat shifted": (lambda a, b, c: clamp(a >> 9, -128, 127), "#8, r"),
    "ssat": (lambda a, b, c: clamp(a, -32768, 32767), " ssat "),
    "usat": (lambda a, b, c: clamp(a >> 20, 0, 255), " usat "),
    "usat bit": (lambda a, b, c: clamp(a, 0, 1), "#1, r"),
    "clamp the other way": (
        lambda a, b, c: Binary("max", Binary("min", a, Imm(127)), Imm(-128)),
        " ssat ",
    ),
    "uneven clamp": (lambda a, b, c: clamp(a >> 20, -100, 127), "movlt "),
    "clamp with a high end of the type": (lambda a, b, c: clamp(a >> 20, -100, 127), "ssat "),
    "clamp with a low end of the type": (lambda a, b, c: clamp(a >> 20, -128, 9), "ssat "),
    "relu": (lambda a, b, c: Binary("max", a, Imm(0)), "movlt "),
    "min": (lambda a, b, c: Binary("min", a, b), "it gt"),
    "max": (lambda a, b, c: Binary("max", a, b), "it lt"),
    "min of a literal": (lambda a, b, c: Binary("min", a, Imm(70001)), "it gt"),
    "int8": (lambda a, b, c: Cast(I32, Cast(I8, a)), " sxtb "),
    "int16": (lambda a, b, c: Cast(I32, Cast(I16, a)), " sxth "),
    "uint8": (lambda a, b, c: Cast(I32, Cast(U8, a)), " uxtb "),
    "uint16": (lambda a, b, c: Cast(I32, Cast(U16, a)), " uxth "),
    "flag": (lambda a, b, c: Cast(I32, Binary("<=", a, b)), "it le"),
    "clz": (lambda a, b, c: call("clz", a), " clz "),
    **{op: (compare(op), "it ") for op in ("<", "<=", ">", ">=", "==", "!=")},
}


def packed_pattern(name: str) -> Pattern:
    count = len(INSTRUCTIONS[name].operands)
    return lambda *operands: call(name, *operands[:count])


def text_of(name: str) -> str:
    """The mnemonic, or what the instruction fixes behind its operands."""
    mnemonic, operands = INSTRUCTIONS[name].text.split(" ", 1)
    return operands.rpartition("}")[2] or f" {mnemonic} "


PATTERNS |= {name: (packed_pattern(name), text_of(name)) for name in INSTRUCTIONS}


def rows() -> np.ndarray:
    random = np.random.default_rng(4)
    pairs = np.array(list(product(EXTREME, EXTREME)))
    third = random.choice(np.array(EXTREME), (len(pairs), 1))
    extreme = np.concatenate([pairs, third], 1)
    return np.concatenate([extreme, random.integers(MIN, MAX, (60, 3), endpoint=True)])


ROWS = rows()


def function_of(pattern: Pattern) -> Function:
    operands = [Buffer(name, I32, (len(ROWS),), "input") for name in "abc"]
    out = Buffer("out", I32, (len(ROWS),), "output")
    i = Var("i")
    lets = [Let(Var(f"v{b.name}"), Load(b, (i,))) for b in operands]
    value = pattern(*(let.var for let in lets))
    body = loop(i, len(ROWS), *lets, Store(out, (i,), value))
    return Function("pattern", tuple(operands), (out,), (body,))


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_its_instruction(name: str) -> None:
    pattern, text = PATTERNS[name]
    found = assemble(function_of(pattern), "f", load_target("cortex-m4"))
    assert text in found or text.rstrip() + "s " in found, "short forms set flags"


@pytest.mark.parametrize(("target", "toolchain"), [("cortex-m4", "zig"), ("cortex-m7", "gcc")])
def test_patterns_compute_what_the_interpreter_does(
    target: str, toolchain: str, tmp_path: Path
) -> None:
    arrays = {name: ROWS[:, k].astype(np.int32) for k, name in enumerate("abc")}
    arrays["out"] = np.zeros(len(ROWS), np.int32)
    cases = [Case(function_of(pattern), arrays, {}) for pattern, _ in PATTERNS.values()]
    check_cases(cases, tmp_path, target, toolchain)


def test_what_cannot_be_selected_is_left_to_c() -> None:
    m4 = load_target("cortex-m4")
    floats = Buffer("x", DType.FLOAT32, (4,), "input")
    out = Buffer("out", DType.FLOAT32, (4,), "output")
    i = Var("i")
    copy = Function("f", (floats,), (out,), (loop(i, 4, Store(out, (i,), Load(floats, (i,)))),))
    with pytest.raises(NotSelectableError, match="float32"):
        assemble(copy, "f", m4)
    with pytest.raises(NotSelectableError, match="the operator /"):
        assemble(function_of(lambda a, b, c: Binary("/", a, b)), "f", m4)
    with pytest.raises(NotSelectableError, match="the intrinsic divide"):
        assemble(function_of(lambda a, b, c: call("divide", a, b)), "f", m4)
    with pytest.raises(NotSelectableError, match="cortex-m3 has no dsp"):
        assemble(function_of(packed_pattern("smlad")), "f", load_target("cortex-m3"))
    with pytest.raises(NotSelectableError, match="host has no instruction set"):
        assemble(function_of(lambda a, b, c: a), "f", load_target("host"))
