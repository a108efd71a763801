"""A researcher's client of a data box, made from `proto/`: bundle, signed request, upload, watch, release, cancel.

It is an example to copy. It does not verify what it is given: `databox-verify` does that, offline, from your own pin.
"""

import argparse
import base64
import datetime
import getpass
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import time
import tomllib

import grpc
import zstandard
from cryptography.hazmat.primitives import serialization
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from databox.v1 import bundle_pb2, bundle_pb2_grpc, data_pb2, data_pb2_grpc
from databox.v1 import job_pb2, job_pb2_grpc, release_pb2, release_pb2_grpc

PAYLOAD_TYPE = "application/vnd.in-toto+json"
# docs/formats/statements.md: a name is also safe as a file name.
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"[0-9a-f]{64}")
ENDED = {"RELEASED", "REFUSED", "FAILED", "BLOCKED", "REJECTED", "RETURNED", "CANCELLED", "EXPIRED", "LOST"}
REQUEST_HOURS = 12
ATTEMPTS = 20


class Refused(Exception):
    """The box said no: `reason` is a word of CallReason, `about` the rule or field, if the box names one."""

    def __init__(self, error):
        self.code, self.reason, self.about = error.code(), error.code().name, {}
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            info = error_details_pb2.ErrorInfo()
            if detail.Unpack(info):
                self.reason, self.about = info.reason, dict(info.metadata)
        super().__init__(f"{self.reason}: {error.details()}" + "".join(f" ({k} {v})" for k, v in self.about.items()))


def asked(call, *arguments):
    """Makes a call; a refusal becomes one with its name."""
    try:
        return call(*arguments)
    except grpc.RpcError as error:
        raise Refused(error) from None


def pack(directory):
    """One tar archive in one zstd frame, as docs/formats/bundle.md describes it."""
    directory, archive = pathlib.Path(directory), io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(directory.rglob("*"), key=lambda path: path.relative_to(directory).parts):
            entry = tarfile.TarInfo(str(path.relative_to(directory)))
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise ValueError(f"{path} is neither a file nor a directory")
            if path.is_dir():
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
                continue
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o755 if os.access(path, os.X_OK) else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return zstandard.ZstdCompressor(level=9, write_checksum=True).compress(archive.getvalue())


def canonical(value):
    """JSON as RFC 8785 writes it, for the values that statements have: texts, lists and objects with ASCII keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(content):
    """A digest as statements write it."""
    return {"sha256": hashlib.sha256(content).hexdigest()}


def time_text(moment):
    """UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def measure(text, units):
    """The number in a text such as 1GiB or 5min."""
    number, unit = re.fullmatch(r"([0-9]+)([A-Za-z]+)", text).groups()
    return str(int(number) * units[unit])


def declared(output):
    """One declared output, as the request has it."""
    said = {"kind": output["kind"], "path": output["path"]}
    for key, field in (
        ("count_column", "countColumn"),
        ("largest_column", "largestColumn"),
        ("two_largest_column", "twoLargestColumn"),
        ("structural_zeros", "structuralZeros"),
        ("degrees_of_freedom", "degreesOfFreedom"),
    ):
        if key in output:
            said[field] = output[key]
    for key in ("names", "columns"):
        if key in output:
            said[key] = output[key]
    if "tensors" in output:
        said["tensors"] = [declared_tensor(tensor) for tensor in output["tensors"]]
    return said


def declared_tensor(tensor):
    """One tensor, as the request has it."""
    unknown = set(tensor) - {"name", "shape", "sha256"}
    if unknown:
        raise ValueError(f"a tensor has no {', '.join(sorted(unknown))}")
    said = {"name": tensor["name"], "shape": [str(size) for size in tensor["shape"]]}
    if "sha256" in tensor:
        said["sha256"] = tensor["sha256"]
    return said


# The program of every question, in a runtime that answers them.
QUERY_PROGRAM = "/usr/bin/databox-query"


def question(manifest, profile):
    """The closed form of a manifest's question, and the output that follows from it.

    SQL goes no further than a researcher's desk: `databox check` reads it there, by the catalogue of the box.
    """
    command = ["databox", "check", "--manifest", manifest, "--profile", profile, "--json"]
    told = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if told.returncode != 0:
        error = json.loads(told.stderr)
        raise ValueError(f"{error['error']}: {error['text']}")
    asked = json.loads(told.stdout)["question"]
    return asked["query"], asked["output"]


class Client:
    """One researcher's connection to a gateway, as the profile says."""

    def __init__(self, profile):
        profile = pathlib.Path(profile)
        self.profile_file = profile
        self.profile = tomllib.loads(profile.read_text())
        self.id = self.profile["id"]
        self.beside = profile.parent
        self.keys = self.beside / self.profile["keys"]
        credentials = grpc.ssl_channel_credentials(
            root_certificates=(self.beside / self.profile["authority"]).read_bytes(),
            private_key=(self.keys / f"{self.id}.tls.key").read_bytes(),
            certificate_chain=(self.keys / f"{self.id}.tls.pem").read_bytes(),
        )
        channel = grpc.secure_channel(self.profile["endpoint"].removeprefix("https://"), credentials)
        self.data = data_pb2_grpc.DataServiceStub(channel)
        self.bundles = bundle_pb2_grpc.BundleServiceStub(channel)
        self.jobs = job_pb2_grpc.JobServiceStub(channel)
        self.releases = release_pb2_grpc.ReleaseServiceStub(channel)

    def signing_key(self):
        """The key that `databox key new` made: encrypted PKCS#8."""
        named = self.profile.get("passphrase_file")
        lines = (self.beside / named).read_text().splitlines() if named else [getpass.getpass("Passphrase: ")]
        pem = (self.keys / f"{self.id}.signing.pem").read_bytes()
        return serialization.load_pem_private_key(pem, lines[0].encode())

    def signed(self, kind, predicate, subject):
        """A statement in its DSSE envelope, signed by this person. `subject` is a name and a digest."""
        key = self.signing_key()
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        key_id = hashlib.sha256(public).hexdigest()
        payload = canonical(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "predicateType": f"urn:databox:{kind}:v1",
                "predicate": predicate | {"requester": {"id": self.id, "keyId": key_id}},
                "subject": [{"name": subject[0], "digest": subject[1]}],
            }
        )
        before = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload)} ".encode()
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key_id, "sig": base64.b64encode(key.sign(before + payload)).decode()}],
        }
        return canonical(envelope), digest(payload)["sha256"]

    def site(self):
        """The newest statement of each kind and name that the gateway hands out, as (predicate, payload digest).

        They are not verified here. They only fill in the request, and the enclave compares that with its own site.
        """
        newest = {}
        for file in asked(lambda: list(self.data.GetSite(data_pb2.GetSiteRequest()))):
            kind, _, version = file.path.removesuffix(".json").rpartition("/")
            if not version.isdigit() or not file.path.endswith(".json"):
                continue
            payload = base64.b64decode(json.loads(file.content)["payload"])
            if kind not in newest or int(version) > newest[kind][0]:
                newest[kind] = (int(version), json.loads(payload)["predicate"], digest(payload))
        return {kind: (predicate, name) for kind, (_, predicate, name) in newest.items()}

    def request(self, directory, bundle):
        """The signed request for a bundle, with the job's name, the grant's id, the purpose and its salt."""
        manifest_file = pathlib.Path(directory) / "databox.toml"
        manifest = tomllib.loads(manifest_file.read_text())
        if "query" in manifest:
            query, output = question(manifest_file, self.profile_file)
            command, outputs, asks = [QUERY_PROGRAM], [output], {"query": query}
        else:
            command, outputs, asks = manifest["job"]["command"], [declared(one) for one in manifest["output"]], {}
        job, limits, site = manifest["job"], manifest["limits"], self.site()
        grants = [site[kind] for kind in site if kind.startswith("grants/")]
        covering = [g for g in grants if g[0]["project"] == job["project"] and self.id in g[0]["members"]]
        if not covering:
            raise ValueError(f"no grant names you, {self.id}, for the project {job['project']}")
        grant, grant_payload = covering[0]
        datasets = []
        for name, wanted in sorted(manifest["data"].items()):
            newest = site[f"catalogue/datasets/{name}"][0]["entry"]["snapshots"][-1]["tree"]
            tree = newest if wanted["snapshot"] == "latest" else {"sha256": wanted["snapshot"]}
            datasets.append({"name": name, "tree": tree})
        salt, now = os.urandom(32), datetime.datetime.now(datetime.UTC)
        predicate = {
            "site": grant["site"],
            "grant": {"id": grant["id"], "version": grant["version"], "payload": grant_payload},
            "project": job["project"],
            "job": job["name"],
            "bundle": digest(bundle),
            "datasets": datasets,
            "runtime": {
                "name": job["runtime"],
                "tree": site[f"catalogue/runtimes/{job['runtime']}"][0]["entry"]["tree"],
            },
            "command": command,
            "limits": {
                "cpus": str(limits["cpus"]),
                "memoryBytes": measure(limits["memory"], {"MiB": 1 << 20, "GiB": 1 << 30}),
                "seconds": measure(limits["time"], {"s": 1, "min": 60, "h": 3600}),
            },
            "outputs": outputs,
            "purpose": {"saltedSha256": hashlib.sha256(salt + job["purpose"].encode()).hexdigest()},
            "nonce": base64.b64encode(os.urandom(32)).decode(),
            "issuedAt": time_text(now),
            "expires": time_text(now + datetime.timedelta(hours=REQUEST_HOURS)),
        }
        envelope, name = self.signed("job-request", predicate | asks, ("bundle", digest(bundle)))
        return job_pb2.CreateJobRequest(request=envelope, purpose=job["purpose"], purpose_salt=salt), name, grant["id"]

    def upload(self, bundle, grant):
        """Uploads from where an earlier upload stopped, and gives that place."""
        sha256 = digest(bundle)["sha256"]
        announced = bundle_pb2.CreateUploadRequest(sha256=sha256, bytes=len(bundle), grant=grant)
        answer = asked(self.bundles.CreateUpload, announced)
        begin = answer.committed_bytes
        if begin < len(bundle):
            asked(self.bundles.WriteUpload, parts(sha256, bundle, begin, len(bundle), answer.chunk_bytes))
        asked(self.bundles.FinishUpload, bundle_pb2.FinishUploadRequest(sha256=sha256))
        return begin

    def submit(self, directory):
        """Packs, signs, uploads and hands in. The same request is repeated while the gateway does not answer: it
        counts once."""
        bundle = pack(directory)
        request, _, grant = self.request(directory, bundle)

        def attempt():
            self.upload(bundle, grant)
            return asked(self.jobs.CreateJob, request).job

        return patiently(attempt)

    def watch(self, job, after=0):
        """The events of a job after a number, each once, until the job has ended. A stream that breaks, or that the
        gateway ends so as to look at certificates again, is taken up where it was."""
        failures = 0
        while True:
            try:
                for event in self.jobs.WatchJob(job_pb2.WatchJobRequest(job=job, after_event=after)):
                    after, failures = event.event, 0
                    yield event
                    if state(event) in ENDED:
                        return
            except grpc.RpcError as error:
                failures += 1
                if not may_pass(error.code()) or failures > ATTEMPTS:
                    raise Refused(error) from None
            time.sleep(0.5)

    def cancel(self, job):
        """Calls a job off with a signed statement. A repeat does nothing more."""
        site = next(predicate["site"] for predicate, _ in self.site().values())
        now = time_text(datetime.datetime.now(datetime.UTC))
        about = {"sha256": job}
        predicate = {"site": site, "request": about, "issuedAt": now}
        envelope, _ = self.signed("cancel", predicate, ("request", about))
        return asked(self.jobs.CancelJob, job_pb2.CancelJobRequest(cancel=envelope)).job

    def list(self, page_size=100):
        """All jobs of the caller, the newest first."""
        token = ""
        while True:
            page = asked(self.jobs.ListJobs, job_pb2.ListJobsRequest(page_size=page_size, page_token=token))
            yield from page.jobs
            token = page.next_page_token
            if not token:
                return

    def fetch(self, name, file):
        """One released file, or the release file itself where `file` is empty."""
        content = bytearray()

        def attempt():
            wanted = release_pb2.ReadFileRequest(release=name, file=file, offset=len(content))
            for part in self.releases.ReadFile(wanted):
                content.extend(part.chunk)

        patiently(lambda: asked(attempt))
        return bytes(content)

    def release(self, job, out):
        """Reads the release of a job and its files into a new directory, and gives the path of the release file."""
        found = asked(self.releases.GetRelease, release_pb2.GetReleaseRequest(release=job)).release
        # These names come from the box: one of its choosing could lead out of the directory.
        if not DIGEST.fullmatch(found.release) or not all(NAME.fullmatch(file.name) for file in found.files):
            raise ValueError("the gateway handed out a name that is none")
        out = pathlib.Path(out)
        out.mkdir(parents=True)
        for file in found.files:
            content = self.fetch(found.release, file.name)
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise ValueError(f"{file.name} has another digest than the gateway said")
            (out / file.name).write_bytes(content)
        evidence = out / f"{found.release}.release.json"
        evidence.write_bytes(self.fetch(found.release, ""))
        return evidence


def parts(sha256, bundle, begin, end, chunk_bytes):
    """The messages that carry a part of a bundle."""
    for at in range(begin, end, chunk_bytes):
        chunk = bundle[at : min(at + chunk_bytes, end)]
        yield bundle_pb2.WriteUploadRequest(sha256=sha256, offset=at, chunk=chunk)


def may_pass(code):
    """True if a call that failed so may be repeated. CANCELLED and UNKNOWN are a line that broke."""
    unreachable = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return code in unreachable or code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


def patiently(work):
    """Does this again while the gateway does not answer."""
    for attempt in range(ATTEMPTS + 1):
        try:
            return work()
        except Refused as refused:
            if not may_pass(refused.code) or attempt == ATTEMPTS:
                raise
            time.sleep(0.5)


def state(about):
    """The state's word."""
    return job_pb2.JobState.Name(about.state).removeprefix("JOB_STATE_")


def main():
    parser = argparse.ArgumentParser(description="A researcher's client of a data box.")
    parser.add_argument("--profile", default=pathlib.Path.home() / ".config/databox/default.toml")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("submit").add_argument("directory")
    watch = commands.add_parser("watch")
    watch.add_argument("job")
    watch.add_argument("--after", type=int, default=0, help="only events with a higher number")
    commands.add_parser("ls")
    commands.add_parser("cancel").add_argument("job")
    get = commands.add_parser("get")
    get.add_argument("job")
    get.add_argument("--out", required=True)
    given = parser.parse_args()
    client = Client(given.profile)
    try:
        if given.command == "submit":
            print(client.submit(given.directory).job)
        elif given.command == "watch":
            for event in client.watch(given.job, given.after):
                print(event.event, state(event), flush=True)
        elif given.command == "ls":
            for job in client.list():
                print(job.job, state(job), job.name)
        elif given.command == "cancel":
            print(state(client.cancel(given.job)))
        elif given.command == "get":
            print(client.release(given.job, given.out))
    except (Refused, ValueError) as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
