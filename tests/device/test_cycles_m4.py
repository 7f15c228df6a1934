"""Cortex-M4 cycles against counts worked out by hand from the manual's table."""

from __future__ import annotations

import pytest

from tests.device.assembly import Program

# Each line: instructions, and the cycles that they take together.
LINES = {
    "alu": (" adds r0, #1\n ands r0, r1\n lsls r0, r1, #2\n add r0, r1, r2, lsl #3", 4),
    "multiply": (" muls r0, r1, r0\n mla r0, r1, r2, r3\n smull r0, r1, r2, r3", 3),
    "dsp": (" smlad r0, r1, r2, r0\n sxtb16 r0, r1\n qadd r0, r1, r2\n pkhbt r0, r1, r2", 4),
    "divide": (" movs r1, #3\n sdiv r0, r0, r1\n udiv r0, r0, r1", 1 + 7 + 7),
    "no operation, if-then": (" nop\n it eq\n moveq r0, r1", 3),
    "barrier": (" dmb\n dsb\n isb", 9),
    # The literal load computes nothing in the ALU, so the access behind it only overlaps.
    "load": (" ldr r0, =buffer\n nop\n ldr r1, [r0]\n nop", 2 + 1 + 2 + 1),
    "narrow loads overlap": (
        " ldr r0, =buffer\n nop\n ldrb r1, [r0]\n ldrsh r2, [r0, #2]\n ldr r3, [r0, #4]",
        2 + 1 + 2 + 1 + 1,
    ),
    "address depends on the load before": (" ldr r0, =buffer\n ldr r1, [r0]\n nop", 2 + 2 + 1),
    "store, immediate offset": (" ldr r0, =buffer\n nop\n str r1, [r0]\n str r1, [r0, #4]", 5),
    "store behind a load": (
        " ldr r0, =buffer\n nop\n ldr r1, [r0]\n str r1, [r0, #4]",
        2 + 1 + 2 + 1,
    ),
    "store, register offset": (
        " ldr r0, =buffer\n movs r1, #4\n nop\n str r2, [r0, r1]\n ldr r3, [r0]\n str r3, [r0, r1]",
        # A load behind a store takes its full time; the store behind that load overlaps.
        2 + 1 + 1 + 2 + 2 + 1,
    ),
    "address computed just before": (
        " ldr r0, =buffer\n adds r0, #4\n ldr r1, [r0]\n adds r0, #4\n str r1, [r0]",
        2 + 1 + (2 + 1) + 1 + (1 + 1),
    ),
    "stored value computed just before": (
        " ldr r0, =buffer\n movs r1, #1\n str r1, [r0]",
        2 + 1 + 1,
    ),
    "written-back address": (
        " ldr r0, =buffer\n nop\n ldr r1, [r0], #4\n ldr r2, [r0], #4",
        # The second address is no result of the load's data, nor of the ALU.
        2 + 1 + 2 + 1,
    ),
    "several registers": (
        " ldr r0, =buffer\n nop\n ldm r0, {r1-r3}\n stm r0, {r1, r2}\n push {r1-r3}\n pop {r1-r3}",
        2 + 1 + 4 + 3 + 4 + 4,
    ),
    "doubles": (" ldr r0, =buffer\n nop\n ldrd r1, r2, [r0]\n strd r1, r2, [r0]", 2 + 1 + 3 + 3),
    "float": (" vadd.f32 s0, s1, s2\n vmul.f32 s0, s1, s2\n vcvt.s32.f32 s0, s0\n vmov r0, s0", 4),
    "float multiply-accumulate": (" vfma.f32 s0, s1, s2\n vmla.f32 s0, s1, s2", 6),
    "float divide": (" vmov.f32 s1, #1.0\n vdiv.f32 s0, s1, s1\n vsqrt.f32 s0, s1", 1 + 14 + 14),
    "float pair": (" vmov r0, r1, d0", 2),
    "float load, store": (
        " ldr r0, =buffer\n nop\n vldr s0, [r0]\n vldr d0, [r0]\n vstr s0, [r0]\n vstr d0, [r0]",
        2 + 1 + 2 + 3 + 2 + 3,
    ),
    "float several": (" ldr r0, =buffer\n nop\n vldm r0, {s0-s3}\n vstm r0, {s0, s1}", 3 + 5 + 3),
    "branch taken": (" b 1f\n nop\n1: nop", 3 + 1),
    "branch not taken": (" cmp r0, r0\n bne 1f\n1: nop", 1 + 1 + 1),
    "compare and branch": (
        " movs r0, #0\n cbz r0, 1f\n nop\n1: cbnz r0, 2f\n2: nop",
        1 + 3 + 1 + 1,
    ),
    "table branch": (" movs r0, #0\n tbb [pc, r0]\n1: .byte 1\n .byte 1\n nop", 1 + 4 + 1),
    "load of the program counter": (
        " adr r0, 1f\n nop\n ldr pc, [r0]\n .balign 4\n1: .word 2f+1\n2:",
        5,
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_costs_what_the_manual_says(program: Program, name: str) -> None:
    body, expected = LINES[name]
    assert program.added_cycles(body, "cortex-m4") == expected


def test_an_empty_call(program: Program) -> None:
    # bx lr: 1 and 2 to refill.
    assert program.cycles(" bx lr", "cortex-m4") == 3


def test_a_call_and_its_return(program: Program) -> None:
    # push {lr} 2, bl 3, nop 1, bx 3, pop {pc} 1 + 1 + 2.
    body = " push {lr}\n bl 1f\n pop {pc}\n1: nop\n bx lr"
    assert program.cycles(body, "cortex-m4") == 13


def test_a_dot_product_loop(program: Program) -> None:
    body = """
      ldr r0, =buffer
      ldr r1, =buffer
      movs r2, #0
      movs r3, #100
    1: ldrsh r4, [r0], #2
      ldrsh r5, [r1], #2
      mla r2, r4, r5, r2
      subs r3, #1
      bne 1b
      bx lr"""
    # 2 + 1 (overlaps) + 1 + 1 + a round 2 + 1 + 1 + 1 + 3, the last without the refill, bx 3.
    assert program.cycles(body, "cortex-m4") == 5 + 100 * 8 - 2 + 3


def test_a_load_pair_that_a_page_end_splits_still_overlaps(program: Program) -> None:
    # Unicorn splits blocks at each 1024 bytes; 511 x 2 bytes of nop put a load at such an end
    # whatever comes before: among 1024 loads in a row, each but the first overlaps.
    body = " ldr r0, =buffer\n b 1f\n .ltorg\n1: nop\n" + " ldr r1, [r0]\n" * 1024
    # ldr 2, b 3, nop 1, first load 2, 1023 others 1.
    assert program.added_cycles(body, "cortex-m4") == 6 + 2 + 1023


def test_cortex_m3_and_m33_are_counted_by_the_same_rules(program: Program) -> None:
    body = " ldr r0, =buffer\n adds r0, #4\n ldr r1, [r0]\n ldr r2, [r0]"
    assert program.added_cycles(body, "cortex-m3") == 2 + 1 + 3 + 1
    assert program.added_cycles(body, "cortex-m33") == 2 + 1 + 3 + 1
