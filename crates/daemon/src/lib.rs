//! What every room is as a process: configuration, log lines, peer check, orderly stop, signs of life. No async runtime is in it,
//! so that the signer can use it.

mod arguments;
mod clocks;
mod configuration;
mod journal;
mod peer;
mod service_manager;
mod site;
mod stop;

pub use arguments::{Arguments, UsageError};
pub use clocks::{Clocks, set_back_by};
pub use configuration::{ConfigurationError, load, user_id};
pub use journal::{Event, Journal, Level};
pub use peer::{PeerError, check_peer, listen};
pub use service_manager::ServiceManager;
pub use site::{Look, NotAccepted, SiteWatch};
pub use stop::{StopFlag, die_with_parent, stop_on_signals};

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 UTC by this machine's clock. A clock before 1970 reads 0, at which everything signed is
/// not yet valid, so nothing is admitted.
pub fn now_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
