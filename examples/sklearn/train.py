"""Trains a small neural network on any outpatient visit in a year, beside the logistic model, with scikit-learn.

    python3 train.py [DATA_DIRECTORY OUTPUT_DIRECTORY]
"""

import csv
import json
import os
import struct
import sys

import numpy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

# Column, centre, scale: chosen beforehand, so that they tell nothing of the data.
ATTRIBUTES = [
    ("logc", 2.4, 2.0),
    ("idp", 0.25, 0.5),
    ("xage", 25.0, 17.0),
    ("female", 0.5, 0.5),
    ("child", 0.4, 0.5),
    ("linc", 8.7, 1.2),
    ("educdec", 12.0, 3.0),
    ("disea", 11.0, 7.0),
    ("xghindx", 73.0, 15.0),
]


def main():
    data, out = sys.argv[1:3] if len(sys.argv) == 3 else ("/data/hie", "/out")
    attributes, visits, people = read(os.path.join(data, "randhie.csv"))
    # All years of a person are on one side, or the score would be flattered.
    test = people % 10 < 3
    network = MLPClassifier(hidden_layer_sizes=(8,), alpha=0.01, early_stopping=True, random_state=1)
    logistic = LogisticRegression(C=1.0)
    losses = [
        log_loss(visits[test], model.fit(attributes[~test], visits[~test]).predict_proba(attributes[test]))
        for model in (network, logistic)
    ]
    rate = numpy.full(test.sum(), visits[~test].mean())
    losses.append(log_loss(visits[test], rate))
    names = ("log_loss", "logistic_log_loss", "baseline_log_loss")
    metrics = {name: float(f"{loss:.4g}") for name, loss in zip(names, losses)}
    print(json.dumps(metrics), file=sys.stderr)

    (hidden, visit), (hidden_bias, visit_bias) = network.coefs_, network.intercepts_
    tensors = {
        "hidden.bias": hidden_bias,
        "hidden.weight": hidden,
        "visit.bias": visit_bias,
        "visit.weight": visit,
    }
    write_safetensors(os.path.join(out, "model.safetensors"), tensors)
    with open(os.path.join(out, "metrics.json"), "w", encoding="ascii") as file:
        json.dump(metrics, file)


def read(path):
    """Attributes, whether there was a visit, and whose year it is. A cell without a value counts as average."""
    with open(path, newline="", encoding="ascii") as file:
        rows = list(csv.DictReader(file))
    attributes = [
        [(float(row[name]) - centre) / scale if row[name] else 0.0 for name, centre, scale in ATTRIBUTES]
        for row in rows
    ]
    visits = numpy.array([float(row["mdvis"]) > 0 for row in rows])
    people = numpy.array([int(row["zper"]) for row in rows])
    return numpy.array(attributes), visits, people


def write_safetensors(path, tensors):
    """float32 tensors: length of the header, header in JSON filled up to 8 bytes, values."""
    header, at, values = {}, 0, b""
    for name, tensor in tensors.items():
        cells = numpy.ascontiguousarray(tensor, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(cells)]}
        at, values = at + len(cells), values + cells
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + values)


if __name__ == "__main__":
    main()
