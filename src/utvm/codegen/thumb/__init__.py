"""The back end for micro functions: loop IR to scheduled, register-allocated Thumb-2 assembly.

``assemble`` is all of it: select instructions over virtual registers, drop dead ones, schedule and
allocate, print. What it has no instructions for raises ``NotSelectableError``; portable C serves
that. docs/design/microkernels.md explains the stages on one kernel.
"""

from __future__ import annotations

from utvm.codegen.thumb.allocate import Allocation, allocate
from utvm.codegen.thumb.coalesce import coalesce
from utvm.codegen.thumb.emit import emit, prototype
from utvm.codegen.thumb.flow import without_dead
from utvm.codegen.thumb.machine import NotSelectableError
from utvm.codegen.thumb.select import select
from utvm.ir.loop import Function
from utvm.target.target import Target

__all__ = ["NotSelectableError", "allocation_of", "assemble", "prototype"]


def assemble(function: Function, symbol: str, target: Target) -> str:
    """The C text that defines a micro function, named ``symbol``."""
    return emit(function, symbol, allocation_of(function, target))


def allocation_of(function: Function, target: Target) -> Allocation:
    """The micro function as scheduled blocks with real registers."""
    return allocate(coalesce(without_dead(select(function, target))), target.pipeline)
