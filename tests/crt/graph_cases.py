"""Graphs and parameters for the runtime's test driver, right ones and every kind of broken one.

``valid_graph`` is a small graph that the driver's operators ``sum`` and ``fail`` can run, as plain
Python data to be changed; ``json_of`` makes text of it. ``BROKEN_TEXTS`` are texts that are no
JSON or no graph, ``BROKEN_GRAPHS`` changes that make a graph wrong, each with its status.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

Graph = dict[str, Any]

ERROR_MEMORY, ERROR_JSON, ERROR_DEPTH, ERROR_GRAPH, ERROR_FUNCTION = -2, -6, -7, -8, -9
MAX_DEPTH = 16


def valid_graph() -> Graph:
    """Two inputs; two operators, a reshape between them; two outputs. Storage 2 is used twice."""
    return {
        "nodes": [
            {"op": "null", "name": "x", "inputs": []},
            {"op": "null", "name": "p0", "inputs": []},
            operator("sum", [[0, 0, 0], [1, 0, 0]]),
            operator("__nop", [[2, 0, 0]]),
            operator("sum", [[3, 0, 0]]),
            operator("sum", [[4, 0, 0]]),
        ],
        "arg_nodes": [0, 1],
        "node_row_ptr": [0, 1, 2, 3, 4, 5, 6],
        "heads": [[5, 0, 0], [4, 0]],
        "attrs": {
            "shape": ["list_shape", [[2, 3], [4], [2, 2], [4], [1, 2, 1], []]],
            "dltype": ["list_str", ["int8", "float32", "int16", "int16", "uint8", "bool"]],
            "storage_id": ["list_int", [0, 1, 2, 2, 3, 2]],
            "device_index": ["list_int", [1, 1, 1, 1, 1, 1]],
        },
    }


def planned_graph() -> Graph:
    """The same with planned places; the second operator works in the pool, too."""
    graph = valid_graph()
    graph["attrs"] |= {
        "storage_offset": ["list_int", [0, 8, 24, 24, 32, 40]],
        "workspace_offset": ["list_int", [0, 0, 48, 0, 48, 64]],
        "workspace_bytes": ["list_int", [0, 0, 16, 0, 16, 16]],
    }
    return graph


def operator(function: str, inputs: list[list[int]], outputs: int = 1) -> Graph:
    attributes = {"func_name": function, "num_inputs": str(len(inputs)), "flatten_data": "0"}
    attributes["num_outputs"] = str(outputs)
    return {"op": "tvm_op", "name": f"{function}_op", "inputs": inputs, "attrs": attributes}


def json_of(graph: object) -> bytes:
    return json.dumps(graph, ensure_ascii=False).encode()


def params_of(*tensors: tuple[str, str, tuple[int, ...], bytes]) -> bytes:
    """A list of named tensors; a type is the code of its kind and its bits, such as ``2/32``."""
    names = b"".join(struct.pack("<Q", len(t[0])) + t[0].encode() for t in tensors)
    count = struct.pack("<Q", len(tensors))
    parts = [struct.pack("<QQ", 0xF7E58D4F05049CB7, 0), count, names, count]
    for _, dtype, shape, data in tensors:
        code, bits = map(int, dtype.split("/"))
        head = struct.pack(
            "<QQiiiBBH", 0xDD5E40F096B4A13F, 0, 1, 0, len(shape), code, bits, 1
        ) + struct.pack(f"<{len(shape)}q", *shape)
        parts += [head, struct.pack("<q", len(data)), data]
    return b"".join(parts)


BROKEN_TEXTS: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", ERROR_JSON),
    "space": (b" \n", ERROR_JSON),
    "a number": (b"1", ERROR_GRAPH),
    "a string": (b'"nodes"', ERROR_GRAPH),
    "an array": (b"[]", ERROR_GRAPH),
    "an empty object": (b"{}", ERROR_GRAPH),
    "something behind": (b"{} x", ERROR_JSON),
    "a zero byte": (b"{}\0", ERROR_JSON),
    "open object": (b'{"a": 1', ERROR_JSON),
    "open array": (b"[1, 2", ERROR_JSON),
    "open string": (b'{"a', ERROR_JSON),
    "open escape": (b'{"a\\', ERROR_JSON),
    "wrong bracket": (b"[1}", ERROR_JSON),
    "comma before the end": (b"[1,]", ERROR_JSON),
    "comma at the start": (b"[,1]", ERROR_JSON),
    "two commas": (b"[1,,2]", ERROR_JSON),
    "no comma": (b"[1 2]", ERROR_JSON),
    "no colon": (b'{"a" 1}', ERROR_JSON),
    "no key": (b"{1: 2}", ERROR_JSON),
    "no value": (b'{"a":}', ERROR_JSON),
    "comma in the object": (b'{"a":1,}', ERROR_JSON),
    "unknown word": (b"[nul]", ERROR_JSON),
    "leading zero": (b"[01]", ERROR_JSON),
    "lone minus": (b"[-]", ERROR_JSON),
    "no fraction": (b"[1.]", ERROR_JSON),
    "no exponent": (b"[1e+]", ERROR_JSON),
    "plus": (b"[+1]", ERROR_JSON),
    "line end in a string": (b'["a\n"]', ERROR_JSON),
    "unknown escape": (b'["\\x"]', ERROR_JSON),
    "short escape": (b'["\\u12"]', ERROR_JSON),
    "deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), ERROR_DEPTH),
    "as deep as may be": (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, ERROR_GRAPH),
    "endless": (b'{"a":' * 10_000, ERROR_DEPTH),
    "all of JSON": (
        b'[{"\\u00e4\\n\\"\\\\\\/": [true, false, null, -0, 1.5e-3, 2E+4, {}, []]}, "\xc3\xa4"]',
        ERROR_GRAPH,
    ),
}


def _set(*path: Any, value: Any) -> Callable[[Graph], None]:
    """Changes one place of a graph."""

    def change(graph: Any) -> None:
        for key in path[:-1]:
            graph = graph[key]
        graph[path[-1]] = value

    return change


def _drop(*path: Any) -> Callable[[Graph], None]:
    def change(graph: Any) -> None:
        for key in path[:-1]:
            graph = graph[key]
        del graph[path[-1]]

    return change


HUGE = 2**31 - 1
BROKEN_GRAPHS: dict[str, tuple[Callable[[Graph], None], int]] = {
    **{f"no {key}": (_drop(key), ERROR_GRAPH) for key in valid_graph()},
    **{f"null {key}": (_set(key, value=None), ERROR_GRAPH) for key in valid_graph()},
    **{
        f"no {key}": (_drop("attrs", key), ERROR_GRAPH)
        for key in ("shape", "dltype", "storage_id", "workspace_offset", "workspace_bytes")
    },
    **{
        f"short {key}": (_set("attrs", key, 1, value=[]), ERROR_GRAPH)
        for key in planned_graph()["attrs"]
        if key != "device_index"
    },
    **{
        f"{key} without its kind": (_set("attrs", key, value=[0, 1]), ERROR_GRAPH)
        for key in planned_graph()["attrs"]
        if key != "device_index"
    },
    "workspaces only": (_drop("attrs", "storage_offset"), ERROR_GRAPH),
    "no op": (_drop("nodes", 0, "op"), ERROR_GRAPH),
    "unknown op": (_set("nodes", 2, "op", value="relu"), ERROR_GRAPH),
    "no name": (_drop("nodes", 0, "name"), ERROR_GRAPH),
    "a number as name": (_set("nodes", 0, "name", value=1), ERROR_GRAPH),
    "no inputs": (_drop("nodes", 2, "inputs"), ERROR_GRAPH),
    "input with inputs": (_set("nodes", 1, "inputs", value=[[0, 0, 0]]), ERROR_GRAPH),
    "operator without attrs": (_drop("nodes", 2, "attrs"), ERROR_GRAPH),
    "no func_name": (_drop("nodes", 2, "attrs", "func_name"), ERROR_GRAPH),
    "unknown function": (_set("nodes", 2, "attrs", "func_name", value="mul"), ERROR_FUNCTION),
    "no num_outputs": (_drop("nodes", 2, "attrs", "num_outputs"), ERROR_GRAPH),
    "two outputs": (_set("nodes", 2, "attrs", "num_outputs", value="2"), ERROR_GRAPH),
    "many outputs": (_set("nodes", 2, "attrs", "num_outputs", value="65535"), ERROR_GRAPH),
    "too many outputs": (_set("nodes", 2, "attrs", "num_outputs", value="4294967297"), ERROR_GRAPH),
    "half an output": (_set("nodes", 2, "attrs", "num_outputs", value="1.5"), ERROR_GRAPH),
    "reads itself": (_set("nodes", 2, "inputs", 0, value=[2, 0, 0]), ERROR_GRAPH),
    "reads what comes later": (_set("nodes", 2, "inputs", 0, value=[4, 0, 0]), ERROR_GRAPH),
    "reads a second output": (_set("nodes", 2, "inputs", 0, value=[0, 1, 0]), ERROR_GRAPH),
    "reads nothing": (_set("nodes", 2, "inputs", 0, value=[]), ERROR_GRAPH),
    "reads a negative node": (_set("nodes", 2, "inputs", 0, value=[-1, 0, 0]), ERROR_GRAPH),
    "reshape of two": (_set("nodes", 3, "inputs", value=[[2, 0, 0], [2, 0, 0]]), ERROR_GRAPH),
    "reshape elsewhere": (_set("attrs", "storage_offset", 1, 3, value=32), ERROR_GRAPH),
    "reshape to another size": (_set("attrs", "shape", 1, 3, value=[40]), ERROR_GRAPH),
    "rows not from 0": (_set("node_row_ptr", 0, value=1), ERROR_GRAPH),
    "rows that fall": (_set("node_row_ptr", 3, value=1), ERROR_GRAPH),
    "rows too far": (_set("node_row_ptr", 6, value=7), ERROR_GRAPH),
    "rows too short": (_set("node_row_ptr", value=[0, 1, 2, 3, 4, 6]), ERROR_GRAPH),
    "input not listed": (_set("arg_nodes", value=[0]), ERROR_GRAPH),
    "operator listed": (_set("arg_nodes", value=[0, 1, 2]), ERROR_GRAPH),
    "inputs not in order": (_set("arg_nodes", value=[1, 0]), ERROR_GRAPH),
    "output of no node": (_set("heads", 0, value=[6, 0, 0]), ERROR_GRAPH),
    "output that is no list": (_set("heads", 0, value=5), ERROR_GRAPH),
    "shape of strings": (_set("attrs", "shape", 1, 0, value=["a"]), ERROR_GRAPH),
    "negative extent": (_set("attrs", "shape", 1, 0, value=[-2, 3]), ERROR_GRAPH),
    "fraction of an extent": (_set("attrs", "shape", 1, 0, value=[2.5]), ERROR_GRAPH),
    "exponent in an extent": (_set("attrs", "shape", 1, 0, value=[1e30]), ERROR_GRAPH),
    "2^62 elements": (_set("attrs", "shape", 1, 0, value=[HUGE, HUGE]), ERROR_GRAPH),
    "unknown type": (_set("attrs", "dltype", 1, 0, value="int12"), ERROR_GRAPH),
    "type of no size": (_set("attrs", "dltype", 1, 0, value="int"), ERROR_GRAPH),
    "type with more behind": (_set("attrs", "dltype", 1, 0, value="int8x4"), ERROR_GRAPH),
    "vast type": (_set("attrs", "dltype", 1, 0, value="int99999999999"), ERROR_GRAPH),
    "type that is a number": (_set("attrs", "dltype", 1, 0, value=8), ERROR_GRAPH),
    "vast tensor": (_set("attrs", "shape", 1, 0, value=[HUGE]), ERROR_MEMORY),
    "crooked offset": (_set("attrs", "storage_offset", 1, 0, value=4), ERROR_GRAPH),
    "negative offset": (_set("attrs", "storage_offset", 1, 0, value=-8), ERROR_GRAPH),
    "vast offset": (_set("attrs", "storage_offset", 1, 0, value=HUGE - 7), ERROR_MEMORY),
    "crooked workspace": (_set("attrs", "workspace_offset", 1, 2, value=4), ERROR_GRAPH),
    "vast workspace": (_set("attrs", "workspace_bytes", 1, 2, value=HUGE), ERROR_MEMORY),
}
"""Changes of the planned graph."""
