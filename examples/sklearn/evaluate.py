"""Measures the network's weights on the people whom it was not trained on. The box runs this on the weights in several
precisions, and releases the smallest in which the loss is nearly that of the policy's own.

    python3 evaluate.py [WEIGHTS_DIRECTORY DATA_DIRECTORY OUTPUT_DIRECTORY]
"""

import json
import os
import struct
import sys

import numpy

from train import read


def main():
    weights, data, out = sys.argv[1:4] if len(sys.argv) == 4 else ("/weights", "/data/hie", "/out")
    model = read_safetensors(os.path.join(weights, "model.safetensors"))
    attributes, visits, people = read(os.path.join(data, "randhie.csv"))
    test = people % 10 < 3
    hidden = numpy.maximum(attributes[test] @ model["hidden.weight"] + model["hidden.bias"], 0.0)
    margin = (hidden @ model["visit.weight"] + model["visit.bias"])[:, 0]
    # log(1 + exp(-margin)) of what happened, without overflow.
    loss = numpy.logaddexp(0.0, numpy.where(visits[test], -margin, margin)).mean()
    print(json.dumps({"log_loss": loss}), file=sys.stderr)
    with open(os.path.join(out, "evaluation.json"), "w", encoding="ascii") as file:
        json.dump({"log_loss": loss}, file)


def read_safetensors(path):
    """The tensors of a canonical file: BF16, F32, or whole numbers that are multiples of the tensor's scale."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        cells = data[start:end]
        if entry["dtype"] == "BF16":
            # A bfloat16 is the upper half of a float32.
            values = (numpy.frombuffer(cells, "<u2").astype("<u4") << 16).view("<f4")
        else:
            values = numpy.frombuffer(cells, {"F32": "<f4", "F16": "<f2", "I8": "i1"}[entry["dtype"]])
        tensors[name] = values.astype(float).reshape(entry["shape"])
    scales = {name: tensors.pop(name + ".scale") for name in list(tensors) if name + ".scale" in tensors}
    return {name: tensor * scales.get(name, 1.0) for name, tensor in tensors.items()}


if __name__ == "__main__":
    main()
