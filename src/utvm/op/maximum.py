"""``maximum``: the greater of two operands, with broadcasting.

Quantized numbers are compared as they are stored, as TFLite does: all tensors share one scale.
"""

from __future__ import annotations

import numpy as np

from utvm.op.base import NoAttrs
from utvm.op.elementwise import binary_op

OP = binary_op("maximum", "max", np.maximum, NoAttrs)
