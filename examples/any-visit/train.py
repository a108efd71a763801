"""Trains a logistic model of any outpatient visit in a year, with Python's standard library alone.

Seven people in ten train it, the others test it. It fails unless it beats the training people's base rate on the
others, and the 95 % interval of that gain, resampled by person, lies above zero.

    python3 train.py [DATA_DIRECTORY OUTPUT_DIRECTORY]
"""

import sys

sys.dont_write_bytecode = True

import csv
import json
import math
import os
import random
from operator import mul

import model

NEWTON_STEPS = 25
RESAMPLES = 1000


def main():
    data, out = sys.argv[1:3] if len(sys.argv) == 3 else ("/data/hie", "/out")
    rows = model.read_rows(os.path.join(data, "randhie.csv"))
    training = [row for row in rows if not model.held_out(row.person)]
    test = [row for row in rows if model.held_out(row.person)]

    # The box keeps weights as bfloat16; scoring the rounded ones makes the printed score that of the released file.
    weights = [model.to_bfloat16(weight) for weight in fit(training)]
    losses = model.logistic_losses(weights, test)
    rate = sum(row.any_visit for row in training) / len(training)
    baseline = [-math.log(rate if row.any_visit else 1.0 - rate) for row in test]
    low, high = gain_interval(test, losses, baseline)

    metrics = {
        "log_loss": mean(losses),
        "baseline_log_loss": mean(baseline),
        "gain_low": low,
        "gain_high": high,
    }
    metrics = {name: model.significant(value) for name, value in metrics.items()}
    print(json.dumps(metrics), file=sys.stderr)
    if not (metrics["log_loss"] < metrics["baseline_log_loss"] and low > 0.0):
        raise SystemExit("the model is no better than the base rate")

    model.write_safetensors(os.path.join(out, "model.safetensors"), "w", weights)
    with open(os.path.join(out, "metrics.json"), "w", encoding="ascii") as file:
        json.dump(metrics, file)
    write_table(os.path.join(out, "by_plan.csv"), rows)


def mean(numbers):
    return sum(numbers) / len(numbers)


def fit(rows):
    """Maximum likelihood by Newton's method (iteratively reweighted least squares), from zero weights."""
    columns = list(zip(*(row.attributes for row in rows)))
    outcomes = [row.any_visit for row in rows]
    weights = [0.0] * len(columns)
    for _ in range(NEWTON_STEPS):
        margins = [sum(map(mul, weights, row.attributes)) for row in rows]
        chances = [1.0 / (1.0 + math.exp(-margin)) for margin in margins]
        residuals = [outcome - chance for outcome, chance in zip(outcomes, chances)]
        gradient = [sum(map(mul, column, residuals)) for column in columns]
        spreads = [chance * (1.0 - chance) for chance in chances]
        weighted = [list(map(mul, column, spreads)) for column in columns]
        hessian = [[sum(map(mul, left, right)) for right in columns] for left in weighted]
        step = solve(hessian, gradient)
        weights = [weight + change for weight, change in zip(weights, step)]
        if max(map(abs, step)) < 1e-9:
            return weights
    raise SystemExit("the fit did not converge")


def solve(matrix, right):
    """Solves a linear system by elimination with the largest pivot."""
    rows = [row + [value] for row, value in zip(matrix, right)]
    size = len(rows)
    for at in range(size):
        pivot = max(range(at, size), key=lambda row: abs(rows[row][at]))
        rows[at], rows[pivot] = rows[pivot], rows[at]
        for below in range(at + 1, size):
            factor = rows[below][at] / rows[at][at]
            rows[below] = [value - factor * top for value, top in zip(rows[below], rows[at])]
    solution = [0.0] * size
    for at in reversed(range(size)):
        known = sum(map(mul, rows[at][at + 1 : size], solution[at + 1 :]))
        solution[at] = (rows[at][size] - known) / rows[at][at]
    return solution


def gain_interval(rows, losses, baseline):
    """The 2.5th and 97.5th percentile of the gain over people drawn with replacement (Efron, 1979)."""
    people = {}
    for row, loss, other in zip(rows, losses, baseline):
        gain, years = people.get(row.person, (0.0, 0))
        people[row.person] = (gain + other - loss, years + 1)
    people = list(people.values())
    draw = random.Random(1).choices
    gains = []
    for _ in range(RESAMPLES):
        drawn = draw(people, k=len(people))
        gains.append(sum(gain for gain, _ in drawn) / sum(years for _, years in drawn))
    gains.sort()
    return gains[RESAMPLES * 25 // 1000], gains[RESAMPLES * 975 // 1000 - 1]


def write_table(path, rows):
    """People, mean visits a year, and the shares of the one and the two with the most visits, for each plan."""
    plans = {}
    for row in rows:
        people = plans.setdefault(row.plan, {})
        visits, years = people.get(row.person, (0.0, 0))
        people[row.person] = (visits + row.visits, years + 1)
    with open(path, "w", newline="", encoding="ascii") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["plan", "n", "mean_visits", "max_share", "two_share"])
        for plan in sorted(plans):
            people = plans[plan].values()
            visits = sum(visits for visits, _ in people)
            years = sum(years for _, years in people)
            largest = sorted(visits for visits, _ in people)[-2:]
            shares = [f"{share / visits:.3f}" for share in (largest[-1], sum(largest))]
            table.writerow([plan, len(people), f"{visits / years:.3f}", *shares])


if __name__ == "__main__":
    main()
