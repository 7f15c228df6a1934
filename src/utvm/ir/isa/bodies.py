"""Bodies of instructions as loop IR text: sums of products, and one expression per lane.

In: element types and an expression of lane ``k``. Out: the text of a function whose buffers bear
the names of the instruction's operands; ``tensorize`` looks for such loops.
"""

from __future__ import annotations

from collections.abc import Mapping

BYTES = {"a": "int8[4]", "b": "int8[4]"}
UNSIGNED = {"a": "uint8[4]", "b": "uint8[4]"}
HALVES = {"a": "int16[2]", "b": "int16[2]"}
SUM, DIFFERENCE = "int32(a[k]) + int32(b[k])", "int32(a[k]) - int32(b[k])"


def products(expression: str) -> str:
    """A sum over two products of halfwords."""
    return accumulation(HALVES, 2, expression)


def accumulation(operands: Mapping[str, str], count: int, expression: str) -> str:
    """``acc`` plus ``count`` terms."""
    return f"""function body {{
{_inputs(operands)}
  output acc: int32[1]
  for k in 0..{count} {{
    acc[0] = acc[0] + {expression}
  }}
}}
"""


def lanes(operands: Mapping[str, str], result: str, count: int, expression: str) -> str:
    """``count`` results, each of its lane."""
    return f"""function body {{
{_inputs(operands)}
  output d: {result}
  for k in 0..{count} parallel {{
    d[k] = {expression}
  }}
}}
"""


def scalar(operands: Mapping[str, str], expression: str) -> str:
    """One int32 result without a loop."""
    return f"""function body {{
{_inputs(operands)}
  output d: int32[1]
  d[0] = {expression}
}}
"""


def clamped(expression: str, low: int, high: int, dtype: str) -> str:
    """An int32 expression, saturated and narrowed."""
    return f"{dtype}(min(max({expression}, {low}), {high}))"


def _inputs(operands: Mapping[str, str]) -> str:
    return "\n".join(f"  input {name}: {dtype}" for name, dtype in operands.items())
