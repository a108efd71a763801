//! The second filter for files, sockets and signals: Landlock, which the kernel asks besides mounts and the list of
//! system calls. What it refuses stays refused should a mount be built wrongly or a call slip through the list.
//!
//! Source: the kernel's `Documentation/userspace-api/landlock.rst`.

use std::path::Path;

use landlock::{
    Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::io::Errno;
use sandbox::{Access, Calls, Commands, Refusal, Specification, Step};

use crate::layers::landlock_rules;
use crate::supervisor::at;

/// The rules for one program. The whole of them is there or not; on an older kernel, as much as it knows.
pub struct Rules {
    created: RulesetCreated,
    /// True if this kernel knows all that is asked for.
    pub whole: bool,
}

impl Rules {
    /// Makes the rules from what the specification shows, by paths as they are inside: the tree was entered before.
    pub fn new(specification: &Specification) -> Result<Rules, Refusal> {
        match create(specification, CompatLevel::HardRequirement) {
            Ok(created) => Ok(Rules { created, whole: true }),
            Err(
                RulesetError::CreateRuleset(_) | RulesetError::HandleAccesses(_) | RulesetError::Scope(_),
            ) => {
                let created = refused(create(specification, CompatLevel::BestEffort))?;
                Ok(Rules { created, whole: false })
            }
            Err(error) => refused(Err(error)),
        }
    }

    /// From here on this process, and whatever it starts, keeps to the rules.
    pub fn keep_to(self) -> Result<(), Refusal> {
        refused(self.created.restrict_self()).map(drop)
    }
}

fn refused<T>(result: Result<T, RulesetError>) -> Result<T, Refusal> {
    at(Step::Landlock, result.map_err(|_| Errno::NOTSUP))
}

fn create(specification: &Specification, level: CompatLevel) -> Result<RulesetCreated, RulesetError> {
    // Handled and nowhere granted: no TCP socket is bound or connected.
    let network = AccessNet::from_all(landlock_rules());
    // Signals to the first process, and abstract sockets of others, should a namespace be shared.
    let scope = Scope::from_all(landlock_rules());
    let mut asked =
        Ruleset::default().set_compatibility(level).handle_access(AccessFs::from_all(landlock_rules()))?;
    // Nobody may ask for nothing.
    if !network.is_empty() {
        asked = asked.handle_access(network)?;
    }
    if !scope.is_empty() {
        asked = asked.scope(scope)?;
    }
    let created = asked.create()?;
    shown(specification).into_iter().try_fold(created, |created, (path, rights)| {
        let Ok(place) = PathFd::new(&path) else { return Ok(created) };
        let rights =
            if Path::new(&path).is_dir() { rights } else { rights & AccessFs::from_file(landlock_rules()) };
        created.add_rule(PathBeneath::new(place, rights))
    })
}

/// What may be done where. A place that is not there needs no rule.
fn shown(specification: &Specification) -> Vec<(String, BitFlags<AccessFs>)> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // No device is made, and none is asked for anything but bytes.
    let write = read
        | (AccessFs::from_write(landlock_rules())
            & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev));
    // Names of the top directory, of which all that follow are; what is in them has rules of its own.
    let mut shown = vec![("/".to_owned(), AccessFs::ReadDir.into())];
    for mount in &specification.mounts {
        let rights = match mount.access {
            Access::ReadOnly => read,
            Access::ReadOnlyExecutable => read | AccessFs::Execute,
            Access::Writable => write,
        };
        shown.push((mount.target.clone(), rights));
    }
    shown.extend(specification.output.iter().map(|space| (space.target.clone(), write)));
    shown.extend(["null", "zero", "full", "random", "urandom"].map(|device| {
        (format!("/dev/{device}"), AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate)
    }));
    shown.extend(specification.devices.iter().map(|device| {
        let bytes = AccessFs::ReadFile | AccessFs::WriteFile;
        let rights = match device.commands {
            Commands::None => bytes,
            // Where the kernel asks for it (Linux 6.10); no other device of the program takes any command.
            Commands::Nvidia => bytes | AccessFs::IoctlDev,
        };
        (device.target.clone(), rights & AccessFs::from_all(landlock_rules()))
    }));
    if specification.limits.tmp_bytes > 0 {
        shown.extend(["/tmp", "/dev/shm"].map(|place| (place.to_owned(), write)));
    }
    if specification.calls == Calls::Machine {
        let use_it = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        shown.push(("/dev/kvm".to_owned(), use_it & AccessFs::from_all(landlock_rules())));
    }
    if specification.calls == Calls::Job {
        shown.push(("/proc".to_owned(), read));
    }
    shown
}
