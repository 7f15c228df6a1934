"""Instructions as data: the loop body of each computes what its meaning says; texts fit the table.

``tests/codegen/test_intrinsics.py`` compares the meanings with portable C and with the instructions
on emulated cores, ``tests/codegen/thumb/test_patterns.py`` with the back end. Here: the bodies that
``tensorize`` looks for, plain instructions that compilers find, and the generated header.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.codegen.programs import run_functions
from tests.loop_interpreter import run_function
from utvm.codegen.simd_header import simd_header
from utvm.codegen.thumb import assemble
from utvm.device.crt import crt_include_dir
from utvm.ir.dtype import DType
from utvm.ir.isa.instruction import ACCUMULATOR, Instruction, Pattern
from utvm.ir.isa.table import ALL, INSTRUCTIONS, PATTERNS
from utvm.ir.isa.words import wrap
from utvm.ir.loop import Buffer, Expr, Function, Load, Stmt, Store, Var, loop
from utvm.ir.parse_loop import parse_function
from utvm.ir.rewrite import map_body, map_statements
from utvm.ir.verify_loop import verify_function
from utvm.target.target import load_target

Array = npt.NDArray[Any]
ROWS = 400
WRAPPING = (
    *("sadd16", "ssub16", "sadd8", "ssub8"),
    *("sxtab16", "sxtab16_ror8", "uxtab16", "uxtab16_ror8"),
)
"""They wrap where loop IR must not go."""
BODIES = [name for name, one in INSTRUCTIONS.items() if one.body]


def random_array(random: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Values over the type's whole range, its ends among them."""
    data = random.integers(dtype.minimum, dtype.maximum, shape, endpoint=True, dtype=np.int64)
    data[random.random(shape) < 0.2] = dtype.minimum
    data[random.random(shape) > 0.8] = dtype.maximum
    return data.astype(dtype.numpy)


def word(data: Array) -> int:
    """The elements as one int32, the first one lowest."""
    return int(np.ascontiguousarray(data).view(np.int32).reshape(-1)[0])


def in_lanes(result: int, buffer: Buffer) -> Array:
    return np.array([result], np.int32).view(buffer.dtype.numpy)[: buffer.elements]


@pytest.mark.parametrize("name", BODIES)
def test_body_computes_what_the_meaning_says(name: str) -> None:
    instruction = INSTRUCTIONS[name]
    body = parse_function(instruction.body)
    verify_function(body)
    random = np.random.default_rng(BODIES.index(name))
    (result,) = body.outputs
    for _ in range(ROWS):
        arrays = {b.name: random_array(random, b.dtype, b.shape) for b in body.inputs}
        if result.name == "acc":
            # Loop IR never overflows: two products of -2^15 and -2^15 would.
            arrays = {n: data + (data == np.iinfo(data.dtype).min) for n, data in arrays.items()}
            arrays["acc"] = random.integers(-1000, 1000, (1,)).astype(np.int32)
        elif name in WRAPPING:
            arrays = {n: data >> 1 for n, data in arrays.items()}
        words = [word(arrays[operand]) for operand in instruction.operands]
        found = run_function(body, arrays)[result.name]
        np.testing.assert_array_equal(found, in_lanes(instruction.meaning(*words), result))


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_texts_name_each_operand(name: str) -> None:
    instruction = INSTRUCTIONS[name]
    places = ["{d}", *("{a}", "{b}", "{c}")[: len(instruction.operands)]]
    assert all(place in instruction.text for place in places)
    assert len(instruction.uses) == len(instruction.operands)
    assert (ACCUMULATOR in instruction.uses) == ("acc" in instruction.operands)
    assert all(operand in instruction.c for operand in instruction.operands)


def test_meanings_give_words() -> None:
    random = np.random.default_rng(1)
    for instruction in INSTRUCTIONS.values():
        for row in random_array(random, DType.INT32, (50, len(instruction.operands))).tolist():
            result = instruction.meaning(*row)
            assert result == wrap(result), (instruction.name, row)


def test_the_header_is_that_of_the_table() -> None:
    header = (crt_include_dir() / "utvm" / "simd.h").read_text(encoding="ascii")
    assert header == simd_header(ALL), "run tools/write_simd_header.py"


def applied(pattern: Pattern, name: str, rows: int) -> Function:
    """The pattern's body on ``rows`` groups of operands."""
    body = parse_function(pattern.body)
    row = Var("row")
    buffers = {
        b.name: Buffer(b.name, b.dtype, (rows * b.elements,), b.scope)
        for b in (*body.inputs, *body.outputs)
    }

    def moved(buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
        return (row * buffer.elements + indices[0],)

    def change(expr: Expr) -> Expr:
        if not isinstance(expr, Load):
            return expr
        old = expr.buffer
        return Load(buffers[old.name], moved(old, expr.indices), expr.lanes)

    def store(stmt: Stmt) -> Stmt:
        assert isinstance(stmt, Store)
        return Store(buffers[stmt.buffer.name], moved(stmt.buffer, stmt.indices), stmt.value)

    inner = map_statements(map_body(body.body, change), store)
    inputs = tuple(buffers[b.name] for b in body.inputs)
    outputs = tuple(buffers[b.name] for b in body.outputs)
    return Function(name, inputs, outputs, (loop(row, rows, *inner, parallel=True),))


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("core", PATTERNS)
def test_plain_instructions_compute_their_bodies(core: str, toolchain: str, tmp_path: Path) -> None:
    patterns = PATTERNS[core]
    functions = [applied(p, f"pattern_{n}", 64) for n, p in enumerate(patterns)]
    random = np.random.default_rng(2)
    arrays = [[random_array(random, b.dtype, b.shape) for b in f.inputs] for f in functions]
    results = run_functions(functions, arrays, tmp_path, core, toolchain)
    for function, operands, (found,) in zip(functions, arrays, results, strict=True):
        inputs = {b.name: data for b, data in zip(function.inputs, operands, strict=True)}
        np.testing.assert_array_equal(found, run_function(function, inputs)["d"], function.name)


@pytest.mark.parametrize("pattern", PATTERNS["cortex-m3"], ids=lambda p: p.title)
def test_the_back_end_finds_plain_instructions(pattern: Pattern) -> None:
    text = assemble(applied(pattern, "f", 64), "f", load_target("cortex-m3"))
    assert f" {pattern.mnemonic} " in text


def test_an_instruction_needs_its_parameters() -> None:
    def twice(x: int) -> int:
        """Two times x."""
        return wrap(2 * x)

    instruction = Instruction(twice, "utvm_wrapping_sum(x, x)", "add {d}, {a}, {a}", "alu")
    assert (instruction.name, instruction.operands) == ("twice", ("x",))
    assert instruction.about == "Two times x."
    assert "static inline int32_t utvm_twice(int32_t x) {" in simd_header([instruction])
