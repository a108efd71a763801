"""A small classifier, trained on the real rows, for what precision and noise cost an honest researcher.

It tells who saw a doctor in a year, from what is known of the person: a network of one hidden layer, trained by gradient
descent in plain Python from a fixed seed, so that it is the same each time. Every third person is held out.
"""

import math
import random
from operator import mul

from carriers import f32, rows_of, safetensors, tensor

INPUTS = "plan coins year income xage educdec num mhi disea ghindx linc lfam lpi fmde female black child hlthg hlthf hlthp".split()
HIDDEN, EPOCHS, RATE = 16, 10, 0.02
TRAINED_ROWS = 10_000


class Classifier:
    def __init__(self, material, seed=1):
        rows = [([1.0] + [float(row[name] or 0) for name in INPUTS], row["mdvis"] != "0", int(row["zper"])) for row in material.hie_rows]
        training = [row for row in rows if row[2] % 3]
        random.Random(f"classifier {seed}").shuffle(training)
        scale = scales([values for values, _, _ in training])
        self.training = [(scale(values), outcome) for values, outcome, _ in training[:TRAINED_ROWS]]
        self.held_out = [(scale(values), outcome) for values, outcome, person in rows if person % 3 == 0]
        self.hidden, self.out = self.trained(random.Random(f"weights {seed}"))

    def trained(self, draw):
        """Weights from the inputs to each hidden unit, and from these to the answer."""
        width = len(INPUTS) + 1
        hidden = [[draw.gauss(0, 0.3) for _ in range(width)] for _ in range(HIDDEN)]
        out = [draw.gauss(0, 0.3) for _ in range(HIDDEN)]
        for _ in range(EPOCHS):
            for values, outcome in self.training:
                states = [math.tanh(sum(map(mul, unit, values))) for unit in hidden]
                error = chance(sum(map(mul, out, states))) - outcome
                for at, state in enumerate(states):
                    step = RATE * error * out[at] * (1 - state * state)
                    out[at] -= RATE * error * state
                    hidden[at] = [weight - step * value for weight, value in zip(hidden[at], values)]
        return hidden, out

    @property
    def parameters(self):
        return HIDDEN * (len(INPUTS) + 2)

    def output(self):
        """The weights as a job writes them."""
        flat = [weight for unit in self.hidden for weight in unit]
        return safetensors([("hidden", "F32", [HIDDEN, len(INPUTS) + 1], f32(flat)), ("out", "F32", [HIDDEN], f32(self.out))])

    def scores(self, canonical=None):
        """Share of the held-out rows that are told right, and mean logarithmic loss: of the weights as they were trained, or
        of those that leave."""
        hidden, out = (self.hidden, self.out) if canonical is None else (rows_of(canonical, "hidden", len(INPUTS) + 1), tensor(canonical, "out"))
        right, loss = 0, 0.0
        for values, outcome in self.held_out:
            margin = sum(map(mul, out, (math.tanh(sum(map(mul, unit, values))) for unit in hidden)))
            right += (margin > 0) == outcome
            loss -= math.log(max(chance(margin if outcome else -margin), 1e-12))
        return right / len(self.held_out), loss / len(self.held_out)

    def base_rate(self):
        """The share that is told right by who says the same of everyone."""
        ill = sum(outcome for _, outcome in self.held_out) / len(self.held_out)
        return max(ill, 1 - ill)


def chance(margin):
    return 1 / (1 + math.exp(-min(max(margin, -500.0), 500.0)))


def scales(rows):
    """Brings a row to mean 0 and deviation 1 in each column, as they are in these rows; a constant stays."""
    means = [sum(column) / len(column) for column in zip(*rows)]
    spreads = [math.sqrt(sum((v - m) ** 2 for v in column) / len(column)) for column, m in zip(zip(*rows), means)]
    return lambda row: [(v - m) / s if s else v for v, m, s in zip(row, means, spreads)]
