//! Launches one untrusted program behind a wall.
//!
//! A caller describes what one program may see and use ([`Specification`]) and runs it with a [`Launcher`]. The
//! launcher starts `databox-launch`, a small single-threaded helper binary, hands it the specification over a socket
//! and waits; it returns only when the last process of the program is dead. [`probe`] tells whether this machine can
//! build the wall, and what to do when it cannot. [`host_python`] makes a runtime tree from the host's interpreter.
//!
//! An OCI runtime of the site's choice can build the wall in the helper's place ([`oci::OciRuntime`],
//! [`Launcher::behind`]): the specification, the limits, the answers and the evidence are the same.
//!
//! So can a micro-VM, in which the native wall stands once more ([`machine::Machine`], [`Launcher::in_machine`]).
//!
//! What the wall is made of, and in which order, is told in `docs/decisions/native-wall.md`, `oci-wall.md` and
//! `vm-wall.md`.
#![forbid(unsafe_code)]

pub mod cdi;
mod evidence;
#[doc(hidden)]
pub mod filters;
#[doc(hidden)]
pub mod groups;
pub mod job;
mod launcher;
pub mod machine;
pub mod oci;
mod probe;
mod runtime;
mod specification;
#[doc(hidden)]
pub mod wire;

pub use evidence::{Builder, Ended, Evidence, Layer, LayerName, Outcome, State, Wall};
pub use groups::make_room_for_groups;
pub use launcher::{Cancel, LaunchError, Launcher, Stdin};
pub use probe::{ProbeError, probe};
pub use runtime::{RuntimeError, RuntimeTree, host_python, linked_libraries};
pub use specification::{
    Access, Calls, Commands, Device, Limits, Mount, OutputSpace, Specification, SpecificationError,
    StandardError,
};
pub use wire::{Refusal, Step};
