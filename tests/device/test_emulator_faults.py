"""Programs that go wrong on the emulated board: each ends with one line that says where and why."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.device.assembly import FLASH, RAM, STACK, Program, assemble, function
from utvm.device.emulator import run_elf
from utvm.support.errors import DeviceError

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")

FAULTS = {
    "read": (
        " ldr r0, =0x60000000\n ldr r0, [r0]\n bx lr",
        "(measured+0x4): the program reads unmapped memory; found 4 bytes at 0x60000000",
    ),
    "write": (
        " ldr r0, =0x60000000\n strh r0, [r0]\n bx lr",
        "(measured+0x4): the program writes unmapped memory; found 2 bytes at 0x60000000",
    ),
    "read-only": (
        " movs r0, #0x40\n str r0, [r0]\n bx lr",
        "(measured+0x2): the program writes read-only memory; found 4 bytes at 0x00000040",
    ),
    "read-only, read before": (
        " movs r0, #0x40\n ldr r1, [r0]\n str r1, [r0]\n bx lr",
        "(measured+0x4): the program writes read-only memory; found 4 bytes at 0x00000040",
    ),
    "jump": (
        " ldr r0, =0x60000001\n bx r0",
        "the program jumps to unmapped memory",
    ),
    "undefined": (
        " nop\n udf #0\n bx lr",
        "(measured+0x2): the program executes an undefined instruction",
    ),
    "supervisor": (
        " svc 0\n bx lr",
        "the program makes a supervisor call (svc)",
    ),
    "breakpoint": (
        " bkpt 1\n bx lr",
        "(measured): the program hits a breakpoint",
    ),
    "sleep": (
        " nop\n wfi\n bx lr",
        "the program waits for an interrupt that never comes",
    ),
    "endless": (
        "1: b 1b",
        "(measured): the program does not come to an end; expected an exit within 100000",
    ),
    "unaligned": (
        " ldr r1, =buffer+2\n b 1f\n1: ldrd r2, r3, [r1]\n bx lr",
        "(measured+0x4): the program moves words at an address that is no multiple of 4; "
        "expected an aligned base for ldrd r2, r3, [r1]; found r1 = 0x20000002",
    ),
    "semihosting": (
        " movs r0, #0x77\n bkpt 0xab\n bx lr",
        "(measured+0x2): the program asks for the unknown semihosting operation 0x77",
    ),
    "arm state": (
        " ldr r0, =buffer\n bx r0",
        "the program branches to an address without the Thumb bit",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_where_and_why(program: Program, name: str) -> None:
    body, message = FAULTS[name]
    with pytest.raises(DeviceError, match=re.escape(message)) as caught:
        program.run(body, limit=100_000)
    assert caught.value.hint or name == "semihosting"


def test_a_fault_names_the_operator(program: Program) -> None:
    functions = function("conv_1", " b helper") + function("helper", " udf #0")
    with pytest.raises(DeviceError, match=re.escape("(helper, in operator conv_1)")):
        program.run(" push {lr}\n bl conv_1\n pop {pc}", functions=functions, operators=("conv_1",))


def test_endless_recursion_overflows_the_stack(program: Program) -> None:
    functions = function("again", " push {r4, lr}\n bl again\n pop {r4, pc}")
    message = "(again): the stack overflows; expected at most 4096 bytes of stack"
    with pytest.raises(DeviceError, match=re.escape(message)):
        program.run(" b again", functions=functions)


def test_a_large_frame_overflows_the_stack(program: Program) -> None:
    with pytest.raises(DeviceError, match="the stack overflows"):
        program.run(" sub sp, sp, #8192\n add sp, sp, #8192\n bx lr")


def test_a_stack_of_just_the_right_size_is_enough(program: Program) -> None:
    body = " sub sp, sp, #256\n add sp, sp, #256\n bx lr"
    high = 0x20400000
    assert program.run(body, stack=(high - 256, high)).stack_bytes == 256
    with pytest.raises(DeviceError, match="the stack overflows"):
        program.run(body, stack=(high - 252, high))


def test_float_needs_to_be_switched_on(program: Program) -> None:
    with pytest.raises(DeviceError, match="floating-point unit before switching it on"):
        program.run(" vmov.f32 s0, #1.0\n bx lr", switch_on_float=False)


@pytest.mark.parametrize(
    ("cpu", "words", "what"),
    [
        ("cortex-m0plus", ".inst.n 0xb100", "undefined instruction; found cbz"),
        ("cortex-m0plus", ".inst.w 0xfb91f0f2", "undefined instruction"),
        ("cortex-m3", ".inst.w 0xfb210002", "undefined instruction; found smlad"),
        ("cortex-m3", ".inst.w 0xeeb70a00", "floating-point unit"),
        ("cortex-m4", ".inst.w 0xee300b00", "undefined instruction"),
    ],
)
def test_what_the_core_lacks_is_refused(program: Program, cpu: str, words: str, what: str) -> None:
    with pytest.raises(DeviceError, match=what):
        program.run(f" {words}\n nop\n bx lr", cpu=cpu)


def test_unaligned_words_trap_on_a_cortex_m0plus(program: Program) -> None:
    body = " ldr r1, =buffer+2\n ldr r0, [r1]\n bx lr"
    assert program.run(body, cpu="cortex-m4").exit_status == 0
    with pytest.raises(DeviceError, match=r"measured\+0x2\): .* not aligned to its size"):
        program.run(body, cpu="cortex-m0plus")


def test_data_cannot_be_executed(tmp_path: Path) -> None:
    ram = replace(RAM, executable=False)
    with pytest.raises(DeviceError, match="jumps to memory that cannot be executed; found addr"):
        run_elf(
            assemble(tmp_path, " ldr r0, =buffer+1\n bx r0"),
            cpu="cortex-m4",
            cycle_model="cortex-m4",
            memories=(FLASH, ram),
            stack=STACK,
            files={},
            measure="measured",
            operators=(),
        )


@pytest.mark.parametrize("cpu", CORES)
def test_random_code_ends_with_a_named_fault(tmp_path: Path, cpu: str) -> None:
    image = assemble(tmp_path, " nop\n" * 200, cpu=cpu)
    code = image.segments[0]
    start = image.symbols["measured"].address
    for seed in range(10):
        garbage = random.Random(seed).randbytes(400)
        data = code.data[:start] + garbage + code.data[start + 400 :]
        with pytest.raises(DeviceError) as caught:
            run_elf(
                replace(image, segments=(replace(code, data=data), *image.segments[1:])),
                cpu=cpu,
                cycle_model="cortex-m4",
                memories=(FLASH, RAM),
                stack=STACK,
                files={},
                measure="measured",
                operators=(),
                instruction_limit=100_000,
            )
        assert caught.value.where.startswith("pc 0x")
        assert "emulator stopped" not in caught.value.what
