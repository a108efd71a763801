"""Private stand-ins: one real table, one generated one, and real prose.

`randhie.csv` are the people of the RAND Health Insurance Experiment, real rows. `visits.csv` is generated in the shape
of an electronic health record: numbers of eight digits, names, dates, laboratory values, a sentence. `notes.txt` is the
prose of Python's own reference, in place of free text.
"""

import csv
import hashlib
import io
import os
import random

GIVEN = (
    "Aileen Bashir Chiara Dmitri Esther Farouk Greta Hamza Imogen Jorge Keiko Liam Mireille Nadia Oscar Priya Quentin "
    "Rosalind Stefan Tamika Ursula Viktor Wanda Xavier Yusuf Zelda"
).split()
FAMILY = (
    "Abernathy Brandt Castellano Donnelly Eriksson Fairweather Goldberg Haraldsson Iwasaki Jankowski Kowalczyk Lindqvist "
    "Mbeki Nakamura Okonkwo Petrovic Quigley Rasmussen Santoro Thackeray Underhill Vasquez Whitlock Yamada Zielinski"
).split()
COMPLAINT = (
    "persistent cough|lower back pain|palpitations at rest|blurred vision|swollen ankles|migraine with aura|chest tightness|"
    "numbness in the left hand|recurring fever|shortness of breath|insomnia|abdominal cramps"
).split("|")
PLAN = (
    "follow up in two weeks|referred to cardiology|started metformin|advised rest and fluids|ordered an MRI|dose halved|"
    "discharged the same day|blood culture taken|statin continued|awaiting biopsy"
).split("|")
VISIT_COLUMNS = (
    "patient_id,name,born,postcode,icd10,systolic,diastolic,hba1c,cholesterol,weight_kg,creatinine,cost,note".split(",")
)
# Columns of visits.csv and randhie.csv that hold numbers and are laid into tensors and tables by the attacks.
VISIT_NUMBERS = "systolic diastolic hba1c cholesterol weight_kg creatinine cost".split()
HIE_NUMBERS = (
    "plan site coins year income xage educdec time outpdol drugdol suppdol inpdol meddol mdvis notmdvis num mhi disea "
    "ghindx linc lfam lpi fmde".split()
)


class Material:
    """The private data, in memory and in a directory."""

    def __init__(self, hie, directory, rows, seed=1):
        with open(hie, "rb") as file:
            self.hie = b"".join(file.readlines()[: rows + 1])
        self.visits = generated_visits(min(rows, 12_000), seed)
        self.notes = prose(20 * rows)
        self.directory = directory
        for name, content in (("randhie.csv", self.hie), ("visits.csv", self.visits), ("notes.txt", self.notes)):
            path = os.path.join(directory, name)
            os.makedirs(directory, exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, 0o644)
        os.chmod(directory, 0o755)
        self.hie_rows = table(self.hie)
        self.visit_rows = table(self.visits)

    def excerpt(self, length, seed, prose=False):
        """`length` bytes of the data. The seed chooses a table and a place."""
        chosen = random.Random(f"excerpt {seed}")
        file = self.notes if prose else self.visits if seed % 3 else self.hie
        begin = chosen.randrange(len(file) // 4, len(file) - length - 1)
        return file[begin : begin + length]

    def numbers(self, name, count, seed, first=None):
        """`count` consecutive rows of a table, its numeric columns: texts of the cells, and their values."""
        source, columns = {"hie": (self.hie_rows, HIE_NUMBERS), "visits": (self.visit_rows, VISIT_NUMBERS)}[name]
        begin = random.Random(f"rows {seed}").randrange(len(source) - count) if first is None else first
        texts = [[row[column] for column in columns] for row in source[begin : begin + count]]
        return texts, [[float(cell or 0) for cell in row] for row in texts]


def table(text):
    return list(csv.DictReader(io.StringIO(text.decode())))


def generated_visits(count, seed):
    draw = random.Random(f"visits {seed}")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(VISIT_COLUMNS)
    for _ in range(count):
        systolic = round(draw.gauss(128, 17))
        writer.writerow(
            [
                draw.randrange(10_000_000, 99_999_999),
                f"{draw.choice(GIVEN)} {draw.choice(FAMILY)}",
                f"{draw.randrange(1925, 2016)}-{draw.randrange(1, 13):02}-{draw.randrange(1, 29):02}",
                draw.randrange(10_000, 99_999),
                f"{draw.choice('ABCEFGHIJKLMNR')}{draw.randrange(100):02}.{draw.randrange(10)}",
                systolic,
                round(systolic * draw.uniform(0.5, 0.75)),
                round(draw.gauss(6.1, 1.1), 1),
                round(draw.gauss(5.2, 1.0), 2),
                round(draw.gauss(77, 15), 1),
                round(draw.gauss(84, 19), 1),
                round(draw.lognormvariate(6, 1), 2),
                f"{draw.choice(COMPLAINT)}, {draw.choice(PLAN)}",
            ]
        )
    return out.getvalue().encode()


def prose(limit):
    """Text that people wrote. Python brings it along; licences do where it is left out."""
    try:
        from pydoc_data.topics import topics

        text = "\n".join(topics[name] for name in sorted(topics))
    except ImportError:
        folder = "/usr/share/common-licenses"
        text = ""
        for name in sorted(os.listdir(folder)):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                text += file.read()
    return text.encode("ascii", "replace")[:limit]


def keystream(length, name):
    """Bytes that nobody tells from random without the key (SHAKE-256, FIPS 202, as a stream cipher)."""
    return hashlib.shake_256(b"key of the thief: " + name.encode()).digest(length)


def encrypted(payload, name):
    return bytes(a ^ b for a, b in zip(payload, keystream(len(payload), name)))
