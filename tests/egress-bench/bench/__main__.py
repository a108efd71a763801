"""EgressBench: what a checker of outputs finds, what leaves all the same, and whom it stops for nothing.

    python3 tests/egress-bench/bench --hie randhie.csv --checker "databox"
"""

import argparse
import json
import os
import sys
import tempfile

sys.dont_write_bytecode = True

import attacks
import honest
import measures
from checker import Checker
from material import Material


def main():
    arguments = parsed()
    with tempfile.TemporaryDirectory(prefix="egress-bench-data-") as root:
        os.chmod(root, 0o755)
        private = os.path.join(root, "private")
        os.mkdir(private)
        material = Material(arguments.hie, private, arguments.rows)
        checker = Checker(arguments.checker, private, arguments.policy)
        chosen = set(arguments.parts.split(","))
        report = {"checker": arguments.checker, "payloadBytes": arguments.payload}
        if "attacks" in chosen:
            listed = [
                (seed, attack)
                for seed, attack in enumerate(attacks.all_attacks())
                if not arguments.only or attack.name in arguments.only.split(",")
            ]
            report["attacks"] = measures.attacks(checker, material, listed, arguments)
        if "honest" in chosen:
            report["honest"] = measures.honest(checker, material, root, arguments)
        if "bombs" in chosen:
            report["bombs"] = measures.bombs(checker, root, arguments)
        if "weights" in chosen:
            report["weights"] = measures.bits_of_weights(checker, material, root, arguments)
        measures.summary(report)
        if arguments.json:
            with open(arguments.json, "w", encoding="utf-8") as file:
                json.dump(report, file, indent=1)


def bytes_of(text):
    """A size such as 65536, 16MiB or 1GiB."""
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)):
        if text.endswith(unit):
            return int(text.removesuffix(unit)) * factor
    return int(text)


def parsed():
    parser = argparse.ArgumentParser(prog="egress-bench", description=__doc__)
    parser.add_argument("--hie", required=True, help="examples/data/randhie.csv, unpacked")
    parser.add_argument("--checker", default="databox", help="a command; `check --manifest … --json` is appended")
    parser.add_argument("--policy", help="the egress policy for attacks and small outputs; the checker's own if not given")
    parser.add_argument("--standard", required=True, help="policies/egress/standard.toml, widened for large outputs")
    parser.add_argument("--payload", type=int, default=10_240, help="bytes that each attack steals")
    parser.add_argument("--rows", type=int, default=20_190, help="rows of each table of the private data, at most")
    parser.add_argument("--parts", default="attacks,honest,bombs,weights", help="what is run")
    parser.add_argument("--only", help="names of attacks or honest outputs, separated by commas")
    parser.add_argument("--largest", type=int, default=1 << 20, help="largest honest output in bytes")
    parser.add_argument("--size", type=bytes_of, help="honest outputs of exactly this size alone, such as 64MiB or 1GiB")
    parser.add_argument("--shortest", action="store_true", help="also find the shortest run that is found of each encoding")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="checks at a time")
    parser.add_argument("--json", help="a file for all results")
    arguments = parser.parse_args()
    if arguments.size:
        sizes = sorted({size for _, _, sizes in honest.HONEST for size in sizes or ()})
        if arguments.size not in sizes:
            parser.error("--size is one of " + ", ".join(map(str, sizes)))
        arguments.parts = "honest"
    return arguments


if __name__ == "__main__":
    main()
