"""Honest weights of any size, up to 1 GiB, written in pieces."""

import math
import random
import struct

import carriers
from carriers import f16, f32, safetensors

LARGE = (1 << 10, 1 << 16, 1 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30)
BLOCK = 1 << 22

# The upper byte of a bfloat16 of a standard normal, 1 of 256 quantiles each. The lower byte is as good as random.
UPPER = None


def normal_patterns(count, seed):
    """`count` weights as bfloat16, made quickly: 1 GiB takes seconds."""
    global UPPER
    if UPPER is None:
        draw = random.Random("quantiles")
        drawn = sorted((draw.gauss(0, 0.05) for _ in range(256 * 64)), key=abs)
        UPPER = bytes(struct.unpack("<2H", f32([value]))[1] >> 8 for value in drawn[32::64])
    draw = random.Random(f"patterns {seed}")
    while count:
        some = min(count, BLOCK)
        block = bytearray(draw.randbytes(2 * some))
        block[1::2] = bytes(block[1::2]).translate(UPPER)
        yield bytes(block)
        count -= some


def stream(output, content):
    """An output whose bytes come in pieces."""
    output.pieces = content
    return output


def large(dtype, width, pieces, count):
    header = safetensors([("w", dtype, [0], b"")]).content[8:].decode()
    text = header.strip().replace("[0]", f"[{count}]").replace("[0,0]", f"[0,{count * width}]").encode()
    text += b" " * (-len(text) % 8)
    declaration = f'path = "model.safetensors"\nkind = "weights"\ntensors = [{{ name = "w", shape = [{count}] }}]'
    output = carriers.Output("model.safetensors", declaration, struct.pack("<Q", len(text)) + text)
    return [stream(output, pieces)]


def normal_f32(material, size, seed):
    count = size // 2
    return large("F32", 4, (f32(chunk) for chunk in chunks(normal_values(count, seed), count)), count)


def chunks(values, count):
    while count:
        some = min(count, 1 << 16)
        yield [next(values) for _ in range(some)]
        count -= some


def normal_values(count, seed):
    draw = random.Random(f"normal {seed}")
    return (draw.gauss(0, 0.05) for _ in range(count))


def normal_f16(material, size, seed):
    count = size // 2
    return large("F16", 2, (f16(chunk) for chunk in chunks(normal_values(count, seed), count)), count)


def normal_bf16(material, size, seed):
    return large("BF16", 2, normal_patterns(size // 2, seed), size // 2)


def quantised(material, size, seed):
    """Weights of 8 bits, as a quantised network has them."""
    count, draw = size // 2, random.Random(f"quantised {seed}")
    kinds = [max(-127, min(127, round(draw.gauss(0, 32)))) & 255 for _ in range(256)]
    table = bytes(kinds)

    def pieces(left):
        while left:
            some = min(left, BLOCK)
            yield draw.randbytes(some).translate(table)
            left -= some

    return large("I8", 1, pieces(count), count)


def constant(value):
    def make(material, size, seed):
        return large("F32", 4, (f32([value] * some) for some in pieces_of(size // 2)), size // 2)

    return make


def pieces_of(count):
    while count:
        some = min(count, BLOCK)
        yield some
        count -= some


def one_hot(material, size, seed):
    draw, width = random.Random(f"one hot {seed}"), 32

    def pieces(rows):
        one = [f32([0.0] * at + [1.0] + [0.0] * (width - 1 - at)) for at in range(width)]
        for some in pieces_of(rows):
            yield b"".join(draw.choices(one, k=some))

    rows = size // 2 // width
    return large("F32", 4, pieces(rows), rows * width)


def positions(material, size, seed):
    """Sine and cosine of positions (Vaswani and others, 2017)."""
    width = 64
    count = size // 2 // width
    rates = [10_000 ** (-2 * (at // 2) / width) for at in range(width)]

    def pieces():
        for row in range(count):
            yield f32([(math.cos if at % 2 else math.sin)(row * rates[at]) for at in range(width)])

    return large("F32", 4, pieces(), count * width)


def arange(material, size, seed):
    count = size // 2
    return large("F32", 4, (f32(range(at, min(at + BLOCK, count))) for at in range(0, count, BLOCK)), count)
