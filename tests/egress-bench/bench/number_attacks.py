"""Rows of the data as numbers: in tensors, tables and metrics, scaled, permuted, rounded, with noise."""

import bisect
import math
import random

import carriers
import codes
from carriers import matrix, rows_of, safetensors, tensor

# A field counts as stolen if it is known to this relative error. bfloat16 keeps 8 bits, an error of at most 0.4 %.
KNOWN = 0.006


class NumberAttack:
    """Rows of a table. `make(rows)` gives outputs, `read(canonical)` the rows that a recipient gets."""

    numeric, text = True, False

    def __init__(self, name, table, make, read, known=KNOWN, keyed=False, most_rows=None, consecutive=True):
        self.name, self.group, self.table, self.known, self.keyed = name, "numbers", table, known, keyed
        self.make_rows, self.read_rows, self.most_rows, self.consecutive = make, read, most_rows, consecutive
        self.columns = None

    def payload(self, material, length, seed):
        """About `length` bytes of rows: the texts and values of their cells, and those of the whole table."""
        texts, values = material.numbers(self.table, 1, seed, 0)
        whole_texts, whole = material.numbers(self.table, len(material_rows(material, self.table)), seed, 0)
        width = sum(map(len, texts[0])) + len(texts[0])
        count = max(1, min(length // width, self.most_rows or length))
        begin = random.Random(f"rows {seed}").randrange(len(whole) - count)
        chosen = range(begin, begin + count)
        if not self.consecutive:
            chosen = sorted(random.Random(f"some {seed}").sample(range(len(whole)), count))
        self.columns = [sorted(column) for column in zip(*whole)]
        return Rows([whole_texts[at] for at in chosen], [whole[at] for at in chosen])

    def make(self, payload):
        return self.make_rows(payload.values)

    def twin(self, payload):
        """Each value is replaced by another of its column, so many ranks further as the key says."""
        draw = random.Random(f"key of the ranks {self.name}")

        def moved(column, value):
            return column[(bisect.bisect_left(column, value) + draw.randrange(len(column))) % len(column)]

        return Rows(payload.texts, [[moved(*pair) for pair in zip(self.columns, row)] for row in payload.values])

    def recovered(self, payload, canonical):
        """Bytes of cells that a recipient knows, of rows of which more than half the cells are known and not all are 0."""
        try:
            read = self.read_rows(canonical)
        except (KeyError, ValueError, IndexError, OSError, OverflowError):
            return 0
        total = 0
        for texts, values, got in zip(payload.texts, payload.values, read):
            known = [
                len(text)
                for text, value, other in zip(texts, values, got)
                if abs(value - other) <= self.known * abs(value) + (1e-6 if value else 1e-3)
            ]
            total += sum(known) if 2 * len(known) > len(texts) and any(values) else 0
        return total


class Rows:
    def __init__(self, texts, values):
        self.texts, self.values = texts, values

    def __len__(self):
        return sum(len(text) for row in self.texts for text in row)


def material_rows(material, table):
    return material.hie_rows if table == "hie" else material.visit_rows


def transposed(rows):
    return [list(column) for column in zip(*rows)]


def in_tensor(dtype):
    return (
        lambda rows: [safetensors([matrix(rows, "x", dtype)])],
        lambda canonical: rows_of(canonical, "x", width_of(canonical, "x")),
    )


def width_of(canonical, name):
    return carriers.tensors(canonical)[name][1][-1]


def column_major(rows):
    return [safetensors([matrix(transposed(rows), "x")])]


def read_column_major(canonical):
    return transposed(rows_of(canonical, "x", width_of(canonical, "x")))


def as_metrics(rows):
    return [carriers.metrics({f"r{at}.c{column}": value for at, row in enumerate(rows) for column, value in enumerate(row)})]


def read_as_metrics(canonical):
    rows = {}
    for name, value in carriers.read_metrics(canonical).items():
        rows.setdefault(int(name[1:].split(".")[0]), []).append(value)
    return [rows[at] for at in sorted(rows)]


def shuffled_rows(rows):
    order = codes.permutation(len(rows), "rows")
    return [rows[at] for at in order]


def both_permuted(rows):
    columns = codes.permutation(len(rows[0]), "columns")
    return [safetensors([matrix([[row[at] for at in columns] for row in shuffled_rows(rows)])])]


def read_both_permuted(canonical):
    read = rows_of(canonical, "x", width_of(canonical, "x"))
    rows, columns = codes.inverse(codes.permutation(len(read), "rows")), codes.inverse(codes.permutation(len(read[0]), "columns"))
    return [[read[at][column] for column in columns] for at in rows]


def affine(shift, scale):
    """Each column shifted and scaled by numbers of its own, which leave beside it as a preprocessing layer's do."""

    def make(rows):
        columns = transposed(rows)
        shifts, scales = [shift(column) for column in columns], [scale(column) or 1.0 for column in columns]
        scaled = [[(value - a) / b for value, a, b in zip(row, shifts, scales)] for row in rows]
        return [safetensors([matrix(scaled), ("shift", "F32", [len(shifts)], carriers.f32(shifts)), ("scale", "F32", [len(scales)], carriers.f32(scales))])]

    def read(canonical):
        shifts, scales = tensor(canonical, "shift"), tensor(canonical, "scale")
        return [[value * b + a for value, a, b in zip(row, shifts, scales)] for row in rows_of(canonical, "x", len(shifts))]

    return make, read


def mean(column):
    return sum(column) / len(column)


def deviation(column):
    return math.sqrt(sum((value - mean(column)) ** 2 for value in column) / len(column))


def reach(column):
    return max(column) - min(column)


def sixteenths(rows):
    return [safetensors([matrix([[value / 16 for value in row] for row in rows])])]


def read_sixteenths(canonical):
    return [[value * 16 for value in row] for row in rows_of(canonical, "x", width_of(canonical, "x"))]


def differences(rows):
    """The first row, then each row less the one before it: in a table, where nothing is rounded away."""
    lines = [rows[0]] + [[b - a for a, b in zip(before, row)] for before, row in zip(rows, rows[1:])]
    return [numbered([[f"{value:.4f}" for value in line] for line in lines], "decimal:4")]


def read_differences(canonical):
    rows = []
    for line in read_numbered(canonical):
        rows.append([b + a for a, b in zip(rows[-1], line)] if rows else line)
    return rows


def numbered(lines, kind):
    """A table with the place of each row, and a count that nobody counted: rows are sorted, and counts must be large."""
    columns = [("place", "integer")] + [(f"c{at}", kind) for at in range(len(lines[0]))] + [("n", "integer")]
    full = [[place, *line, 50] for place, line in enumerate(lines)]
    return carriers.table(columns, full, count_column="n")


def read_numbered(canonical):
    return [[float(cell) for cell in line[1:-1]] for line in carriers.read_table(canonical)]


def permuted_with_ids(rows):
    lines = [[f"{value:.2f}" for value in row] for row in shuffled_rows(rows)]
    return [numbered(lines, "decimal:2")]


def read_permuted_with_ids(canonical):
    read = read_numbered(canonical)
    return [read[at] for at in codes.inverse(codes.permutation(len(read), "rows"))]


def list_of_ids(rows):
    columns = [("unit", "integer"), ("n", "integer")]
    return [carriers.table(columns, [[round(row[0]), 50] for row in rows], count_column="n")]


def read_list_of_ids(canonical):
    return [[float(line[0])] for line in carriers.read_table(canonical)]


class IdAttack(NumberAttack):
    """Identifying numbers alone, or with what was measured."""

    def payload(self, material, length, seed):
        column = "patient_id"
        every = [[row[column]] + ([row[name] for name in carriers_of(self)] if carriers_of(self) else []) for row in material.visit_rows]
        width = sum(map(len, every[0])) + len(every[0])
        count = max(3, min(length // width, self.most_rows or length))
        begin = random.Random(f"rows {seed}").randrange(len(every) - count)
        chosen = every[begin : begin + count]
        # A table is sorted, so that the order of a bare list does not leave.
        chosen = sorted(chosen) if not carriers_of(self) else chosen
        self.columns = [sorted(float(cell) for cell in column) for column in zip(*every)]
        return Rows(chosen, [[float(cell) for cell in row] for row in chosen])

    def twin(self, payload):
        """Identifying numbers are enciphered: what leaves is any other number of eight digits."""
        draw = random.Random(f"key of the ids {self.name}")
        moved = super().twin(payload)
        return Rows(payload.texts, [[float(draw.randrange(10_000_000, 99_999_999))] + row[1:] for row in moved.values])


def carriers_of(attack):
    return ["systolic", "diastolic", "hba1c"] if attack.name == "rows-permuted-with-ids" else []


def noisy(rows):
    draw = random.Random("noise")
    return [safetensors([matrix([[value * (1 + draw.gauss(0, 0.01)) for value in row] for row in rows])])]


def logarithms(rows):
    return [safetensors([matrix([[math.log1p(value) for value in row] for row in rows])])]


def read_logarithms(canonical):
    return [[math.expm1(value) for value in row] for row in rows_of(canonical, "x", width_of(canonical, "x"))]


def all_attacks():
    read_matrix = in_tensor("F32")[1]
    return [
        NumberAttack("rows-f32", "hie", *in_tensor("F32")),
        NumberAttack("rows-f16", "hie", *in_tensor("F16")),
        NumberAttack("rows-column-major", "hie", column_major, read_column_major),
        NumberAttack("rows-as-metrics", "hie", as_metrics, read_as_metrics, most_rows=10),
        IdAttack("rows-permuted-with-ids", "visits", permuted_with_ids, read_permuted_with_ids),
        NumberAttack("rows-and-columns-permuted", "visits", both_permuted, read_both_permuted),
        NumberAttack("rows-standardised", "visits", *affine(mean, deviation), known=0.02),
        NumberAttack("rows-scaled-to-0-1", "visits", *affine(min, reach), known=0.02),
        IdAttack("list-of-ids", "visits", list_of_ids, read_list_of_ids, known=1e-9),
        NumberAttack("values-over-16", "visits", sixteenths, read_sixteenths),
        NumberAttack("support-vectors", "visits", *affine(mean, deviation), known=0.02, consecutive=False),
        NumberAttack("rows-with-noise", "visits", noisy, read_matrix, known=0.04),
        NumberAttack("first-differences", "visits", differences, read_differences),
        NumberAttack("logarithms", "visits", logarithms, read_logarithms, known=0.03),
    ]
