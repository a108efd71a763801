"""Honest outputs, each of which must pass: the price of a check that is too strict is paid by everyone.

A maker takes the material, the wanted size in bytes of what leaves, and a seed. A size of none is the only one it has.
"""

import array
import bisect
import math
import random

import carriers
from carriers import f32, matrix, safetensors, table
from sized import LARGE, arange, constant, normal_bf16, normal_f16, normal_f32, one_hot, positions, quantised


def low_rank(material, size, seed):
    """The two factors of an adapter (Hu and others, LoRA, 2021)."""
    width = max(8, size // 2 // 16)
    draw = random.Random(f"adapter {seed}")
    a = [draw.uniform(-1, 1) / math.sqrt(width) for _ in range(8 * width)]
    b = [draw.gauss(0, 0.002) for _ in range(8 * width)]
    return [safetensors([("a", "F32", [8, width], f32(a)), ("b", "F32", [width, 8], f32(b))])]


def sample(material, count, seed):
    texts, values = material.numbers("hie", len(material.hie_rows), 0, 0)
    return random.Random(f"sample {seed}").sample(values, min(count, len(values)))


def standardised(rows):
    columns = list(zip(*rows))
    means = [sum(column) / len(column) for column in columns]
    spreads = [math.sqrt(sum((v - m) ** 2 for v in column) / len(column)) or 1.0 for column, m in zip(columns, means)]
    return means, spreads, [[(v - m) / s for v, m, s in zip(row, means, spreads)] for row in rows]


def network(dtype):
    """A network of one hidden layer, trained on the real rows by gradient descent."""

    def make(material, size, seed):
        draw = random.Random(f"network {seed}")
        means, spreads, rows = standardised(sample(material, 300, seed))
        goal = [row[14] for row in rows]
        inputs, hidden = [row[:14] + row[16:] for row in rows], 16
        first = [[draw.gauss(0, 0.2) for _ in inputs[0]] for _ in range(hidden)]
        second = [draw.gauss(0, 0.2) for _ in range(hidden)]
        for _ in range(6):
            for row, wanted in zip(inputs, goal):
                states = [math.tanh(sum(map(float.__mul__, unit, row))) for unit in first]
                error = sum(map(float.__mul__, second, states)) - wanted
                for at, state in enumerate(states):
                    step = 0.01 * error * second[at] * (1 - state * state)
                    second[at] -= 0.01 * error * state
                    first[at] = [weight - step * value for weight, value in zip(first[at], row)]
        flat = [weight for unit in first for weight in unit]
        pack = f32 if dtype == "F32" else lambda values: array.array("d", values).tobytes()
        shapes = [("hidden", dtype, [hidden, len(inputs[0])], pack(flat)), ("out", dtype, [hidden], pack(second))]
        return [safetensors(shapes)]

    return make


def scaler(material, size, seed):
    """Means and deviations of the columns, as a preprocessing layer has them."""
    means, spreads, _ = standardised(sample(material, 5000, seed))
    return [safetensors([("mean", "F32", [len(means)], f32(means)), ("scale", "F32", [len(spreads)], f32(spreads))])]


def covariance(rows):
    _, _, rows = standardised(rows)
    columns = list(zip(*rows))
    return [[sum(map(float.__mul__, a, b)) / len(rows) for b in columns] for a in columns]


def correlation(material, size, seed):
    return [safetensors([matrix(covariance(sample(material, 2000, seed)), "correlation")])]


def components(material, size, seed):
    """Principal components, by power iteration."""
    left, found = covariance(sample(material, 1500, seed)), []
    for _ in range(5):
        vector = [1.0] * len(left)
        for _ in range(60):
            vector = [sum(map(float.__mul__, row, vector)) for row in left]
            length = math.sqrt(sum(v * v for v in vector))
            vector = [v / length for v in vector]
        value = sum(a * sum(map(float.__mul__, row, vector)) for a, row in zip(vector, left))
        left = [[v - value * a * b for v, b in zip(row, vector)] for row, a in zip(left, vector)]
        found.append(vector)
    return [safetensors([matrix(found, "components")])]


def column(material, name):
    return [float(row[name] or 0) for row in material.hie_rows]


def groups(material, by, of):
    found = {}
    for row in material.hie_rows:
        found.setdefault(tuple(row[name] for name in by), []).append(float(row[of] or 0))
    return {key: values for key, values in sorted(found.items()) if len(values) >= 10}


def by_plan(material, size, seed):
    lines = [[key[0], len(v), f"{sum(v) / len(v):.3f}"] for key, v in groups(material, ["plan"], "mdvis").items()]
    return [table([("plan", "category:hie.plan"), ("n", "integer"), ("mean_visits", "decimal:3")], lines, count_column="n")]


def chart_by_plan(material, size, seed):
    """The same as a chart: bars of mean visits for each plan, of the groups of all years."""
    cells = groups(material, ["plan", "year"], "mdvis").items()
    lines = [[*key, len(v), round(sum(v) / len(v), 2)] for key, v in cells]
    columns = [("plan", "category:hie.plan"), ("year", "category:hie.year"), ("n", "integer"), ("mean", "decimal:2")]
    drawn = {"x": ("plan", "nominal"), "y": ("mean", "quantitative"), "column": ("year", "ordinal")}
    return [carriers.chart(columns, lines, "bar", drawn, "n")]


def two_way(material, size, seed):
    cells = groups(material, ["site", "year"], "meddol").items()
    lines = [[*key, len(v), f"{sum(v) / len(v):.2f}"] for key, v in cells]
    columns = [("site", "category:hie.site"), ("year", "category:hie.year"), ("n", "integer"), ("mean", "decimal:2")]
    return [table(columns, lines, count_column="n")]


def means_as_metrics(material, size, seed):
    found = groups(material, ["plan"], "income")
    return [carriers.metrics({f"plan.{key[0]}": sum(v) / len(v) for key, v in found.items()})]


def regression(material, size, seed):
    """Ordinary least squares of visits on four attributes: coefficients, errors, and the share explained."""
    rows = sample(material, 3000, seed)
    x = [[1.0, row[4], row[5], row[6], row[16]] for row in rows]
    y = [row[14] for row in rows]
    gram = [[sum(a[i] * a[j] for a in x) for j in range(5)] + [sum(a[i] * b for a, b in zip(x, y))] for i in range(5)]
    for at in range(5):
        for other in range(5):
            if other != at:
                factor = gram[other][at] / gram[at][at]
                gram[other] = [v - factor * top for v, top in zip(gram[other], gram[at])]
    weights = [gram[at][5] / gram[at][at] for at in range(5)]
    errors = [b - sum(map(float.__mul__, weights, a)) for a, b in zip(x, y)]
    explained = 1 - sum(e * e for e in errors) / sum((b - sum(y) / len(y)) ** 2 for b in y)
    values = {name: value for name, value in zip(("one", "income", "age", "school", "family"), weights)}
    return [carriers.metrics({**values, "r2": explained, "n": float(len(rows))})]


def training_log(material, size, seed):
    draw = random.Random(f"log {seed}")
    losses = {f"loss.{epoch}": 2.3 * math.exp(-epoch / 40) + 0.3 + draw.gauss(0, 0.01) for epoch in range(150)}
    return [carriers.metrics(losses)]


def many_metrics(material, size, seed):
    draw = random.Random(f"metrics {seed}")
    return [carriers.metrics({f"m{at}": draw.uniform(0, 1) for at in range(250)})]


def confusion(material, size, seed):
    draw = random.Random(f"confusion {seed}")
    lines = [[a, b, round(900 if a == b else draw.uniform(10, 60))] for a in range(6) for b in range(6)]
    return [table([("truth", "category:hie.site"), ("said", "category:hie.site2"), ("n", "integer")], lines, count_column="n")]


def tree(material, size, seed):
    """A decision tree by quantiles: feature, threshold, left, right, value."""
    values = sorted(column(material, "income"))
    nodes = [[at % 24, values[(2 * at + 1) * len(values) // 128], 2 * at + 1, 2 * at + 2, at / 63] for at in range(63)]
    return [safetensors([matrix([list(map(float, node)) for node in nodes], "tree")])]


def histogram(material, size, seed):
    ages, lines = column(material, "xage"), []
    for low in range(0, 65, 5):
        count = sum(low <= age < low + 5 for age in ages)
        lines.append([low, low + 5, count])
    return [table([("from", "integer"), ("to", "integer"), ("n", "integer")], lines, count_column="n")]


def quantiles(material, size, seed):
    found = {}
    for name in ("income", "xage", "meddol", "outpdol", "ghindx", "disea"):
        values = sorted(column(material, name))
        found.update({f"{name}.{q}": values[q * (len(values) - 1) // 100] for q in range(5, 100, 5)})
    return [carriers.metrics(found)]


def survival(material, size, seed):
    alive, lines = 5000, []
    draw = random.Random(f"survival {seed}")
    for month in range(60):
        lines.append([month, alive, f"{alive / 5000:.4f}"])
        alive -= round(alive * draw.uniform(0.005, 0.02))
    return [table([("month", "integer"), ("n", "integer"), ("share", "decimal:4")], lines, count_column="n")]


def receiver(material, size, seed):
    """A receiver operating characteristic."""
    draw = random.Random(f"roc {seed}")
    ill, well = sorted(draw.gauss(1, 1) for _ in range(400)), sorted(draw.gauss(0, 1) for _ in range(900))
    points = []
    for step in range(100):
        at = -3 + step * 0.07
        points.append([1 - bisect.bisect(well, at) / len(well), 1 - bisect.bisect(ill, at) / len(ill)])
    return [safetensors([matrix(points, "roc")])]


def bootstrap(material, size, seed):
    draw, values = random.Random(f"bootstrap {seed}"), column(material, "meddol")
    means = [sum(draw.choices(values, k=500)) / 500 for _ in range(200)]
    return [safetensors([("means", "F32", [200], f32(means))])]


def centroids(material, size, seed):
    """Means of eight groups of the standardised rows, after five steps of Lloyd's method."""
    _, _, rows = standardised(sample(material, 800, seed))
    centres = [list(row) for row in rows[:8]]
    for _ in range(5):
        members = [[] for _ in centres]
        for row in rows:
            nearest = min(range(8), key=lambda at: sum((a - b) ** 2 for a, b in zip(row, centres[at])))
            members[nearest].append(row)
        centres = [[sum(c) / len(c) for c in zip(*group)] if len(group) >= 20 else [0.0] * len(rows[0]) for group in members]
    return [safetensors([matrix(centres, "centres")])]


def vocabulary(material, size, seed):
    """How often each byte follows each other one in the prose, as the logarithm of a share: a model of pairs."""
    counts = [[1] * 96 for _ in range(96)]
    text = [min(max(byte - 32, 0), 95) for byte in material.notes[:200_000]]
    for a, b in zip(text, text[1:]):
        counts[a][b] += 1
    return [safetensors([matrix([[math.log(n / sum(row)) for n in row] for row in counts], "pairs")])]


def synthetic(material, size, seed):
    """Rows of no one: each column drawn anew from its own values. The hardest: every value is one of the data's."""
    draw, rows = random.Random(f"synthetic {seed}"), material.numbers("hie", len(material.hie_rows), 0, 0)[1]
    columns = list(zip(*rows))
    count = 380
    lines = [[place] + [f"{draw.choice(c):.3f}" for c in columns] + [50] for place in range(count)]
    kinds = [("place", "integer")] + [(f"c{at}", "decimal:3") for at in range(len(columns))] + [("n", "integer")]
    return [table(kinds, lines, count_column="n")]


def synthetic_weights(material, size, seed):
    draw, rows = random.Random(f"synthetic {seed}"), material.numbers("visits", len(material.visit_rows), 0, 0)[1]
    columns = list(zip(*rows))
    count = max(8, size // 2 // len(columns))
    drawn = [draw.choices(column, k=count) for column in columns]
    flat = [value for row in zip(*drawn) for value in row]
    return [safetensors([("rows", "F32", [count, len(columns)], f32(flat))])]


# Name, maker, sizes in bytes of what leaves; none where there is one size only.
HONEST = [
    ("normal-f32", normal_f32, LARGE[:5]),
    ("normal-f16", normal_f16, LARGE[:5]),
    ("normal-bf16", normal_bf16, LARGE),
    ("quantised-int8", quantised, LARGE),
    ("network-f32", network("F32"), None),
    ("network-f64", network("F64"), None),
    ("components", components, None),
    ("correlation", correlation, None),
    ("adapter", low_rank, LARGE[:4]),
    ("scaler", scaler, None),
    ("by-plan", by_plan, None),
    ("chart-by-plan", chart_by_plan, None),
    ("two-way-table", two_way, None),
    ("means-as-metrics", means_as_metrics, None),
    ("regression", regression, None),
    ("training-log", training_log, None),
    ("many-metrics", many_metrics, None),
    ("confusion-matrix", confusion, None),
    ("decision-tree", tree, None),
    ("histogram", histogram, None),
    ("quantiles", quantiles, None),
    ("survival-curve", survival, None),
    ("receiver-characteristic", receiver, None),
    ("bootstrap-means", bootstrap, None),
    ("centroids", centroids, None),
    ("pairs-of-letters", vocabulary, None),
    ("zeros", constant(0.0), LARGE),
    ("one-hot", one_hot, LARGE[:6]),
    ("positional-encoding", positions, LARGE[:4]),
    ("arange", arange, LARGE[:6]),
    ("synthetic-rows", synthetic, None),
]

# Synthetic rows at sizes that no table has.
HONEST.append(("synthetic-weights", synthetic_weights, LARGE[:4]))
