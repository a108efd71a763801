"""What a log and a witness need, from the texts of C2SP (signed-note, tlog-checkpoint, tlog-cosignature) and RFC 6962.

Python's standard library alone; Ed25519 is the `openssl` command. Written from the specifications, without a line of the
box's own code: where the two disagree, one of them has read the text wrongly.
"""

import base64
import hashlib
import pathlib
import struct
import subprocess
import tempfile

LOG, WITNESS = 0x01, 0x04
# SubjectPublicKeyInfo of an Ed25519 key, up to its 32 bytes (RFC 8410).
SPKI = bytes.fromhex("302a300506032b6570032100")


def openssl(*arguments, message=b""):
    """Runs one `openssl` command. Raw Ed25519 needs its message in a file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(message)
        file.flush()
        command = ["openssl", *(file.name if word == "MESSAGE" else word for word in arguments)]
        return subprocess.run(command, capture_output=True)


class Key:
    """A key pair in a PEM file, made at its first use."""

    def __init__(self, path, name, kind):
        self.path, self.name = pathlib.Path(path), name
        if not self.path.exists():
            made = openssl("genpkey", "-algorithm", "ed25519", "-out", str(self.path))
            assert made.returncode == 0, made.stderr
        public = openssl("pkey", "-in", str(self.path), "-pubout", "-outform", "DER").stdout
        assert public.startswith(SPKI) and len(public) == 44
        self.public = PublicKey(name, kind, public[len(SPKI):])

    def sign(self, message):
        done = openssl("pkeyutl", "-sign", "-rawin", "-inkey", str(self.path), "-in", "MESSAGE", message=message)
        assert len(done.stdout) == 64, done.stderr
        return done.stdout


class PublicKey:
    """A name, a kind of signature and 32 bytes."""

    def __init__(self, name, kind, raw):
        self.name, self.kind, self.raw = name, kind, raw
        self.id = hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + raw).digest()[:4]

    def vkey(self):
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.raw).decode()}"

    def line(self, signature):
        return f"\u2014 {self.name} {base64.b64encode(self.id + signature).decode()}\n"

    def verifies(self, message, signature):
        with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as file:
            key.write(SPKI + self.raw)
            file.write(signature)
            key.flush(), file.flush()
            done = openssl("pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey", key.name,
                           "-in", "MESSAGE", "-sigfile", file.name, message=message)
            return done.returncode == 0

    def signatures(self, lines):
        """What lines of this very key hold after its id. Lines of other keys are ignored."""
        for line in lines:
            dash, name, text = line.split(" ")
            assert dash == "\u2014", line
            held = base64.b64decode(text, validate=True)
            if (name, held[:4]) == (self.name, self.id):
                yield held[4:]


def cosigned(text, seconds):
    """The message of a cosignature/v1."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def cosignature(public, key, text, seconds):
    """A line in the name of a public key; an honest one is signed with the key that belongs to it."""
    return public.line(struct.pack(">Q", seconds) + key.sign(cosigned(text, seconds)))


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def split(size):
    """The largest power of two below a size of two or more."""
    return 1 << (size - 1).bit_length() - 1


def root(leaves):
    """MTH of RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    middle = split(len(leaves))
    return node(root(leaves[:middle]), root(leaves[middle:]))


def consistency(old, leaves, whole=True):
    """PROOF and SUBPROOF of RFC 6962, section 2.1.2. None is needed from the empty tree."""
    if old == 0:
        return []
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    middle = split(len(leaves))
    if old <= middle:
        return consistency(old, leaves[:middle], whole) + [root(leaves[middle:])]
    return consistency(old - middle, leaves[middle:], False) + [root(leaves[:middle])]


def roots(old, new, proof, known=None):
    """The roots of both trees that a proof leads to, by the same recursion; takes what it uses from the proof."""
    if old == new:
        return (known, known) if known else (proof[0], proof.pop(0))
    middle = split(new)
    if old <= middle:
        before, left = roots(old, middle, proof, known)
        return before, node(left, proof.pop(0))
    before, after = roots(old - middle, new - middle, proof)
    left = proof.pop(0)
    return node(left, before), node(left, after)


def consistent(old, old_root, new, new_root, proof):
    proof = list(proof)
    if old == 0:
        return not proof
    try:
        return roots(old, new, proof, old_root) == (old_root, new_root) and not proof
    except IndexError:
        return False
