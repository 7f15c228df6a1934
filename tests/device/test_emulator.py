"""The emulated board: counting, attribution, stack depth, ends of a run, agreement with QEMU."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.device.assembly import FLASH, RAM, STACK, Program, assemble, function
from utvm.device.emulator import FunctionCost, run_elf
from utvm.support.errors import DeviceError, InputError

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")


@pytest.mark.parametrize("cpu", CORES)
def test_a_loop_is_counted_to_the_instruction(program: Program, cpu: str) -> None:
    # movs, 100 x (subs, bne), bx: 202 instructions.
    result = program.run(" movs r0, #100\n1: subs r0, #1\n bne 1b\n bx lr", cpu=cpu)
    assert [i.instructions for i in result.invocations] == [202]
    assert result.exit_status == 0


def test_straight_code_over_many_pages_is_counted_once(program: Program) -> None:
    # 5 x (3000 adds, subs, beq not taken, b.w) with the last beq taken instead of b.w.
    body = " movs r1, #5\n movs r0, #0\n1:\n" + " adds r0, #1\n" * 3000
    body += " subs r1, #1\n beq 2f\n b.w 1b\n2: bx lr"
    (invocation,) = program.run(body).invocations
    assert invocation.instructions == 2 + 5 * 3002 + 4 + 1


def test_an_instruction_that_its_block_skips_is_counted(program: Program) -> None:
    # movs, cmp, itte, 3 conditional ones of which one is skipped, bx: 7.
    body = (
        " movs r0, #1\n cmp r0, #0\n itte ne\n movne r0, #7\n addne r0, #1\n moveq r0, #9\n bx lr"
    )
    result = program.run(body)
    assert result.exit_status == 8
    assert [i.instructions for i in result.invocations] == [7]


def test_every_call_of_the_measured_function_is_an_invocation(program: Program) -> None:
    result = program.run(" nop\n bx lr", calls=3)
    assert [i.instructions for i in result.invocations] == [2, 2, 2]


HELPERS = (
    function("first", " push {lr}\n bl shared\n bl shared\n pop {pc}")
    + function("second", "1: subs r0, #1\n bne 1b\n b shared")
    + function("shared", " nop\n bx lr")
)


def test_costs_belong_to_the_operator_entered_last(program: Program) -> None:
    body = (
        " push {lr}\n movs r0, #4\n bl second\n bl first\n movs r0, #2\n bl second\n nop\n pop {pc}"
    )
    result = program.run(body, functions=HELPERS, operators=("first", "second"))
    (invocation,) = result.invocations
    # second: 4 or 2 x (subs, bne), b, and 2 in what it jumps to. Its loop is no further call.
    # first: push, 2 x (bl and 2 in what it calls), pop.
    assert [(f.symbol, f.calls, f.instructions) for f in invocation.functions] == [
        ("second", 2, (8 + 3) + (4 + 3)),
        ("first", 1, 1 + 2 * 3 + 1),
    ]
    # Cortex-M4: loop 4 and 2 x (1 + 3) - 2, b 3, nop 1, bx 3; push 2, bl 3 + nop 1 + bx 3, pop 4.
    assert [f.cycles for f in invocation.functions] == [14 + 7 + 6 + 7, 2 + 14 + 4]
    remainder = invocation.instructions - sum(f.instructions for f in invocation.functions)
    assert remainder == 8


def test_an_operator_that_was_not_called_is_not_listed(program: Program) -> None:
    body = " push {lr}\n bl shared\n pop {pc}"
    result = program.run(body, functions=HELPERS, operators=("first", "shared"))
    assert result.invocations[0].functions == (FunctionCost("shared", 1, 2, 4),)


def test_stack_depth_is_the_lowest_stack_pointer(program: Program) -> None:
    body = " push {r4-r7, lr}\n sub sp, #40\n str r0, [sp, #-8]!\n add sp, #48\n pop {r4-r7, pc}"
    assert program.run(body).stack_bytes == 20 + 40 + 8


def test_stack_depth_sees_a_frame_whose_size_is_computed(program: Program) -> None:
    body = " mov r3, sp\n movs r2, #200\n sub sp, sp, r2\n b 1f\n1: mov sp, r3\n bx lr"
    assert program.run(body).stack_bytes == 200


def test_a_bare_breakpoint_exit_reports_failure(program: Program) -> None:
    body = " movs r0, #0x18\n ldr r1, =0x20023\n bkpt 0xab"
    assert program.run(body).exit_status == 1


def test_float_and_dsp_instructions_work(program: Program) -> None:
    body = """
      vmov.f32 s0, #2.0
      vmov.f32 s1, #3.0
      vmov.f32 s2, #1.0
      vfma.f32 s2, s0, s1
      vcvt.s32.f32 s2, s2
      vmov r0, s2
      ldr r1, =0x00030002
      ldr r2, =0x00050004
      smlad r0, r1, r2, r0
      movs r3, #3
      sdiv r0, r0, r3
      bx lr"""
    for cpu in ("cortex-m4", "cortex-m7", "cortex-m33"):
        assert program.run(body, cpu=cpu).exit_status == (1 + 2 * 3 + 2 * 4 + 3 * 5) // 3


def test_doubles_work_on_a_cortex_m7(program: Program) -> None:
    body = " vmov.f64 d0, #2.5\n vadd.f64 d0, d0, d0\n vcvt.s32.f64 s0, d0\n vmov r0, s0\n bx lr"
    assert program.run(body, cpu="cortex-m7").exit_status == 5


def test_progress_is_told_as_the_run_goes_on(tmp_path: Path) -> None:
    body = " ldr r0, =15000000\n1: subs r0, #1\n bne 1b\n bx lr"
    told: list[int] = []
    run_elf(
        assemble(tmp_path, body),
        cpu="cortex-m4",
        cycle_model="cortex-m4",
        memories=(FLASH, RAM),
        stack=STACK,
        files={},
        measure="measured",
        operators=(),
        progress=told.append,
    )
    assert len(told) == 1
    assert 20_000_000 <= told[0] < 20_000_100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cpu": "cortex-a7"}, "unknown core; expected cortex-m0plus or"),
        ({"cycle_model": "z80"}, "unknown cycle model; expected cortex-m0plus or cortex-m4"),
        ({"memories": (FLASH, FLASH)}, "flash: the emulator cannot map this memory"),
        ({"memories": (FLASH,)}, "lie in no memory of the board"),
        ({"measure": "nothing"}, "the program has no function nothing"),
    ],
)
def test_wrong_arguments_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    arguments: dict[str, object] = {
        "cpu": "cortex-m4",
        "cycle_model": "cortex-m4",
        "memories": (FLASH, RAM),
        "stack": STACK,
        "files": {},
        "measure": "measured",
        "operators": (),
    }
    with pytest.raises((InputError, DeviceError), match=re.escape(message)):
        run_elf(assemble(tmp_path, " bx lr"), **{**arguments, **change})  # type: ignore[arg-type]


MIXED = """
  push {r4-r7, lr}
  movs r4, #50
  movs r5, #1
1: lsls r6, r5, #3
  adds r5, r6
  eors r5, r4
  ldr r7, =buffer
  str r5, [r7]
  ldrb r6, [r7]
  lsrs r6, r6, #1
  bcc 2f
  adds r5, #3
  bl helper
2: subs r4, #1
  bne 1b
  pop {r4-r7, pc}
"""


@pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="needs qemu-system-arm")
def test_instructions_agree_with_qemu(tmp_path: Path) -> None:
    """QEMU, told to translate one instruction at a time, logs a line for each it runs."""
    helper = function("helper", " cmp r5, r6\n ite hi\n subhi r5, r6\n addls r5, r6\n bx lr")
    image = assemble(tmp_path, MIXED, functions=helper)
    command = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none"]
    command += ["-serial", "none", "-semihosting-config", "enable=on,target=native"]
    command += ["-singlestep", "-d", "exec,nochain", "-D", "log", "-kernel", "program.elf"]
    done = subprocess.run(command, cwd=tmp_path, timeout=600, check=False)
    result = run_elf(
        image,
        cpu="cortex-m4",
        cycle_model="cortex-m4",
        memories=(FLASH, RAM),
        stack=STACK,
        files={},
        measure="measured",
        operators=(),
    )
    lines = (tmp_path / "log").read_text().splitlines()
    assert result.instructions == sum(line.startswith("Trace") for line in lines)
    assert result.exit_status & 0xFF == done.returncode
