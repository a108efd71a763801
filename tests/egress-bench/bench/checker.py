"""Runs a checker as a process: any program with the command line that the README describes."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

import measured

MANIFEST = """[job]
name = "bench"
project = "bench"
runtime = "host-python"
command = ["true"]
purpose = "A benchmark"
[data.bench]
snapshot = "latest"
[limits]
cpus = 1
memory = "1GiB"
time = "5min"
"""
# A process of its own, since a child is charged with the memory of the process that it was forked from.
MEASURED = [sys.executable, "-I", "-S", measured.__file__]
# The longest that a check may take: for a small output, and for each MiB of a large one.
LEAST_SECONDS, SECONDS_EACH_MIB = 1800, 60


class Answer:
    """What a checker said. `result` is PASS, FAIL or none if it gave no answer; `seconds` and `mib` are of all its processes,
    the largest of them for memory."""

    def __init__(self, result, rules, bits, seconds, mib, canonical, error):
        self.result, self.rules, self.bits = result, rules, bits
        self.seconds, self.mib, self.canonical, self.error = seconds, mib, canonical, error

    @property
    def copy_found(self):
        return any(rule.startswith("copy.") for rule in self.rules)


class Checker:
    def __init__(self, command, private, policy=None):
        self.command, self.private, self.policy = shlex.split(command), private, policy

    def __call__(self, outputs, private=True, policy=None):
        """Checks outputs. The canonical files stay until `Answer.done` is called on the answer's directory."""
        with tempfile.TemporaryDirectory(prefix="egress-bench-") as root:
            manifest, out, canonical = (os.path.join(root, name) for name in ("databox.toml", "out", "canonical"))
            os.mkdir(out)
            written = 0
            with open(manifest, "w", encoding="utf-8") as file:
                file.write(MANIFEST + "".join(f"[[output]]\n{output.declaration}\n" for output in outputs))
            for output in outputs:
                with open(os.path.join(out, output.path), "wb") as file:
                    file.write(output.content)
                    for piece in getattr(output, "pieces", ()):
                        file.write(piece)
                    written += file.tell()
            command = self.command + ["check", "--manifest", manifest, "--outputs", out, "--canonical", canonical, "--json"]
            command += ["--private", self.private] if private else []
            chosen = policy or self.policy
            command += ["--policy", chosen] if chosen else []
            answer = self.run(command, max(LEAST_SECONDS, SECONDS_EACH_MIB * (written >> 20)))
            if answer.result == "PASS":
                answer.canonical = tempfile.mkdtemp(prefix="egress-bench-canonical-")
                for name in os.listdir(canonical):
                    shutil.move(os.path.join(canonical, name), answer.canonical)
            return answer

    def run(self, command, seconds):
        run = subprocess.run(MEASURED + [str(seconds)] + command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        text, error = run.stdout.decode("utf-8", "replace"), run.stderr.decode("utf-8", "replace")
        error, _, used = error.rpartition("\n" + measured.MARK)
        status, seconds, mib = json.loads(used)
        try:
            parsed = json.loads(text)
            findings = [f["rule"] for file in parsed["files"] for f in file["findings"] if f.get("result", "blocked") == "blocked"]
            result, bits = parsed["result"], int(parsed["releasedBits"])
        except (ValueError, KeyError, TypeError):
            return Answer(None, [], 0, seconds, mib, None, error[-400:] or text[-400:])
        expected = {"PASS": 0, "FAIL": 10}.get(result)
        if status != expected:
            return Answer(None, findings, bits, seconds, mib, None, f"exit code {status} does not fit {result}")
        return Answer(result, sorted(set(findings)), bits, seconds, mib, None, error)


def forget(answer):
    if answer.canonical:
        shutil.rmtree(answer.canonical, ignore_errors=True)


def larger_policy(standard, directory, precision=None, noise_percent=0):
    """The standard policy with room for outputs of 1 GiB, for what is measured at that size; or with another precision, and noise."""
    with open(standard, encoding="utf-8") as file:
        lines = file.read().splitlines()
    wide = {"release_bits": 1 << 34, "max_bits": 1 << 34, "max_file_bytes": 1 << 32}
    section, written = "", []
    for line in lines:
        key = line.split("=")[0].strip()
        section = line if line.startswith("[") else section
        if key in wide and "=" in line and section in ("", "[weights]"):
            line = f"{key} = {wide[key]}"
        if key == "precision" and precision:
            line = f'precision = "{precision}"'
        if key == "dither_percent":
            line = f"dither_percent = {noise_percent}"
        written.append(line)
    path = os.path.join(directory, f"policy-{precision or 'large'}-{noise_percent}.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(written) + "\n")
    return path

