//! Users of rooms. On a server each room has one of its own, so that none opens another's files and a socket knows who
//! speaks; `deploy/databox.sysusers.conf` makes them. Without them all rooms run as whoever starts the box.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::process::Command;

use crate::failure::{Exit, Failure, file_failure};
use crate::home::{DIRECTORIES, Directory, Home, KEYS, ROOMS, Whose};

/// The numbers of the rooms' users and of the groups that two rooms share.
#[derive(Debug, Clone)]
pub struct RoomUsers {
    users: BTreeMap<&'static str, (u32, u32)>,
    pairs: BTreeMap<&'static str, u32>,
}

fn pairs() -> impl Iterator<Item = &'static str> {
    DIRECTORIES.iter().filter_map(|made| match made.group {
        Whose::Pair(name) => Some(name),
        _ => None,
    })
}

impl RoomUsers {
    /// The users that this machine's `/etc/passwd` and `/etc/group` have for the rooms.
    ///
    /// # Errors
    /// If one is missing.
    pub fn of_this_machine() -> Result<Self, Failure> {
        let read = |path: &str| fs::read_to_string(path).map_err(file_failure(path.as_ref()));
        Self::named_in(&read("/etc/passwd")?, &read("/etc/group")?)
    }

    fn named_in(passwd: &str, group: &str) -> Result<Self, Failure> {
        let numbers = |text: &str, wanted: Whose| -> Result<(u32, u32), Failure> {
            let name = wanted.name();
            let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let found = lines.find(|fields| fields.first() == Some(&name.as_str()));
            let number = |at: usize| found.as_ref().and_then(|fields| fields.get(at)?.parse().ok());
            // Of a group the line's fourth field lists members.
            number(2).map(|first| (first, number(3).unwrap_or(first))).ok_or_else(|| {
                Failure::new("NO_SUCH_USER", format!("this machine has no {name}"))
                    .hint("make the rooms' users first: `systemd-sysusers deploy/databox.sysusers.conf`")
                    .exit(Exit::Usage)
            })
        };
        let users = ROOMS.map(|room| Ok((room, numbers(passwd, Whose::Room(room))?)));
        let pairs = pairs().map(|pair| Ok((pair, numbers(group, Whose::Pair(pair))?.0)));
        let users = users.into_iter().collect::<Result<BTreeMap<_, _>, Failure>>()?;
        let found = Self { users, pairs: pairs.collect::<Result<_, Failure>>()? };
        // Two rooms of one user read each other's files, and a room of root's reads all.
        match found.are_different() {
            true => Ok(found),
            false => Err(Failure::new("NO_SUCH_USER", "two of the rooms' users or groups have one number, or root's")
                .hint("make them anew, each with a number of its own: `systemd-sysusers deploy/databox.sysusers.conf`")
                .exit(Exit::Usage)),
        }
    }

    /// Numbers from this one on, which nobody else on the machine may have. They need no names.
    pub fn numbered_from(first: u32) -> Self {
        let mut next = first..;
        let mut one = || next.next().expect("numbers enough");
        Self {
            users: ROOMS.map(|room| (room, one())).map(|(room, number)| (room, (number, number))).into(),
            pairs: pairs().collect::<BTreeSet<_>>().into_iter().map(|pair| (pair, one())).collect(),
        }
    }

    fn are_different(&self) -> bool {
        let users: BTreeSet<u32> = self.users.values().map(|(user, _)| *user).collect();
        let groups = self.users.values().map(|(_, group)| *group).chain(self.pairs.values().copied());
        let groups: BTreeSet<u32> = groups.collect();
        let all = [users.len(), groups.len()] == [self.users.len(), self.users.len() + self.pairs.len()];
        all && !users.contains(&0) && !groups.contains(&0)
    }

    /// The number of a room's user.
    pub fn user(&self, room: &str) -> u32 {
        self.users[room].0
    }

    /// As [`command_as`], for a room whose home is not made yet.
    pub fn command(&self, room: &str, program: impl Into<OsString>) -> Command {
        let groups: Vec<u32> = pairs_of(room).map(|made| self.group(made.group)).collect();
        command(room, self.users[room], &groups, program)
    }

    fn owner(&self, whose: Whose) -> u32 {
        match whose {
            Whose::Room(room) => self.users[room].0,
            Whose::Operator | Whose::Pair(_) => 0,
        }
    }

    fn group(&self, whose: Whose) -> u32 {
        match whose {
            Whose::Operator => 0,
            Whose::Room(room) => self.users[room].1,
            Whose::Pair(pair) => self.pairs[pair],
        }
    }

    /// Gives directories and keys of a home to whom they are for.
    ///
    /// # Errors
    /// Whoever is not root cannot.
    pub fn take_over(&self, home: &Home) -> Result<(), Failure> {
        let keys = KEYS.iter().map(|(below, whose)| (*below, *whose, *whose, 0o600));
        let directories = DIRECTORIES.iter().map(|made| (made.below, made.owner, made.group, made.mode));
        for (below, owner, group, mode) in directories.chain(keys) {
            let path = home.join(below);
            lchown(&path, Some(self.owner(owner)), Some(self.group(group))).map_err(file_failure(&path))?;
            // A change of owner takes away the bit by which what is laid down belongs to the pair.
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
                .map_err(file_failure(&path))?;
        }
        Ok(())
    }
}

/// Rooms that speak to nobody but by sockets in the file system.
const WITHOUT_NETWORK: [&str; 2] = ["enclave", "signer"];

/// The command line that runs a program as the user whom a room's state belongs to, with that room's groups, no right of
/// root, and without a network where the room has none. If that user is whoever asks, or they are not root, the program
/// itself.
///
/// # Errors
/// If the room's directories cannot be looked at.
pub fn command_as(home: &Home, room: &str, program: impl Into<OsString>) -> Result<Command, Failure> {
    let look = |below: &str| {
        let path = home.join(below);
        fs::metadata(&path).map_err(file_failure(&path))
    };
    let own = look(room)?;
    if !rustix::process::geteuid().is_root() || own.uid() == 0 {
        return Ok(Command::new(program.into()));
    }
    let groups =
        pairs_of(room).map(|made| Ok(look(made.below)?.gid())).collect::<Result<Vec<_>, Failure>>()?;
    Ok(command(room, (own.uid(), own.gid()), &groups, program))
}

/// The directories whose group a room has beside its own.
fn pairs_of(room: &str) -> impl Iterator<Item = &'static Directory> {
    DIRECTORIES.iter().filter(move |made| made.group.has(room))
}

fn command(room: &str, (user, group): (u32, u32), groups: &[u32], program: impl Into<OsString>) -> Command {
    // util-linux: both become the program, under the same process id.
    let mut command = Command::new("/usr/bin/setpriv");
    if WITHOUT_NETWORK.contains(&room) {
        command = Command::new("/usr/bin/unshare");
        command.args(["--net", "--", "/usr/bin/setpriv"]);
    }
    let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
    command.args(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]);
    command.arg(format!("--reuid={user}")).arg(format!("--regid={group}"));
    command.arg(format!("--groups={}", groups.join(","))).arg("--").arg(program.into());
    command
}

/// Whether each room's state belongs to a user of its own.
pub fn are_apart(home: &Home) -> bool {
    let owners: Option<BTreeSet<_>> =
        ROOMS.iter().map(|room| Some(fs::metadata(home.join(room)).ok()?.uid())).collect();
    owners.is_some_and(|owners| owners.len() == ROOMS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndatabox-gateway:x:991:981::/:/x\ndatabox-enclave:x:992:982::/:/x\n\
                          databox-console:x:993:983::/:/x\ndatabox-signer:x:994:984::/:/x\n";
    const GROUP: &str = "databox-gateway-enclave:x:71:databox-gateway,databox-enclave\ndatabox-console-enclave:x:72:\n\
                         databox-console-signer:x:73:databox-signer\n";

    #[test]
    fn users_are_those_of_the_machine_and_a_missing_one_is_named() {
        let found = RoomUsers::named_in(PASSWD, GROUP).unwrap();
        assert_eq!((found.owner(Whose::Room("console")), found.group(Whose::Room("console"))), (993, 983));
        assert_eq!(found.group(Whose::Pair("console-signer")), 73);
        let without = PASSWD.replace("databox-signer", "signer");
        let failure = RoomUsers::named_in(&without, GROUP).unwrap_err();
        assert_eq!(
            (failure.reason.as_str(), failure.text.contains("databox-signer")),
            ("NO_SUCH_USER", true)
        );
        assert_eq!(RoomUsers::named_in(PASSWD, "").unwrap_err().reason, "NO_SUCH_USER");
        for (from, to) in [("x:994:984", "x:993:984"), ("x:994:984", "x:994:983"), ("x:994:984", "x:0:984")] {
            let failure = RoomUsers::named_in(&PASSWD.replace(from, to), GROUP).unwrap_err();
            assert!(failure.text.contains("one number"), "{}", failure.text);
        }
    }

    #[test]
    fn numbers_of_rooms_and_pairs_are_all_different() {
        let made = RoomUsers::numbered_from(500);
        let mut all: Vec<_> =
            made.users.values().map(|(user, _)| *user).chain(made.pairs.values().copied()).collect();
        all.sort_unstable();
        assert_eq!(all, (500..507).collect::<Vec<_>>());
    }
}
