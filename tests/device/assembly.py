"""Small assembly programs for the emulator's tests: built, linked at the boards' addresses, run.

In: assembly text of a function called ``measured`` (its body), and what else the program needs.
Out: the emulator's result. The program switches the FPU on where there is one, calls ``measured``
once (twice on demand) and exits by semihosting with r0 of ``measured`` as its status.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import ziglang

from utvm.device.elf import ElfImage, read_elf
from utvm.device.emulator import EmulatorResult, MemoryRegion, run_elf

FLASH = MemoryRegion("flash", 0, 4 << 20, writable=False, executable=True)
RAM = MemoryRegion("ram", 0x20000000, 4 << 20, writable=True, executable=True)
STACK = (0x203FF000, 0x20400000)
MODELS = {"cortex-m0plus": "cortex-m0plus", "cortex-m7": "cortex-m7"}  # others: cortex-m4
ZIG = Path(ziglang.__file__).parent / "zig"

_FLAGS = {
    "cortex-m0plus": ("thumbv6m-none-eabi", "soft", ""),
    "cortex-m3": ("thumbv7m-none-eabi", "soft", ""),
    "cortex-m4": ("thumbv7em-none-eabihf", "hard", "fpv4-sp-d16"),
    "cortex-m7": ("thumbv7em-none-eabihf", "hard", "fpv5-d16"),
    "cortex-m33": ("thumbv8m.main-none-eabihf", "hard", "fpv5-sp-d16"),
}

_SCRIPT = """
SECTIONS
{
  . = 0;
  .text : { KEEP(*(.vectors)) *(.text*) *(.rodata*) }
  . = 0x20000000;
  .bss (NOLOAD) : { *(.bss*) }
}
"""

_PROGRAM = """
.syntax unified
.thumb
.section .vectors, "a"
.word 0x20400000
.word reset
.text
.thumb_func
.type reset, %function
reset:
{switch_on}
{calls}
  movs r4, r0
  ldr r1, =exit_block
  ldr r0, =0x20026
  str r0, [r1]
  str r4, [r1, #4]
  movs r0, #0x20
  bkpt 0xab
  b .
.ltorg
.size reset, . - reset
.balign 4
.thumb_func
.type measured, %function
measured:
{body}
.ltorg
.size measured, . - measured
{functions}
.bss
.balign 8
buffer: .space 256
exit_block: .space 8
"""

_SWITCH_ON = """
  ldr r0, =0xE000ED88
  ldr r1, =0x00f00000
  str r1, [r0]
  dsb
  isb
"""


def function(name: str, body: str) -> str:
    """The text of one more function of the program."""
    head = f".balign 4\n.thumb_func\n.type {name}, %function\n{name}:\n"
    return f"{head}{body}\n.ltorg\n.size {name}, . - {name}\n"


def assemble(
    folder: Path,
    body: str,
    *,
    cpu: str = "cortex-m4",
    functions: str = "",
    calls: int = 1,
    switch_on_float: bool = True,
) -> ElfImage:
    """The linked program around ``body``."""
    triple, float_abi, fpu = _FLAGS[cpu]
    text = _PROGRAM.format(
        switch_on=_SWITCH_ON if fpu and switch_on_float else "",
        calls="  bl measured\n" * calls,
        body=body,
        functions=functions,
    )
    (folder / "program.s").write_text(text)
    (folder / "program.ld").write_text(_SCRIPT)
    options = [f"--target={triple}", f"-mcpu={cpu}", f"-mfloat-abi={float_abi}"]
    options += [f"-mfpu={fpu}"] if fpu else []
    _run(folder, "clang", *options, "-c", "program.s", "-o", "program.o")
    _run(folder, "ld.lld", "-T", "program.ld", "-n", "program.o", "-o", "program.elf")
    return read_elf(folder / "program.elf")


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run([str(ZIG), *command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@dataclass
class Program:
    """Assembles and runs in a scratch folder of the test."""

    folder: Path

    def run(
        self,
        body: str,
        *,
        cpu: str = "cortex-m4",
        functions: str = "",
        calls: int = 1,
        operators: tuple[str, ...] = (),
        files: dict[str, bytes] | None = None,
        limit: int = 10_000_000,
        stack: tuple[int, int] = STACK,
        switch_on_float: bool = True,
    ) -> EmulatorResult:
        image = assemble(
            self.folder,
            body,
            cpu=cpu,
            functions=functions,
            calls=calls,
            switch_on_float=switch_on_float,
        )
        return run_elf(
            image,
            cpu=cpu,
            cycle_model=MODELS.get(cpu, "cortex-m4"),
            memories=(FLASH, RAM),
            stack=stack,
            files=files or {},
            measure="measured",
            operators=operators,
            instruction_limit=limit,
        )

    def cycles(self, body: str, cpu: str, **options: str) -> int:
        """Cycles of one call of ``measured``, from its first instruction to its return."""
        (invocation,) = self.run(body, cpu=cpu, **options).invocations
        return invocation.cycles

    def added_cycles(self, body: str, cpu: str) -> int:
        """What ``body`` costs more than nothing, in a function that only returns."""
        return self.cycles(f"{body}\n bx lr", cpu) - self.cycles(" bx lr", cpu)
