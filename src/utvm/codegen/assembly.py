"""Micro functions in assembly, where the target's back end can make it.

In: a scheduled module and a target. Out: the module with the C text of its assembled micro
functions. The others, and all of them on other targets, stay portable C.
"""

from __future__ import annotations

from dataclasses import replace

from utvm.codegen.c_module import micro_symbol
from utvm.codegen.thumb import NotSelectableError, assemble
from utvm.ir.loop import Module
from utvm.target.target import Target


def assemble_micros(module: Module, target: Target) -> Module:
    """The module with ``assembly`` for what the back end takes."""
    texts: dict[str, str] = {}
    if target.has("dsp"):
        for micro in module.micros:
            try:
                texts[micro.name] = assemble(micro, micro_symbol(module, micro.name), target)
            except NotSelectableError:
                continue
    return replace(module, assembly=texts)
