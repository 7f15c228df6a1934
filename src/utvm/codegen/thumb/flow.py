"""Control flow and liveness of a program, and the dependences inside of a block.

A register is live where a later instruction may read what it holds. Dependences order two
instructions of a block: a read behind the write, a write behind reads and writes, accesses to the
same memory when one of them writes. The addition of a constant to a walking pointer is free to move
past accesses through it, because their immediates can be corrected (``settle``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utvm.codegen.thumb.isa import offset_fits
from utvm.codegen.thumb.machine import FLAGS, Block, Inst, Memory, Program, mask, members, real


def successors(blocks: Sequence[Block]) -> list[list[int]]:
    """The numbers of the blocks that may follow each block."""
    numbers = {block.label: at for at, block in enumerate(blocks)}
    result: list[list[int]] = []
    for at, block in enumerate(blocks):
        following = [numbers[block.target]] if block.target else []
        always = bool(block.target) and not block.insts[-1].cond
        if at + 1 < len(blocks) and not always:
            following.append(at + 1)
        result.append(following)
    return result


def live_out(blocks: Sequence[Block]) -> list[int]:
    """The registers that are live at the end of each block."""
    follow = successors(blocks)
    ins, outs = [0] * len(blocks), [0] * len(blocks)
    changed = True
    while changed:
        changed = False
        for at in reversed(range(len(blocks))):
            block, out = blocks[at], 0
            for to in follow[at]:
                out |= ins[to]
            new = live_in(block, out)
            changed |= new != ins[at]
            ins[at], outs[at] = new, out
    return outs


def live_in(block: Block, out: int) -> int:
    """The registers that are live where a block begins."""
    return block.reads | (out & ~block.writes)


def without_dead(program: Program) -> Program:
    """The program without instructions whose results nobody reads."""
    blocks = program.blocks
    while True:
        outs = live_out(blocks)
        shorter = tuple(_live_part(block, out) for block, out in zip(blocks, outs, strict=True))
        if sum(len(b.insts) for b in shorter) == sum(len(b.insts) for b in blocks):
            return replace(program, blocks=blocks)
        blocks = shorter


def _live_part(block: Block, out: int) -> Block:
    live = out
    kept: list[Inst] = []
    for inst in reversed(block.insts):
        effect = inst.target or inst.op == "params" or FLAGS in inst.defs or not inst.defs
        if effect or inst.writes & live:
            live = live & ~inst.writes | inst.reads
            kept.append(inst)
    return block if len(kept) == len(block.insts) else replace(block, insts=tuple(kept[::-1]))


@dataclass(frozen=True)
class Order:
    """The dependences of a block: by instruction the set of those that must come before it."""

    before: tuple[int, ...]
    floating: int  # pointers whose accesses may pass their one addition


def dependences(insts: Sequence[Inst]) -> Order:
    """What must come before what."""
    floating = _floating(insts)
    before = [0] * len(insts)
    writer: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    accesses: dict[str, list[int]] = {}
    for at, inst in enumerate(insts):
        first = 0
        for use in inst.uses:
            if use in writer and not _passes(insts[writer[use]], inst, use, floating):
                first |= 1 << writer[use]
            readers.setdefault(use, []).append(at)
        for register in inst.defs:
            for reader in readers.get(register, ()):
                if reader != at and not _passes(inst, insts[reader], register, floating):
                    first |= 1 << reader
            if register in writer:
                first |= 1 << writer[register]
            writer[register] = at
            readers[register] = [at] if register in inst.uses else []
        if inst.memory is not None:
            others = accesses.setdefault(inst.memory.buffer, [])
            first |= sum(1 << other for other in others if _conflict(insts[other], inst))
            others.append(at)
        if inst.target:
            first |= (1 << at) - 1
        before[at] = first
    if insts and insts[0].op == "params":
        before[1:] = [first | 1 for first in before[1:]]
    return Order(tuple(before), floating)


def _floating(insts: Sequence[Inst]) -> int:
    """Pointers that are written once in the block, by the addition of a constant, and otherwise
    only carry accesses whose immediates reach on both sides of it."""
    steps = _steps(insts)
    floating = mask(tuple(steps))
    moved = 0
    for inst in insts:
        for register in members(inst.reads & floating):
            if register in inst.defs:
                moved |= 1 << register
            elif not _reaches(inst, register, steps[register], bool(moved >> register & 1)):
                floating &= ~(1 << register)
    return floating


def _reaches(inst: Inst, register: int, step: int, moved: bool) -> bool:
    """Whether a use of a pointer may stand on either side of the pointer's addition; one that is no
    access stays behind it."""
    memory = inst.memory
    if memory is None:
        return moved
    if (
        inst.base != register
        or memory.scale is not None
        or (inst.stores and inst.uses[0] == register)
    ):
        return False
    here = memory.offset + (step if moved else 0)
    return offset_fits(here) and offset_fits(here - step)


def _steps(insts: Sequence[Inst]) -> dict[int, int]:
    """The registers that are written once, by the addition of a constant, and that constant."""
    steps: dict[int, int] = {}
    written = 0
    for inst in insts:
        for register in real(inst.defs):
            steps.pop(register, None)
            step = _step(inst, register)
            if step is not None and not written >> register & 1:
                steps[register] = step
        written |= inst.writes
    return steps


def _step(inst: Inst, register: int) -> int | None:
    """The constant that an instruction adds to a pointer."""
    if inst.memory is not None and inst.memory.post and inst.base == register:
        return inst.memory.post
    if inst.advances and inst.imm is not None and inst.defs == inst.uses == (register,):
        return {"addi": inst.imm, "subi": -inst.imm}.get(inst.op)
    return None


def _passes(write: Inst, read: Inst, register: int, floating: int) -> bool:
    """Whether an access and the addition to its pointer may change places."""
    if register < 0 or not floating >> register & 1 or _step(write, register) is None:
        return False
    return read is not write and read.memory is not None and read.base == register


def _conflict(first: Inst, second: Inst) -> bool:
    """Whether two accesses to one buffer may touch the same bytes, and one of them writes."""
    if not (first.stores or second.stores):
        return False
    a, b = first.memory, second.memory
    assert a is not None and b is not None
    return (a.form is not b.form and a.form != b.form) or _overlap(a, b)


def _overlap(a: Memory, b: Memory) -> bool:
    return a.place < b.place + b.size and b.place < a.place + a.size


def settle(insts: Sequence[Inst], order: Sequence[int], floating: int) -> list[Inst]:
    """The instructions in a new order, with the immediates of accesses that have passed the
    addition to their pointer corrected."""
    adder = {r: at for at, i in enumerate(insts) for r in members(i.writes & floating)}
    place = {number: at for at, number in enumerate(order)}
    result: list[Inst] = []
    for number in order:
        inst = insts[number]
        writer = -1 if inst.memory is None else adder.get(inst.base, number)
        if inst.memory is not None and writer != number:
            was, is_now = number > writer, place[number] > place[writer]
            if was != is_now:
                step = _step(insts[writer], inst.base)
                assert step is not None
                offset = inst.memory.offset + (step if was else -step)
                inst = replace(inst, memory=replace(inst.memory, offset=offset))
        result.append(inst)
    return result


def with_post_index(insts: Sequence[Inst], limit: int) -> list[Inst]:
    """Additions to floating pointers done by an access that has no offset."""
    result = list(insts)
    for register in members(_floating(insts)):
        adder = next(at for at, i in enumerate(result) if register in i.defs)
        step = _step(result[adder], register)
        assert step is not None
        if result[adder].memory is not None or abs(step) > limit:
            continue
        for at, inst in enumerate(result):
            memory = inst.memory
            if memory is None or inst.base != register:
                continue
            zero = memory.offset + (step if at > adder else 0) == 0
            alone = inst.uses.count(register) == 1 and len(inst.uses) - inst.stores == 1
            if zero and alone and memory.scale is None:
                result = _merged(result, adder, at, register, step)
                break
    return result


def _merged(insts: list[Inst], adder: int, at: int, register: int, step: int) -> list[Inst]:
    """``insts`` with the addition ``adder`` done by access ``at``: accesses behind that count from
    the new place."""
    result: list[Inst] = []
    for number, inst in enumerate(insts):
        memory = inst.memory
        if number == adder:
            continue
        if number == at:
            assert memory is not None
            defs = (*inst.defs, register)
            inst = replace(inst, defs=defs, memory=replace(memory, offset=0, post=step))
        elif memory is not None and inst.base == register:
            here = memory.offset + (step if number > adder else 0)
            offset = here - step if number > at else here
            inst = replace(inst, memory=replace(memory, offset=offset))
        result.append(inst)
    return result
