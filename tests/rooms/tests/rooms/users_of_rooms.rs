//! Rooms with users of their own, as on a server: who reads, writes and is answered where.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use databox::home::{KEYS, ROOMS, Whose};
use databox::users;
use harness::TestBox;

/// Tells of each path whether the process that runs this may read it (`r`) and write to it (`w`).
const LOOK: &str = r#"
import os, sys
for path in sys.argv[1:]:
    said = "r" if os.access(path, os.R_OK) else "-"
    said += "w" if os.access(path, os.W_OK) else "-"
    print(said)
"#;

/// Speaks on a socket and tells what came of it. The bytes begin HTTP/2 on one kind of socket, and are a message of a
/// length that nobody takes on the other.
const SPEAK: &str = r#"
import socket, sys
channel = socket.socket(socket.AF_UNIX)
channel.settimeout(20)
try:
    channel.connect(sys.argv[1])
except PermissionError:
    print("no way there"); sys.exit()
try:
    channel.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    print("answered" if channel.recv(1) else "cut off")
except (ConnectionResetError, BrokenPipeError):
    print("cut off")
"#;

/// What this Python says, line by line, as the user of a room.
fn said(tested: &TestBox, room: &str, program: &str, arguments: &[String]) -> Vec<String> {
    let mut command = users::command_as(&tested.stage.home, room, "/usr/bin/python3").unwrap();
    let output = command.args(["-c", program]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn are_apart(tested: &TestBox) -> bool {
    let apart = users::are_apart(&tested.stage.home);
    assert_eq!(apart, rustix::process::geteuid().is_root());
    if !apart {
        // Not by a macro: the test runner would keep it to itself.
        let _ = writeln!(std::io::stderr(), "NOT TESTED: only root can start rooms as users of their own");
    }
    apart
}

#[test]
fn no_room_reads_or_writes_what_is_anothers_and_each_reads_and_writes_its_own() {
    let tested = TestBox::start_with_users();
    if !are_apart(&tested) {
        return;
    }
    // Who reads and who writes.
    let mut expected: BTreeMap<String, (Vec<&str>, Vec<&str>)> = BTreeMap::from([
        ("site".to_owned(), (ROOMS.to_vec(), vec![])),
        ("drop/datasets".to_owned(), (vec!["enclave"], vec![])),
        ("heads/enclave".to_owned(), (vec!["enclave"], vec!["enclave"])),
        ("heads/signer".to_owned(), (vec!["signer"], vec!["signer"])),
        ("public".to_owned(), (ROOMS.to_vec(), vec!["signer"])),
        ("hand-over/gateway-to-enclave".to_owned(), (vec!["gateway", "enclave"], vec!["gateway"])),
        ("hand-over/enclave-to-gateway".to_owned(), (vec!["gateway", "enclave"], vec!["enclave"])),
        ("hand-over/enclave-to-console".to_owned(), (vec!["console", "enclave"], vec!["enclave"])),
    ]);
    expected.extend(ROOMS.map(|room| (room.to_owned(), (vec![room], vec![room]))));
    expected.insert("drafts".to_owned(), (vec!["enclave"], vec!["enclave"]));
    // When runs begin and end is told on the time grid only.
    expected.extend(ROOMS.map(|room| (format!("run/{room}.log"), (vec![], vec![]))));
    for (key, whose) in KEYS {
        let reads: Vec<_> = ROOMS.into_iter().filter(|room| whose == Whose::Room(room)).collect();
        expected.insert(key.to_owned(), (reads.clone(), reads));
    }
    let paths: Vec<_> =
        expected.keys().map(|below| tested.stage.home.join(below).display().to_string()).collect();
    for room in ROOMS {
        let found = said(&tested, room, LOOK, &paths);
        for ((below, (reads, writes)), found) in expected.iter().zip(found) {
            let right = |who: &[&str], letter| if who.contains(&room) { letter } else { "-" };
            assert_eq!(found, format!("{}{}", right(reads, "r"), right(writes, "w")), "{room}: {below}");
        }
    }
}

#[test]
fn a_socket_answers_the_room_that_it_is_for_and_no_other_not_even_root() {
    let tested = TestBox::start_with_users();
    if !are_apart(&tested) {
        return;
    }
    for (socket, listens, speaks) in [
        ("run/gateway/gateway.sock", "gateway", "enclave"),
        ("run/console/console.sock", "console", "enclave"),
        ("run/signer/signer.sock", "signer", "console"),
    ] {
        let path = [tested.stage.home.join(socket).display().to_string()];
        for room in ROOMS {
            let expected = match room {
                room if room == speaks => "answered",
                // It could connect to its own socket, and is told nothing there.
                room if room == listens => "cut off",
                _ => "no way there",
            };
            assert_eq!(said(&tested, room, SPEAK, &path), [expected], "{room} on {socket}");
        }
        let root =
            std::process::Command::new("/usr/bin/python3").args(["-c", SPEAK, &path[0]]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&root.stdout).trim(), "cut off", "root on {socket}");
    }
}

/// Tries to reach the gateway, to be reached, and to speak without a file.
const NETWORK: &str = r#"
import socket, sys
def tried(work):
    try:
        work(); return "yes"
    except OSError:
        return "no"
def reach():
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
def datagram():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"row", ("127.0.0.1", int(sys.argv[1])))
def abstract():
    there = socket.socket(socket.AF_UNIX); there.settimeout(10); there.connect("\0" + sys.argv[2])
print(tried(reach), tried(datagram), tried(abstract))
"#;

#[test]
fn a_program_in_the_place_of_enclave_or_signer_reaches_nobody_and_one_in_that_of_gateway_or_console_does() {
    let tested = TestBox::start_with_users();
    if !are_apart(&tested) {
        return;
    }
    let name = format!("databox-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _listens = UnixListener::bind_addr(&address).unwrap();
    let port = tested.stage.endpoints().gateway.port().to_string();
    for room in ROOMS {
        let expected = if ["enclave", "signer"].contains(&room) { "no no no" } else { "yes yes yes" };
        assert_eq!(said(&tested, room, NETWORK, &[port.clone(), name.clone()]), [expected], "{room}");
    }
}

/// On the operator's terminal a room could type commands.
#[test]
fn no_room_has_the_terminal_of_whoever_started_it() {
    let mut tested = TestBox::start_with_users();
    for room in ROOMS {
        let process = tested.stage.rooms().process(room).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let fields: Vec<_> = status.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // The session, and the controlling terminal's device: proc_pid_stat(5).
        assert_eq!((fields[3], fields[4]), (&process.to_string()[..], "0"), "{room}");
    }
}
