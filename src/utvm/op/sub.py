"""``sub``: elementwise difference with broadcasting; quantized as TFLite's SUB."""

from __future__ import annotations

import numpy as np

from utvm.op.elementwise import BinaryAttrs, binary_op
from utvm.op.quantized_sum import legalize_sum

OP = binary_op("sub", "-", np.subtract, BinaryAttrs, legalize_sum)
