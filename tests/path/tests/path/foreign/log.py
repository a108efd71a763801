"""A log that asks a witness: `log.py key DIRECTORY` prints its key;
`log.py ask DIRECTORY ADDRESS WITNESS_KEY OLD NEW WORD...` sends one `add-checkpoint` and prints status, content type and
body, or `cosigned TIME` where `openssl` verifies the witness's signature over the checkpoint that was sent.

Words make it a log that others would not trust: `fork` (leaf 1 is another one), `no-proof`, `surplus` (a hash too many), `root` (of no tree),
`stranger` (signed with another key), `unknown` (another origin), `no-old` (no first line); or one that is unlike the box's
own: `extension` (a fourth line), `others` (signatures of keys that the witness does not know).
"""

import base64
import http.client
import pathlib
import struct
import sys

import c2sp

NAME = "python.example/log"


def keys(directory):
    return (c2sp.Key(directory / "log.pem", NAME, c2sp.LOG), c2sp.Key(directory / "stranger.pem", NAME, c2sp.LOG))


def request(directory, old, new, words):
    key, stranger = keys(directory)
    leaves = [b"leaf %d" % number for number in range(new)]
    if "fork" in words:
        leaves[1] = b"another past"
    origin = "unknown.example/log" if "unknown" in words else NAME
    root = bytes(32) if "root" in words else c2sp.root(leaves)
    text = f"{origin}\n{new}\n{base64.b64encode(root).decode()}\n"
    if "extension" in words:
        text += "a line of the log's own\n"
    proof = c2sp.consistency(old, leaves) if old <= new and "no-proof" not in words else []
    if "surplus" in words:
        proof.append(bytes(32))
    signed = key.public.line((stranger if "stranger" in words else key).sign(text.encode()))
    if "others" in words:
        signed = stranger.public.line(bytes(2420)) + signed
        signed += c2sp.PublicKey("else.example/w", c2sp.WITNESS, bytes(32)).line(bytes(72))
    lines = [] if "no-old" in words else [f"old {old}"]
    lines += [base64.b64encode(hash).decode() for hash in proof]
    return text, "".join(line + "\n" for line in lines) + "\n" + text + "\n" + signed


def ask(directory, address, witness, old, new, words):
    name, _, material = witness.split("+", 2)
    material = base64.b64decode(material, validate=True)
    witness_key = c2sp.PublicKey(name, material[0], material[1:])
    assert witness_key.vkey() == witness and material[0] == c2sp.WITNESS
    text, body = request(directory, old, new, words)
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("POST", "/add-checkpoint", body.encode())
    response = connection.getresponse()
    answer = response.read().decode()
    if response.status != 200:
        return f"{response.status} {response.headers['Content-Type']} {answer.strip()}"
    assert answer.endswith("\n"), answer
    (held,) = witness_key.signatures(answer.splitlines())
    (seconds,) = struct.unpack(">Q", held[:8])
    assert witness_key.verifies(c2sp.cosigned(text, seconds), held[8:]), "openssl refuses the cosignature"
    assert not witness_key.verifies(c2sp.cosigned(text, seconds + 1), held[8:]), "openssl takes anything"
    return f"cosigned {seconds}"


if sys.argv[1] == "key":
    print(keys(pathlib.Path(sys.argv[2]))[0].public.vkey())
else:
    directory, address, witness, old, new, *words = sys.argv[2:]
    print(ask(pathlib.Path(directory), address, witness, int(old), int(new), words))
