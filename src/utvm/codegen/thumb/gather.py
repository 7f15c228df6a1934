"""Loads of neighbouring words in one instruction: LDM, on cores where loads do not overlap.

In: a program of Armv6-M. Out: the same, where a loop that loads every word that its pointer passes
loads two or three at a time; the pointer moves with them.

    ldr c, [p]; ldr x, [p, #4]; ...; adds p, #8    ->    ldm p!, {c, x}; ...

Registers of an LDM ascend; ``color.py`` sees to that where it can, and where it could not the
emitter prints single loads. A turn begins where a word is not multiplied: so none is loaded long
before it is needed.
"""

from __future__ import annotations

from dataclasses import replace

from utvm.codegen.thumb.machine import Block, Inst, Program

MOST = 3
"""Words at a time."""


def gather(program: Program) -> Program:
    """The program with fewer loads."""
    return replace(program, blocks=tuple(_block(b) if b.loops else b for b in program.blocks))


def _block(block: Block) -> Block:
    moves = [i for i in block.insts if i.op == "t.addi" and i.advances]
    for move in moves:
        block = _gathered(block, move) or block
    return block


def _gathered(block: Block, move: Inst) -> Block | None:
    """The block with the words that one pointer passes loaded together; None if it does not pass
    each of them once."""
    (pointer,), insts = move.defs, block.insts
    loads = [i for i in insts if i.op == "ldr" and i.uses == (pointer,)]
    at = insts.index(move)
    others = [
        number
        for number, inst in enumerate(insts)
        if (pointer in inst.uses or pointer in inst.defs) and inst not in loads
    ]
    places = [i.memory.offset for i in loads if i.memory is not None]
    passed = places == list(range(0, 4 * len(loads), 4)) and move.imm == 4 * len(loads)
    stored = {i.memory.buffer for i in insts if i.memory is not None and i.stores}
    read = {i.memory.buffer for i in loads if i.memory is not None}
    if len(loads) < 2 or not passed or min(others) < at or stored & read:
        return None
    heads = {turn[0]: turn for turn in _turns(block, loads)}
    gone = {*loads, move}
    result: list[Inst] = []
    for inst in insts:
        if inst in heads:
            words = tuple(i.defs[0] for i in heads[inst])
            result.append(Inst(f"t.ldm{len(words)}", (*words, pointer), (pointer,)))
        elif inst not in gone:
            result.append(inst)
    return replace(block, insts=tuple(result))


def _turns(block: Block, loads: list[Inst]) -> list[list[Inst]]:
    """The loads, two or three at a time."""
    multiplied = 0
    for inst in block.insts:
        if inst.op == "t.mul":
            multiplied |= inst.reads
    groups: list[list[Inst]] = []
    for load in loads:
        if not groups or not load.writes & multiplied:
            groups.append([])
        groups[-1].append(load)
    turns: list[list[Inst]] = []
    for group in groups:
        count = -(-len(group) // MOST)
        size, rest = divmod(len(group), count)
        while group:
            many = size + (rest > 0)
            rest -= rest > 0
            turns.append(group[:many])
            group = group[many:]
    return turns
