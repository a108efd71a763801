"""What weights carry after canonicalisation, and what that costs whoever is honest."""

import array
import struct
from math import log2

import carriers
from checker import forget, larger_policy
from classifier import Classifier
from material import keystream

# Every precision that a policy may name, with its largest whole number if it has a scale.
PRECISIONS = {"f32": None, "f16": None, "bf16": None, "int8": 127, "int6": 31, "int5": 15, "int4": 7, "int3": 3}
# Precision and noise, in hundredths of a tensor's deviation. The first are the strict policy's.
NOISY = (("int8", 10), ("int8", 30), ("bf16", 10))
COUNT = 4096


def measured(checker, material, root, standard):
    """Records of four kinds: `low bits`, `values kept`, `levels` of a thief who codes against noise, and `classifier`."""
    policies = {(name, 0): larger_policy(standard, root, name) for name in PRECISIONS}
    policies |= {pair: larger_policy(standard, root, *pair) for pair in NOISY}
    done = []
    for precision in ("bf16", "int8"):
        done += [low_bits(checker, policies[precision, 0], precision, low) for low in (1, 8, 16, 20, 23)]
    done += [values_kept(checker, policies[precision, 0], precision, largest) for precision, largest in PRECISIONS.items()]
    done += [levels(checker, policies[pair], *pair) for pair in NOISY]
    classifier = Classifier(material)
    before = classifier.scores()
    return done + [honest(checker, policies[pair], classifier, before, *pair) for pair in policies]


def record(precision, noise, what, bits, **more):
    return {"precision": precision, "noise": noise, "what": what, "bits": round(bits, 2), **more}


def low_bits(checker, policy, precision, low):
    """What is left of the low bits of f32, where careless thieves hide: the capacity of the channel of each bit."""
    noise, mask = keystream(4 * COUNT, "weights"), (1 << low) - 1
    honest_words = array.array("I", carriers.f32(carriers.gaussian(COUNT, 6)))
    words = array.array("I", ((word & ~mask) | (number(noise, at) & mask) for at, word in enumerate(honest_words)))
    read = leaving(checker, policy, words.tobytes())
    agreed = [0] * low
    for word, value in zip(words, array.array("I", carriers.f32(read))):
        for place in range(low):
            agreed[place] += (word ^ value) >> place & 1 == 0
    return record(precision, 0, f"{low} low bits of f32", sum(capacity(1 - same / COUNT) for same in agreed))


def values_kept(checker, policy, precision, largest):
    """What careful thieves write: the values that the precision has, each chosen freely."""
    noise = keystream(4 * COUNT, "weights")
    if largest:
        # The first is the largest, so that the scale is known.
        digits = [2 * largest] + [number(noise, at) % (2 * largest + 1) for at in range(1, COUNT)]
        read = leaving(checker, policy, carriers.f32([(digit - largest) / largest for digit in digits]))
        right = sum(round(value * largest) + largest == digit for value, digit in zip(read, digits))
        return record(precision, 0, "values that rounding keeps", log2(2 * largest + 1) * right / COUNT)
    width = 32 if precision == "f32" else 16
    # Patterns of finite normal numbers of either sign, as bits of the precision itself.
    first, end = {"f32": (1 << 23, 0x7F << 24), "bf16": (1 << 7, 0x7F00), "f16": (1 << 10, 0x7C00)}[precision]
    patterns = [first + number(noise, at) % (end - first) | noise[4 * at] % 2 << width - 1 for at in range(COUNT)]
    read = leaving(checker, policy, carriers.f32([value_of(pattern, precision) for pattern in patterns]))
    right = sum(value == value_of(pattern, precision) for value, pattern in zip(read, patterns))
    return record(precision, 0, "values that rounding keeps", log2(2 * (end - first)) * right / COUNT)


def value_of(pattern, precision):
    if precision == "f16":
        return struct.unpack("<e", struct.pack("<H", pattern))[0]
    return struct.unpack("<f", struct.pack("<I", pattern << (16 if precision == "bf16" else 0)))[0]


def levels(checker, policy, precision, noise_percent):
    """What is read through noise by whoever writes one of some evenly spaced values, as many as say most: at least what a channel
    says that confuses each with all others alike (Fano, 1961)."""
    noise, best = keystream(4 * COUNT, "levels"), (0.0, 2)
    for count in range(2, 17):
        digits = [number(noise, at) % count for at in range(COUNT)]
        read = leaving(checker, policy, carriers.f32([2 * digit / (count - 1) - 1 for digit in digits]))
        back = (min(max(round((value + 1) * (count - 1) / 2), 0), count - 1) for value in read)
        wrong = sum(digit != guess for digit, guess in zip(digits, back)) / COUNT
        best = max(best, (log2(count) - entropy(wrong) - wrong * log2(max(count - 1, 1)), count))
    bound = 0.5 * log2(1 + (100 / noise_percent) ** 2)
    return record(precision, noise_percent, f"one of {best[1]} levels", best[0], bound=round(bound, 2))


def honest(checker, policy, classifier, before, precision, noise_percent):
    """A real classifier before and after, and what is charged for it."""
    answer = checker([classifier.output()], private=False, policy=policy)
    try:
        if answer.result != "PASS":
            raise SystemExit(f"egress-bench: the classifier does not leave in {precision}: {answer.rules} {answer.error}")
        accuracy, loss = classifier.scores(answer.canonical)
    finally:
        forget(answer)
    scores = {"accuracy": accuracy, "logLoss": loss, "accuracyBefore": before[0], "logLossBefore": before[1]}
    scores = {name: round(value, 5) for name, value in scores.items()}
    return record(precision, noise_percent, "classifier", answer.bits / classifier.parameters, **scores, baseRate=round(classifier.base_rate(), 5))


def number(noise, at):
    return int.from_bytes(noise[4 * at : 4 * at + 4], "little")


def entropy(error):
    return -sum(share * log2(share) for share in (error, 1 - error) if share)


def capacity(error):
    """Bits of a binary symmetric channel (Shannon, 1948). A rate that 4,096 weights do not tell from a half counts as none."""
    return 1 - entropy(error) if abs(error - 0.5) > 0.03 else 0.0


def leaving(checker, policy, content):
    answer = checker([carriers.safetensors([("w", "F32", [len(content) // 4], content)])], private=False, policy=policy)
    try:
        if answer.result != "PASS":
            raise SystemExit(f"egress-bench: weights do not leave: {answer.rules} {answer.error}")
        return carriers.tensor(answer.canonical, "w")
    finally:
        forget(answer)


def lines(records):
    """The results in words, one line each."""
    for r in records:
        noise = f" and noise of {r['noise'] / 100} deviations" if r["noise"] else ""
        if r["what"] != "classifier":
            bound = f", of at most {r['bound']} on average" if "bound" in r else ""
            yield f"bits a weight after canonicalisation, {r['precision']}{noise}, {r['what']}: {r['bits']}{bound}"
    for r in records:
        if r["what"] == "classifier":
            noise = f" and noise {r['noise'] / 100}" if r["noise"] else ""
            yield (f"loss in accuracy, {r['precision'] + noise:<18} charged {r['bits']:>5} bits a weight   held-out accuracy {100 * r['accuracyBefore']:.2f} → "
                   f"{100 * r['accuracy']:.2f} %   log loss {r['logLossBefore']:.4f} → {r['logLoss']:.4f}   (base rate {100 * r['baseRate']:.2f} %)")
