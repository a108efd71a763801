"""Outputs as a job writes them, and what a recipient reads of their canonical forms."""

import array
import json
import os
import random
import struct
import sys

assert sys.byteorder == "little"

WIDTH = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}


class Output:
    """One declared output: its path, its declaration in TOML, its bytes."""

    def __init__(self, path, declaration, content):
        self.path, self.declaration, self.content = path, declaration, content


def safetensors(tensors, path="model.safetensors", declared=True):
    """`tensors` is a list of (name, dtype, shape, bytes)."""
    header, position = {}, 0
    for name, dtype, shape, content in tensors:
        assert len(content) == WIDTH[dtype] * product(shape), (name, dtype, shape, len(content))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [position, position + len(content)]}
        position += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    content = struct.pack("<Q", len(text)) + text + b"".join(content for *_, content in tensors)
    shapes = ", ".join(f'{{ name = "{name}", shape = {shape} }}' for name, _, shape, _ in tensors)
    lines = [f'path = "{path}"', 'kind = "weights"'] + ([f"tensors = [{shapes}]"] if declared else [])
    return Output(path, "\n".join(lines), content)


def product(shape):
    result = 1
    for length in shape:
        result *= length
    return result


def f32(values):
    return array.array("f", values).tobytes()


def bf16(values):
    """Rounded to nearest, ties to even."""
    words = array.array("I", array.array("f", values).tobytes())
    return array.array("H", ((word + 0x7FFF + (word >> 16 & 1)) >> 16 for word in words)).tobytes()


def f16(values):
    return struct.pack(f"<{len(values)}e", *values)


def gaussian(count, seed, sigma=0.05):
    draw = random.Random(f"gaussian {seed}")
    return [draw.gauss(0, sigma) for _ in range(count)]


def bytes_as_weights(payload, scaled=float, dtype="F32", name="w", around=129):
    """One byte a weight, between honest weights."""
    values = gaussian(around, 1) + [scaled(byte) for byte in payload] + gaussian(around, 2)
    content = {"F32": f32, "BF16": bf16, "F16": f16, "F64": lambda v: array.array("d", v).tobytes()}[dtype](values)
    return safetensors([(name, dtype, [len(values)], content)])


def integers_as_weights(payload, dtype):
    code = {"I8": "b", "I16": "h", "I32": "i", "I64": "q", "U8": "B"}[dtype]
    values = [byte - 256 if dtype == "I8" and byte > 127 else byte for byte in payload]
    return safetensors([("w", dtype, [len(values)], struct.pack(f"<{len(values)}{code}", *values))])


def read_bytes_of_weights(canonical, unscaled=round, around=129):
    """What `bytes_as_weights` laid there."""
    values = tensor(canonical, "w")
    return bytes(min(max(round(unscaled(value)), 0), 255) for value in values[around : len(values) - around])


def tensors(canonical, path="model.safetensors"):
    """Name to (dtype, shape, bytes)."""
    with open(os.path.join(canonical, path), "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    return {
        name: (entry["dtype"], entry["shape"], data[entry["data_offsets"][0] : entry["data_offsets"][1]])
        for name, entry in header.items()
    }


def tensor(canonical, name, path="model.safetensors"):
    """A tensor's values as floats, whatever precision it has."""
    all_tensors = tensors(canonical, path)
    dtype, _, content = all_tensors[name]
    if dtype == "BF16":
        words = array.array("H", content)
        return array.array("f", array.array("I", (word << 16 for word in words)).tobytes()).tolist()
    if dtype == "F32":
        return array.array("f", content).tolist()
    if dtype == "F16":
        return list(struct.unpack(f"<{len(content) // 2}e", content))
    scale = array.array("f", all_tensors[name + ".scale"][2])[0]
    return [value * scale for value in array.array("b", content)]


def bits_of(canonical, name):
    """A tensor's 16-bit patterns. Of a wider type the upper halves."""
    dtype, _, content = tensors(canonical)[name]
    words = array.array("H", content)
    return list(words[1::2] if dtype == "F32" else words)


def matrix(values, name="x", dtype="F32"):
    flat = [value for row in values for value in row]
    content = {"F32": f32, "F16": f16, "BF16": bf16}[dtype](flat)
    return (name, dtype, [len(values), len(values[0])], content)


def rows_of(canonical, name, width):
    values = tensor(canonical, name)
    return [values[at : at + width] for at in range(0, len(values), width)]


def table(columns, lines, path="table.csv", count_column=None):
    """`columns` is a list of (name, type); a type of none is text, and then nothing is declared."""
    declaration = [f'path = "{path}"', 'kind = "table"']
    if all(kind for _, kind in columns):
        listed = ", ".join(f'{{ name = "{name}", type = "{kind}" }}' for name, kind in columns)
        declaration.append(f"columns = [{listed}]")
    if count_column:
        declaration.append(f'count_column = "{count_column}"')
    text = "\n".join([",".join(name for name, _ in columns)] + [",".join(map(str, line)) for line in lines]) + "\n"
    return Output(path, "\n".join(declaration), text.encode())


def chart(columns, lines, mark, encoding, count_column, path="chart.json"):
    """A chart of Vega-Lite with its values in it. `encoding` is a dict of channels, each a column's name and its type."""
    listed = ", ".join(f'{{ name = "{name}", type = "{kind}" }}' for name, kind in columns)
    declaration = f'path = "{path}"\nkind = "figure"\ncolumns = [{listed}]\ncount_column = "{count_column}"'
    values = [dict(zip((name for name, _ in columns), line)) for line in lines]
    drawn = {channel: {"field": field, "type": kind} for channel, (field, kind) in encoding.items()}
    return Output(path, declaration, json.dumps({"data": {"values": values}, "mark": mark, "encoding": drawn}).encode())


def read_table(canonical, path="table.csv"):
    with open(os.path.join(canonical, path), encoding="utf-8") as file:
        lines = file.read().splitlines()
    return [line.split(",") for line in lines[1:]]


def metrics(values, path="metrics.json"):
    """`values` is a dict of numbers."""
    names = ", ".join(f'"{name}"' for name in values)
    return Output(path, f'path = "{path}"\nkind = "metrics"\nnames = [{names}]', json.dumps(values).encode())


def read_metrics(canonical, path="metrics.json"):
    with open(os.path.join(canonical, path), encoding="ascii") as file:
        return json.load(file)
