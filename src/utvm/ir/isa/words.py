"""Words of 32 bits as Python ints: halfwords, bytes, and arithmetic that wraps or saturates.

What the meanings of instructions are written in. A word is an int32; the first element of what it
packs is lowest.
"""

from __future__ import annotations

from collections.abc import Callable

WORD = 1 << 32


def wrap(value: int) -> int:
    """``value`` modulo 2^32 as an int32."""
    return (value + (1 << 31)) % WORD - (1 << 31)


def saturate(value: int, bits: int) -> int:
    """The nearest signed number of so many bits."""
    return min(max(value, -(1 << bits - 1)), (1 << bits - 1) - 1)


def saturate_unsigned(value: int, bits: int) -> int:
    """The nearest unsigned number of so many bits."""
    return min(max(value, 0), (1 << bits) - 1)


def low(x: int) -> int:
    """The signed lower halfword."""
    return half(x, 0)


def high(x: int) -> int:
    """The signed upper halfword."""
    return half(x, 1)


def half(x: int, index: int) -> int:
    """A signed halfword; 0 is the lower one."""
    return ((x >> 16 * index & 0xFFFF) ^ 0x8000) - 0x8000


def byte(x: int, index: int) -> int:
    """A signed byte; 0 is the lowest."""
    return ((x >> 8 * index & 0xFF) ^ 0x80) - 0x80


def ubyte(x: int, index: int) -> int:
    """An unsigned byte; 0 is the lowest."""
    return x >> 8 * index & 0xFF


def pair(bottom: int, top: int) -> int:
    """The word with these halfwords."""
    return wrap((bottom & 0xFFFF) | (top & 0xFFFF) << 16)


def halves(of_lane: Callable[[int], int]) -> int:
    """The word whose halfwords are ``of_lane(0)`` and ``of_lane(1)``, modulo 2^16."""
    return pair(of_lane(0), of_lane(1))


def four_bytes(of_lane: Callable[[int], int]) -> int:
    """The word whose bytes are ``of_lane(0)`` to ``of_lane(3)``, modulo 2^8."""
    return wrap(sum((of_lane(i) & 0xFF) << 8 * i for i in range(4)))
