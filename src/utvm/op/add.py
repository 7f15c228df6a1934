"""``add``: elementwise sum with broadcasting; quantized as TFLite's ADD.

Plain operands have one element type; int32 sums must not overflow. ``quantized_sum`` makes the
quantized form plain.
"""

from __future__ import annotations

import numpy as np

from utvm.op.elementwise import BinaryAttrs, binary_op
from utvm.op.quantized_sum import legalize_sum

OP = binary_op("add", "+", np.add, BinaryAttrs, legalize_sum)
