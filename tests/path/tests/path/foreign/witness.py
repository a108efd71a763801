"""A witness after https://c2sp.org/tlog-witness: `witness.py DIRECTORY PORT ORIGIN LOG_KEY`.

It listens below the submission prefix `/submit`. The file `how` in its directory may make it a liar, anew for each request:
`other-key` signs with a key that nobody knows, `other-size` a tree of one leaf more than it was shown, and
`nonsense` answers what is no signature and no line.
"""

import base64
import http.server
import os
import pathlib
import secrets
import sys
import threading
import time

import c2sp

NAME = "python.example/witness"
directory, port, origin, log_key = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
log = c2sp.PublicKey(origin, c2sp.LOG, base64.b64decode(log_key, validate=True))
own = c2sp.Key(directory / "witness.pem", NAME, c2sp.WITNESS)
stranger = c2sp.Key(directory / "stranger.pem", NAME, c2sp.WITNESS)
one_at_a_time = threading.Lock()


class Refused(Exception):
    """A status and what is said with it."""


def number(text):
    if not (text.isascii() and text.isdigit() and str(int(text)) == text):
        raise Refused(400, "not a number")
    return int(text)


def remembered():
    file = directory / "head"
    if not file.exists():
        return 0, c2sp.root([])
    size, root = file.read_text().split()
    return int(size), bytes.fromhex(root)


def remember(size, root):
    with open(directory / "head.new", "w") as file:
        file.write(f"{size} {root.hex()}")
        file.flush()
        os.fsync(file.fileno())
    os.replace(directory / "head.new", directory / "head")


def opened(body):
    """The old size, the proof, and the text, origin, size and root of the checkpoint, signed by its log."""
    head, _, note = body.decode().partition("\n\n")
    first, *proof = head.split("\n")
    if not first.startswith("old "):
        raise Refused(400, "no old size")
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    named, size, root, *extensions = text[:-1].split("\n")
    if named != origin:
        raise Refused(404, "an unknown log")
    signatures = list(log.signatures(lines.splitlines()))
    if not signatures or not all(log.verifies(text.encode(), signature) for signature in signatures):
        raise Refused(403, "not signed by its log")
    decoded = [base64.b64decode(line, validate=True) for line in [root, *proof]]
    if any(len(value) != 32 for value in decoded) or len(proof) > 63 or "" in extensions:
        raise Refused(400, "not a request")
    return number(first[4:]), decoded[1:], text, number(size), decoded[0]


def add_checkpoint(body):
    old, proof, text, size, root = opened(body)
    if old > size:
        raise Refused(400, "the older tree is the larger one")
    last, last_root = remembered()
    if old != last:
        raise Refused(409, str(last))
    if not c2sp.consistent(last, last_root, size, root, proof):
        raise Refused(422, "not shown to be consistent")
    how = (directory / "how").read_text() if (directory / "how").exists() else "honest"
    if how == "nonsense":
        print(how, flush=True)
        return "\n\u2014 no signature\n\x00 and no end of the line"
    key, shown = own, text
    if how == "other-key":
        key = stranger
    elif how == "other-size":
        lines = text.split("\n")
        shown = "\n".join([lines[0], str(size + 1), *lines[2:]])
    else:
        remember(size, root)
    # A log must ignore what it does not know, such as a witness's second key of a kind that came later.
    later = c2sp.PublicKey(NAME, 0x06, secrets.token_bytes(1312)).line(secrets.token_bytes(8 + 2420))
    line = later + c2sp.cosignature(own.public, key, shown, int(time.time()))
    print(f"{how} {old} {len(proof)} {size}", flush=True)
    return line


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, answer, kind = 200, "", "text/plain"
        try:
            if self.path != "/submit/add-checkpoint":
                raise Refused(404, "not here")
            with one_at_a_time:
                answer = add_checkpoint(body)
        except Refused as refused:
            status, answer = refused.args[0], f"{refused.args[1]}\n"
            kind = "text/x.tlog.size" if status == 409 else kind
            print(f"refused {status}", flush=True)
        except ValueError:
            status, answer = 400, "not a request\n"
            print("refused 400", flush=True)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
print(NAME, base64.b64encode(own.public.raw).decode(), flush=True)
server.serve_forever()
