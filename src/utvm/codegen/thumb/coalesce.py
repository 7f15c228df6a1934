"""Takes copies out of straight lines.

``mov d, s`` goes where ``s`` is made in the same block, is not needed behind the copy, and nothing
between touches ``d``: then ``s`` is made in ``d`` at once.
"""

from __future__ import annotations

from dataclasses import replace

from utvm.codegen.thumb.flow import live_out
from utvm.codegen.thumb.machine import Block, Inst, Program


def coalesce(program: Program) -> Program:
    """The program with fewer copies."""
    outs = live_out(program.blocks)
    blocks = tuple(_block(b, out, program) for b, out in zip(program.blocks, outs, strict=True))
    return replace(program, blocks=blocks)


def _block(block: Block, out: int, program: Program) -> Block:
    insts = list(block.insts)
    at = 0
    while at < len(insts):
        inst = insts[at]
        if inst.op == "mov" and not _needed_behind(insts, at, out):
            made = _made(insts, at, program)
            if made is not None:
                to = {inst.uses[0]: inst.defs[0]}
                between = [i.renamed(to) for i in insts[made:at]]
                insts[made : at + 1] = between
                continue
        at += 1
    return replace(block, insts=tuple(insts))


def _needed_behind(insts: list[Inst], at: int, out: int) -> bool:
    source = 1 << insts[at].uses[0]
    return bool(source & out) or any(source & (i.reads | i.writes) for i in insts[at + 1 :])


def _made(insts: list[Inst], at: int, program: Program) -> int | None:
    """Where the source is first written, if the copy's register is free from there on."""
    dest, source = insts[at].defs[0], insts[at].uses[0]
    if source in program.fixed:
        return None
    for earlier in range(at - 1, -1, -1):
        inst = insts[earlier]
        if dest in inst.defs or dest in inst.uses:
            return None
        if source in inst.defs and source not in inst.uses:
            return earlier
    return None
