"""Cortex-M0+ cycles against counts worked out by hand from the manual's table."""

from __future__ import annotations

import pytest

from tests.device.assembly import Program

LINES = {
    "alu": (" adds r0, #1\n ands r0, r1\n lsls r0, r1, #2\n muls r0, r1, r0", 4),
    "extend": (" uxtb r0, r1\n sxth r0, r1\n rev r0, r1\n nop", 4),
    "loads do not overlap": (" ldr r0, =buffer\n ldr r1, [r0]\n ldrb r2, [r0]", 6),
    "stores": (" ldr r0, =buffer\n str r1, [r0]\n strb r1, [r0, #4]", 6),
    "several": (
        " ldr r0, =buffer\n ldm r0!, {r1-r3}\n push {r1, r2}\n pop {r1, r2}",
        2 + 4 + 3 + 3,
    ),
    "branch": (" b 1f\n nop\n1: nop", 3),
    "branch not taken": (" cmp r0, r0\n bne 1f\n1: nop", 3),
    "barrier": (" dmb", 3),
    "special register": (" mrs r0, primask", 3),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_costs_what_the_manual_says(program: Program, name: str) -> None:
    body, expected = LINES[name]
    assert program.added_cycles(body, "cortex-m0plus") == expected


def test_a_call_and_its_return(program: Program) -> None:
    # push {lr} 2, bl 3, nop 1, bx 2, pop {pc} 3 + 1.
    body = " push {lr}\n bl 1f\n pop {pc}\n1: nop\n bx lr"
    assert program.cycles(body, "cortex-m0plus") == 12


def test_a_loop(program: Program) -> None:
    # movs 1, a round subs 1 and bne 2, the last one falls through, bx 2.
    body = " movs r0, #100\n1: subs r0, #1\n bne 1b\n bx lr"
    assert program.cycles(body, "cortex-m0plus") == 1 + 100 * 3 - 1 + 2
