"""The model: its attributes, its people, its loss and its file. `train.py` and `score.py` share it, so that a score
made inside the box and one made outside are the same computation."""

import csv
import json
import math
import struct

# Column, centre, scale. All are known before the year begins: none counts visits or money spent. Centres and scales
# are round numbers chosen beforehand, so they tell nothing of the data and only the ten weights have to leave.
ATTRIBUTES = [
    ("logc", 2.4, 2.0),  # logarithm of the coinsurance rate in percent plus 1
    ("idp", 0.25, 0.5),  # 1 on a plan with an individual deductible
    ("xage", 25.0, 17.0),  # age in years
    ("female", 0.5, 0.5),
    ("child", 0.4, 0.5),  # 1 if under 18
    ("linc", 8.7, 1.2),  # logarithm of the family's income
    ("educdec", 12.0, 3.0),  # years of schooling of the family's decision maker
    ("disea", 11.0, 7.0),  # index of chronic diseases at enrolment
    ("xghindx", 73.0, 15.0),  # general health index at enrolment, higher is better
]


class Row:
    """One person in one year."""

    def __init__(self, cells):
        self.person = int(cells["zper"])
        self.plan = cells["plan"]
        self.visits = float(cells["mdvis"])
        self.any_visit = 1.0 if self.visits > 0 else 0.0
        # A cell without a value counts as average.
        self.attributes = [1.0] + [
            (float(cells[name]) - centre) / scale if cells[name] else 0.0
            for name, centre, scale in ATTRIBUTES
        ]


def read_rows(path):
    with open(path, newline="", encoding="ascii") as file:
        return [Row(cells) for cells in csv.DictReader(file)]


def held_out(person):
    """True for about three people in ten. All years of a person are on one side, or the score would be flattered."""
    return (person * 2654435761 & 0xFFFFFFFF) >> 16 & 1023 < 307


def logistic_losses(weights, rows):
    """The loss of each row in nats: minus the logarithm of the probability given to what happened."""
    losses = []
    for row in rows:
        margin = sum(map(float.__mul__, weights, row.attributes))
        margin = margin if row.any_visit else -margin
        # log(1 + exp(-margin)) without overflow on either side.
        losses.append(math.log1p(math.exp(-abs(margin))) + max(-margin, 0.0))
    return losses


def significant(number, digits=4):
    return float(f"{number:.{digits}g}")


def to_bfloat16(number):
    """The nearest bfloat16, ties to even: what the box keeps of a weight."""
    (bits,) = struct.unpack("<I", struct.pack("<f", number))
    bits += 0x7FFF + (bits >> 16 & 1)
    return struct.unpack("<f", struct.pack("<I", bits & 0xFFFF0000))[0]


def write_safetensors(path, name, values):
    """One float32 tensor: length of the header, header in JSON filled up to 8 bytes, values."""
    header = {name: {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, 4 * len(values)]}}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + struct.pack(f"<{len(values)}f", *values))


def read_safetensors(path, name):
    """The values of one tensor of the type F32 or BF16."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        tensor = json.loads(file.read(size))[name]
        start, end = tensor["data_offsets"]
        file.seek(start, 1)
        data = file.read(end - start)
    if tensor["dtype"] == "BF16":
        # A bfloat16 is the upper half of a float32.
        data = b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2))
    elif tensor["dtype"] != "F32":
        raise SystemExit(f"{path}: {name} has the type {tensor['dtype']}; F32 or BF16 is expected")
    return list(struct.unpack(f"<{len(data) // 4}f", data))
