"""Roads to a network, or to another process of the host by a socket."""

import socket

from prelude import *


@twin("sockets-within-the-job")
def within():
    one, two = socket.socketpair()
    one.send(b"x")
    assert two.recv(1) == b"x"
    server = socket.socket(socket.AF_UNIX)
    server.bind("/tmp/socket")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("/tmp/socket")
    return "works"


@twin("a-permitted-call")
def permitted():
    assert LIBRARY.syscall(ctypes.c_long(39)) == os.getpid()
    assert machine_code("b827000000" "0f05" "c3") == os.getpid()
    return "works"


def family(number, kind=1, protocol=0):
    def open_one():
        ctypes.set_errno(0)
        return call(41, number, kind, protocol)

    return open_one


for name, number, kind, protocol, technique in [
    ("inet-stream", 2, 1, 0, "TCP to anywhere"),
    ("inet-datagram", 2, 2, 0, "UDP, DNS tunnels"),
    ("inet-icmp", 2, 2, 1, "ping tunnels"),
    ("inet-raw", 2, 3, 255, "raw IP; CVE-2017-17712"),
    ("inet6-stream", 10, 1, 0, "TCP over IPv6"),
    ("inet-mptcp", 2, 1, 262, "multipath TCP; CVE-2022-2588 class"),
    ("inet-sctp", 2, 1, 132, "SCTP; CVE-2019-8956"),
    ("packet", 17, 3, 768, "link layer; CVE-2016-8655, CVE-2020-14386"),
    ("netlink-route", 16, 3, 0, "interfaces and addresses"),
    ("netlink-netfilter", 16, 3, 12, "nf_tables; CVE-2024-1086"),
    ("netlink-xfrm", 16, 3, 6, "xfrm; CVE-2017-16939"),
    ("vsock", 40, 1, 0, "the hypervisor, CID 2: network namespaces do not hold it"),
    ("algorithm", 38, 5, 0, "AF_ALG writes into the page cache; CVE-2026-31431"),
    ("bluetooth", 31, 3, 1, "BleedingTooth; CVE-2020-12351"),
    ("can", 29, 3, 1, "CAN broadcast manager; CVE-2021-3609"),
    ("tipc", 30, 1, 0, "TIPC; CVE-2021-43267"),
    ("rds", 21, 5, 0, "RDS; CVE-2010-3904"),
    ("kcm", 41, 2, 0, "KCM; a protocol module that loads itself"),
    ("smc", 43, 1, 0, "SMC; CVE-2024-39487 class"),
    ("xdp", 44, 3, 0, "AF_XDP; CVE-2022-0168 class"),
    ("key-management", 15, 3, 2, "PF_KEY; CVE-2022-27666"),
    ("appletalk", 5, 2, 0, "AppleTalk; CVE-2023-51781"),
    ("ax25", 3, 5, 0, "AX.25; CVE-2022-1199"),
]:
    attempt("socket-" + name, technique, "EPERM", "sockets-within-the-job")(family(number, kind, protocol))


@attempt("socket-high-bits", "a family whose upper 32 bits the filter must not trip over", "EPERM", "sockets-within-the-job")
def high_bits():
    return call(41, 1 << 32 | 2, 1, 0)


@attempt("socketpair-inet", "socketpair as another way to a socket", "EPERM", "sockets-within-the-job")
def pair():
    return call(53, 2, 1, 0, ctypes.create_string_buffer(8))


@attempt("abstract-socket-of-the-host", "containerd-shim; CVE-2020-15257", "ECONNREFUSED EPERM", "sockets-within-the-job")
def abstract():
    socket.socket(socket.AF_UNIX).connect("\0" + HOST["abstract"])


@attempt("pathname-socket-of-the-host", "docker.sock and its like", "ENOENT", "sockets-within-the-job")
def pathname():
    socket.socket(socket.AF_UNIX).connect(HOST["socket"])


@attempt("cloud-metadata", "credentials of the machine at 169.254.169.254", "EPERM", "sockets-within-the-job")
def metadata():
    socket.create_connection(("169.254.169.254", 80), timeout=2)


@attempt("name-resolution", "data in names that a resolver asks for", "unresolved", "sockets-within-the-job")
def resolve():
    try:
        return "reached" if socket.getaddrinfo("data.example.org", 443) else "nothing"
    except socket.gaierror:
        return "unresolved"


@attempt("proxy-environment", "the caller's proxy, and credentials in its variables", "absent", "a-permitted-call")
def proxies():
    return "seen" if set(os.environ) - {"PATH", "LANG"} else "absent"


@attempt("inherited-descriptor", "a connected socket or a secret file that the caller left open; CVE-2024-21626", "absent", "sockets-within-the-job")
def inherited():
    # The last one is the listing itself.
    return "absent" if OPEN_AT_START in ([0, 1, 2, 3], [0, 1, 2]) else f"seen {OPEN_AT_START}"


@attempt("io-uring", "sockets and files through a ring that no filter sees; CVE-2023-2598", "EPERM", "a-permitted-call")
def ring():
    return call(425, 8, ctypes.create_string_buffer(256))


@attempt("foreign-abi-int80", "socketcall by its 32-bit number", "SIGSYS", "a-permitted-call")
def int80():
    machine_code("b866000000" "cd80" "c3")


@attempt("foreign-abi-x32", "calls by their x32 numbers", "SIGSYS", "a-permitted-call")
def x32():
    machine_code("b829000040" "0f05" "c3")


@attempt("network-interfaces", "addresses of the machine by /sys and /proc", "absent", "sockets-within-the-job")
def interfaces():
    try:
        lines = open("/proc/self/net/dev").read().splitlines()[2:]
    except OSError:
        lines = []
    others = [line.split(":")[0].strip() for line in lines if not line.strip().startswith("lo:")]
    return f"seen {others}" if others else absent("/sys/class/net", "/proc/net/dev", "/proc/net/tcp")


run()
