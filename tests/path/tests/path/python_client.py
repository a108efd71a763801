"""What the example's command line cannot show: an upload that broke off, and a watch taken up again."""

import pathlib
import sys

import client as example
import grpc
from databox.v1 import bundle_pb2

profile, directory, work = sys.argv[1], sys.argv[2], sys.argv[3]
client = example.Client(profile)

if work == "break-upload":
    # One chunk that is answered, then a stream that its client abandons.
    bundle = example.pack(directory)
    _, _, grant = client.request(directory, bundle)
    sha256 = example.digest(bundle)["sha256"]
    announced = bundle_pb2.CreateUploadRequest(sha256=sha256, bytes=len(bundle), grant=grant)
    answer = example.asked(client.bundles.CreateUpload, announced)
    size = answer.chunk_bytes
    assert answer.committed_bytes == 0 and len(bundle) > 2 * size, (answer, len(bundle))
    written = example.asked(client.bundles.WriteUpload, example.parts(sha256, bundle, 0, size, size))
    assert written.committed_bytes == size, written

    def abandoned():
        yield from example.parts(sha256, bundle, size, size + 1, size)
        raise RuntimeError("the client goes away here")

    try:
        client.bundles.WriteUpload(abandoned())
        raise AssertionError("a stream that was abandoned was answered")
    except grpc.RpcError:
        pass
elif work == "upload":
    bundle = example.pack(directory)
    _, _, grant = client.request(directory, bundle)
    print(client.upload(bundle, grant))
elif work == "pages":
    whole, paged = list(client.list()), list(client.list(page_size=1))
    assert [job.job for job in whole] == [job.job for job in paged], "pages of one give the same list"
    print(len(paged))
elif work == "page-size":
    try:
        list(client.list(page_size=1000))
    except example.Refused as refused:
        print(refused.reason)
else:
    raise ValueError(f"no such work: {work}")
