//! The clock: everything that expires hangs on it.

use std::path::Path;

use release::value::Timestamp;

use super::Check;
use super::configurations::Configurations;

/// How far two honest clocks may differ.
const SKEW: i64 = release::site::CLOCK_SKEW_SECONDS;

/// Where time services say that they run: systemd-timesyncd once it is synchronised, chrony, ntpd, OpenNTPD.
const KEPT: [&str; 4] = [
    "/run/systemd/timesync/synchronized",
    "/run/chrony/chronyd.pid",
    "/run/ntpd.pid",
    "/run/openntpd/ntpd.sock",
];

pub fn examine(configurations: &Configurations) -> Vec<Check> {
    let now = daemon::now_seconds();
    let newest = newest_statement(&configurations.site);
    let remedy = "set the clock (`timedatectl set-ntp true`); rooms refuse what is signed in their future";
    let check = match newest {
        Some((seconds, what)) if seconds > now + SKEW => Check::fail(
            "clock",
            format!("it is {} s behind the moment at which {what} was signed", seconds - now),
            remedy,
        ),
        _ if KEPT.iter().any(|path| Path::new(path).exists()) => Check::ok("clock", "kept by a time service"),
        _ => Check::warn(
            "clock",
            "not before any statement of the site; whether a time service keeps it is not known here",
            "have a time service keep it (`timedatectl set-ntp true`); one that is ahead dates releases into the future",
        ),
    };
    vec![check]
}

/// When the newest statement of the site says that it was signed. Nothing is believed here: a statement from the future
/// is told, whoever signed it.
fn newest_statement(site: &Path) -> Option<(i64, String)> {
    let files = release::site::read_files(site).ok()?;
    let issued = files.into_iter().filter_map(|(path, bytes)| {
        let envelope = release::envelope::Envelope::parse(&bytes).ok()?;
        let payload: serde_json::Value = serde_json::from_slice(envelope.payload()).ok()?;
        let issued: Timestamp = payload["predicate"]["issuedAt"].as_str()?.parse().ok()?;
        Some((issued.seconds(), path.display().to_string()))
    });
    issued.max()
}
