"""lower: fused kernels become functions; the module's text shows operands, constants and loops."""

from __future__ import annotations

from tests.passes.text import lines
from utvm.ir.loop import Module
from utvm.ir.parse_graph import parse_graph
from utvm.ir.print_loop import print_module
from utvm.ir.verify_loop import verify_module
from utvm.op.registry import find_op
from utvm.passes.lower import lower


def lowered(text: str) -> Module:
    module = lower(parse_graph(text, find_op), find_op)
    verify_module(module, after="lower")
    return module


CONV2D = """graph net(%x: int8[1,2,2,3], %skip: int32[1,2,2,2]) -> (%y) {
  const %w: int8[2,1,1,3] = [1, 2, 3, 4, 5, 6]
  const %bits: int32[1] = [8]
  %sum = conv2d(%x, %w) @conv2d_0 from "CONV_2D #0"
  %more = add(%sum, %skip) @conv2d_0
  %y = shift_right(%more, %bits) @conv2d_0
}"""


def test_a_kernel_with_what_is_fused_behind() -> None:
    assert (
        print_module(lowered(CONV2D))
        == """\
module net(x, skip) -> (y) {
  tensor x: int8[1,2,2,3]
  tensor skip: int32[1,2,2,2]
  tensor y: int32[1,2,2,2]
  const conv2d_0_weight: int8[2,1,1,3] = [1, 2, 3, 4, 5, 6]
  call conv2d_0(x, skip) -> (y)

  function conv2d_0 op "conv2d" macs 24 in_place [1] {
    about "CONV_2D #0"
    about "conv2d(int8[1,2,2,3], int8[2,1,1,3]) -> int32[1,2,2,2]"
    about "add(int32[1,2,2,2], int32[1,2,2,2]) -> int32[1,2,2,2]"
    about "shift_right(int32[1,2,2,2], int32[1]) -> int32[1,2,2,2]"
    input in0: int8[1,2,2,3]
    input in1: int32[1,2,2,2]
    const conv2d_0_weight: int8[2,1,1,3]
    output out0: int32[1,2,2,2]
    for x in 0..4 parallel {
      for c in 0..2 parallel {
        alloc acc: int32[]
        acc[] = 0
        for r in 0..3 {
          acc[] = acc[] + int32(in0.view(1, 1, 12)[0, 0, x * 3 + r]) * \
int32(conv2d_0_weight.view(2, 1, 3)[c, 0, r])
        }
        let v0: int32 = acc[] + in1.view(1, 1, 4, 2)[0, 0, x, c]
        out0.view(1, 1, 4, 2)[0, 0, x, c] = v0 >> 8
      }
    }
  }
}
"""
    )


def test_elementwise_kernels_are_one_flat_loop() -> None:
    module = lowered(
        """graph net(%x: int8[2,3,4]) -> (%y) {
          const %c: int8[4] = [1, 2, 3, 4]
          %a = add(%x, %x) @add_0
          %y = add(%a, %x) @add_0
        }"""
    )
    assert lines(print_module(module), "for") == ["for i0 in 0..24 parallel {"]


def test_a_constant_per_channel_keeps_the_last_axis() -> None:
    module = lowered(
        """graph net(%x: int8[2,3,4]) -> (%y) {
          const %c: int8[4] = [1, 2, 3, 4]
          %y = add(%x, %c) @add_0
        }"""
    )
    assert lines(print_module(module), "for", "out0") == [
        "for i0 in 0..6 parallel {",
        "for i1 in 0..4 parallel {",
        "out0.view(6, 4)[i0, i1] = in0.view(6, 4)[i0, i1] + add_0_add1[i1]",
    ]


def test_reshapes_become_aliases() -> None:
    module = lowered(
        """graph net(%x: int8[4]) -> (%y) {
          %a = add(%x, %x) @add_0
          %b = reshape(%a) {shape=[2, 2]}
          %y = add(%b, %b) @add_1
        }"""
    )
    assert dict(module.aliases) == {"b": "a"}
    assert [call.inputs for call in module.calls] == [("x",), ("b",)]


def test_equal_constants_are_stored_once() -> None:
    module = lowered(
        """graph net(%x: int8[2]) -> (%y) {
          const %c: int8[2] = [1, 2]
          const %d: int8[2] = [1, 2]
          %a = add(%x, %c) @add_0
          %y = sub(%a, %d) @sub_1
        }"""
    )
    assert {name: data.tolist() for name, data in module.constants.items()} == {
        "add_0_add1": [1, 2]
    }


def test_names_of_the_model_do_not_meet_those_of_the_kernel() -> None:
    text = CONV2D
    for old, new in (("%x", "%acc"), ("%skip", "%rows"), ("%y", "%v0"), ("%more", "%c")):
        text = text.replace(old, new)
    assert lines(print_module(lowered(text)), "alloc") == ["alloc acc: int32[]"]
