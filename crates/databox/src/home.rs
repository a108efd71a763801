//! The home of a box: which file is where. The one place that knows.

use std::path::{Path, PathBuf};

/// A box's directory.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

/// The four rooms, in the order in which they start.
pub const ROOMS: [&str; 4] = ["signer", "console", "gateway", "enclave"];

/// Whose a directory is, where rooms have users of their own: the owner, or the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Root's.
    Operator,
    /// This room's alone.
    Room(&'static str),
    /// A group's that two rooms are in, and nobody else.
    Pair(&'static str),
}

impl Whose {
    /// The user or group that `deploy/databox.sysusers.conf` makes.
    pub fn name(self) -> String {
        match self {
            Self::Operator => "root".to_owned(),
            Self::Room(name) | Self::Pair(name) => format!("databox-{name}"),
        }
    }

    /// Whether a room is among those it is for.
    pub fn has(self, room: &str) -> bool {
        match self {
            Self::Operator => false,
            Self::Room(name) => name == room,
            Self::Pair(name) => name.split('-').any(|part| part == room),
        }
    }
}

/// A directory of a home.
#[derive(Debug, Clone, Copy)]
pub struct Directory {
    /// Its path below the home.
    pub below: &'static str,
    /// Its mode. With the bit 2000, what is laid down there belongs to the directory's group.
    pub mode: u32,
    /// Its owner, where rooms have users of their own; else all belong to the one user.
    pub owner: Whose,
    /// Its group, likewise.
    pub group: Whose,
}

const fn directory(below: &'static str, mode: u32, owner: Whose, group: Whose) -> Directory {
    Directory { below, mode, owner, group }
}

const GATEWAY: Whose = Whose::Room("gateway");
const ENCLAVE: Whose = Whose::Room("enclave");
const CONSOLE: Whose = Whose::Room("console");
const SIGNER: Whose = Whose::Room("signer");

/// Directories of a home, as `deploy/databox.tmpfiles.conf` has them. A room's own state is for that room alone; what
/// lies between two rooms can be read by these two.
// A wider mode or group gives a room that was taken over what another one keeps: with the enclave's it reads the data.
pub const DIRECTORIES: [Directory; 23] = [
    directory("site", 0o755, Whose::Operator, Whose::Operator),
    directory("drop", 0o750, Whose::Operator, ENCLAVE),
    directory("drop/datasets", 0o750, Whose::Operator, ENCLAVE),
    directory("drop/runtimes", 0o750, Whose::Operator, ENCLAVE),
    directory("drafts", 0o750, ENCLAVE, ENCLAVE),
    directory("gateway", 0o700, GATEWAY, GATEWAY),
    directory("enclave", 0o700, ENCLAVE, ENCLAVE),
    directory("console", 0o700, CONSOLE, CONSOLE),
    directory("signer", 0o700, SIGNER, SIGNER),
    directory("heads", 0o755, Whose::Operator, Whose::Operator),
    directory("heads/enclave", 0o700, ENCLAVE, ENCLAVE),
    directory("heads/signer", 0o700, SIGNER, SIGNER),
    directory("public", 0o755, SIGNER, SIGNER),
    directory("run", 0o755, Whose::Operator, Whose::Operator),
    directory("run/gateway", 0o2750, GATEWAY, Whose::Pair("gateway-enclave")),
    directory("run/console", 0o2750, CONSOLE, Whose::Pair("console-enclave")),
    directory("run/signer", 0o2750, SIGNER, Whose::Pair("console-signer")),
    directory("hand-over", 0o755, Whose::Operator, Whose::Operator),
    directory("hand-over/gateway-to-enclave", 0o2750, GATEWAY, Whose::Pair("gateway-enclave")),
    directory("hand-over/enclave-to-gateway", 0o2750, ENCLAVE, Whose::Pair("gateway-enclave")),
    directory("hand-over/enclave-to-console", 0o2750, ENCLAVE, Whose::Pair("console-enclave")),
    // Each key is for its own room's user alone; the room must be able to pass through.
    directory("keys", 0o711, Whose::Operator, Whose::Operator),
    directory("tls", 0o755, Whose::Operator, Whose::Operator),
];

/// Private keys of the box and whose they are. Each is for its user alone.
pub const KEYS: [(&str, Whose); 6] = [
    ("keys/enclave.pem", ENCLAVE),
    ("keys/signer.pem", SIGNER),
    ("keys/log.pem", SIGNER),
    ("tls/gateway.key", GATEWAY),
    ("tls/console.key", CONSOLE),
    ("tls/ca.key", Whose::Operator),
];

impl Home {
    /// The home at this directory; nothing is made.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// A path below it.
    pub fn join(&self, below: impl AsRef<Path>) -> PathBuf {
        self.0.join(below)
    }

    /// The configuration of a room.
    pub fn configuration(&self, room: &str) -> PathBuf {
        self.0.join(format!("{room}.toml"))
    }

    /// The site directory.
    pub fn site(&self) -> PathBuf {
        self.0.join("site")
    }

    /// What the enclave drafted for the catalogue, and its answers to the operator.
    pub fn drafts(&self) -> PathBuf {
        self.0.join("drafts")
    }

    /// The private key of a room or of the log, PKCS#8.
    pub fn key(&self, name: &str) -> PathBuf {
        self.0.join("keys").join(format!("{name}.pem"))
    }

    /// What roles need to know of the box: its public keys and the log's origin.
    pub fn public_keys(&self) -> PathBuf {
        self.0.join("keys/box.public.json")
    }

    /// A file of the transport: `ca`, `gateway` or `console`, with `pem` or `key`.
    pub fn tls(&self, name: &str, extension: &str) -> PathBuf {
        self.0.join("tls").join(format!("{name}.{extension}"))
    }

    /// Where each room's standard error goes when `up` starts it.
    pub fn journal(&self, room: &str) -> PathBuf {
        self.0.join("run").join(format!("{room}.log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields of the lines of a file of `deploy/` that begin so.
    fn lines<'t>(text: &'t str, begin: &'static str) -> impl Iterator<Item = Vec<&'t str>> {
        text.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(move |fields| fields.first() == Some(&begin))
    }

    #[test]
    fn init_makes_the_directories_that_a_site_installs_with_the_same_owners_groups_and_modes() {
        let installed: Vec<_> = lines(include_str!("../../../deploy/databox.tmpfiles.conf"), "d")
            .map(|fields| fields[1..5].join(" "))
            .collect();
        let mut made = vec!["/var/lib/databox 0755 root root".to_owned()];
        made.extend(DIRECTORIES.iter().map(|made| {
            format!(
                "/var/lib/databox/{} {:04o} {} {}",
                made.below,
                made.mode,
                made.owner.name(),
                made.group.name()
            )
        }));
        assert_eq!(installed, made);
    }

    #[test]
    fn no_room_is_in_a_group_that_it_has_no_business_with() {
        let users = include_str!("../../../deploy/databox.sysusers.conf");
        for pair in DIRECTORIES.iter().map(|made| made.group).filter(|group| matches!(group, Whose::Pair(_)))
        {
            let members: Vec<_> = lines(users, "m")
                .filter(|fields| fields[2] == pair.name())
                .map(|fields| fields[1].to_owned())
                .collect();
            let rooms = ROOMS.iter().filter(|room| pair.has(room)).map(|room| Whose::Room(room).name());
            let (members, rooms) = (std::collections::BTreeSet::from_iter(members), rooms.collect());
            assert_eq!(members, rooms, "{}", pair.name());
        }
        for room in ROOMS {
            assert_eq!(lines(users, "u").filter(|fields| fields[1] == Whose::Room(room).name()).count(), 1);
        }
    }
}
