//! The clock: everything that expires hangs on it.

use std::path::Path;

use release::value::Timestamp;

use super::Check;
use super::configurations::Configurations;

/// How far two honest clocks may differ.
const SKEW: i64 = release::site::CLOCK_SKEW_SECONDS;

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
        _ if Path::new("/run/systemd/timesync/synchronized").exists() => Check::ok("clock", "kept by NTP"),
        _ => {
            Check::ok("clock", "not before any statement of the site; whether NTP keeps it is not known here")
        }
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
