//! The console's reviews.

use std::collections::BTreeSet;

use blobs::Digest;

use super::log::Log;
use super::places::{Places, database, digest, is_whole, rows};
use super::{Report, Rule};
use crate::failure::Failure;

/// Examines the console.
pub fn examine(places: &Places, log: &Log, report: &mut Report) -> Result<(), Failure> {
    let Some(store) = database(&places.console.join("reviews.db"), report)? else { return Ok(()) };
    let denied: BTreeSet<Digest> =
        rows(&store, "SELECT verdict FROM decisions WHERE is_approval = 0", |row| digest(row, "verdict"))?
            .into_iter()
            .collect();
    let query = "SELECT verdict, packet, standing, file FROM reviews";
    for (verdict, packet, standing, file) in rows(&store, query, |row| {
        let (standing, file): (String, Option<Vec<u8>>) = (row.get("standing")?, row.get("file")?);
        Ok((digest(row, "verdict")?, digest(row, "packet")?, standing, file))
    })? {
        let forgotten = matches!(standing.as_str(), "open" | "blocked" | "expired" | "approving");
        report.check(!denied.contains(&verdict) || !forgotten, Rule::Denial, || {
            format!("verdict {verdict} was denied, and its review is {standing}")
        });
        match (standing.as_str(), file) {
            ("released", Some(file)) => {
                let found = log.verify(&file);
                report.check(found == Ok(verdict), Rule::Outbox, || {
                    format!("the release of verdict {verdict} is not one of the log's")
                });
            }
            ("denied", Some(_)) => report.check(log.is_denied(&verdict), Rule::Denial, || {
                format!("the denial of verdict {verdict} is not in the log")
            }),
            ("released" | "denied", None) => {
                report.add(Rule::Outbox, format!("verdict {verdict} is {standing} without its proof"));
            }
            ("open" | "signing" | "denying" | "approving", _) => {
                report.check(is_whole(&places.console.join("packets"), &packet), Rule::Verdict, || {
                    format!("the packet of verdict {verdict} is not whole")
                });
            }
            _ => {}
        }
    }
    Ok(())
}
