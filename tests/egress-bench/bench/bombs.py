"""Outputs made to stop a checker: bombs, nesting, malformed files. Each must be refused by name, soon, in little memory."""

import bz2
import gzip
import json
import lzma
import struct
import zlib

import carriers
from carriers import Output, safetensors

WEIGHTS = 'path = "model.safetensors"\nkind = "weights"\ntensors = [{ name = "w", shape = [4] }]'
METRICS = 'path = "metrics.json"\nkind = "metrics"\nnames = ["loss"]'
TABLE = (
    'path = "table.csv"\nkind = "table"\ncount_column = "n"\n'
    'columns = [{ name = "a", type = "decimal:3" }, { name = "n", type = "integer" }]'
)


def compressed_zeros(compressor, close, megabytes):
    piece, out = b"\0" * (1 << 20), []
    for _ in range(megabytes):
        out.append(compressor.compress(piece))
    return b"".join(out) + close(compressor)


def flush(compressor):
    return compressor.flush()


def gzip_bomb():
    """1 GiB of zeros, compressed once more: 3 KB that decode to 1 MB that decode to 1 GiB."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    return gzip.compress(compressed_zeros(deflate, flush, 1024), mtime=0)


def nested(depth):
    content = b"row of the data " * 8
    for _ in range(depth):
        content = gzip.compress(content, mtime=0)
    return content


def header_file(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


def entry(dtype="F32", shape=(4,), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def weights_file(entries, data=b"\0" * 16):
    return header_file(json.dumps(entries).encode(), data)


class Bomb:
    """`refused` is true for what must be refused; a decoder's bomb may also be passed over, if in time and memory.
    The checker says by a rule's name that it did not decode all of it."""

    def __init__(self, name, output):
        self.name, self.make = name, output


def of_bytes(content):
    return carriers.bytes_as_weights(content(), around=3)


def all_bombs():
    def malformed(name, declaration, content):
        path = declaration.split('"')[1]
        return Bomb(name, lambda: Output(path, declaration, content()))

    deep = 200_000
    return [
        Bomb("gzip-of-gzip-of-1-gib", lambda: of_bytes(gzip_bomb)),
        Bomb("bz2-of-1-gib", lambda: of_bytes(lambda: compressed_zeros(bz2.BZ2Compressor(), flush, 256) * 4)),
        Bomb("xz-of-1-gib", lambda: of_bytes(lambda: compressed_zeros(lzma.LZMACompressor(preset=0), flush, 1024))),
        Bomb("gzip-60-deep", lambda: of_bytes(lambda: nested(60))),
        malformed("json-nested-deep", METRICS, lambda: b'{"loss":' + b"[" * deep + b"]" * deep + b"}"),
        malformed("json-in-header-deep", WEIGHTS, lambda: header_file(b'{"w":' + b"[" * deep + b"]" * deep + b"}")),
        malformed("header-length-of-2-to-63", WEIGHTS, lambda: struct.pack("<Q", 1 << 63) + b"{}"),
        malformed("header-longer-than-file", WEIGHTS, lambda: struct.pack("<Q", 1 << 20) + b"{}"),
        malformed("shape-that-overflows", WEIGHTS, lambda: weights_file({"w": entry(shape=(1 << 32, 1 << 32, 4))})),
        malformed("offsets-that-overlap", WEIGHTS, lambda: weights_file({"w": entry(), "v": entry(offsets=(8, 24))}, b"\0" * 24)),
        malformed("offsets-behind-the-end", WEIGHTS, lambda: weights_file({"w": entry(offsets=(0, 1 << 40))})),
        malformed("a-gap-between-tensors", WEIGHTS, lambda: weights_file({"w": entry(offsets=(16, 32))}, b"\0" * 32)),
        malformed("a-name-twice", WEIGHTS, lambda: header_file(b'{"w":%s,"w":%s}' % ((json.dumps(entry()).encode(),) * 2), b"\0" * 16)),
        malformed("many-tensors", WEIGHTS, lambda: weights_file({f"t{at}": entry(shape=(0,), offsets=(0, 0)) for at in range(20_000)}, b"")),
        malformed("nan-with-a-message", WEIGHTS, lambda: weights_file({"w": entry()}, b"\xc0\xff\xc0\x7f" * 4)),
        malformed("bytes-behind", WEIGHTS, lambda: weights_file({"w": entry()}, b"\0" * (32 << 20))),
        malformed("spaces-of-60-mib", WEIGHTS, lambda: header_file(json.dumps({"w": entry()}).encode() + b" " * (60 << 20), b"\0" * 16)),
        malformed("number-with-an-exponent", METRICS, lambda: b'{"loss":1e999999999999999999}'),
        malformed("number-of-60-kb", METRICS, lambda: b'{"loss":' + b"1" * 60_000 + b"}"),
        malformed("not-utf-8", METRICS, lambda: b'{"loss\xff\xfe":1}'),
        malformed("a-line-of-a-megabyte", TABLE, lambda: b"a,n\n" + b"1" * 1_000_000 + b",50\n"),
        malformed("a-quote-that-never-ends", TABLE, lambda: b'a,n\n"' + b"1,50\n" * 100_000),
        malformed("a-million-columns", TABLE, lambda: b"," * 1_000_000 + b"\n"),
        malformed("number-with-an-exponent-in-a-cell", TABLE, lambda: b"a,n\n1e999999999,50\n"),
        malformed("a-zero-byte", TABLE, lambda: b"a,n\n1.0\x00,50\n"),
        malformed("nothing", WEIGHTS, lambda: b""),
    ]
