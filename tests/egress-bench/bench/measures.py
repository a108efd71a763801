"""What is measured, and how it is printed."""

import sys
from concurrent.futures import ThreadPoolExecutor

import bombs as bombs_module
import honest as honest_module
import weights
from checker import forget, larger_policy

# Lengths in bytes that are tried for the shortest theft that is found.
LADDER = (16, 24, 31, 40, 48, 64, 96, 127, 160, 256, 512, 1024, 2048, 4096, 10240)
BOMB_SECONDS, BOMB_MIB = 10.0, 512.0
FOUND, GONE, REFUSED, MISSED, ERROR = "found", "gone", "refused", "MISSED", "ERROR"


def said(text):
    print(text, file=sys.stderr, flush=True)


def outcome(attack, payload, answer):
    """`found`: a rule about copies blocks it. `refused`: another rule does, and nothing leaves. `gone`: it passes, and
    the thief's own decoder gets less than 31 bytes of the data. `MISSED`: it passes, and the decoder gets more."""
    if answer.result is None:
        return ERROR, 0
    if answer.result == "FAIL":
        return (FOUND if answer.copy_found else REFUSED), 0
    bytes_read = attack.recovered(payload, answer.canonical)
    return (MISSED if bytes_read >= min(31, len(payload)) else GONE), bytes_read


def one_attack(checker, material, attack, length, seed, twin):
    payload = attack.payload(material, length, seed)
    hidden = attack.twin(payload) if twin else payload
    answer = checker(attack.make(hidden))
    try:
        result, bytes_read = outcome(attack, payload if not twin else hidden, answer)
    finally:
        forget(answer)
    return payload, answer, result, bytes_read


def attacks(checker, material, listed, arguments):
    def run(pair):
        seed, attack = pair
        payload, answer, result, bytes_read = one_attack(checker, material, attack, arguments.payload, seed, False)
        record = {
            "name": attack.name,
            "class": attack.group,
            "keyed": attack.keyed,
            "payload": len(payload),
            "outcome": result,
            "read": bytes_read,
            "rules": answer.rules,
            "bits": answer.bits,
            "seconds": round(answer.seconds, 2),
            "mib": round(answer.mib),
        }
        if result == ERROR:
            record["error"] = answer.error
        payload, answer, result, bytes_read = one_attack(checker, material, attack, arguments.payload, seed, True)
        record["twin"] = "found" if answer.copy_found else (answer.result or ERROR)
        # Of an encrypted payload that leaves whole, each bit counts. Of numbers, ranks that rounding keeps do.
        whole = result == MISSED and bytes_read >= len(payload) and not attack.numeric
        record["withinBits"] = not whole or attack.carried(payload) <= answer.bits
        if answer.copy_found:
            record["twinRules"] = answer.rules
        if arguments.shortest and not attack.keyed and record["outcome"] == FOUND:
            record["shortest"] = shortest(checker, material, attack, seed)
        said(f"{record['outcome']:<8} {attack.name:<28} read {record['read']:>6}  {record['seconds']:>5} s  twin {record['twin']}  {' '.join(record['rules'])}{record.get('error', '')}")
        return record

    with ThreadPoolExecutor(arguments.workers) as pool:
        return list(pool.map(run, listed))


def shortest(checker, material, attack, seed):
    """The shortest theft of the ladder from which on all are found, by bisection."""
    low, high, payload_of = -1, len(LADDER) - 1, {}
    while high - low > 1:
        middle = (low + high) // 2
        payload, _, result, _ = one_attack(checker, material, attack, LADDER[middle], seed, False)
        payload_of[middle] = len(payload)
        low, high = (low, middle) if result == FOUND else (middle, high)
    return payload_of.get(high, LADDER[high])


def honest(checker, material, root, arguments):
    wide = larger_policy(arguments.standard, root)
    cases = [
        (name, make, size)
        for name, make, sizes in honest_module.HONEST
        for size in (sizes or (None,))
        if (size == arguments.size if arguments.size else (size or 0) <= arguments.largest) and (not arguments.only or name in arguments.only.split(","))
    ]

    def run(case):
        name, make, size = case
        outputs = make(material, size, 1)
        if (size or 0) > 8 << 20:
            said(f"begins   {name:<24} {size:>11} B")
        answer = checker(outputs, policy=wide if (size or 0) > 8 << 20 else None)
        leaves = size or sum(len(output.content) for output in outputs)
        forget(answer)
        alarm = answer.copy_found
        record = {"name": name, "bytes": leaves, "result": answer.result or ERROR, "alarm": alarm, "rules": answer.rules}
        record.update(seconds=round(answer.seconds, 2), mib=round(answer.mib), error=answer.error if not answer.result else "")
        said(f"{'ALARM' if alarm else record['result']:<8} {name:<24} {leaves:>11} B  {record['seconds']:>7} s  {record['mib']:>5} MiB  {' '.join(answer.rules)} {record['error']}")
        return record

    small = [case for case in cases if (case[2] or 0) <= 1 << 20]
    with ThreadPoolExecutor(arguments.workers) as pool:
        done = list(pool.map(run, small))
    # Large ones one by one: their memory is measured, and there may be little.
    return done + [run(case) for case in cases if case not in small]


def bombs(checker, root, arguments):
    done = []
    for bomb in bombs_module.all_bombs():
        answer = checker([bomb.make()])
        forget(answer)
        in_time = answer.seconds <= BOMB_SECONDS and answer.mib <= BOMB_MIB
        record = {"name": bomb.name, "refused": answer.result == "FAIL" and bool(answer.rules), "inTime": in_time}
        record.update(result=answer.result or ERROR, rules=answer.rules, seconds=round(answer.seconds, 2), mib=round(answer.mib))
        said(f"{'ok' if record['refused'] and in_time else 'NOT OK':<8} {bomb.name:<34} {record['seconds']:>6} s  {record['mib']:>5} MiB  {record['result']} {' '.join(answer.rules)} {answer.error if not answer.result else ''}")
        done.append(record)
    return done


def bits_of_weights(checker, material, root, arguments):
    """What a thief reads of each weight after canonicalisation, and what an honest classifier loses by it."""
    done = weights.measured(checker, material, root, arguments.standard)
    for line in weights.lines(done):
        said(line)
    return done


def peak(what, records):
    """The most memory that one process held, of all that a check starts."""
    largest = max(records, key=lambda record: record["mib"])
    return f"peak memory, {what}: {largest['mib']} MiB ({largest['name']})"


def summary(report):
    if attacks := report.get("attacks"):
        groups = list(dict.fromkeys(record["class"] for record in attacks))
        print(f"{'class':<14}{'found':>7}{'gone':>7}{'refused':>9}{'MISSED':>8}{'ERROR':>7}   twins found")
        for group in groups + ["all"]:
            some = [record for record in attacks if group in (record["class"], "all")]
            counts = [sum(record["outcome"] == what for record in some) for what in (FOUND, GONE, REFUSED, MISSED, ERROR)]
            twins = sum(record["twin"] == "found" for record in some)
            print(f"{group:<14}{counts[0]:>7}{counts[1]:>7}{counts[2]:>9}{counts[3]:>8}{counts[4]:>7}   {twins} of {len(some)}")
        barred = [r for r in attacks if not r["keyed"] and r["payload"] >= 31]
        counts = {what: sum(r["outcome"] == what for r in barred) for what in (FOUND, GONE, REFUSED)}
        print(f"deterministic encodings of 31 bytes or more: {counts[FOUND]} found and {counts[GONE]} gone, {counts[FOUND] + counts[GONE]} of {len(barred)}; "
              f"{counts[REFUSED]} more refused for another reason")
        print("missed: " + (", ".join(r["name"] for r in barred if r["outcome"] == MISSED) or "none"))
        print(f"encrypted payloads that carry more than the bits that were charged: {sum(not r['withinBits'] for r in attacks)}")
        print(peak("attacks", attacks))
        if any("shortest" in r for r in attacks):
            print("shortest theft found, in bytes: " + ", ".join(f"{r['name']} {r['shortest']}" for r in attacks if "shortest" in r))
    if done := report.get("honest"):
        alarms = [r for r in done if r["alarm"]]
        stopped = [r for r in done if r["result"] != "PASS" and not r["alarm"]]
        outputs = len({r["name"] for r in done})
        print(f"false alarms: {len(alarms)} in {len(done)} outputs of {outputs} kinds: " + ", ".join(f"{r['name']} ({r['bytes']})" for r in alarms))
        print("not passed for another reason: " + (", ".join(f"{r['name']} ({r['bytes']}) {' '.join(r['rules'])}" for r in stopped) or "none"))
        largest = max(done, key=lambda r: r["bytes"])
        print(f"speed at {largest['bytes']} bytes: {largest['bytes'] / largest['seconds'] / 1e6:.3f} MB/s of output")
        for size in sorted({r["bytes"] for r in done if r["bytes"] >= 1 << 20}):
            print(peak(f"honest outputs of {size >> 20} MiB", [r for r in done if r["bytes"] == size]))
        print(peak("all honest outputs", done))
    if done := report.get("bombs"):
        print(f"bombs and malformed outputs refused by name in {BOMB_SECONDS:.0f} s and {BOMB_MIB:.0f} MiB: {sum(r['refused'] and r['inTime'] for r in done)} of {len(done)}")
        print(peak("bombs", done))
    for line in weights.lines(report.get("weights", [])):
        print(line)
