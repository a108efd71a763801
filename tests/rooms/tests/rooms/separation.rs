//! Who has network, data and the release key, read off the running processes and off the units that a site installs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use databox::home::ROOMS;
use harness::TestBox;

use crate::held::Held;
use crate::wait;

const NO_CAPABILITY: &str = "0000000000000000";

/// Inodes of sockets in a table of the network that a process is in, at this column, for lines that are wanted.
fn inodes(process: u32, table: &str, column: usize, wanted: impl Fn(&[&str]) -> bool) -> BTreeSet<String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
    let lines = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter(|line| wanted(line)).filter_map(|line| Some((*line.get(column)?).to_owned())).collect()
}

/// What a process has open.
fn open_files(process: u32) -> Vec<PathBuf> {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
    descriptors.filter_map(|descriptor| std::fs::read_link(descriptor.path()).ok()).collect()
}

fn sockets(files: &[PathBuf]) -> BTreeSet<String> {
    let inode = |file: &PathBuf| Some(file.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    files.iter().filter_map(inode).collect()
}

#[test]
fn each_room_is_a_user_of_its_own_enclave_and_signer_have_no_network_and_no_other_room_opens_what_is_its_own()
{
    let mut tested = TestBox::start_with_users();
    // Long enough for every stream to be open, and for a job to have been run and judged.
    let held = wait(Held::of_job(&tested, "one", "1"));
    let home = tested.stage.home.directory().canonicalize().unwrap();
    let mut users = BTreeSet::new();
    for room in ROOMS {
        let process = tested.stage.rooms().process(room).unwrap();
        users.insert(user_without_rights(process));
        let mut network = BTreeSet::new();
        for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
            network.extend(inodes(process, table, 9, |_| true));
        }
        // `__SO_ACCEPTCON`: a unix socket that listens.
        let listening = inodes(process, "unix", 6, |line| line.get(3) == Some(&"00010000"));
        let files = open_files(process);
        let sockets = sockets(&files);
        let faces_network = ["gateway", "console"].contains(&room);
        assert_eq!(!sockets.is_disjoint(&network), faces_network, "{room} and the network");
        assert_eq!(!sockets.is_disjoint(&listening), room != "enclave", "{room} listens");
        for other in ROOMS.iter().filter(|other| **other != room) {
            let foreign = files.iter().find(|file| file.starts_with(home.join(other)));
            assert_eq!(foreign, None, "{room} has a file of the {other} open");
        }
    }
    let own = if rustix::process::geteuid().is_root() { ROOMS.len() } else { 1 };
    assert_eq!(users.len(), own, "users of rooms: {users:?}");
    console_cannot_read(&tested, &held);
}

/// The user of a process, which can become no other: it has no capability, and no program that it starts gets any.
fn user_without_rights(process: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let user = field("Uid:");
    let (first, rest) = user.split_once(' ').unwrap();
    assert!(rest.split(' ').all(|other| other == first), "{user}");
    assert_eq!((&field("CapEff:")[..], &field("CapPrm:")[..]), (NO_CAPABILITY, NO_CAPABILITY), "{user}");
    if rustix::process::geteuid().is_root() {
        assert_eq!((&field("CapBnd:")[..], &field("NoNewPrivs:")[..]), (NO_CAPABILITY, "1"), "{user}");
    }
    first.to_owned()
}

/// The console keeps statements and sealed packets; nothing that is under review can be read from them.
fn console_cannot_read(tested: &TestBox, held: &Held) {
    let content = &held.opened.content;
    let secrets = [&content.canonical[0].1[..], content.purpose.as_bytes(), &content.salt[..]];
    let mut open = vec![tested.stage.home.join("console"), tested.stage.home.join("hand-over")];
    let mut looked_at = 0;
    while let Some(place) = open.pop() {
        if place.is_dir() {
            open.extend(std::fs::read_dir(&place).unwrap().flatten().map(|entry| entry.path()));
            continue;
        }
        let bytes = std::fs::read(&place).unwrap();
        looked_at += 1;
        for secret in secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{} holds what is under review", place.display());
        }
    }
    assert!(looked_at > 1, "the packet and the store were looked at");
}

#[test]
fn no_room_has_two_of_network_private_data_and_release_key_in_the_units_that_a_site_installs() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let read = |name: &str| std::fs::read_to_string(deploy.join(name)).unwrap();
    let directories = read("databox.tmpfiles.conf");
    let mut users = BTreeSet::new();
    for room in ROOMS {
        let (unit, configuration) = (read(&format!("databox-{room}.service")), read(&format!("{room}.toml")));
        let line =
            |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().to_owned();
        let set = |key: &str, part: &str| {
            let mut lines = configuration.lines();
            lines.any(|line| {
                line.split_once(" = ").is_some_and(|(found, value)| found == key && value.contains(part))
            })
        };
        let network = line("RestrictAddressFamilies=").contains("INET");
        assert_eq!(network, line("PrivateNetwork=").is_empty(), "{room}");
        // Data lie below the enclave's state, which is for its user alone.
        let data = line("ReadWritePaths=").split(' ').any(|path| path == "/var/lib/databox/enclave");
        let key = set("release_key_file", "/keys/");
        let has = [network, data, key].into_iter().filter(|has| *has).count();
        assert_eq!(has, 1, "{room}: network {network}, data {data}, release key {key}");
        users.insert(line("User="));
        let own = format!("d /var/lib/databox/{room} ");
        let own = directories.lines().find(|line| line.starts_with(&own)).unwrap();
        let columns: Vec<_> = own.split_whitespace().collect();
        assert_eq!(columns[2..4], ["0700".to_owned(), line("User=")], "{room}");
    }
    assert_eq!(users.len(), ROOMS.len(), "each room has a user of its own");
}
