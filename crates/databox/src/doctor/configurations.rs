//! What the rooms' configurations say, as far as the checks need it. Each is read by its room's own rules when the room
//! starts; here a key that is missing or misshapen is named.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use blobs::Digest;

use super::Check;
use super::devices::ListedDevice;
use super::walls::Configured;
use crate::home::{Home, ROOMS};

/// The key by which a room counts witnesses on its own machine.
const ACCEPT: &str = "accept_on_box_witness";

/// Places and numbers of the four configurations.
#[derive(Debug)]
pub struct Configurations {
    /// Where the gateway and the console listen.
    pub listen: [(&'static str, SocketAddr); 2],
    /// Sockets between rooms, and who listens there.
    pub sockets: Vec<(&'static str, PathBuf)>,
    pub site: PathBuf,
    pub pin: Digest,
    pub witnesses: Vec<String>,
    /// Rooms that count witnesses, and whether each counts one on this machine.
    pub accept_on_box_witness: [(&'static str, bool); 3],
    pub public: PathBuf,
    /// The log's head and the account's, kept outside of the stores.
    pub heads: [(&'static str, PathBuf); 2],
    /// Each room's own directory.
    pub states: Vec<(&'static str, PathBuf)>,
    /// Directories in which files change hands.
    pub hand_over: Vec<PathBuf>,
    pub slots: u64,
    /// What builds the wall around jobs, if it is not the native one.
    pub wall: Configured,
    /// What the box hands out.
    pub devices: Vec<ListedDevice>,
    /// Bytes of a run's outputs and of each of its temporary places, in memory.
    pub output_bytes: u64,
    pub temporary_bytes: u64,
    /// Bytes that a run may put on the disk, and that are kept free beside.
    pub run_disk_bytes: u64,
    pub disk_reserve_bytes: u64,
    /// Bytes of all uploads.
    pub spool_bytes: u64,
}

/// One room's table, and what is wrong with it.
struct Table<'a> {
    room: &'static str,
    table: toml::Table,
    wrong: &'a mut Vec<Check>,
}

impl Table<'_> {
    fn text(&mut self, key: &str) -> Option<String> {
        let found = self.table.get(key).and_then(toml::Value::as_str).map(str::to_owned);
        if found.is_none() {
            self.missing(key);
        }
        found
    }

    fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    fn parsed<T: std::str::FromStr>(&mut self, key: &str) -> Option<T> {
        let parsed = self.text(key)?.parse().ok();
        if parsed.is_none() {
            self.missing(key);
        }
        parsed
    }

    /// A number, or the default that `deploy/` states.
    fn number(&self, section: Option<&str>, key: &str, default: u64) -> u64 {
        let table = section.map_or(Some(&self.table), |section| self.table.get(section)?.as_table());
        let number = table.and_then(|table| table.get(key)?.as_integer());
        number.and_then(|number| u64::try_from(number).ok()).unwrap_or(default)
    }

    /// A switch, off where it is not written.
    fn switch(&self, key: &str) -> bool {
        self.table.get(key).and_then(toml::Value::as_bool).unwrap_or(false)
    }

    /// What builds the wall around jobs, if it is not the launcher alone; never two.
    fn wall(&mut self) -> Option<Configured> {
        let (runtime, machine) = (self.table.get("oci_runtime").cloned(), self.table.get("machine").cloned());
        let wall = match (runtime, machine) {
            (None, None) => Some(Configured::Native),
            (Some(runtime), None) => runtime.as_str().map(|path| Configured::Runtime(path.into())),
            (None, Some(machine)) => machine.try_into().ok().map(Configured::Machine),
            (Some(_), Some(_)) => None,
        };
        if wall.is_none() {
            self.missing("wall: either oci_runtime or [machine]");
        }
        wall
    }

    /// The devices that the box hands out; none where none is listed.
    fn devices(&mut self) -> Option<Vec<ListedDevice>> {
        let Some(listed) = self.table.get("device").cloned() else { return Some(Vec::new()) };
        let devices = listed.try_into().ok();
        if devices.is_none() {
            self.missing("[[device]]");
        }
        devices
    }

    fn missing(&mut self, key: &str) {
        self.wrong.push(Check::fail(
            "configuration",
            format!("{}.toml has no usable {key}", self.room),
            format!("deploy/{}.toml has every key with its meaning", self.room),
        ));
    }
}

impl Configurations {
    /// Reads all four; what is wrong, or that nothing is, is told beside.
    pub fn read(home: &Home) -> (Option<Self>, Vec<Check>) {
        let mut wrong = Vec::new();
        let found = Self::all(home, &mut wrong);
        if wrong.is_empty() {
            wrong.push(Check::ok("configuration", ROOMS.map(|room| format!("{room}.toml")).join(", ")));
        }
        (found, wrong)
    }

    fn all(home: &Home, wrong: &mut Vec<Check>) -> Option<Self> {
        let mut tables = ROOMS.map(|room| (room, table(home, room, wrong)));
        let mut of = |room: &str| {
            tables.iter_mut().find(|(name, _)| *name == room).and_then(|(_, table)| table.take())
        };
        let (signer, console, gateway, enclave) = (of("signer"), of("console"), of("gateway"), of("enclave"));
        let mut signer = Table { room: "signer", table: signer?, wrong };
        let (site, pin) = (signer.path("site_directory"), signer.parsed("site_pin"));
        let (public, log_head) = (signer.path("public_directory"), signer.path("head_file"));
        let (signer_state, signer_socket) = (signer.path("state_directory"), signer.path("socket"));
        let signer_accepts = signer.switch(ACCEPT);
        let mut console = Table { room: "console", table: console?, wrong };
        let (console_listen, console_state) = (console.parsed("listen"), console.path("state_directory"));
        let console_socket = console.path("enclave_socket");
        let witnesses =
            console.table.get("witnesses").and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let mut gateway = Table { room: "gateway", table: gateway?, wrong };
        let (gateway_listen, gateway_state) = (gateway.parsed("listen"), gateway.path("state_directory"));
        let (gateway_socket, to_enclave) =
            (gateway.path("enclave_socket"), gateway.path("to_enclave_directory"));
        let spool_bytes = gateway.number(None, "spool_bytes", 4 << 30);
        let gateway_accepts = gateway.switch(ACCEPT);
        let mut enclave = Table { room: "enclave", table: enclave?, wrong };
        let (enclave_state, account_head) =
            (enclave.path("state_directory"), enclave.path("account_head_file"));
        let (outbox, packets) = (enclave.path("to_gateway_directory"), enclave.path("to_console_directory"));
        let (wall, devices) = (enclave.wall(), enclave.devices());
        let limit = |key, default| enclave.number(Some("limits"), key, default);
        Some(Self {
            listen: [("gateway", gateway_listen?), ("console", console_listen?)],
            sockets: vec![
                ("signer", signer_socket?),
                ("console", console_socket?),
                ("gateway", gateway_socket?),
            ],
            site: site?,
            pin: pin?,
            witnesses: witnesses.iter().filter_map(|witness| witness.as_str().map(str::to_owned)).collect(),
            accept_on_box_witness: [
                ("signer", signer_accepts),
                ("gateway", gateway_accepts),
                ("enclave", enclave.switch(ACCEPT)),
            ],
            public: public?,
            heads: [("log", log_head?), ("account", account_head?)],
            hand_over: vec![to_enclave?, outbox?, packets?],
            wall: wall?,
            devices: devices?,
            slots: enclave.number(None, "slots", 1),
            output_bytes: limit("output_bytes", 256 << 20),
            temporary_bytes: limit("temporary_bytes", 256 << 20),
            run_disk_bytes: limit("run_disk_bytes", 2 << 30),
            disk_reserve_bytes: limit("disk_reserve_bytes", 256 << 20),
            spool_bytes,
            states: vec![
                ("signer", signer_state?),
                ("console", console_state?),
                ("gateway", gateway_state?),
                ("enclave", enclave_state?),
            ],
        })
    }

    /// A room's own directory.
    pub fn state(&self, room: &str) -> &std::path::Path {
        let found = self.states.iter().find(|(name, _)| *name == room);
        found.map(|(_, path)| path.as_path()).expect("every room has a directory")
    }
}

/// The configuration of each room with every key, in the order of [`ROOMS`].
const TEMPLATES: [&str; 4] = [
    include_str!("../../../../deploy/signer.toml"),
    include_str!("../../../../deploy/console.toml"),
    include_str!("../../../../deploy/gateway.toml"),
    include_str!("../../../../deploy/enclave.toml"),
];

/// The names of keys and tables in a template, also of those that are commented out.
fn keys(template: &str) -> BTreeSet<&str> {
    let is_name = |word: &&str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let lines = template.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let names = lines.filter_map(|line| match line.strip_prefix('[') {
        Some(table) => Some(table.trim_matches(['[', ']'])),
        None => line.split_once(" = ").map(|(key, _)| key),
    });
    names.filter(is_name).collect()
}

/// The keys of a configuration, and of the tables in it, that are none of these.
fn unknown<'a>(table: &'a toml::Table, known: &BTreeSet<&str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (key, value) in table {
        if !known.contains(key.as_str()) {
            found.push(key.as_str());
            continue;
        }
        let of =
            |table: &'a toml::Value| table.as_table().map(|table| unknown(table, known)).unwrap_or_default();
        found.extend(of(value));
        found.extend(value.as_array().into_iter().flatten().flat_map(of));
    }
    found
}

fn table(home: &Home, room: &'static str, wrong: &mut Vec<Check>) -> Option<toml::Table> {
    let path = home.configuration(room);
    let parsed = std::fs::read_to_string(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| text.parse::<toml::Table>().map_err(|error| error.message().to_owned()));
    match parsed {
        Ok(table) => {
            let template = &TEMPLATES[ROOMS.iter().position(|one| *one == room).expect("it is a room")];
            for key in unknown(&table, &keys(template)) {
                let text = format!("{}: the room knows no {key}, and does not start with it", path.display());
                wrong.push(Check::fail("configuration", text, format!("deploy/{room}.toml has every key")));
            }
            Some(table)
        }
        Err(why) => {
            let remedy = "--dir names the home that `databox init` made; deploy/ has every key";
            wrong.push(Check::fail("configuration", format!("{}: {why}", path.display()), remedy));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_the_room_does_not_know_is_named_and_every_key_of_a_template_is_known() {
        for template in TEMPLATES {
            let known = keys(template);
            assert!(known.contains("site_directory") && known.contains("state_directory"));
            assert!(unknown(&template.parse().unwrap(), &known).is_empty());
        }
        let text =
            "slot = 1\n[limits]\noutputbytes = 1\n[[devices]]\nkind = \"gpu\"\n[[device]]\nfile = \"x\"\n";
        let table = text.parse().unwrap();
        let mut found = unknown(&table, &keys(TEMPLATES[3]));
        found.sort_unstable();
        assert_eq!(found, ["devices", "file", "outputbytes", "slot"]);
    }
}
