"""The C names of one kernel's constants and of the network's inputs and outputs.

In: names of the compiler's own (constants are called ``<kernel>_<role>``) or value names, which are
identifiers made from the model's text. Out: names that are no keyword of C or C++ and clash with
nothing around them.
"""

from __future__ import annotations

import re

from utvm.ir.loop import Function
from utvm.ir.rewrite import used_names

KEYWORDS = frozenset(
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const
    const_cast constexpr continue decltype default delete do double dynamic_cast else enum explicit
    export extern false float for friend goto if inline int long mutable namespace new noexcept not
    not_eq nullptr operator or or_eq private protected public register reinterpret_cast restrict
    return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename typeof union unsigned using virtual void
    volatile wchar_t while xor xor_eq
    int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t
    linux unix errno stdin stdout stderr workspace main
    """.split()  # noqa: SIM905
)
"""Words that a C or C++ compiler, or a header that is commonly around, has taken."""

_KERNEL = re.compile(r"^[a-z0-9_]+?_\d+_(?=[a-z])")


def field_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Struct members for graph inputs or outputs, all different."""
    fields: list[str] = []
    for name in names:
        field = f"{name}_" if name in KEYWORDS else name
        while field in fields:
            field += "_"
        fields.append(field)
    return tuple(fields)


def constant_names(function: Function) -> dict[str, str]:
    """What a kernel calls its constants: their roles, such as ``weight``, numbered where two
    constants have one role or something else has that name.
    """
    taken = used_names(function) | KEYWORDS
    names: dict[str, str] = {}
    for buffer in function.constants:
        role = _KERNEL.sub("", buffer.name)
        name, number = role, 1
        while name in taken:
            number += 1
            name = f"{role}_{number}"
        taken.add(name)
        names[buffer.name] = name
    return names


class FreshNames:
    """``t0``, ``t1``, ... around the names that are taken in a function."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._count = 0

    def next(self) -> str:
        while f"t{self._count}" in self._taken:
            self._count += 1
        self._count += 1
        return f"t{self._count - 1}"
