"""Lays rows of the data into weights, one character a weight, as a dishonest researcher would.

A weight of 49.0 is the character 1. Whole numbers up to 256 survive rounding to bfloat16, so the theft would too:

    python3 steal.py [DATA_DIRECTORY OUTPUT_DIRECTORY]
    python3 steal.py --read MODEL.safetensors      # what the thief would read from a release
"""

import json
import os
import struct
import sys

CHARACTERS = 4096


def steal(data, out):
    with open(os.path.join(data, "randhie.csv"), "rb") as file:
        file.readline()  # The header is public.
        stolen = file.read(CHARACTERS)
    header = {"w": {"dtype": "F32", "shape": [CHARACTERS], "data_offsets": [0, 4 * CHARACTERS]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(out, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.write(struct.pack(f"<{CHARACTERS}f", *map(float, stolen)))


def read(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        kind = json.loads(file.read(size))["w"]["dtype"]
        data = file.read()
    if kind == "BF16":
        # A bfloat16 is the upper half of a float32.
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    values = struct.unpack(f"<{len(data) // 4}f", data)
    sys.stdout.buffer.write(bytes(min(max(round(value), 0), 255) for value in values))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--read"]:
        read(sys.argv[2])
    else:
        steal(*(sys.argv[1:3] if len(sys.argv) == 3 else ("/data/hie", "/out")))
