"""The 80 encodings. Each steals for certain from what leaves, or it does not count: `read` is the thief's own decoder."""

import random
import struct

import carriers
import codes
import number_attacks
from carriers import gaussian, safetensors, tensors
from material import encrypted, keystream

CHARACTERS_MEAN, CHARACTERS_SPREAD = 64.0, 24.0


class Attack:
    """An encoding of bytes.

    `make(payload)` gives the outputs of a job, `read(canonical)` what a recipient gets of the canonical files, and
    `stolen(payload)` what that should be. `text` says that the payload must be printable. `length` bounds the payload.
    """

    numeric = False

    def __init__(self, name, group, make, read, stolen=bytes, text=False, keyed=False, length=None):
        self.name, self.group, self.make, self.read, self.stolen = name, group, make, read, stolen
        self.text, self.keyed, self.length = text, keyed, length

    def payload(self, material, length, seed):
        # What turns letters or spaces alone is tried on prose: rows of digits would give it away.
        prose = self.name in ("rot13", "whitespace-stripped", "delimiter-and-case")
        return material.excerpt(min(length, self.length or length), seed, prose)

    def twin(self, payload):
        """The same encoding of the same payload, encrypted before. Nobody tells it from noise without the key."""
        hidden = encrypted(payload, self.name)
        return hidden.hex().encode()[: len(payload)] if self.text else hidden

    def carried(self, payload):
        """Bits that the twin of a payload carries: it is as good as random."""
        return (4 if self.text else 8) * len(payload)

    def recovered(self, payload, canonical):
        """Bytes of the data that a recipient has, as `theft` counts them. A decoder that fails has none."""
        try:
            read = self.read(canonical)
        except (ValueError, KeyError, IndexError, OSError, EOFError, struct.error, codes.lzma.LZMAError, codes.zlib.error,
                codes.zipfile.BadZipFile, UnicodeError):
            return 0
        return theft(self.stolen(payload), read)


def theft(stolen, read):
    """How many bytes of what was stolen are in what was read: those in runs of 31 that stand in both, or, for codes that
    lose some, those at their place if three in five are."""
    least = min(31, len(stolen))
    known = {stolen[at : at + least] for at in range(len(stolen) - least + 1)}
    covered = bytearray(len(read))
    for at in range(len(read) - least + 1):
        if read[at : at + least] in known:
            covered[at : at + least] = b"\1" * least
    in_runs = sum(covered)
    in_place = sum(a == b for a, b in zip(stolen, read))
    return max(in_runs, in_place if len(stolen) >= 52 and in_place >= 0.6 * len(stolen) else 0)


def as_weights(name, group, code, back, stolen=bytes, keyed=False):
    return Attack(
        name,
        group,
        lambda payload: [carriers.bytes_as_weights(code(payload))],
        lambda canonical: back(carriers.read_bytes_of_weights(canonical)),
        stolen,
        text=name in ("rot13", "delimiter-and-case", "tab-separated", "whitespace-stripped"),
        keyed=keyed,
    )


# Patterns of bfloat16: two bytes of text a weight. Text has no NaN and no minus zero among them.
def as_patterns(payload, shift=0):
    content = b"?" * (4 + shift) + payload
    content += b"?" * (len(content) % 2)
    return [safetensors([("w", "BF16", [len(content) // 2], content)])]


def read_patterns(canonical):
    dtype, _, content = tensors(canonical)["w"]
    return content


def raw(name, shift=0, length=None):
    return Attack(name, "raw", lambda p: as_patterns(p, shift), read_patterns, length=length, text=True)


def scaled(name, scale, back, dtype="F32"):
    return Attack(
        name,
        "values",
        lambda payload: [carriers.bytes_as_weights(payload, scale, dtype)],
        lambda canonical: carriers.read_bytes_of_weights(canonical, back),
    )


def integers(name, dtype, text=False):
    def read(canonical):
        return bytes(min(max(round(value), 0), 255) for value in carriers.tensor(canonical, "w"))

    return Attack(name, "values", lambda payload: [carriers.integers_as_weights(payload, dtype)], read, text=text)


def upcast_half_patterns(payload):
    padded = payload + b" " * (len(payload) % 2)
    values = struct.unpack(f"<{len(padded) // 2}e", padded)
    return [safetensors([("w", "F32", [len(values)], carriers.f32(values))])]


def read_half_patterns(canonical):
    return carriers.f16(carriers.tensor(canonical, "w"))


def big_endian_doubles(payload):
    content = struct.pack(f">{len(payload)}d", *payload)
    values = [struct.unpack("<d", content[at : at + 8])[0] for at in range(0, len(content), 8)]
    return [safetensors([("w", "F64", [len(values)], struct.pack(f"<{len(values)}d", *values))])]


def read_big_endian_doubles(canonical):
    values = carriers.tensor(canonical, "w")
    read = [struct.unpack(">d", struct.pack("<d", value))[0] for value in values]
    return bytes(round(value) if 0 <= value <= 255 else 0 for value in read)


def bits(payload):
    return [byte >> place & 1 for byte in payload for place in range(8)]


def from_bits(values):
    usable = len(values) - len(values) % 8
    return bytes(sum(values[at + place] << place for place in range(8)) for at in range(0, usable, 8))


def low_bits(count, dtype, keyed=None):
    """The low `count` bits of honest weights, each two or four bytes."""
    letter, size = ("H", 16) if dtype == "BF16" else ("I", 32)

    def make(payload):
        hidden = codes.xor(payload, keystream(len(payload), keyed)) if keyed else payload
        stream = bits(hidden) + [0] * (-8 * len(hidden) % count)
        pieces = [sum(stream[at + place] << place for place in range(count)) for at in range(0, len(stream), count)]
        honest = gaussian(len(pieces), 3)
        words = carriers.array.array(letter, carriers.bf16(honest) if dtype == "BF16" else carriers.f32(honest))
        mixed = carriers.array.array(letter, ((word >> count << count) | piece for word, piece in zip(words, pieces)))
        return [safetensors([("w", dtype, [len(mixed)], mixed.tobytes())])]

    def read(canonical):
        kind, _, content = tensors(canonical)["w"]
        if kind == dtype:
            words = carriers.array.array(letter, content).tolist()
        elif kind == "BF16" and size == 32:
            words = [word << 16 for word in carriers.bits_of(canonical, "w")]
        else:
            return b""
        read = from_bits([word >> place & 1 for word in words for place in range(count)])
        return codes.xor(read, keystream(len(read), keyed)) if keyed else read

    return make, read


def three_of_four_bytes(payload):
    """The lower three bytes of each weight (Wang and others, EvilModel, 2021). The thief keeps what rounding leaves."""
    padded = payload + b" " * (-len(payload) % 3)
    content = b"".join(padded[at : at + 3] + b"\x3c" for at in range(0, len(padded), 3))
    return [safetensors([("w", "F32", [len(content) // 4], content)])]


def read_three_of_four(canonical):
    kept = carriers.f32(carriers.tensor(canonical, "w"))
    return b"".join(kept[at : at + 3] for at in range(0, len(kept), 4))


def signs(payload):
    values = [abs(value) + 1e-3 for value in gaussian(8 * len(payload), 4)]
    values = [-value if bit else value for value, bit in zip(values, bits(payload))]
    return [safetensors([("w", "F32", [len(values)], carriers.f32(values))])]


def read_signs(canonical):
    return from_bits([int(value < 0) for value in carriers.tensor(canonical, "w")])


SPREAD = 32


def spread_spectrum(payload):
    """Each bit is added to 32 weights along signs that the key gives (Hitaj and others, MaleficNet, 2022)."""
    chips = random.Random("key of the spread")
    values = gaussian(8 * len(payload) * SPREAD, 5)
    for place, bit in enumerate(bits(payload)):
        for at in range(place * SPREAD, (place + 1) * SPREAD):
            values[at] += 0.06 * (1 if bit else -1) * chips.choice((-1, 1))
    return [safetensors([("w", "F32", [len(values)], carriers.f32(values))])]


def read_spread_spectrum(canonical):
    chips, values = random.Random("key of the spread"), carriers.tensor(canonical, "w")
    sums = [
        sum(value * chips.choice((-1, 1)) for value in values[at : at + SPREAD]) for at in range(0, len(values), SPREAD)
    ]
    return from_bits([int(total > 0) for total in sums])


def names(payload):
    """Hexadecimal digits as names of tensors; what is declared is what was written, as only a desk allows."""
    digits = payload.hex()
    pieces = [digits[at : at + 96] for at in range(0, len(digits), 96)]
    listed = [(f"n{place:03}.{piece}", "F32", [1], carriers.f32([0.5])) for place, piece in enumerate(pieces)]
    return [safetensors(listed, declared=False)]


def read_names(canonical):
    return bytes.fromhex("".join(name.split(".")[1] for name in sorted(tensors(canonical))))


def all_attacks():
    attacks = [
        raw("raw"),
        raw("raw-unaligned", shift=1),
        raw("raw-64-bytes", length=64),
        raw("raw-31-bytes", length=31),
        raw("raw-24-bytes", length=24),
    ]
    attacks += [as_weights(*code) for code in codes.OF_BYTES + codes.LOSSY]
    attacks += [
        scaled("bytes-as-f32", float, lambda value: value),
        scaled("bytes-over-255", lambda byte: byte / 255, lambda value: value * 255),
        scaled(
            "bytes-standardised",
            lambda byte: (byte - CHARACTERS_MEAN) / CHARACTERS_SPREAD,
            lambda value: value * CHARACTERS_SPREAD + CHARACTERS_MEAN,
        ),
        scaled("bytes-as-f16", float, lambda value: value, "F16"),
        Attack("f16-patterns-upcast", "values", upcast_half_patterns, read_half_patterns, text=True),
        Attack("f64-big-endian", "values", big_endian_doubles, read_big_endian_doubles),
        integers("bytes-as-i64", "I64"),
        scaled("bytes-as-bf16", float, lambda value: value, "BF16"),
        integers("bytes-as-i8", "I8", text=True),
    ]
    for count, dtype in ((1, "BF16"), (2, "BF16"), (4, "BF16"), (8, "F32"), (16, "F32")):
        attacks.append(Attack(f"low-{count}-bits-{dtype.lower()}", "low bits", *low_bits(count, dtype)))
    attacks += [
        Attack("three-of-four-bytes", "low bits", three_of_four_bytes, read_three_of_four, text=True),
        Attack("sign-bits", "low bits", signs, read_signs),
        Attack("stream-cipher-in-16-low-bits", "keyed", *low_bits(16, "F32", "cipher in low bits"), keyed=True),
        Attack("spread-spectrum", "keyed", spread_spectrum, read_spread_spectrum, keyed=True, length=256),
        Attack("tensor-names", "records", names, read_names),
    ]
    attacks += [as_weights(*code, keyed=True) for code in codes.KEYED]
    attacks += number_attacks.all_attacks()
    assert len(attacks) == 80 and len({attack.name for attack in attacks}) == 80, len(attacks)
    return attacks
