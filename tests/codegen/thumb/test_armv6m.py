"""The instructions of Armv6-M compute what the loop interpreter computes.

As ``test_patterns.py`` and ``test_random.py``, on Cortex-M0+: extreme and random operands, clang
and gcc, and a second emulator (QEMU's microbit) where it is installed. What this core has no short
way to do is left to C.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.codegen.thumb.programs import Case, check_cases, run_cases_on_qemu
from tests.codegen.thumb.test_patterns import PATTERNS, ROWS, Pattern, call, function_of
from tests.codegen.thumb.test_random import case_of
from utvm.codegen.thumb import NotSelectableError, assemble
from utvm.codegen.thumb.armv6m import constant_lines
from utvm.ir.dtype import DType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Cast,
    Function,
    Imm,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    loop,
)
from utvm.target.target import load_target

TARGET = "cortex-m0plus"
LONG = (
    *("clz", "mulhi_long", "mulhi_rounding", "requantize_right"),
    *("shifted first", "rsb shifted", "smu"),
)
"""Patterns, by how they begin, that need instructions without a counterpart."""
PLAIN = {n: p for n, (p, _) in PATTERNS.items() if n not in INSTRUCTIONS and not n.startswith(LONG)}
MORE: dict[str, Pattern] = {
    "clear": lambda a, b, c: Binary("&", a, Binary("^", b, Imm(-1))),
    "add 300": lambda a, b, c: (a >> 8) + 300,
    "sub 500": lambda a, b, c: (a >> 8) - 500,
    "shift left": lambda a, b, c: Binary("<<", a >> 24, Binary("&", b, Imm(7))),
    "shifted by itself": lambda a, b, c: Binary(">>", a, Binary("&", a, Imm(15))),
    "minus itself": lambda a, b, c: (a >> 9) - (a >> 9) * (b >> 24),
    "shift right": lambda a, b, c: Cast(
        DType.INT32,
        Binary(">>", Cast(DType.UINT32, a), Cast(DType.UINT32, Binary("&", b, Imm(31)))),
    ),
    "square": lambda a, b, c: (a >> 17) * (a >> 17),
    "negative": lambda a, b, c: Imm(0) - (a >> 1),
}


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_patterns_compute_what_the_interpreter_does(toolchain: str, tmp_path: Path) -> None:
    arrays = {name: ROWS[:, k].astype(np.int32) for k, name in enumerate("abc")}
    arrays["out"] = np.zeros(len(ROWS), np.int32)
    patterns = {**PLAIN, **MORE}
    cases = [Case(function_of(pattern), arrays, {}) for pattern in patterns.values()]
    check_cases(cases, tmp_path, TARGET, toolchain)


def test_random_nests_are_exact(tmp_path: Path) -> None:
    """All registers taken, spilled into high ones and onto the stack; long and short branches."""
    nests = [(seed, strides) for seed in (0, 2, 8, 11) for strides in (False, True)]
    check_cases([case_of(seed, strides, packed=False) for seed, strides in nests], tmp_path, TARGET)


def test_another_emulator_agrees(tmp_path: Path) -> None:
    """The board has 16 KB of RAM."""
    arrays = {name: ROWS[:, k].astype(np.int32) for k, name in enumerate("abc")}
    arrays["out"] = np.zeros(len(ROWS), np.int32)
    patterns = (PLAIN["mulhi"], PLAIN["uneven clamp"])
    cases = [Case(function_of(pattern), arrays, {}) for pattern in patterns]
    run_cases_on_qemu(cases, tmp_path, "microbit")


def test_constants_are_made_byte_by_byte() -> None:
    random = np.random.default_rng(1)
    words = [int(random.integers(0, 1 << bits)) for bits in range(1, 33) for _ in range(20)]
    for word in (*words, *(-w & 0xFFFFFFFF for w in words)):
        lines = constant_lines(word)
        value = 0
        for line in lines:
            op, _, operands = line.partition(" ")
            last = operands.rpartition("#")[2]
            number = int(last) if last.isdigit() else 0
            value = {
                "movs": number,
                "mvns": ~value,
                "lsls": value << number,
                "adds": value + number,
                "rsbs": -value,
            }[op] & 0xFFFFFFFF
        assert value == word and len(lines) <= 8


def test_what_has_no_counterpart_is_left_to_c() -> None:
    m0 = load_target(TARGET)
    with pytest.raises(NotSelectableError, match="cortex-m0plus has no dsp"):
        assemble(function_of(PATTERNS["mulhi_rounding"][0]), "f", m0)
    with pytest.raises(NotSelectableError, match="Armv6-M has no clz"):
        assemble(function_of(lambda a, b, c: call("clz", a)), "f", m0)


def summing() -> Function:
    """A loop that reads every word its pointer passes, and sums into two registers."""
    x = Buffer("x", DType.INT32, (64,), "input")
    out = Buffer("out", DType.INT32, (2,), "output")
    sums = [Buffer(f"sum{n}", DType.INT32, (), "register") for n in range(2)]
    k = Var("k")
    body: list[Stmt] = [s for b in sums for s in (Alloc(b), Store(b, (), Imm(0)))]
    a, b = (Load(x, (k * 2 + n,)) for n in range(2))
    first = Store(sums[0], (), Load(sums[0]) + Var("a") * Var("b"))
    second = Store(sums[1], (), Load(sums[1]) + Var("b"))
    words = (Let(Var("a"), a >> 16), Let(Var("b"), b >> 16))
    body.append(loop(k, 32, *words, first, second))
    body += [Store(out, (Imm(n),), Load(total)) for n, total in enumerate(sums)]
    return Function("summing", (x,), (out,), tuple(body))


def test_neighbouring_words_are_one_load(tmp_path: Path) -> None:
    function = summing()
    text = assemble(function, "f", load_target(TARGET))
    assert "ldm r" in text and "ldr r" not in text
    random = np.random.default_rng(3)
    x = random.integers(-(1 << 28), 1 << 28, 64).astype(np.int32)
    check_cases([Case(function, {"x": x, "out": np.zeros(2, np.int32)}, {})], tmp_path, TARGET)
