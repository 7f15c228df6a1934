"""The instructions of Armv7-M without the DSP extension compute what the loop interpreter computes.

As ``test_patterns.py``, on Cortex-M3: extreme and random operands; elements that are loaded out of
words; and blocks of single products, which take as many cycles as were reached.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.codegen.thumb.programs import Case, check_cases
from tests.codegen.thumb.test_patterns import PATTERNS, ROWS, Pattern, call, function_of
from utvm.codegen.thumb import NotSelectableError, allocation_of, assemble
from utvm.codegen.thumb.pricing import price
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.isa.table import INSTRUCTIONS
from utvm.ir.loop import Buffer, Cast, Expr, Function, Imm, Load, Store, Var, loop
from utvm.op.builder import GraphBuilder
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.registry import find_op
from utvm.passes.fuse_ops import fuse_ops
from utvm.passes.lower import lower
from utvm.schedule.conv_kernel import ConvSchedule
from utvm.schedule.conv_schedule import schedule_conv
from utvm.target.target import load_target

TARGET = "cortex-m3"
M3 = load_target(TARGET)
I32 = DType.INT32
ELEMENTS = [
    (dtype, first)
    for dtype in (DType.INT8, DType.UINT8, DType.INT16, DType.UINT16)
    for first in range(0, 32, dtype.bits)
]


def part(word: Expr, dtype: DType, first: int) -> Expr:
    return Cast(I32, Cast(dtype, word >> first if first else word))


FIELDS: dict[str, Pattern] = {
    f"{dtype.value} at {first}": lambda a, b, c, dtype=dtype, first=first: part(a, dtype, first)  # type: ignore[misc]
    for dtype, first in ELEMENTS
}
KNOWN = {
    **{n: p for n, (p, _) in PATTERNS.items() if n not in INSTRUCTIONS and not n.startswith("smu")},
    **FIELDS,
}
TEXTS = {
    "mulhi": " smull ",
    "smmla": " smull ",
    "mulhi_long": " smlal ",
    "mulhi_rounding literal": "adc",
    "int8 at 8": " sbfx ",
    "uint8 at 16": " ubfx ",
}
REFUSED = ("mulhi_rounding",)
"""Saturates for one pair of operands, which nothing rules out."""


def elements_of_words() -> Function:
    """Every element of every word, each loaded on its own."""
    words = Buffer("w", I32, (8,), "input")
    out = Buffer("out", I32, (8 * len(ELEMENTS),), "output")
    i = Var("i")
    stores = [
        Store(out, (i * len(ELEMENTS) + at,), part(Load(words, (i,)), dtype, first))
        for at, (dtype, first) in enumerate(ELEMENTS)
    ]
    return Function("elements", (words,), (out,), (loop(i, 8, *stores),))


@pytest.mark.parametrize("name", TEXTS)
def test_a_pattern_takes_its_instruction(name: str) -> None:
    assert TEXTS[name] in assemble(function_of(KNOWN[name]), "f", M3)


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_saturation_is_left_to_c(name: str) -> None:
    with pytest.raises(NotSelectableError, match="cortex-m3 has no dsp"):
        assemble(function_of(KNOWN[name]), "f", M3)
    least = function_of(lambda a, b, c: call(name, a, Imm(I32.minimum)))
    with pytest.raises(NotSelectableError, match="cortex-m3 has no dsp"):
        assemble(least, "f", M3)


def test_patterns_compute_what_the_interpreter_does(tmp_path: Path) -> None:
    arrays = {name: ROWS[:, k].astype(np.int32) for k, name in enumerate("abc")}
    arrays["out"] = np.zeros(len(ROWS), np.int32)
    patterns = [pattern for name, pattern in KNOWN.items() if name not in REFUSED]
    cases = [Case(function_of(pattern), arrays, {}) for pattern in patterns]
    words = np.array([0x80FF7F01, -0x7F0080FF, -1, 0, 0x12345678, 0x7FFF8000, 255, -256], np.int64)
    own = {
        "w": words.astype(np.uint32).view(np.int32),
        "out": np.zeros(8 * len(ELEMENTS), np.int32),
    }
    check_cases([*cases, Case(elements_of_words(), own, {})], tmp_path, TARGET)


def test_elements_of_a_word_are_loads_of_their_own() -> None:
    text = assemble(elements_of_words(), "f", M3)
    loads = [f" {name} " in text for name in ("ldrsb", "ldrb", "ldrsh", "ldrh", "ldr", "sbfx")]
    assert loads == [True] * 4 + [False] * 2


def test_the_inner_loop_keeps_its_cycles() -> None:
    """2 pixels x 4 filters: 6 loads in two groups and 8 MLA are 16 cycles a tap."""
    b = GraphBuilder("net", find_op)
    x = b.input("x", TensorType((1, 2, 2, 64), DType.INT8))
    weight = b.constant(np.ones((4, 1, 1, 64), np.int8))
    b.output(b.emit("conv2d", [x, weight], Conv2dAttrs()))
    module = lower(fuse_ops(b.build(), find_op), find_op)
    made = schedule_conv(module.functions[0], module.constants, ConvSchedule(steps=8, plain=True))
    assert made is not None
    inner = max(allocation_of(made.micros[0], M3).program.blocks, key=lambda block: block.weight)
    assert price(inner, inner.insts, M3.pipeline) <= 8 * 16 + 6
