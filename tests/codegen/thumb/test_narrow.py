"""Short forms: low registers for those who gain by them, flags only where nobody reads them."""

from __future__ import annotations

import re

import pytest

from tests.codegen.thumb.kernels import block
from utvm.codegen.thumb import allocation_of, assemble
from utvm.codegen.thumb.allocate import Allocation
from utvm.codegen.thumb.emit import emit
from utvm.codegen.thumb.machine import FLAGS, Block, Inst, Memory, Program
from utvm.codegen.thumb.narrow import LOW, is_short, takes_flags
from utvm.ir.loop import Function
from utvm.target.target import load_target

M4 = load_target("cortex-m4")


def text_of(*insts: Inst) -> str:
    colors = dict(enumerate(range(8)))
    program = Program((Block("0", 1, insts),), {}, {})
    return emit(Function("f", (), (), ()), "f", Allocation(program, colors, 0, 0))


def test_flags_that_are_read_later_stay() -> None:
    compare = Inst("cmp", (FLAGS,), (0, 1))
    add = Inst("addi", (2,), (3,), imm=4)
    move = Inst("movci", (2,), (2, FLAGS), imm=1, cond="lt")
    assert "  add r2, r3, #4" in text_of(compare, add, move)
    assert "  adds r2, r3, #4" in text_of(add, compare, move)
    assert "  adds r2, r3, #4" in text_of(compare, move, add)


SHORT = {
    "word": (Inst("ldr", (1,), (0,), memory=Memory(124)), True),
    "far word": (Inst("ldr", (1,), (0,), memory=Memory(128)), False),
    "behind": (Inst("ldr", (1,), (0,), memory=Memory(-4)), False),
    "moving": (Inst("ldr", (1, 0), (0,), memory=Memory(0, post=4)), False),
    "byte": (Inst("ldrb", (1,), (0,), memory=Memory(31)), True),
    "signed byte": (Inst("ldrsb", (1,), (0,), memory=Memory(0)), False),
    "odd halfword": (Inst("ldrh", (1,), (0,), memory=Memory(31)), False),
    "index": (Inst("ldrsb", (1,), (0, 2), memory=Memory(scale=0)), True),
    "scaled index": (Inst("ldr", (1,), (0, 2), memory=Memory(scale=2)), False),
    "own stack": (Inst("str", (), (1, -2), memory=Memory(1020, area="spill")), True),
    "small sum": (Inst("addi", (1,), (0,), imm=7), True),
    "sum in place": (Inst("addi", (1,), (1,), imm=255), True),
    "shifted": (Inst("add", (1,), (0, 2), shift=("lsl", 1)), False),
    "in place": (Inst("and", (1,), (1, 2)), True),
    "apart": (Inst("and", (1,), (0, 2)), False),
    "product": (Inst("mul", (1,), (0, 1)), True),
    "dsp": (Inst("smuad", (1,), (0, 1)), False),
}


@pytest.mark.parametrize("name", SHORT)
def test_what_is_short(name: str) -> None:
    inst, short = SHORT[name]
    assert is_short(inst, lambda a, b: a == b) == short


def test_high_registers_have_no_short_form() -> None:
    add = Inst("addi", (1,), (0,), imm=4)
    assert takes_flags(add, {0: 0, 1: LOW - 1})
    assert not takes_flags(add, {0: 0, 1: LOW})


def test_pointers_are_low_and_accumulators_high() -> None:
    function = block(2, 4, wide=True, unrolled=4, rounds=4)
    allocation = allocation_of(function, M4)
    by_name = {
        name: allocation.colors[r]
        for r, name in allocation.program.names.items()
        if r in allocation.colors
    }
    assert by_name["stream"] < LOW and by_name["x"] < LOW
    sums = re.findall(r"smlad (r\d+|lr), ", assemble(function, "f", M4))
    assert {"r8", "r9", "r10", "r11", "r12", "lr"} <= set(sums)
