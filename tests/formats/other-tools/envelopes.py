"""Verifies each statement of a release file with securesystemslib and reads it with in-toto-attestation; then signs one
with securesystemslib.

    envelopes.py RELEASE-FILE SEED OUT

SEED is the private key of the request's signer, 32 bytes in hexadecimal. OUT gets the request, signed anew. Prints the
number of statements.
"""

import base64
import copy
import json
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey


def predicate(envelope):
    return json.loads(base64.b64decode(envelope["payload"]))["predicate"]


def key_of(envelope_keyid, public):
    """A key under the name that envelopes give it."""
    key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(base64.b64decode(public)))
    key.keyid = envelope_keyid
    return key


def publics(release):
    """Every public key that the roles and the grant name."""
    for envelope in release["roles"]:
        roles = predicate(envelope)
        for person in roles["people"].values():
            yield from (key["public"] for key in person["keys"])
        yield from (key["public"] for key in roles["box"].values())
    for person in predicate(release["grant"])["members"].values():
        yield from (key["public"] for key in person["keys"])


def verify(envelope, release):
    parsed = Envelope.from_dict(copy.deepcopy(envelope))
    keys = [key_of(keyid, public) for keyid in parsed.signatures for public in publics(release)]
    signed_by = parsed.verify(keys, len(envelope["signatures"]))
    assert len(signed_by) == len(envelope["signatures"])
    message = json_format.Parse(parsed.payload, statement_pb2.Statement())
    Statement.copy_from_pb(message).validate()


def main():
    release = json.load(open(sys.argv[1], encoding="utf-8"))
    statements = [*release["roles"], *release["approvals"], *release["catalogue"]]
    statements += [release[name] for name in ("grant", "manifest", "request", "revocation", "verdict")]
    statements.append(release["policy"]["statement"])
    for envelope in statements:
        verify(envelope, release)

    request = Envelope.from_dict(copy.deepcopy(release["request"]))
    signer = CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[2])))
    request.signatures.clear()
    request.sign(signer)
    with open(sys.argv[3], "w", encoding="utf-8") as out:
        json.dump(request.to_dict(), out)
    print(len(statements))


main()
