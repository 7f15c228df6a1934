"""The Makefile of a bundle: builds its program with GCC or with zig, and nothing else.

In: the target and the board. Out: the Makefile's text. It lists one command line in full, so that
whoever has another build system can read off what to pass to a compiler.
"""

from __future__ import annotations

from utvm.target.board import Board
from utvm.target.target import Target

C_FLAGS = (
    "-std=c99 -O2 -ffp-contract=off -fno-math-errno -ffunction-sections -fdata-sections"
    " -fno-exceptions -fno-unwind-tables -fno-asynchronous-unwind-tables"
)


def makefile(target: Target, board: Board) -> str:
    """``make`` builds standalone/model.elf, ``make COMPILER=zig`` with the other compiler."""
    native = target.is_native
    gcc = " ".join([*target.gcc_flags, *([] if native else ["-ffreestanding", "-fbuiltin"])])
    zig = "" if native else f"-target {target.runtime_target} -mcpu={target.runtime_cpu}"
    link = "" if native else " -Wl,--entry=Reset_Handler -T standalone/link.ld"
    libraries = "" if native else "-nostdlib -static -lgcc"
    return f"""\
# Builds the program standalone/model.elf of this bundle for {board.name}.
#
#   make                     with {target.gcc_program}
#   make CC=other-gcc        with another compiler that has GCC's options
#   make COMPILER=zig        with zig's clang (make ZIG="python3 -m ziglang" for the Python wheel)
#
# To use the network in a program of your own, compile codegen/host/src/*.c and runtime/src/*.c, add
# both include folders, and call what codegen/host/include declares.

COMPILER = gcc
CC = {target.gcc_program}
ZIG = zig

FLAGS_gcc = {gcc}
LIBRARIES_gcc = {libraries}
FLAGS_zig = {zig}
LIBRARIES_zig =
COMMAND_gcc = $(CC)
COMMAND_zig = $(ZIG) cc

CFLAGS = {C_FLAGS}
INCLUDES = -Icodegen/host/include -Icodegen/host/src -Iruntime/include
SOURCES = $(sort $(wildcard codegen/host/src/*.c) $(wildcard standalone/*.c)) \\
  $(sort $(wildcard runtime/port/{board.port}/*.c)) $(sort $(wildcard runtime/src/*.c))

standalone/model.elf: $(SOURCES)
\t$(COMMAND_$(COMPILER)) $(FLAGS_$(COMPILER)) $(CFLAGS) $(INCLUDES) $(SOURCES) \\
\t  -Wl,--gc-sections{link} $(LIBRARIES_$(COMPILER)) -o $@

clean:
\trm -f standalone/model.elf

.PHONY: clean
"""
