"""Makes `packet.txt` with an implementation of HPKE and ChaCha20-Poly1305 that shares nothing with ours: Python's
`cryptography` 48. Run it again only when the format gets a new version.

    python3 make_packet.py > packet.txt
"""

import hashlib
import struct

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

STEWARDS = {"ada": bytes([1] * 32), "eve": bytes([2] * 32)}
CONTENT_KEY = bytes(range(32))
REQUEST = hashlib.sha256(b"request").digest()
FILE = b"plan,n\n1,100\n"


def short(data):
    return struct.pack(">I", len(data)) + data


def name(text):
    return bytes([len(text)]) + text.encode()


suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
commitment = hashlib.sha256(b"databox review packet 1 commitment\n" + CONTENT_KEY).digest()
header = b"dboxpkt\x01" + REQUEST + commitment + bytes([len(STEWARDS)])
for steward, secret in STEWARDS.items():
    public = X25519PrivateKey.from_private_bytes(secret).public_key()
    info = b"databox review packet 1 content key\n" + REQUEST + commitment + steward.encode()
    header += name(steward) + suite.encrypt(CONTENT_KEY, public, info)

content = short("Why: to see über".encode()) + bytes([7] * 32) + hashlib.sha256(b"bundle").digest()
content += bytes([1]) + name("by_plan.csv") + struct.pack(">Q", len(FILE)) + FILE
content += bytes([1]) + name("judge") + short(b"detail")
content += bytes([1]) + struct.pack(">HHQQ", 0, 3, 70000, 31)
content += bytes(len(FILE) + 65536 - len(header) - 16 - len(content))
sealed = ChaCha20Poly1305(CONTENT_KEY).encrypt(bytes(12), content, header)
assert len(header + sealed) == len(FILE) + 65536

print("header", header.hex())
print("sha256", hashlib.sha256(header + sealed).hexdigest())
