"""Thumb decoding: kinds, operand roles and stack moves, from the bytes of instructions."""

from __future__ import annotations

import pytest

from utvm.device.emulator_decode import Instruction, Kind, decode_block


def one(code: str) -> Instruction:
    (instruction,) = decode_block(bytes.fromhex(code), 0x1000)
    return instruction


@pytest.mark.parametrize(
    ("code", "text", "kind", "results", "sources"),
    [
        ("0130", "adds r0, #1", Kind.SIMPLE, (0,), (0,)),
        ("0840", "ands r0, r1", Kind.ALU, (0,), (0, 1)),
        ("4843", "muls r0, r1, r0", Kind.MULTIPLY, (0,), (1, 0)),
        ("48b2", "sxtb r0, r1", Kind.EXTEND, (0,), (1,)),
        ("8842", "cmp r0, r1", Kind.ALU, (), (0, 1)),
        ("91fbf2f0", "sdiv r0, r1, r2", Kind.DIVIDE, (0,), (1, 2)),
        ("21ee020a", "vmul.f32 s0, s2, s4", Kind.FPU, (16,), (18, 20)),
    ],
)
def test_data_processing(
    code: str, text: str, kind: Kind, results: tuple[int, ...], sources: tuple[int, ...]
) -> None:
    instruction = one(code)
    assert instruction.text == text
    assert (instruction.kind, instruction.results, instruction.sources) == (kind, results, sources)


def test_a_shifted_operand_is_kept_apart() -> None:
    instruction = one("01eb8200")  # add.w r0, r1, r2, lsl #2
    assert (instruction.sources, instruction.shifted) == ((1,), (2,))


def test_an_accumulator_is_kept_apart() -> None:
    short, long = one("21fb0230"), one("c2fb0301")  # smlad r0, r1, r2, r3; smlal r0, r1, r2, r3
    assert (short.sources, short.accumulator, short.results) == ((1, 2), (3,), (0,))
    assert (long.sources, long.accumulator, long.results) == ((2, 3), (0, 1), (0, 1))


def test_a_load_knows_its_address_and_bank() -> None:
    plain, indexed = one("4868"), one("51f8040b")  # ldr r0, [r1, #4]; ldr r0, [r1], #4
    assert (plain.address, plain.bank, plain.base_update) == ((1,), (1, 4), None)
    assert (indexed.bank, indexed.base_update) == ((1, 0), 1)


def test_several_registers_count_words() -> None:
    push, load = one("10b5"), one("90ec040a")  # push {r4, lr}; vldmia r0, {s0-s3}
    assert (push.words, push.stack, push.data) == (2, -8, (4, 14))
    assert (load.words, load.stack, load.results) == (4, 0, (16, 17, 18, 19))


@pytest.mark.parametrize(
    ("code", "moves"),
    [
        ("84b0", -16),  # sub sp, #16
        ("04b0", 16),  # add sp, #16
        ("4df8080d", -8),  # str r0, [sp, #-8]!
        ("5df8040b", 4),  # ldr r0, [sp], #4
        ("2ded048b", -16),  # vpush {d8, d9}
        ("bd46", None),  # mov sp, r7
        ("0046", 0),  # mov r0, r0
    ],
)
def test_moves_of_the_stack_pointer(code: str, moves: int | None) -> None:
    assert one(code).stack == moves


def test_conditions_of_an_if_then_block_are_taken_off() -> None:
    # ite ne; addne r0, r1; bxeq lr
    block = decode_block(bytes.fromhex("14bf 4044 7047".replace(" ", "")), 0)
    assert [i.mnemonic for i in block] == ["it", "add", "bx"]
    assert [i.conditional for i in block] == [False, True, True]
    assert [i.writes_pc for i in block] == [False, False, True]


def test_unknown_bytes_count_as_instructions() -> None:
    # nop, a coprocessor instruction that no core here has (4 bytes), nop
    block = decode_block(bytes.fromhex("00bfffffffff00bf"), 0)
    assert [(i.mnemonic, i.size) for i in block] == [("nop", 2), ("unknown", 4), ("nop", 2)]
