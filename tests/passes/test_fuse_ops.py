"""fuse-ops: which nodes share a kernel, seen in the labels of the text."""

from __future__ import annotations

import re
from functools import partial

from tests.passes.text import graph_after
from utvm.op.registry import find_op
from utvm.passes.fuse_ops import fuse_ops


def kernels(text: str) -> list[tuple[str, str]]:
    """The nodes in order: first result and kernel, "" for none."""
    after = graph_after(text, partial(fuse_ops, find_op=find_op))
    found = re.findall(r"^  %(\w+): .* = [^@\n]*(?:@(\w+))?$", after, re.MULTILINE)
    return [(name, kernel) for name, kernel in found]


def test_elementwise_nodes_follow_their_anchor() -> None:
    assert kernels(
        """graph net(%x: int8[1,2,2,1], %skip: int32[1,2,2,2]) -> (%y) {
          const %w: int8[2,1,1,1] = [3, -5]
          const %bits: int32[1] = [3]
          %sum = conv2d(%x, %w)
          %more = add(%sum, %skip)
          %shifted = shift_right(%more, %bits)
          %y = cast(%shifted) {dtype="int8", saturate=true}
        }"""
    ) == [(name, "conv2d_0") for name in ("sum", "more", "shifted", "y")]


def test_elementwise_operands_are_drawn_in() -> None:
    assert kernels(
        """graph net(%x: int8[1,2,2,1], %skip: int8[1,2,2,2]) -> (%y) {
          const %w: int8[2,1,1,1] = [3, -5]
          %sum = conv2d(%x, %w)
          %wide = cast(%skip) {dtype="int32"}
          %y = add(%sum, %wide)
        }"""
    ) == [("sum", "conv2d_0"), ("wide", "conv2d_0"), ("y", "conv2d_0")]


def test_a_value_read_twice_or_given_out_ends_its_kernel() -> None:
    text = """graph net(%x: int32[4]) -> (OUTPUTS) {
          %a = add(%x, %x)
          %b = sub(%a, %x)
          %c = sub(SECOND, %b)
        }"""
    once = text.replace("OUTPUTS", "%c").replace("SECOND", "%x")
    assert len({kernel for _, kernel in kernels(once)}) == 1
    twice = text.replace("OUTPUTS", "%c").replace("SECOND", "%a")
    assert kernels(twice) == [("a", "add_0"), ("b", "sub_1"), ("c", "sub_1")]
    given = text.replace("OUTPUTS", "%a, %c").replace("SECOND", "%x")
    assert kernels(given) == [("a", "add_0"), ("b", "sub_1"), ("c", "sub_1")]


def test_broadcasting_ends_a_kernel() -> None:
    assert kernels(
        """graph net(%x: int32[1], %z: int32[4]) -> (%y) {
          %a = add(%x, %x)
          %y = add(%z, %a)
        }"""
    ) == [("a", "add_0"), ("y", "add_1")]


def test_two_anchors_never_share_a_kernel() -> None:
    assert kernels(
        """graph net(%x: int8[1,2], %z: int8[1,2]) -> (%y) {
          const %w: int8[1,2] = [1, 2]
          %a = dense(%x, %w)
          %b = dense(%z, %w)
          %y = add(%a, %b)
        }"""
    ) == [("a", "dense_0"), ("b", "dense_1"), ("y", "dense_1")]


def test_reshape_belongs_to_no_kernel() -> None:
    assert kernels(
        """graph net(%x: int32[4]) -> (%y) {
          %a = add(%x, %x)
          %b = reshape(%a) {shape=[2, 2]}
          %y = add(%b, %b)
        }"""
    ) == [("a", "add_0"), ("b", ""), ("y", "add_1")]
