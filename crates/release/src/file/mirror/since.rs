//! What an auditor keeps of one examination for the next.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use serde::{Deserialize, Serialize};

use super::super::seen::SeenHead;
use super::super::verify::Pinned;
use super::GrantTotal;
use super::sums::Sums;
use crate::json::{self, JsonError};
use crate::value::{Count, Name};

/// Largest state in bytes: 16 MiB.
const STATE_LIMIT: usize = 16 << 20;

/// What was found in a log up to one head, all of it in order. It is the auditor's own: whoever can write it can hide
/// what was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditState {
    /// Payload digest of version 1 of the roles that it was examined under.
    pub pin: Digest,
    /// True if a witness on the box's own machine counted. What was found so is no beginning for an auditor who does not
    /// count it.
    pub accept_on_box_witness: bool,
    /// The head up to which every entry was read.
    pub head: SeenHead,
    /// Payload digests of every version of the roles in the log, the first first.
    pub roles: Vec<Digest>,
    /// Payload digest of the newest revocation in the log.
    pub revocation: Digest,
    /// Payload digests of recalled manifests.
    pub recalled: BTreeSet<Digest>,
    /// What left.
    totals: Vec<SeenTotal>,
    /// Releases with tables, by dataset and place.
    tables: Vec<SeenTables>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeenTables {
    dataset: Name,
    place: Count,
    verdict: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SeenTotal {
    dataset: Name,
    grant: Name,
    releases: Count,
    released_bits: Count,
    grant_version: Count,
    limit: Count,
}

impl AuditState {
    pub(super) fn new(
        pinned: &Pinned,
        head: SeenHead,
        roles: Vec<Digest>,
        revocation: Digest,
        sums: &Sums,
    ) -> Self {
        let totals = sums.totals().into_iter().map(|total| SeenTotal {
            dataset: total.dataset,
            grant: total.grant,
            releases: Count(total.releases),
            released_bits: Count(total.released_bits),
            grant_version: Count(total.grant_version),
            limit: Count(total.limit),
        });
        let (pin, accept_on_box_witness) = (pinned.roles, pinned.accept_on_box_witness);
        let of_dataset = |(dataset, tables): (&Name, &BTreeMap<u64, Digest>)| {
            let one = |(place, verdict): (&u64, &Digest)| SeenTables {
                dataset: dataset.clone(),
                place: Count(*place),
                verdict: *verdict,
            };
            tables.iter().map(one).collect::<Vec<_>>()
        };
        Self {
            pin,
            accept_on_box_witness,
            head,
            roles,
            revocation,
            recalled: sums.recalled.clone(),
            totals: totals.collect(),
            tables: sums.tables.iter().flat_map(of_dataset).collect(),
        }
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = (Name, u64, Digest)> + '_ {
        self.tables.iter().map(|seen| (seen.dataset.clone(), seen.place.0, seen.verdict))
    }

    pub(super) fn totals(&self) -> impl Iterator<Item = GrantTotal> + '_ {
        self.totals.iter().map(|total| GrantTotal {
            dataset: total.dataset.clone(),
            grant: total.grant.clone(),
            releases: total.releases.0,
            released_bits: total.released_bits.0,
            grant_version: total.grant_version.0,
            limit: total.limit.0,
        })
    }

    /// Its text.
    pub fn to_bytes(&self) -> Vec<u8> {
        json::to_bytes(self)
    }

    /// Reads it.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        json::from_bytes(bytes, STATE_LIMIT)
    }
}
