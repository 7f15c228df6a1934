"""The registry of packed functions: what a runtime finds them in by name.

In: names of functions, and what the C names begin with. Out: C text that defines
``<prefix>_registry``. Names are identifiers.
"""

from __future__ import annotations

from collections.abc import Sequence

from utvm.codegen.c_layout import INDENT


def registry_source(symbols: Sequence[str], prefix: str) -> str:
    """Names in one text behind their number in two bytes, and the functions in the same order."""
    low, high = len(symbols) & 0xFF, len(symbols) >> 8
    names = "\n".join(f'{INDENT * 2}"{symbol}\\0"' for symbol in symbols)
    listed = "\n".join(f"{INDENT * 2}{symbol}," for symbol in symbols)
    return f"""/* clang-format off */
static const char {prefix}_names[] =
    "\\{low:03o}\\{high:03o}"
{names};

static const TVMBackendPackedCFunc {prefix}_functions[] = {{
{listed}
}};

const TVMFuncRegistry {prefix}_registry = {{
    {prefix}_names,
    {prefix}_functions,
}};
/* clang-format on */
"""
