"""How an operator's channels belong together: what must go with a channel that is removed.

A channel is a position on the last axis. ``Op.channels`` labels the channels of the operands and of
the result; those with one label are kept or removed together, and without them the node computes
the same for all others. None: the operator needs all channels as they are. Elementwise operators
have one rule (``elementwise_channels``). ``fold_channels`` does the removing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from utvm.ir.graph import TensorType

Labels = npt.NDArray[np.int64]
Types = Sequence[TensorType]


@dataclass(frozen=True, eq=False)
class Channels:
    """``operands``: labels along the last axis; None for one that stays as it is.

    ``weighted``: every result channel is a sum over all channels of operand 0, whose weights are on
    the last axis of operand 1; the labels of operand 1 then are along its first axis.
    """

    operands: tuple[Labels | None, ...]
    result: Labels
    weighted: bool = False


ChannelRule = Callable[[Types, TensorType, Any], Channels | None]


def same_channels(inputs: Types, result: TensorType, attrs: object) -> Channels | None:
    """Each channel of the only operand becomes the same one of the result."""
    labels = np.arange(result.shape[-1])
    return Channels((labels,), labels)


def elementwise_channels(
    inputs: Types, result: TensorType, tables: tuple[int, ...]
) -> Channels | None:
    """Operands with the result's channels go with it; those with one channel stay."""
    if not result.shape:
        return None
    labels = np.arange(result.shape[-1])
    operands = tuple(
        labels if i not in tables and x.shape and x.shape[-1] == len(labels) else None
        for i, x in enumerate(inputs)
    )
    return Channels(operands, labels)


def weighted_channels(inputs: Types, result: TensorType, attrs: object) -> Channels | None:
    """A filter's weights and its bias go with its result; groups need all as they are."""
    if inputs[0].shape[-1] != inputs[1].shape[-1]:
        return None
    labels = np.arange(result.shape[-1])
    return Channels((None, labels, *(labels for _ in inputs[2:])), labels, weighted=True)


def reshaped_channels(inputs: Types, result: TensorType, attrs: object) -> Channels | None:
    """Element i of a tensor lies in channel i modulo the length of the last axis."""
    before = inputs[0].shape[-1] if inputs[0].shape else 1
    after = result.shape[-1] if result.shape else 1
    shared = gcd(before, after)
    return Channels((np.arange(before) % shared,), np.arange(after) % shared)
