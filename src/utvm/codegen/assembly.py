"""Micro functions in assembly, where the target's back end can make it.

In: a scheduled module and a target. Out: the module with the C text of its assembled micro
functions. The others, and all of them on other targets, stay portable C. Allocation and scheduling
search, so their results are kept in the user's cache; the key is everything they depend on: the
function, the target's pipeline and the back end itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

from utvm.codegen import thumb
from utvm.codegen.c_module import micro_symbol
from utvm.codegen.thumb import NotSelectableError, assemble
from utvm.ir.loop import Function, Module
from utvm.ir.print_loop import print_function
from utvm.support.cache import cached_file
from utvm.target.target import Target

_REFUSED = "none"
_SYMBOL = "utvm_micro_function"
"""The name under which functions lie in the cache, so that networks share them."""


def assemble_micros(module: Module, target: Target) -> Module:
    """The module with ``assembly`` for what the back end takes."""
    texts: dict[str, str] = {}
    if target.has("thumb1") or target.has("thumb2"):
        for micro in module.micros:
            text = _assembled(replace(micro, name=_SYMBOL), target)
            if text != _REFUSED:
                texts[micro.name] = text.replace(_SYMBOL, micro_symbol(module, micro.name))
    return replace(module, assembly=texts)


def _assembled(micro: Function, target: Target) -> str:
    """The C text of a micro function, made or from the cache; ``_REFUSED`` if there is none."""

    def make(path: Path) -> None:
        try:
            text = assemble(micro, _SYMBOL, target)
        except NotSelectableError:
            text = _REFUSED
        path.write_text(text, encoding="utf-8")

    core = f"{target.name} {sorted(target.features)} {target.pipeline}"
    key = (_back_end(), core, print_function(micro))
    return cached_file("micro.c", key, make).read_text(encoding="utf-8")


@cache
def _back_end() -> str:
    """A digest of the back end's own sources: another one may make other code."""
    digest = hashlib.sha256()
    for source in sorted(Path(thumb.__path__[0]).glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()
