//! What the enclave signs: what it found about a job's outputs.

use std::collections::BTreeMap;

use blobs::Digest;
use serde::{Deserialize, Serialize};

use super::{
    DatasetSnapshot, Evidence, GrantId, Kind, OutputKind, Precision, Predicate, PrivacyCharge, Requester,
    RuntimeId, Subject, WallName,
};
use crate::report::{view_needs_distinct, view_run};
use crate::value::{Bytes, Count, DigestSet, Name, Timestamp};

/// What the box found about the outputs of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verdict {
    /// The site's name.
    pub site: Name,
    /// Payload digest of the request.
    pub request: DigestSet,
    /// Which run of the request this was, from 1.
    pub run: Count,
    /// The grant under which it ran.
    pub grant: GrantId,
    /// Who asked.
    pub requester: Requester,
    /// The datasets that the run saw.
    pub datasets: Vec<DatasetSnapshot>,
    /// The runtime that it ran in.
    pub runtime: RuntimeId,
    /// The wall that it ran in.
    pub wall: Wall,
    /// The policy that it was judged by.
    pub policy: PolicyId,
    /// The roles in force.
    pub roles: RolesId,
    /// The box's programs.
    pub build: BoxBuild,
    /// PASS or BLOCKED.
    pub result: VerdictResult,
    /// Canonical files, sorted by name: what would leave.
    pub files: Vec<VerdictFile>,
    /// Every rule of the policy and what came of it, those not run included; sorted by id.
    pub rules: Vec<RuleOutcome>,
    /// What was searched for and how thoroughly.
    pub guarantee: Guarantee,
    /// Upper bound of what the files carry, in bits.
    pub released_bits: Count,
    /// Bits charged for what the enclave could choose in this statement itself.
    pub verdict_bits: Count,
    /// What was charged to each dataset's account.
    pub charges: Vec<DatasetCharge>,
    /// Its place in the order of PASS verdicts with tables, from 1; 0 if it is none.
    pub table_place: Count,
    /// Digest of the set of verdicts that its tables were compared with: those of an earlier place that share a dataset
    /// ([`crate::differencing::ComparedSet`]).
    pub differenced_against: Evidence,
    /// Head of the account after the charge.
    pub account_head: Evidence,
    /// Review of the code before the run.
    pub code_review: Evidence,
    /// Evidence of the hardware and programs that ran it.
    pub attestation: Evidence,
    /// What a reader must know before trusting it.
    pub warnings: Vec<Warning>,
    /// The stewards whom the review packet is sealed to.
    pub reviewers: Vec<ReviewRecipient>,
    /// The sealed review packet.
    pub packet: DigestSet,
    /// 32 random bytes; approvals repeat them.
    pub challenge: Bytes<32>,
    /// When it was made, on the policy's time grid.
    pub issued_at: Timestamp,
    /// After this moment it can be approved no more, and its reservation is freed.
    pub expires: Timestamp,
}

/// What a review packet adds to its canonical files, in bytes: exactly 64 KiB.
pub const PACKET_ADDED_BYTES: u64 = 64 * 1024;

impl Verdict {
    /// The precisions that were chosen, by the files' names.
    pub fn precisions(&self) -> BTreeMap<Name, Precision> {
        self.files.iter().filter_map(|file| Some((file.name.clone(), file.precision?))).collect()
    }

    /// The one size of its review packet, in bytes. Whoever passes packets on refuses any other: a taken-over enclave
    /// could else put whole datasets into one.
    pub fn packet_bytes(&self) -> u64 {
        self.files.iter().fold(PACKET_ADDED_BYTES, |sum, file| sum.saturating_add(file.bytes.0))
    }
}

/// PASS or BLOCKED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VerdictResult {
    /// The policy allows it; stewards decide.
    Pass,
    /// The policy forbids it.
    Blocked,
}

/// A wall and its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wall {
    /// Which wall.
    pub name: WallName,
    /// Who built it beside the launcher, if anyone did: an OCI runtime, or QEMU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<WallRuntime>,
    /// True if the launcher ran as root, so that each job had a user of its own.
    pub privileged: bool,
    /// Its layers, each on, off or absent.
    pub layers: Vec<Layer>,
    /// Devices of the box that the job held, sorted; not there if none. Their drivers are part of the host's kernel that no
    /// wall covers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<WallDevice>,
}

/// A device of the box's machine that one job held, and no other at the same time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WallDevice {
    /// Its kind, as grant and request name it.
    pub kind: Name,
    /// Which one: its place among those of its kind that the box may hand out, from 1 to [`super::DEVICES_LIMIT`]. No name: what
    /// the enclave may choose here is counted in bits.
    pub number: Count,
}

/// A program of the box's machine that builds walls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WallRuntime {
    /// Its name, such as `runsc`.
    pub name: Name,
    /// Its version, in its own words.
    pub version: String,
}

/// One layer of a wall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Layer {
    /// Its name, such as `seccomp`.
    pub name: Name,
    /// Whether it was there.
    pub state: LayerState,
}

/// Whether a layer was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerState {
    /// It was in force.
    On,
    /// It could have been, and was not.
    Off,
    /// This version or machine does not have it.
    Absent,
}

/// A policy and one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyId {
    /// Its name.
    pub name: Name,
    /// The version.
    pub version: Count,
    /// The TOML file, byte for byte.
    pub file: DigestSet,
}

/// A version of the roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolesId {
    /// The version.
    pub version: Count,
    /// Digest of its payload.
    pub payload: DigestSet,
}

/// The box's programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BoxBuild {
    /// The version.
    pub version: String,
    /// The program that made the canonical forms and judged them.
    pub checker: DigestSet,
}

/// One canonical file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VerdictFile {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: OutputKind,
    /// Its size in bytes.
    pub bytes: Count,
    /// Its digest.
    pub sha256: Digest,
    /// Upper bound of what it carries, in bits.
    pub released_bits: Count,
    /// True if counts in it are the job's word: declared, not counted by the box.
    pub declared_counts: bool,
    /// The precision that the box chose for weights whose request ships an evaluation; not there for any other file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

/// What came of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleOutcome {
    /// The rule's id.
    pub id: Name,
    /// What came of it.
    pub result: RuleResult,
}

/// What came of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleResult {
    /// It ran and found nothing.
    Passed,
    /// It ran and changed or noted something that the policy allows.
    Noted,
    /// It ran and forbids the release.
    Blocked,
    /// It did not run, since this version of the box does not have it. Verifiers print it.
    NotChecked,
    /// It did not run, since no output is of a kind that it looks at.
    NotApplicable,
}

/// What the search for copies promises. It holds for what the listed views show: of encodings at most three on one another, and of a
/// file of more than 8 MiB in each of its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guarantee {
    /// Every run of at least so many bytes that stands in the data and in a listed view was found; behind some views it takes
    /// more bytes, and more distinct ones: see [`view_run`](crate::report::view_run) and
    /// [`view_needs_distinct`](crate::report::view_needs_distinct).
    pub copied_run_bytes: Count,
    /// The same for data whose 16-byte windows have fewer than 5 distinct bytes.
    pub plain_run_bytes: Count,
    /// The views searched, sorted.
    pub views: Vec<Name>,
    /// Share of the data that is exempt (windows with a period of at most 4), in millionths.
    pub exempt_millionths: Count,
    /// Files that anybody may read, by the catalogue of the datasets, sorted: runs that stand in one of them do not count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public: Vec<DigestSet>,
}

impl Guarantee {
    /// The promise in one line, for whoever is to decide. [`Self::words`] names the views.
    pub fn short_words(&self) -> String {
        let runs = self.views.iter().map(|view| view_run(view.as_str()));
        let longer: Vec<u64> = runs.filter(|run| *run > self.copied_run_bytes.0).collect();
        let (least, most) = (longer.iter().min(), longer.iter().max());
        let longer = least.zip(most).map_or(String::new(), |(least, most)| {
            format!("; behind {} of the views {least} to {most}", longer.len())
        });
        format!(
            "no run of {} bytes of the data in {} views ({} of plain data{longer}); {} millionths of the data exempt",
            self.copied_run_bytes,
            self.views.len(),
            self.plain_run_bytes,
            self.exempt_millionths
        )
    }

    /// The promise in words: how long a run is found behind which views.
    pub fn words(&self) -> String {
        let mut by_run: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for view in &self.views {
            let run = view_run(view.as_str());
            let usual = run <= self.copied_run_bytes.0;
            by_run.entry(if usual { 0 } else { run }).or_default().push(view.as_str());
        }
        let usual = by_run.remove(&0).unwrap_or_default().join(", ");
        let mut text = format!(
            "no copied run of {} bytes ({} in plain data) in {usual}",
            self.copied_run_bytes, self.plain_run_bytes
        );
        for (run, views) in by_run {
            text += &format!("; none of {run} in {}", views.join(", "));
        }
        let distinct = self.views.iter().map(Name::as_str).filter(|view| view_needs_distinct(view));
        let distinct: Vec<&str> = distinct.collect();
        if !distinct.is_empty() {
            text += &format!("; plain data is not looked for in {}", distinct.join(", "));
        }
        text + &format!("; {} millionths of the data exempt", self.exempt_millionths)
    }
}

/// What one dataset's account was charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatasetCharge {
    /// The dataset.
    pub dataset: Name,
    /// Bits spent on answers, before the run.
    pub answer_bits: Count,
    /// Bits reserved for the release: the files' and the verdict's. Zero when blocked.
    pub release_bits: Count,
    /// What its units' privacy was charged, before the run; not there if the request asks for no noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PrivacyCharge>,
}

/// What a reader must know before trusting a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Warning {
    /// The time grid is finer than the standard policy's, so that answers come sooner and tell more.
    FineTimeGrid,
    /// The policy accepts a witness on the box's own machine.
    WitnessOnBoxMachine,
    /// The job ran on the shared kernel.
    SharedKernel,
    /// The job ran in an emulated machine, of whose strength the emulator's makers promise nothing.
    EmulatedMachine,
    /// People's keys were made by the box, as only a demonstration does.
    DemonstrationKeys,
    /// The job used a device, whose driver on the host no wall covers.
    DeviceDriver,
}

impl Warning {
    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::FineTimeGrid => "answers come sooner than the standard policy has it, and so tell more",
            Self::WitnessOnBoxMachine => "the policy accepts a witness on the box's own machine",
            Self::SharedKernel => "the job ran on the same kernel as the box",
            Self::EmulatedMachine => "the job ran in an emulated machine, which no one vouches for as a wall",
            Self::DemonstrationKeys => "the box made people's keys itself, as only a demonstration does",
            Self::DeviceDriver => "the job used a device, whose driver on the host no wall covers",
        }
    }
}

/// A steward whom a packet is sealed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReviewRecipient {
    /// Who.
    pub steward: Name,
    /// The X25519 key.
    pub review_key: Bytes<32>,
}

impl Predicate for Verdict {
    const KIND: Kind = Kind::Verdict;

    fn subject(&self) -> Vec<Subject> {
        let request = Subject::new("request", self.request.sha256);
        let files = self.files.iter().map(|file| Subject::new(format!("out/{}", file.name), file.sha256));
        std::iter::once(request).chain(files).collect()
    }
}
