"""Scores a released model on the people whom it was not trained on, and prints the loss as JSON.

    python3 score.py MODEL.safetensors RANDHIE.csv

Whoever has the data can so check that the released weights are those of the released metrics.
"""

import sys

sys.dont_write_bytecode = True

import json

import model


def main():
    if len(sys.argv) != 3:
        raise SystemExit("usage: score.py MODEL.safetensors RANDHIE.csv")
    weights = model.read_safetensors(sys.argv[1], "w")
    test = [row for row in model.read_rows(sys.argv[2]) if model.held_out(row.person)]
    losses = model.logistic_losses(weights, test)
    print(json.dumps({"log_loss": model.significant(sum(losses) / len(losses))}))


if __name__ == "__main__":
    main()
