"""The emulated core piece by piece: stops, single steps, rewritten code, counters, faults."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.device.assembly import FLASH, MODELS, RAM, assemble
from utvm.device.emulated_machine import EmulatedMachine, Reason
from utvm.support.errors import DeviceError, InputError

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
CODE, STACK_TOP = 0x20000400, 0x20010000
Assemble = Callable[..., bytes]


@pytest.fixture
def code(tmp_path: Path) -> Assemble:
    """The bytes of a function's body."""

    def make(body: str, cpu: str = "cortex-m4") -> bytes:
        image = assemble(tmp_path, body, cpu=cpu)
        start, end = image.function_range("measured")
        return image.segments[0].data[start:end]

    return make


def machine_with(program: bytes, cpu: str = "cortex-m4", **options: bool) -> EmulatedMachine:
    machine = EmulatedMachine(cpu, MODELS.get(cpu, "cortex-m4"), (FLASH, RAM), **options)
    assert not machine.reset(), "there are no vectors in an empty flash"
    machine.write(CODE, program)
    machine.set_register("pc", CODE)
    machine.set_register("sp", STACK_TOP)
    return machine


LOOP = """
  movs r0, #0
  movs r1, #200
1: adds r0, #3
  nop
  tst r1, r1
  beq 2f
  adds r0, #1
2: subs r1, #1
  bne 1b
  b .
"""


def finished(machine: EmulatedMachine, end: int) -> tuple[int, int, int]:
    assert machine.run({end}).reason is Reason.ADDRESS
    return machine.register("r0"), machine.instructions, machine.cycles


@pytest.mark.parametrize("cpu", CORES)
def test_figures_do_not_depend_on_how_a_run_is_cut(code: Assemble, cpu: str) -> None:
    program = code(LOOP, cpu)
    end = CODE + 18
    whole = finished(machine_with(program, cpu), end)
    assert whole[0] == 800
    assert whole[1] == 2 + 200 * 7
    for seed in range(3):
        rng = random.Random(seed)
        machine = machine_with(program, cpu)
        while machine.run({end}, rng.choice((1, 2, 50))).reason is Reason.LIMIT:
            pass
        assert finished(machine, end) == whole


def test_a_limit_of_one_is_one_instruction(code: Assemble) -> None:
    machine = machine_with(code(LOOP))
    places = []
    for count in range(1, 12):
        assert machine.run(instruction_limit=1).reason is Reason.LIMIT
        assert machine.instructions == count
        places.append(machine.register("pc") - CODE)
    assert places == [2, 4, 6, 8, 10, 12, 14, 16, 4, 6, 8]


def test_a_stop_in_the_middle_of_a_block(code: Assemble) -> None:
    machine = machine_with(code(LOOP))
    middle = CODE + 8
    for turn in range(3):
        assert machine.run({middle}).reason is Reason.ADDRESS
        assert machine.register("pc") == middle
        assert machine.register("r0") == 4 * turn + 3
        assert machine.run({middle}).reason is Reason.ADDRESS, "it is still there"
        assert machine.run(instruction_limit=1).reason is Reason.LIMIT
    assert finished(machine, CODE + 18)[:2] == (800, 2 + 200 * 7)


@pytest.mark.parametrize("cpu", CORES)
def test_code_that_is_written_again_is_what_runs(code: Assemble, cpu: str) -> None:
    first, second = (code(f" movs r0, #{n}\n adds r0, #1\n{pad} bkpt 1", cpu)
                     for n, pad in ((10, ""), (20, " nop\n nop\n")))  # fmt: skip
    machine = machine_with(first, cpu)
    costs = {first: set(), second: set()}
    for turn in range(6):
        program = (first, second)[turn % 2]
        machine.write(CODE, program)
        machine.set_register("pc", CODE)
        before = machine.instructions, machine.cycles
        assert machine.run().reason is Reason.BREAKPOINT
        assert machine.register("r0") == (11, 21)[turn % 2]
        costs[program].add((machine.instructions - before[0], machine.cycles - before[1]))
        machine.set_register("pc", 0x20000000)  # so that it starts anew
    assert [len(found) for found in costs.values()] == [1, 1]


def test_thousands_of_programs_take_no_more_memory_than_a_few(code: Assemble) -> None:
    programs = [code(LOOP + " nop\n" * extra) for extra in (0, 1, 2)]
    machine = machine_with(programs[0], "cortex-m7")
    sizes = []
    for turn in range(300):
        machine.write(CODE, programs[turn % 3])
        machine.set_register("pc", CODE)
        finished(machine, CODE + 18)
        sizes.append(machine.table_sizes)
    assert sizes[-1] == sizes[5]


def test_data_may_be_written_without_an_effect_on_code(code: Assemble) -> None:
    machine = machine_with(code(" ldr r1, =0x20002000\n1: ldr r0, [r1]\n bkpt 1\n b 1b"))
    for value in (1, 2, 3):
        machine.write(0x20002000, value.to_bytes(4, "little"))
        assert machine.run().reason is Reason.BREAKPOINT
        assert machine.register("r0") == value
        machine.skip(2)


@pytest.mark.parametrize("cpu", ["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"])
def test_the_cycle_counter_shows_modelled_cycles(code: Assemble, cpu: str) -> None:
    body = """
  ldr r0, =0xE000EDFC
  ldr r1, =0x01000000
  str r1, [r0]
  ldr r0, =0xE0001000
  movs r1, #1
  str r1, [r0]
  b 1f
1: ldr r2, [r0, #4]
  movs r3, #100
2: subs r3, #1
  bne 2b
  ldr r3, [r0, #4]
  subs r0, r3, r2
  bkpt 1"""
    machine = machine_with(code(body, cpu), cpu)
    assert machine.run().reason is Reason.BREAKPOINT
    assert machine.cycles - 40 < machine.register("r3") <= machine.cycles
    assert 100 <= machine.register("r0") <= 420


@pytest.mark.parametrize("cpu", CORES)
def test_systick_counts_down(code: Assemble, cpu: str) -> None:
    body = """
  ldr r0, =0xE000E010
  ldr r1, =999
  str r1, [r0, #4]
  str r1, [r0, #8]
  movs r1, #5
  str r1, [r0]
  b 1f
1: ldr r2, [r0, #8]
  movs r3, #100
2: subs r3, #1
  bne 2b
  ldr r3, [r0, #8]
  ldr r4, [r0]
  ldr r3, =1000
3: subs r3, #1
  bne 3b
  ldr r5, [r0]
  ldr r6, [r0]
  bkpt 1"""
    machine = machine_with(code(body, cpu), cpu)
    assert machine.run().reason is Reason.BREAKPOINT
    assert 900 < machine.register("r2") < 1000
    flags = [machine.register(name) for name in ("r4", "r5", "r6")]
    assert flags == [5, 0x10005, 5], "the flag says that it came to zero, once"


def test_a_reset_request_ends_the_run(code: Assemble) -> None:
    machine = machine_with(code(" ldr r0, =0xE000ED0C\n ldr r1, =0x05FA0004\n str r1, [r0]\n b ."))
    assert machine.run().reason is Reason.RESET
    machine.reset()
    assert (machine.register("xpsr"), machine.register("control")) == (0x01000000, 0)
    assert machine.read(CODE, 2) != bytes(2), "memory keeps its contents"


FAULTS = {
    "read": (" ldr r0, =0x60000000\n ldr r0, [r0]\n b .", 0x8200, 0x60000000),
    "write": (" ldr r0, =0x60000004\n str r0, [r0]\n b .", 0x8200, 0x60000004),
    "flash": (" movs r0, #0\n str r0, [r0]\n b .", 0x8200, 0),
    "jump": (" ldr r0, =0x60000001\n bx r0", 0x100, 0),
    "undefined": (" nop\n udf #0", 0x10000, 0),
    "arm state": (" ldr r0, =0x20000400\n bx r0", 0x20000, 0),
    "float": (" vmov.f32 s0, #1.0\n b .", 0x80000, 0),
    "unaligned": (" ldr r0, =0x20000002\n b 1f\n1: ldrd r2, r3, [r0]\n b .", 0x1000000, 0),
}
HANDLER = " mrs r0, ipsr\n mov r1, lr\n mov r2, sp\n bkpt 1"


def machine_with_handler(code: Assemble, body: str, cpu: str = "cortex-m4") -> EmulatedMachine:
    machine = machine_with(code(body, cpu), cpu, takes_exceptions=True)
    machine.write(0x20001000, code(HANDLER, cpu))
    machine.write(0x2000200C, (0x20001001).to_bytes(4, "little"))
    machine.write(0xE000ED08, (0x20002000).to_bytes(4, "little"))
    return machine


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_enters_its_handler(code: Assemble, name: str) -> None:
    body, cfsr, address = FAULTS[name]
    machine = machine_with_handler(code, body)
    assert machine.run().reason is Reason.BREAKPOINT
    assert machine.register("r0") == 3, "HardFault"
    assert machine.register("r1") == 0xFFFFFFF9
    assert machine.register("r2") == STACK_TOP - 32
    registers = [int.from_bytes(machine.read(0xE000ED00 + at, 4), "little")
                 for at in (0x28, 0x2C, 0x38, 0x04)]  # fmt: skip
    assert registers == [cfsr, 1 << 30, address, 3]
    frame = machine.read(STACK_TOP - 32, 32)
    pc = int.from_bytes(frame[24:28], "little")
    assert f"pc {pc:#010x}" == machine.last_fault.where
    machine.write(0xE000ED28, (0xFFFFFFFF).to_bytes(4, "little"))
    assert machine.read(0xE000ED28, 4) == bytes(4), "ones clear it"


def test_a_cortex_m0plus_tells_no_cause(code: Assemble) -> None:
    machine = machine_with_handler(code, " ldr r0, =0x60000000\n ldr r0, [r0]", "cortex-m0plus")
    assert machine.run().reason is Reason.BREAKPOINT
    assert machine.register("r0") == 3
    assert machine.read(0xE000ED28, 4) == bytes(4)


def test_a_fault_in_the_handler_or_without_one_ends_the_run(code: Assemble) -> None:
    machine = machine_with_handler(code, " udf #0")
    machine.write(0x20001000, code(" udf #1"))
    stop = machine.run()
    assert stop.reason is Reason.FAULT
    assert machine.register("pc") == 0x20001000
    machine = machine_with(code(" udf #0"), takes_exceptions=True)
    stop = machine.run()
    assert stop.reason is Reason.FAULT
    assert "undefined instruction" in stop.fault.what
    assert machine.register("pc") == CODE


def test_a_frame_that_finds_no_memory_is_told(code: Assemble) -> None:
    machine = machine_with_handler(code, " udf #0")
    machine.set_register("sp", 0x20000010)
    assert machine.run().reason is Reason.BREAKPOINT
    assert machine.read(0xE000ED28, 4) == (0x11000).to_bytes(4, "little")


def test_sleep_and_places_where_nothing_is(code: Assemble) -> None:
    machine = machine_with(code(" wfi\n b ."))
    assert machine.run().reason is Reason.SLEEP
    for size in (1, 4):
        with pytest.raises(DeviceError, match="bytes at 0x70000000 lie in no memory"):
            machine.read(0x70000000, size)
    with pytest.raises(DeviceError, match="lie in no memory"):
        machine.write(0x203FFFFE, bytes(4))
    with pytest.raises(InputError, match="unknown register"):
        machine.register("r13")
    with pytest.raises(InputError, match="cannot map these registers"):
        machine.map_registers(RAM.origin, 4096, lambda at: 0, lambda at, value: None)


def test_registers_of_ones_own(code: Assemble) -> None:
    seen: list[tuple[int, int]] = []
    machine = machine_with(
        code(" ldr r1, =0x40000000\n ldr r0, [r1, #8]\n str r0, [r1, #4]\n bkpt 1")
    )
    machine.map_registers(0x40000000, 4096, lambda at: at + 100, lambda at, v: seen.append((at, v)))
    assert machine.run().reason is Reason.BREAKPOINT
    assert seen == [(4, 108)]
    assert machine.read(0x40000008, 4) == (108).to_bytes(4, "little")


TICKS = """
  ldr r0, =0xE000E010
  ldr r1, =4999
  str r1, [r0, #4]
  str r1, [r0, #8]
  movs r1, #7
  str r1, [r0]
  movs r4, #0
  ldr r2, =20000
1: adds r4, #1
  subs r2, #1
  bne 1b
  bkpt 1"""
TICK = " ldr r1, =0x20003000\n ldr r0, [r1]\n adds r0, #1\n str r0, [r1]\n bx lr"


@pytest.mark.parametrize("cpu", CORES)
def test_systick_interrupts_and_goes_back(code: Assemble, cpu: str) -> None:
    machine = machine_with_handler(code, TICKS, cpu)
    machine.write(0x20001100, code(TICK, cpu))
    machine.write(0x2000203C, (0x20001101).to_bytes(4, "little"))
    assert machine.run().reason is Reason.BREAKPOINT
    assert (machine.register("r4"), machine.register("r2")) == (20000, 0), "none is lost"
    ticks = int.from_bytes(machine.read(0x20003000, 4), "little")
    assert ticks == (machine.cycles - 30) // 5000
    assert ticks > 5
    assert (machine.register("sp"), machine.register("xpsr") & 0x1FF) == (STACK_TOP, 0)


def test_systick_waits_while_it_is_masked(code: Assemble) -> None:
    body = " cpsid i\n" + TICKS.replace(
        "bkpt", "cpsie i\n ldr r3, =1000\n2: subs r3, #1\n bne 2b\n bkpt"
    )
    machine = machine_with_handler(code, body)
    machine.write(0x20001100, code(TICK))
    machine.write(0x2000203C, (0x20001101).to_bytes(4, "little"))
    machine.run({0x20001100})
    assert machine.register("pc") == 0x20001100
    assert machine.register("r4") == 20000
    while machine.run((), 1).reason is not Reason.BREAKPOINT:
        assert machine.register("sp") in (STACK_TOP, STACK_TOP - 32)
    assert machine.read(0x20003000, 4) == (1).to_bytes(4, "little"), "one for all that were due"


IF_THEN = """
  mov r4, sp
  subs r4, #64
  movs r2, #0
  movs r5, #0
1: cmp r2, #3
  ite cc
  ldrbcc r0, [r4, r2]
  movcs r0, #7
  b 2f
  nop
2: adds r5, #1
  adds r5, #1
  adds r5, #1
  adds r2, #1
  cmp r2, #6
  bne 1b
  b .
"""


def test_what_follows_an_if_then_group_is_not_conditional(code: Assemble) -> None:
    program = code(IF_THEN)
    for seed in range(4):
        machine = machine_with(program)
        rng = random.Random(seed)
        while machine.run({CODE + len(program) - 2}, rng.choice((1, 2, 3))).reason is Reason.LIMIT:
            pass
        assert machine.register("r5") == 18
        assert machine.register("r0") == 7


LONG_GROUP = """
  mov r4, sp
  subs r4, #64
  movs r2, #3
  movs r3, #9
  str r3, [r4]
  movs r5, #0
  movs r0, #0
  movs r1, #0
  movs r6, #0
  cmp r2, #3
  itttt cc
  ldrcc r6, [r4]
  ldrcc.w r0, [r4]
  ldrcc.w r1, [r4]
  addcc r5, #1
  b .
"""


def test_an_if_then_group_across_pages_stays_conditional(code: Assemble) -> None:
    """Blocks end where pages of 1 KiB do, and an instruction that lies across is one of its own."""
    program = code(LONG_GROUP)
    for before in range(2, len(program), 2):
        machine = machine_with(program)
        start = CODE + 1024 - before
        machine.write(start, program)
        machine.set_register("pc", start)
        assert machine.run({start + len(program) - 2}).reason is Reason.ADDRESS
        assert [machine.register(name) for name in ("r0", "r1", "r5", "r6")] == [0, 0, 0, 0]
