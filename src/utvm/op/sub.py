"""``sub``: elementwise difference with broadcasting; quantized as TFLite's SUB.

Plain operands have one element type; int32 differences must not overflow. ``quantized_sum`` makes
the quantized form plain.
"""

from __future__ import annotations

import numpy as np

from utvm.op.elementwise import BinaryAttrs, binary_op
from utvm.op.quantized_sum import legalize_sum

OP = binary_op("sub", "-", np.subtract, BinaryAttrs, legalize_sum)
