"""Micro functions and constants of a candidate as one file for the assembler.

In: a finished module. Out: GNU assembly, and the bytes that it includes. What is in C in a network
(a naked function with the same lines, arrays) comes to the same instructions and the same data, but
a C compiler takes three times as long to get there.
"""

from __future__ import annotations

import re

import numpy as np

from utvm.codegen.c_module import constant_symbol, micro_symbol
from utvm.ir.loop import Module

_LINE = re.compile(r'^ {6}"(.*)\\n"', re.M)
"""A line of assembly in a naked function."""
_ALIGNMENT = 8


def assembly_text(module: Module, data: str) -> str:
    """The module's micro functions and constants; ``data`` names the file of ``constant_bytes``."""
    lines = [".syntax unified", ".thumb"] if module.assembly else []
    for name, text in module.assembly.items():
        symbol = micro_symbol(module, name)
        lines += _head(symbol, f'.text.{symbol},"ax",%progbits', 2, "%function")
        lines += [".thumb_func", f"{symbol}:", *_LINE.findall(text), f".size {symbol}, .-{symbol}"]
    at = 0
    for name, array in module.constants.items():
        symbol = constant_symbol(module, name)
        lines += _head(symbol, f'.rodata.{symbol},"a",%progbits', _ALIGNMENT, "%object")
        lines += [f"{symbol}:", f'.incbin "{data}", {at}, {array.nbytes}']
        lines.append(f".size {symbol}, {array.nbytes}")
        at += array.nbytes
    return "\n".join(lines) + "\n"


def constant_bytes(module: Module) -> bytes:
    """All constants, one behind the other."""
    return b"".join(
        np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        for array in module.constants.values()
    )


def _head(symbol: str, section: str, alignment: int, kind: str) -> list[str]:
    return [
        f".section {section}",
        f".balign {alignment}",
        f".global {symbol}",
        f".type {symbol}, {kind}",
    ]
