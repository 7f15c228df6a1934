"""The back end for micro functions: loop IR to scheduled, register-allocated Thumb-2 assembly.

``assemble`` is all of it: select instructions over virtual registers, drop dead ones, schedule and
allocate, print. What it has no instructions for raises ``NotSelectableError``; portable C serves
that. docs/design/microkernels.md explains the stages on one kernel.
"""

from __future__ import annotations

from utvm.codegen.thumb.accesses import prepare
from utvm.codegen.thumb.allocate import Allocation, allocate
from utvm.codegen.thumb.coalesce import coalesce
from utvm.codegen.thumb.emit import emit, prototype
from utvm.codegen.thumb.emit_armv6m import emit_armv6m
from utvm.codegen.thumb.flow import without_dead
from utvm.codegen.thumb.gather import gather
from utvm.codegen.thumb.isa import instruction_set
from utvm.codegen.thumb.legalize import legalize
from utvm.codegen.thumb.machine import NotSelectableError
from utvm.codegen.thumb.select import select
from utvm.codegen.thumb.separate import separate
from utvm.codegen.thumb.walk import plan_walkers
from utvm.ir.loop import Function
from utvm.target.target import Target

__all__ = ["NotSelectableError", "allocation_of", "assemble", "prototype"]


def assemble(function: Function, symbol: str, target: Target) -> str:
    """The C text that defines a micro function, named ``symbol``."""
    text = emit if instruction_set(target).legal else emit_armv6m
    return text(function, symbol, allocation_of(function, target))


def allocation_of(function: Function, target: Target) -> Allocation:
    """The micro function as scheduled blocks with real registers: where strides are scalars, the
    better of one pointer that jumps and several that walk."""
    programs = [select(function, target)]
    nest = prepare(function)
    if plan_walkers(nest) != plan_walkers(nest, jumps=True):
        programs.append(select(function, target, jumps=True))
    isa = instruction_set(target)
    live = [without_dead(p) for p in programs]
    legal = live if isa.legal else [separate(gather(coalesce(legalize(p)))) for p in live]
    found = [allocate(coalesce(p), target.pipeline, isa) for p in legal]
    return min(found, key=lambda allocation: allocation.cycles)
