"""Registers of innermost loops apart from those around them.

In: a program. Out: the same, where what an innermost loop mentions has a register of its own there,
copied before and behind. So what a loop needs in a register can lie on the stack, or in a high
register, while code around it runs, and the other way round; where both have room, both sides of a
copy get one register and the copy goes.

    x -> loop: ... x ... -> x          x' = x -> loop: ... x' ... -> x = x'
"""

from __future__ import annotations

from dataclasses import replace

from utvm.codegen.thumb.flow import live_in, live_out
from utvm.codegen.thumb.machine import Block, Inst, Program, members


def separate(program: Program) -> Program:
    """The program with registers of their own in loops that are one block."""
    blocks = list(program.blocks)
    outs = live_out(blocks)
    names = dict(program.names)
    last = max(d for block in blocks for inst in block.insts for d in inst.defs)
    for at in range(1, len(blocks) - 1):
        block = blocks[at]
        if not block.loops:
            continue
        inside: dict[int, int] = {}
        for register in members(live_in(block, outs[at]) & block.mentions):
            last += 1
            inside[register] = last
            names |= {last: names[register]} if register in names else {}
        behind = live_in(blocks[at + 1], outs[at + 1])
        into = [Inst("mov", (own,), (register,)) for register, own in inside.items()]
        back = [
            Inst("mov", (register,), (own,))
            for register, own in inside.items()
            if (block.writes & behind) >> register & 1
        ]
        blocks[at - 1] = _with(blocks[at - 1], into)
        blocks[at] = replace(block, insts=tuple(inst.renamed(inside) for inst in block.insts))
        after = blocks[at + 1]
        blocks[at + 1] = replace(after, insts=(*back, *after.insts))
    return replace(program, blocks=tuple(blocks), names=names)


def _with(block: Block, insts: list[Inst]) -> Block:
    """A block with instructions at its end, in front of a branch."""
    end = len(block.insts) - bool(block.target)
    return replace(block, insts=(*block.insts[:end], *insts, *block.insts[end:]))
