"""Cortex-M7 cycles against issue tables worked out by hand from the pairing rules.

Most tests price one round of a loop in its steady state: the same loop runs 200 and 300 rounds
and the difference is taken, so that entry, exit and prediction at the ends fall out.
"""

from __future__ import annotations

import pytest

from tests.device.assembly import Program

# Instructions of a round and its cycles, without the loop's own "subs" and "bne".
# Those two end the round; "subs | bne" stands for one issue group of both.
ROUNDS = {
    # subs | bne
    "empty": ("", 1),
    # add r0 | add r1, subs | bne
    "two independent": (" add r0, #1\n add r1, #1", 2),
    # mov r4 | add r5, r4: the older one uses the early ALU, the younger the late one.
    "early result feeds its partner": (" mov r4, r1\n add r5, r4, #1", 2),
    # orr is not simple, so its partner waits: orr, add | subs, bne
    "late result does not": (" orr r4, r1, #1\n add r5, r4, #1", 3),
    # shifted operand needed a cycle early: orr, (wait), add | subs, bne
    "shifted operand": (" orr r4, r1, #1\n add r5, r2, r4, lsl #2", 4),
    # only one shifted operand a cycle: add, add | subs, bne
    "two shifted operands": (" add r4, r1, r2, lsl #1\n add r5, r1, r2, lsl #2", 3),
    # ubfx needs its source a cycle early: orr, (wait), ubfx | subs, bne
    "bit field": (" orr r4, r1, #1\n ubfx r5, r4, #2, #3", 4),
    # one multiplier: smlad, smlad | subs, bne
    "two multiplies": (" smlad r4, r1, r2, r4\n smlad r5, r1, r2, r5", 3),
    # the accumulator is needed late: a chain issues every cycle. 4 x smlad, subs with the last.
    "accumulating chain": (" smlad r4, r1, r2, r4\n" * 4, 5),
    # a product takes two cycles to a late ALU: mul, (wait), add | subs, bne
    "product feeds an add": (" mul r4, r1, r2\n add r5, r4, #1", 4),
    # saturation: sources early, result after two: ssat, (wait), orr | subs, bne
    "saturation": (" ssat r4, #8, r1\n orr r5, r4, #1", 4),
    # an extend only issues as the older of two: add, sxtb16 | subs, bne
    "extend is older only": (" add r4, r1, #1\n sxtb16 r5, r2", 3),
    # sxtb16 | add, subs | bne
    "extend takes a younger partner": (" sxtb16 r5, r2\n add r4, r1, #1", 2),
    # loads from both banks: ldr | ldr, subs | bne
    "loads from two banks": (" ldr r4, [r0]\n ldr r5, [r0, #4]", 2),
    # same bank: ldr, ldr | subs, bne
    "loads from one bank": (" ldr r4, [r0]\n ldr r5, [r0, #8]", 3),
    # unrelated bases count as two banks: ldr | ldr, subs | bne
    "loads by two bases": (" ldr r4, [r0]\n ldr r5, [r12]", 2),
    # one store a cycle: str, str | subs, bne
    "two stores": (" str r4, [r0]\n str r5, [r0, #4]", 3),
    # no multiply beside a store: str, mul | subs, bne
    "multiply beside a store": (" str r4, [r0]\n mul r5, r1, r2", 3),
    # word to a late ALU: ldr, orr | subs, bne. The load does not wait for its address.
    "load feeds the ALU": (" ldr r4, [r0]\n orr r5, r4, #1", 3),
    # word to a multiplier: ldr, (wait), mul | subs, bne
    "load feeds a multiplier": (" ldr r4, [r0]\n mul r5, r4, r1", 4),
    # word to a shifted operand: ready two after the load, needed one early: 2 waits
    "load feeds a shifter": (" ldr r4, [r0]\n add r5, r1, r4, lsl #1", 5),
    # word to an address: ready one after the load, needed one early: ldr, (wait), ldr | subs, bne
    "load feeds an address": (" ldr r4, [r3]\n ldr r5, [r4]", 4),
    # byte to a late ALU: ldrb, (wait), orr | subs, bne
    "byte feeds the ALU": (" ldrb r4, [r0]\n orr r5, r4, #1", 4),
    # written-back base is there for the next address: ldr, ldr | subs, bne
    "post-indexed loads": (" ldr r4, [r3], #4\n ldr r5, [r3], #-4", 3),
    # a stored value may come late: orr | str, subs | bne
    "store takes a late value": (" orr r4, r1, #1\n str r4, [r0]", 2),
    # four words alone: 2 cycles, subs | bne
    "several registers": (" ldm r0, {r4-r7}", 3),
    # two words alone: 1 cycle, subs | bne
    "double": (" ldrd r4, r5, [r0]", 2),
    # alone, 7 cycles
    "divide": (" sdiv r4, r1, r2", 8),
    # alone, 15 cycles
    "float divide": (" vdiv.f32 s0, s1, s2", 16),
    # one float a cycle: vadd, vadd | subs, bne
    "two floats": (" vadd.f32 s0, s2, s3\n vadd.f32 s1, s2, s3", 3),
    # a float result takes three: vadd, 2 waits, vadd | subs, bne
    "float feeds float": (" vadd.f32 s0, s2, s3\n vadd.f32 s1, s0, s3", 5),
    # a sum is needed one late, ready after three: vfma every two cycles; the round 3 x 2 and the
    # third pairs with subs, bne fills the wait.
    "float accumulating chain": (" vfma.f32 s0, s2, s3\n" * 3, 6),
    # a branch that is not taken leaves its group open: cmp | bne, nop | subs, bne(loop)
    "branch not taken": (" cmp r0, r0\n bne 9f\n nop\n", 3),
}

LOOP = """
  push {{r4-r7, lr}}
  ldr r0, =buffer
  ldr r12, =buffer + 64
  ldr r3, =buffer + 128
  str r0, [r3]
  str r0, [r3, #4]
  movs r1, #3
  movs r2, #5
  ldr lr, ={rounds}
  b 1f
  .balign 4
1:
{body}
  subs lr, #1
  bne 1b
  movs r0, #0
9: pop {{r4-r7, pc}}
"""


def round_cycles(program: Program, body: str) -> float:
    """Cycles of one round in the steady state."""
    many = program.cycles(LOOP.format(rounds=300, body=body), "cortex-m7")
    few = program.cycles(LOOP.format(rounds=200, body=body), "cortex-m7")
    return (many - few) / 100


@pytest.mark.parametrize("name", ROUNDS)
def test_a_round_costs_what_the_rules_say(program: Program, name: str) -> None:
    body, expected = ROUNDS[name]
    assert round_cycles(program, body) == expected


def test_a_loop_of_two_blocks_is_priced_in_its_steady_state(program: Program) -> None:
    # add | b, add | subs, bne: a taken branch ends its group, whatever follows.
    assert round_cycles(program, " add r4, r1, #1\n b 2f\n nop\n2: add r5, r1, #1") == 3


def test_a_loop_mispredicts_at_its_ends_only(program: Program) -> None:
    # The counter starts at weakly not taken: the first round and the exit are mispredicted.
    def whole(rounds: int) -> int:
        body = f" movs r0, #{rounds}\n1: subs r0, #1\n bne 1b\n bx lr"
        return program.cycles(body, "cortex-m7")

    # movs | subs, bne, 99 x (subs | bne), bx.
    assert whole(100) == 1 + 1 + 99 + 1 + 2 * 7
    assert whole(200) - whole(100) == 100


def test_an_alternating_branch_is_mispredicted(program: Program) -> None:
    # eor, tst | beq, then nop | subs, bne where it is taken and nop | nop, subs | bne where not.
    always = " eor r1, r1, #0\n tst r1, #0\n beq 2f\n nop\n2: nop"
    assert round_cycles(program, always) == 4
    # A two-bit counter that moves between 1 and 2 is wrong each time.
    toggling = " eor r1, r1, #1\n tst r1, #1\n beq 2f\n nop\n2: nop"
    assert round_cycles(program, toggling) == 4 + 7
