"""``add``: elementwise sum with broadcasting; quantized as TFLite's ADD."""

from __future__ import annotations

import numpy as np

from utvm.op.elementwise import BinaryAttrs, binary_op
from utvm.op.quantized_sum import legalize_sum

OP = binary_op("add", "+", np.add, BinaryAttrs, legalize_sum)
