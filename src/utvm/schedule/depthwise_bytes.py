"""Depthwise layers on cores whose words must be aligned: blocks of one channel, byte by byte.

In: what was read of a depthwise kernel, the kernel and the module's constants. Out: options with
estimates of cycles, as for Cortex-M0+: the blocks of ``depthwise_plain.py``, which load elements,
and loops in C. What copies four channels between padding moves bytes here: an image may begin
anywhere, if it is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from math import prod

from utvm.ir.loop import For, Function, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import simplify_body
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.depthwise_across_kernel import has_groups, schedule_across
from utvm.schedule.depthwise_strips import AcrossSchedule
from utvm.schedule.depthwise_sum import DepthwiseSum
from utvm.schedule.knobs import Option, default_config
from utvm.schedule.weighted_sum import Array

_PIXELS = (3, 2, 4)
"""Results of a channel that make a block, the default first."""
_MOST_TAPS = 25
"""All taps of a block stand side by side; longer blocks leave the reach of a branch."""
_PRODUCT, _RESULT = {2: 4.3, 3: 4.0, 4: 4.3}, 42.0
"""Cycles for a product, by pixels of a block, and for a result."""


def byte_options(
    w: DepthwiseSum, function: Function, constants: Mapping[str, Array]
) -> Iterator[Option]:
    """Blocks of one channel."""
    if not has_groups(w) or prod(w.window) > _MOST_TAPS:
        return
    results = w.image[0] * w.rows * w.columns * w.image[3] * w.multiplier
    weights = int(w.weights.size)
    for pixels in _PIXELS:
        schedule = AcrossSchedule(pixels, lanes=1, plain=True)
        yield Option(
            results * (_PRODUCT[pixels] * prod(w.window) + _RESULT),
            2 * weights,
            partial(schedule_bytes, function, constants, schedule),
            default_config("across", schedule),
            pixels == _PIXELS[0],
            of_weights=weights,
        )


def schedule_bytes(
    function: Function, constants: Mapping[str, Array], schedule: AcrossSchedule
) -> Scheduled | None:
    """The kernel, or None."""
    made = schedule_across(function, constants, schedule)
    if made is None:
        return None
    micros = (replace(m, body=simplify_body(_by_element(m.body, set()))) for m in made.micros)
    return replace(made, micros=tuple(micros))


def _by_element(body: tuple[Stmt, ...], words: set[str]) -> tuple[Stmt, ...]:
    """Loads of words, and stores of what they load (``words``), as those of their elements."""
    result: list[Stmt] = []
    for stmt in body:
        match stmt:
            case For(body=inner):
                result.append(replace(stmt, body=_by_element(inner, words)))
            case Let(var, Load(buffer, (index,), lanes)) if lanes > 1:
                words.add(var.name)
                for i in range(lanes):
                    element = Var(f"{var.name}_{i}", buffer.dtype)
                    result.append(Let(element, Load(buffer, (index + i,))))
            case Store(buffer, (index,), Var(name), lanes) if name in words:
                for i in range(lanes):
                    element = Var(f"{name}_{i}", buffer.dtype)
                    result.append(Store(buffer, (index + i,), element))
            case _:
                result.append(stmt)
    return tuple(result)
