"""Codes from bytes to bytes, with their inverse: what a thief does to the data before it is laid into an output."""

import base64
import bz2
import gzip
import io
import lzma
import random
import re
import struct
import zipfile
import zlib

from material import keystream


def permutation(size, name):
    order = list(range(size))
    random.Random(f"permutation {name}").shuffle(order)
    return order


def inverse(order):
    back = [0] * len(order)
    for place, value in enumerate(order):
        back[value] = place
    return back


SUBSTITUTION = bytes(permutation(256, "substitution"))
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
PERMUTED_ALPHABET = bytes(ALPHABET[at] for at in permutation(64, "alphabet"))
ROT13 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", b"NOPQRSTUVWXYZABCDEFGHIJKLMnopqrstuvwxyzabcdefghijklm"
)
SWAPPED = bytes((byte << 4 | byte >> 4) & 0xFF for byte in range(256))
REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
SYLLABLES = [a + b for a in "b d f g h j k l m n p r s t v z".split() for b in "a e i o u ai ei ou au en an on er ar or un".split()]


def wrapped(text, width=76):
    return b"\n".join(text[at : at + width] for at in range(0, len(text), width))


def zipped(payload):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        # A ZipInfo is stored unless it says otherwise; its fixed date makes the archive the same each time.
        archive.writestr(zipfile.ZipInfo("a.txt"), payload, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def unzipped(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read("a.txt")


RAW_LZMA = [{"id": lzma.FILTER_LZMA2, "preset": 6}]


def xor(payload, key):
    return bytes(byte ^ key[place % len(key)] for place, byte in enumerate(payload))


def shifted_bits(payload, by):
    number = int.from_bytes(payload, "big") << (8 - by)
    return number.to_bytes(len(payload) + 1, "big")


def unshifted_bits(data, by):
    return (int.from_bytes(data, "big") >> (8 - by)).to_bytes(len(data) - 1, "big")


def swapped_pairs(payload):
    padded = payload + b"\0" * (len(payload) % 2)
    return bytes(byte for at in range(0, len(padded), 2) for byte in (padded[at + 1], padded[at]))


def interleaved(payload):
    noise = keystream(len(payload), "interleave")
    return bytes(byte for pair in zip(payload, noise) for byte in pair)


def transposed(payload, width=64):
    padded = payload + b" " * (-len(payload) % width)
    return b"".join(padded[column::width] for column in range(width))


def untransposed(data, width=64):
    height = len(data) // width
    return b"".join(data[row::height] for row in range(height))


def permuted_alphabet(payload):
    return base64.b64encode(payload).translate(bytes.maketrans(ALPHABET, PERMUTED_ALPHABET))


def unpermuted_alphabet(data):
    return base64.b64decode(data.translate(bytes.maketrans(PERMUTED_ALPHABET, ALPHABET)))


def keyed_permutation(payload):
    order = permutation(len(payload), "bytes")
    return bytes(payload[place] for place in order)


def keyed_unpermuted(data):
    back = inverse(permutation(len(data), "bytes"))
    return bytes(data[place] for place in back)


def generator_xor(payload):
    draw = random.Random("key of a generator")
    return bytes(byte ^ draw.randrange(256) for byte in payload)


def png(payload):
    """An image of 8 by 8 grey pixels with the payload as a comment (RFC 2083, section 4.2.3)."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = b"".join(b"\0" + bytes(range(row, row + 8)) for row in range(8))
    chunks = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)) + chunk(b"tEXt", b"Comment\0" + payload)
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def read_png(data):
    (length,) = struct.unpack_from(">I", data, 33)
    return data[41 + len(b"Comment\0") : 41 + length]


def folded(payload):
    """Cells in lower case, separated otherwise."""
    return re.sub(rb"[^a-z0-9.\n]+", b" | ", payload.lower())


def fold(text):
    """Letters and digits alone: what is the same whatever separates them."""
    return re.sub(rb"[^a-z0-9]+", b"", text.lower())


def unspaced(payload):
    return re.sub(rb"\s+", b"", payload)


def decimal(payload):
    return b", ".join(b"%d" % byte for byte in payload)


# Name, class, code, inverse, and what the thief gets if that is less than the payload.
# Each is laid one byte a weight into a tensor.
OF_BYTES = [
    ("base64", "text", base64.b64encode, base64.b64decode),
    ("base64-url", "text", base64.urlsafe_b64encode, base64.urlsafe_b64decode),
    ("base64-wrapped", "text", lambda p: wrapped(base64.b64encode(p)), base64.b64decode),
    ("hex", "text", lambda p: p.hex().encode(), lambda d: bytes.fromhex(d.decode())),
    ("base32", "text", base64.b32encode, base64.b32decode),
    ("ascii85", "text", base64.a85encode, base64.a85decode),
    ("base85", "text", base64.b85encode, base64.b85decode),
    ("decimal-list", "text", decimal, lambda d: bytes(map(int, d.split(b", ")))),
    ("percent", "text", lambda p: b"".join(b"%%%02X" % byte for byte in p), lambda d: bytes.fromhex(d.decode().replace("%", ""))),
    ("unicode-escapes", "text", lambda p: b"".join(b"\\u%04x" % byte for byte in p), lambda d: d.decode("unicode_escape").encode("latin1")),
    ("gzip", "compressed", lambda p: gzip.compress(p, mtime=0), gzip.decompress),
    ("zlib-base64", "compressed", lambda p: base64.b64encode(zlib.compress(p)), lambda d: zlib.decompress(base64.b64decode(d))),
    ("zip", "compressed", zipped, unzipped),
    (
        "gzip-base64-hex",
        "compressed",
        lambda p: base64.b64encode(gzip.compress(p, mtime=0)).hex().encode(),
        lambda d: gzip.decompress(base64.b64decode(bytes.fromhex(d.decode()))),
    ),
    (
        "code-of-words",
        "text",
        lambda p: " ".join(SYLLABLES[byte] for byte in p).encode(),
        lambda d: bytes(SYLLABLES.index(word) for word in d.decode().split(" ")),
    ),
    ("bz2", "compressed", bz2.compress, bz2.decompress),
    ("xz", "compressed", lzma.compress, lzma.decompress),
    (
        "lzma-raw",
        "compressed",
        lambda p: lzma.compress(p, lzma.FORMAT_RAW, filters=RAW_LZMA),
        lambda d: lzma.decompress(d, lzma.FORMAT_RAW, filters=RAW_LZMA),
    ),
    ("base64-permuted", "transformed", permuted_alphabet, unpermuted_alphabet),
    ("utf-16", "transformed", lambda p: p.decode("latin1").encode("utf-16-le"), lambda d: d.decode("utf-16-le").encode("latin1")),
    ("utf-32", "transformed", lambda p: p.decode("latin1").encode("utf-32-be"), lambda d: d.decode("utf-32-be").encode("latin1")),
    ("reversed", "transformed", lambda p: p[::-1], lambda d: d[::-1]),
    ("reversed-base64", "transformed", lambda p: base64.b64encode(p)[::-1], lambda d: base64.b64decode(d[::-1])),
    ("xor-constant", "transformed", lambda p: xor(p, b"\x5a"), lambda d: xor(d, b"\x5a")),
    ("add-constant", "transformed", lambda p: bytes((b + 77) & 255 for b in p), lambda d: bytes((b - 77) & 255 for b in d)),
    ("rot13", "transformed", lambda p: p.translate(ROT13), lambda d: d.translate(ROT13)),
    ("substitution", "transformed", lambda p: p.translate(SUBSTITUTION), lambda d: d.translate(bytes(inverse(list(SUBSTITUTION))))),
    ("nibble-swap", "transformed", lambda p: p.translate(SWAPPED), lambda d: d.translate(SWAPPED)),
    ("bit-reversal", "transformed", lambda p: p.translate(REVERSED_BITS), lambda d: d.translate(REVERSED_BITS)),
    ("bit-shift", "transformed", lambda p: shifted_bits(p, 3), lambda d: unshifted_bits(d, 3)),
    ("byte-swap", "transformed", swapped_pairs, swapped_pairs),
    ("interleave", "transformed", interleaved, lambda d: d[::2]),
    ("xor-key-4", "transformed", lambda p: xor(p, keystream(4, "xor")), lambda d: xor(d, keystream(4, "xor"))),
    ("xor-key-16", "transformed", lambda p: xor(p, keystream(16, "xor")), lambda d: xor(d, keystream(16, "xor"))),
    ("transposed-text", "transformed", transposed, untransposed),
    ("png-comment", "records", png, read_png),
]

# What leaves is less than the payload: the third function says what.
LOSSY = [
    ("delimiter-and-case", "records", folded, fold, fold),
    ("tab-separated", "records", lambda p: p.replace(b",", b"\t"), fold, fold),
    ("whitespace-stripped", "records", unspaced, lambda d: d, unspaced),
]

# Nobody finds these without the key.
KEYED = [
    ("stream-cipher", "keyed", lambda p: xor(p, keystream(len(p), "cipher")), lambda d: xor(d, keystream(len(d), "cipher"))),
    ("generator-xor", "keyed", generator_xor, generator_xor),
    ("byte-permutation", "keyed", keyed_permutation, keyed_unpermuted),
]
