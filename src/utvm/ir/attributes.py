"""Operator attributes as text and back, by the fields of their frozen dataclasses.

``format_attrs`` prints what differs from the defaults; ``build_attrs`` makes an attributes object
of literals that were read from a text, each converted to its field's type or refused. Field types
are int, float, str, bool, tuples of these, and ``None`` beside any of them. No operator is known
here.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any

from utvm.ir.graph import Attrs
from utvm.support.errors import ModelError
from utvm.support.text import printable

Literal = object
"""What a text can say: None, bool, int, float, str, or a tuple of these."""


def field_types(attrs: type[Attrs]) -> dict[str, Any]:
    """The declared type of every field, with string annotations resolved."""
    hints = typing.get_type_hints(attrs)
    return {field.name: hints[field.name] for field in dataclasses.fields(attrs)}


def format_attrs(attrs: Attrs) -> str:
    """``a=1, b="x"`` for the fields that differ from their defaults."""
    kinds = field_types(type(attrs))
    return ", ".join(
        f"{field.name}={_format(getattr(attrs, field.name), kinds[field.name])}"
        for field in dataclasses.fields(attrs)
        if getattr(attrs, field.name) != field.default
    )


def _format(value: Any, kind: Any) -> str:
    kind = _present(kind, value)
    if value is None:
        return "none"
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return repr(float(value))
    if kind is int:
        return str(int(value))
    if kind is str:
        return json.dumps(str(value))
    kinds = _item_types(kind, len(value))
    return f"[{', '.join(_format(v, k) for v, k in zip(value, kinds, strict=True))}]"


def build_attrs(attrs: type[Attrs], values: Mapping[str, Literal]) -> Attrs:
    """The attributes object with these fields; ModelError names one that is wrong or missing."""
    kinds = field_types(attrs)
    unknown = [name for name in values if name not in kinds]
    if unknown:
        known = ", ".join(kinds) or "none"
        raise ModelError("unknown attribute", expected=known, found=unknown[0])
    for field in dataclasses.fields(attrs):
        if field.default is dataclasses.MISSING and field.name not in values:
            raise ModelError("the attribute is missing", expected=field.name)
    given = {name: _convert(value, kinds[name], name) for name, value in values.items()}
    return attrs(**given)


def _convert(value: Literal, kind: Any, name: str) -> Any:
    """A literal as the field's type."""
    kind = _present(kind, value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and number:
        return float(value)  # type: ignore[arg-type]
    if kind in (int, str, bool, type(None)) and type(value) is kind:
        return value
    if typing.get_origin(kind) is tuple and isinstance(value, tuple):
        items = _item_types(kind, len(value))
        if len(items) == len(value):
            return tuple(_convert(v, k, name) for v, k in zip(value, items, strict=True))
    raise ModelError(
        f"attribute {name} is of another type",
        expected=_describe(kind),
        found=printable(str(value)),
    )


def _present(kind: Any, value: object) -> Any:
    """The member of ``X | None`` that ``value`` belongs to."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    if value is None:
        return type(None)
    return next(member for member in typing.get_args(kind) if member is not type(None))


def _item_types(kind: Any, count: int) -> list[Any]:
    """The types of a tuple's items: ``tuple[X, ...]`` has as many as there are."""
    arguments = typing.get_args(kind)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return [arguments[0]] * count
    return list(arguments)


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        arguments = typing.get_args(kind)
        if arguments[-1] is Ellipsis:
            return f"a list of {_describe(arguments[0])}"
        return f"[{', '.join(map(_describe, arguments))}]"
    names = {int: "int", float: "float", str: "string", bool: "true or false"}
    return names.get(kind, "none")
