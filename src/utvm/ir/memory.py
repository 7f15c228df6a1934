"""The memory plan: where every value between kernels lies. Made by ``plan_memory``, read by
``codegen``.

Offsets are bytes in one static arena. Graph inputs and outputs are the caller's buffers and have no
offset. Values that are aliases of another have none either; ask for their root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """One thing in the arena: bytes [offset, offset + size) during the calls [first, last]."""

    name: str
    offset: int
    size: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """``values`` by root name, ``workspaces`` by kernel; ``in_place``: what overwrites operands."""

    arena_bytes: int
    values: Mapping[str, Placement]
    workspaces: Mapping[str, Placement]
    in_place: frozenset[str] = frozenset()
