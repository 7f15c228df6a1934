"""Graphs in text form that are well formed, but ask for what no program should do.

Each gives one line that says what, where, and what was expected, before any memory of its size is
asked for: sizes without end, numbers that C leaves undefined, element types that do not fit.
"""

from __future__ import annotations

import numpy as np
import pytest

from utvm.driver.pipeline import compile_graph
from utvm.ir.parse_graph import parse_graph
from utvm.op.registry import find_op
from utvm.support.errors import UtvmError
from utvm.target.target import load_target

Q = "q(scale=0.5, zero_point=0)"


def message(inputs: str, *lines: str, **params: np.ndarray) -> str:
    """What compiling a graph of these lines says; %y is the output."""
    text = "\n".join([f"graph net({inputs}) -> (%y) {{", *lines, "}"])
    with pytest.raises(UtvmError) as caught:
        compile_graph(parse_graph(text, find_op, params, file="net.graph"), load_target("host"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


IMAGE = "%x: int8[1,4,4,1]"
WEIGHT = "const %w: int8[1,2,2,1] = [1, 2, 3, 4]"
FACTOR = ("const %m: int32[1] = [1073741824]", "const %s: int32[1] = [{}]")

# What one node says, by its input, its constants and itself.
ONE_NODE = [
    (
        (IMAGE, WEIGHT, '%y = conv2d(%x, %w) {activation="swish"}'),
        "unknown activation; expected none, relu, relu6, relu_n1_to_1; found swish",
    ),
    (
        (IMAGE, WEIGHT, '%y = conv2d(%x, %w) {accumulator="bool"}'),
        "unknown accumulator; expected int32 or int64; found bool",
    ),
    (
        (IMAGE, WEIGHT, "%y = conv2d(%x, %w) {padding=[1000000, 0, 1000000, 0]}"),
        "the padded image is too large; expected at most 2147483647 elements; "
        "found [1, 1000004, 1000004, 1]",
    ),
    (
        (IMAGE, WEIGHT, "%y = conv2d(%x, %w) {strides=[1, 99999999999]}"),
        "a window, stride, dilation or padding is too large; expected at most 2147483647; "
        "found 99999999999",
    ),
    (
        (IMAGE, WEIGHT, "%y = conv2d(%x, %w) {input_zero_point=300}"),
        "a zero point is out of range; expected -128 to 127; found 300",
    ),
    (
        (IMAGE, "%y = resize_nearest(%x) {size=[70000, 1]}"),
        "the size is too large; expected at most 65536; found (70000, 1)",
    ),
    (
        (IMAGE, "%y = pad(%x) {before=[0, 0, 0, 0], after=[0, 1, 0, 0], value=nan}"),
        "the padding is not an element of the tensor; expected a whole number from -128 to 127; "
        "found nan",
    ),
    (
        (
            "%x: int8[2,2,2,2,2]",
            '%y = pad(%x) {before=[1,1,1,1,1], after=[1,1,1,1,1], mode="symmetric"}',
        ),
        "too many axes have mirrored borders; expected at most 81 pieces of the result; found 243",
    ),
    (
        (IMAGE, "%y = clip(%x) {low=nan}"),
        "a bound is not a number or lets nothing through; found (nan, inf)",
    ),
    (
        (IMAGE, "%y = clip(%x) {low=500.0}"),
        "a bound lies beyond all elements; expected int8; found (500.0, inf)",
    ),
    ((IMAGE, "%y = tanh(%x)"), "integers need a quantization here; expected float32; found int8"),
    (
        ("%x: float32[4]", "%y = softmax(%x) {beta=inf}"),
        "beta is not a finite float32; found inf",
    ),
    (
        ("%x: int32[4]", "const %s: int32[1] = [32]", "%y = shift_right(%x, %s)"),
        "the count of bits is out of range; expected 0 to 31; found 32",
    ),
    (
        ("%x: int32[4], %s: int32[4]", "%y = shift_right(%x, %s)"),
        "counts of bits must be constants",
    ),
    (
        ("%x: int32[4]", FACTOR[0], FACTOR[1].format(31),
         '%y = requantize(%x, %m, %s) {dtype="int8", low=-128, high=127}'),
        "a shift is out of range; expected -31 to 30; found 31",
    ),
    (
        ("%x: int32[4]", FACTOR[0], FACTOR[1].format(0),
         '%y = requantize(%x, %m, %s) {dtype="int8", low=-128, high=127, right=true}'),
        "a shift is out of range; expected 1 to 31; found 0",
    ),
    (
        ("%x: int16[4]", FACTOR[0], FACTOR[1].format(0),
         '%y = requantize(%x, %m, %s) {dtype="int8", low=-128, high=127, left_shift=17}'),
        "the shifted input does not fit 32 bits; found 17",
    ),
    (
        ("%x: int32[4]", FACTOR[0], FACTOR[1].format(0), "const %a: int32[1] = [0]",
         '%y = requantize_linear(%x, %m, %a, %s) '
         '{dtype="int8", low=-128, high=127, left_shift=-1}'),
        "left_shift is out of range; expected 0 to 30; found -1",
    ),
    (
        ("%x: int8[4]", '%y = sum_linear(%x, %x) {dtype="int8", low=-128, high=127, '
         "weights=[16777216, 1], addend=0, shift=1}"),
        "the sum does not fit 32 bits; found [16777216, 1] and 0",
    ),
    (
        ("%x: int8[4]", "const %t: int32[256]", '%y = softmax_table(%x, %t) {dtype="int8"}'),
        "the table holds no exponentials; expected 2147483647, then numbers that are not "
        "negative; found 0",
    ),
    (
        ("%x: int8[4]", "const %i: int32[1] = [9]", "%y = gather(%x, %i) {axis=0}"),
        "an index is outside its axis; expected 0 to 3; found 9 to 9",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ONE_NODE, ids=[e[:40] for _, e in ONE_NODE])
def test_refused(text: tuple[str, ...], expected: str) -> None:
    found = message(*text, t=np.zeros(256, np.int32))
    assert expected in found
    assert found.startswith("net.graph:")


def test_scales_beyond_all_sense() -> None:
    assert message(
        "%x: int8[4] q(scale=1e+38, zero_point=0)", f"%y: int8[4] {Q} = hard_swish(%x)"
    ) == ("y: the scales of this operator are too large, too small or too far apart")


def test_an_operand_without_quantization() -> None:
    assert message("%x: int8[4]", f"%y: int8[4] {Q} = add(%x, %x)") == (
        "%x: the operand or result needs a quantization"
    )


def test_a_scale_per_channel_where_one_is_meant() -> None:
    scales = "q(scales=[0.5, 0.5, 0.5, 0.5], zero_points=[0, 0, 0, 0], axis=0)"
    assert message(f"%x: int8[4] {scales}", f"%y: int8[4] {Q} = relu(%x)") == (
        "%x: per-channel quantization is not supported here"
    )


def test_weights_quantized_along_another_axis() -> None:
    weight = "const %w: int8[2,2] q(scales=[0.5, 0.25], zero_points=[0, 0], axis=1) = [1, 2, 3, 4]"
    assert message(f"%x: int8[1,2] {Q}", weight, f"%y: int8[1,2] {Q} = dense(%x, %w)") == (
        "%w: the weights are quantized along another axis; expected 0; found 1"
    )


def test_one_nest_per_pair_of_phases() -> None:
    node = "%y = transpose_conv2d(%x, %w) {strides=[17, 16], padding=[0, 0], size=[40, 40]}"
    assert message("%x: float32[1,2,2,1]", "const %w: float32[1,2,2,1] = [1, 2, 3, 4]", node) == (
        "net.graph:3:6: the strides of this transposed convolution are too large; "
        "expected rows times columns at most 256; found [17, 16]"
    )


def test_too_much_memory_altogether() -> None:
    assert message("%x: int8[1,12000,12000,1]", "%y = copy(%x)") == (
        "net.graph: net: the tensors of this model are too large for a microcontroller; "
        "expected at most 268435456 bytes altogether; found 288000000 bytes"
    )


def test_too_many_operands() -> None:
    operands = ", ".join(["%x"] * 1025)
    assert message("%x: int8[4]", f"%y = concat({operands}) {{axis=0}}") == (
        "net.graph: y: too many operands; expected 1024; found 1025"
    )


def test_a_table_that_is_too_large() -> None:
    node = "%y = avg_pool2d(%x) {window=[3, 1], padding=[1, 1, 0, 0]}"
    assert message("%x: int8[1,2000000,1,1]", node) == (
        "avg_pool2d_0: the operator needs too large a table; expected at most 1048576 elements; "
        "found 2000000"
    )


def test_windows_over_constants_are_left_to_the_device() -> None:
    """Computing them here would take minutes and gigabytes."""
    text = """graph net(%z: int8[1]) -> (%y, %z) {
      const %x: int8[1,1000,1000,1]
      %y = avg_pool2d(%x) {window=[500, 500]}
    }"""
    graph = parse_graph(text, find_op, {"x": np.ones((1, 1000, 1000, 1), np.int8)})
    compiled = compile_graph(graph, load_target("host"))
    assert [node.op for node in compiled.graph.nodes] == ["avg_pool2d", "copy"]


def test_folding_stops_at_a_total() -> None:
    """Each of the two passes takes four of these and leaves the others to the device."""
    pads = [f"%p{i} = pad(%c) {{before=[0], after=[{15000000 + i}]}}" for i in range(10)]
    rows = [f"%s{i} = strided_slice(%p{i}) {{begin=[{i}], strides=[1], shape=[1]}}"
            for i in range(10)]  # fmt: skip
    total = "%y = concat(%z, " + ", ".join(f"%s{i}" for i in range(10)) + ") {axis=0}"
    text = "\n".join(["graph net(%z: int8[1]) -> (%y) {", "const %c: int8[1] = [1]", *pads, *rows])
    compiled = compile_graph(parse_graph(f"{text}\n{total}\n}}", find_op), load_target("host"))
    assert [node.op for node in compiled.graph.nodes].count("pad") == 2
