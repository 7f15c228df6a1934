"""Writes ``src/utvm/crt/include/utvm/simd.h`` from the table of instructions in ``utvm.ir.isa``.

Run after an instruction was added or changed: ``python tools/write_simd_header.py``. A test holds
the file to the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from utvm.codegen.simd_header import simd_header  # noqa: E402
from utvm.ir.isa.table import ALL  # noqa: E402

HEADER = ROOT / "src" / "utvm" / "crt" / "include" / "utvm" / "simd.h"

if __name__ == "__main__":
    HEADER.write_text(simd_header(ALL), encoding="ascii")
