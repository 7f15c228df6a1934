"""What a C compiler is taken to produce for a core: cycles per operation, as data.

In: the table ``[costs]`` of a target file. Out: a frozen ``Costs``. The figures forecast programs
that nobody has compiled; where they come from, and how far they can be trusted, is in
docs/design/forecast.md. A target without the table has no forecast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from utvm.target.fields import Fields

OPERATIONS = {
    "load": "a word from memory",
    "load_unsigned": "a byte or halfword, extended with zeros",
    "load_signed": "a byte or halfword, extended with its sign",
    "far": "an offset that does not fit into a load or store",
    "indexed": "an address that is a sum of two registers",
    "store": "a word, halfword or byte to memory",
    "alu": "a sum, difference, shift or bitwise operation",
    "shifted": "a sum with a shifted operand",
    "multiply": "a product",
    "multiply_add": "a product added to an accumulator",
    "packed": "an instruction of the DSP extension, or what stands for it",
    "multiply_high": "the high word of a product",
    "multiply_long": "a product of 64 bits",
    "wide": "a sum, difference or comparison of 64 bits",
    "wide_shift": "a shift of 64 bits",
    "divide": "an integer division",
    "extreme": "a minimum or maximum",
    "clamp": "a minimum and a maximum with constants",
    "select": "a comparison and what depends on it",
    "advance": "a pointer or an index moved by a loop",
    "round": "a counter, a comparison and a jump back",
    "loop": "entering and leaving a loop",
    "branch": "a condition and a jump",
    "spill": "a value that finds no register",
    "call": "a function entered and left, and its arguments",
    "set_word": "four bytes filled by the C library",
    "copied_word": "four bytes copied by the C library, both aligned alike",
    "shifted_word": "four bytes copied by the C library, aligned otherwise",
    "copy": "a call of the C library's copy or set",
    "float_add": "a sum, difference or product of floats",
    "float_multiply_add": "a product of floats, added",
    "float_compare": "a comparison, minimum or maximum of floats",
    "float_convert": "a conversion from or to float",
    "float_divide": "a quotient or square root of floats",
    "float_call": "a function of floats: exp, tanh",
    "double": "an operation on doubles, which no supported core has instructions for",
}
"""The operations that a table may price; one that it leaves out costs one cycle."""


def _ones() -> Mapping[str, float]:
    return MappingProxyType(dict.fromkeys(OPERATIONS, 1.0))


@dataclass(frozen=True)
class Costs:
    """``cycles`` and ``instructions`` by operation; ``registers`` that a compiler can use;
    ``unroll``: the operations up to which it writes rounds of a loop behind each other;
    ``near_bytes``: the offsets that every load takes; ``mispredict_cycles`` of a branch.
    """

    registers: int = 13
    unroll: int = 0
    near_bytes: int = 4096
    mispredict_cycles: int = 0
    cycles: Mapping[str, float] = field(default_factory=_ones)
    instructions: Mapping[str, float] = field(default_factory=_ones)


def read_costs(table: Fields) -> Costs:
    """The costs that a table describes."""
    cycles, instructions = table.table("cycles"), table.table("instructions")
    defaults = Costs()
    costs = Costs(
        registers=table.integer("registers", defaults.registers),
        unroll=table.integer("unroll", defaults.unroll),
        near_bytes=table.integer("near_bytes", defaults.near_bytes),
        mispredict_cycles=table.integer("mispredict_cycles", 0),
        cycles={name: cycles.number(name, 1.0) for name in OPERATIONS},
        instructions={name: instructions.number(name, 1.0) for name in OPERATIONS},
    )
    for part in (table, cycles, instructions):
        part.finish()
    return costs
