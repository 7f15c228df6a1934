"""Damage for models: texts of graphs and bytes of files, changed so that many stay well formed.

In: a random generator and a model. Out: the model with one to four things changed: numbers become
extreme or a little different, names of operators, types and modes change places, quantizations come
and go, elements of constants become extreme. The same generator makes the same damage.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from utvm.op.registry import OPS

Array = npt.NDArray[Any]
Params = Mapping[str, Array]

NUMBER = re.compile(r'(?<![\w.%"])-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|inf|nan)(?![\w"])')
STRING = re.compile(r'"[a-z0-9_]+"')
OPERATOR = re.compile(r"(?<== )[a-z]\w+(?=\()")
CONSTANT = re.compile(r"\b(?:true|false|none)\b")
QUANTIZATION = re.compile(r" q\([^)]*\)")
PLAIN_RESULT = re.compile(r"(%\w+): \w+\[[\d,]*\](?= =|, %)")

NUMBERS = (
    *("0", "1", "-1", "2", "3", "8", "16", "31", "32", "33", "63", "64", "127", "128", "-128"),
    *("255", "256", "257", "1000", "4096", "65535", "65536", "1048576", "16777216"),
    *("2147483647", "2147483648", "-2147483648", "4294967296", "9223372036854775807"),
    *("99999999999999999999", "0.5", "-0.0", "1e-45", "1e-38", "1e-10", "1e10", "3.4e38"),
    *("1e39", "1e300", "inf", "-inf", "nan"),
)
STRINGS = (
    *("none", "relu", "relu6", "relu_n1_to_1", "tanh", "logistic", "constant", "reflect"),
    *("symmetric", "half_away", "truncate", "int8", "int16", "int32", "int64", "uint8", "uint16"),
    *("uint32", "float32", "bool", ""),
)
WORDS = (0, 1, 2, 4, 0x7F, 0xFF, 1000, 0x7FFF, 0xFFFF, 0x800000, 0x42C80000, 0x7F000000,
         0x7F800000, 0x7FC00000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)  # fmt: skip
FLOATS = (0.0, -1.0, np.inf, -np.inf, np.nan, 1e38, -1e38, 1e-45)


def mutated_graph(random: Random, text: str, params: Params) -> tuple[str, Params]:
    """The text of a graph and its constants, damaged. Mostly results lose their types first:
    the operators' rules give others then.
    """
    if random.random() < 0.7:
        text = "\n".join(map(_without_types, text.splitlines()))
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        if params and random.random() < 0.08:
            params = _mutated_params(random, params)
        else:
            text = _mutated_text(random, text)
    return text, params


def _without_types(line: str) -> str:
    """A node without the types of its plain results, which the operator's rule gives as well."""
    head, equals, tail = line.partition(" = ")
    if not line.startswith("  %"):
        return line
    return PLAIN_RESULT.sub(r"\1", f"{head} =")[:-2] + equals + tail


def _mutated_text(random: Random, text: str) -> str:
    pattern, replace = random.choices(
        [
            (NUMBER, _number),
            (STRING, lambda r, old: f'"{r.choice(STRINGS)}"'),
            (OPERATOR, lambda r, old: r.choice(sorted(OPS))),
            (CONSTANT, lambda r, old: r.choice(("true", "false", "none"))),
            (QUANTIZATION, lambda r, old: ""),
        ],
        [76, 8, 8, 4, 4],
    )[0]
    return _replaced(random, text, pattern, replace)


def _replaced(
    random: Random, text: str, pattern: re.Pattern[str], replace: Callable[[Random, str], str]
) -> str:
    """``text`` with one match replaced, sometimes by another match."""
    found = list(pattern.finditer(text))
    if not found:
        return text
    match = random.choice(found)
    other = random.choice(found).group()
    new = other if random.random() < 0.2 else replace(random, match.group())
    return text[: match.start()] + new + text[match.end() :]


def _number(random: Random, old: str) -> str:
    if random.random() < 0.6:
        return random.choice(NUMBERS)
    if old.lstrip("-").isdigit():
        return str(int(old) + random.choice((-3, -2, -1, 1, 2, 3)))
    return str(float(old) * random.choice((-1, 2, 0.5, 1e10, 1e-10)))


def _mutated_params(random: Random, params: Params) -> Params:
    """Some elements of one constant become extreme."""
    name = random.choice(sorted(params))
    data = params[name].copy()
    flat = data.reshape(-1)
    for _ in range(random.choice((1, 1, min(flat.size, 16)))):
        at = random.randrange(flat.size)
        if data.dtype.kind == "f":
            flat[at] = random.choice(FLOATS)
        elif data.dtype.kind == "b":
            flat[at] = not flat[at]
        else:
            info = np.iinfo(data.dtype)
            flat[at] = random.choice((info.min, info.max, 0, 1, min(info.max, 33)))
    return {**params, name: data}


def mutated_bytes(random: Random, model: bytes) -> bytes:
    """A file with a few bytes or words replaced."""
    data = bytearray(model)
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        at = random.randrange(len(data) - 4)
        kind = random.choice(("byte", "word", "near", "copy"))
        if kind == "byte":
            data[at] = random.randrange(256)
            continue
        at -= at % 4
        (word,) = struct.unpack_from("<I", data, at)
        if kind == "word":
            word = random.choice(WORDS)
        elif kind == "near":
            word = (word + random.randrange(-8, 9)) % 2**32
        else:
            (word,) = struct.unpack_from("<I", data, random.randrange(len(data) // 4 - 1) * 4)
        struct.pack_into("<I", data, at, word)
    return bytes(data)
