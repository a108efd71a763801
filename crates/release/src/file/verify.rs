//! The checks of a release file, in order. None asks anything but the file, what the verifier pinned, the moment
//! and, if given, the released files.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use serde::{Deserialize, Serialize};

use super::ReleaseFile;
use super::examination::{Outcome, Rows};
use super::log_check::{self, Witnessed};
use crate::envelope::Envelope;
use crate::key::key_id;
use crate::log::Event;
use crate::path::{self, Approved, JudgedVerdict, SignedRequest};
use crate::refusal::Refusal;
use crate::report::OutputReport;
use crate::rule::Rule;
use crate::site::{CLOCK_SKEW_SECONDS, Site, Verified};
use crate::statement::{
    Catalogue, CatalogueEntry, DeclaredOutput, Evidence, Judgement, LayerState, Manifest, Request, Roles,
    RolesId, RuleResult, Verdict, Warning,
};
use crate::value::{Count, Name, Timestamp};

/// How long a release under older roles or an older revocation is still taken after newer ones were seen, in
/// seconds: one that was being witnessed at that moment is no rollback.
pub const SEEN_GRACE_SECONDS: i64 = 3600;

/// What a verifier holds from elsewhere. Nothing that is found in a release file only is ever trusted.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// Payload digest of version 1 of the site's roles.
    pub roles: Digest,
    /// True if a witness on the box's own machine counts. It proves little; a demonstration has no other.
    pub accept_on_box_witness: bool,
    /// What the verifier saw before, if it remembers.
    pub seen: Option<SeenState>,
}

impl Pinned {
    /// Only the roles are pinned; witnesses must be on other machines, and nothing is remembered.
    pub fn new(roles: Digest) -> Self {
        Self { roles, accept_on_box_witness: false, seen: None }
    }
}

/// What a verifier saw before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenState {
    /// The newest roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<SeenRoles>,
    /// The newest revocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<SeenRevocation>,
    /// The largest head of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<SeenHead>,
    /// Payload digests of manifests that a revocation recalled.
    pub recalled: BTreeSet<Digest>,
}

/// Roles that were seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenRoles {
    /// Version and payload digest.
    pub roles: RolesId,
    /// When they were first seen.
    pub since: Timestamp,
}

/// A revocation that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenRevocation {
    /// Its version.
    pub version: Count,
    /// When it was first seen.
    pub since: Timestamp,
}

/// A head of the log that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenHead {
    /// Number of leaves.
    pub size: Count,
    /// Root of the tree.
    pub root: Digest,
}

impl SeenState {
    /// What a room knows from its own site, seen at this moment.
    pub fn of_site(site: &Site, seen_at: Timestamp) -> Self {
        let mut seen = Self::default();
        seen.add_site(site, seen_at);
        seen
    }

    /// Adds what a verified release shows.
    pub fn add(&mut self, release: &LoggedRelease, seen_at: Timestamp) {
        self.add_site(&release.site, seen_at);
        let head = &release.witnessed.head;
        if self.head.is_none_or(|seen| seen.size.0 < head.size) {
            self.head = Some(SeenHead { size: Count(head.size), root: head.root });
        }
    }

    fn add_site(&mut self, site: &Site, since: Timestamp) {
        let roles = site.roles_id();
        if self.roles.as_ref().is_none_or(|seen| seen.roles.version < roles.version) {
            self.roles = Some(SeenRoles { roles, since });
        }
        let version = site.revocation().version;
        if self.revocation.as_ref().is_none_or(|seen| seen.version < version) {
            self.revocation = Some(SeenRevocation { version, since });
        }
        self.recalled.extend(site.revocation().releases.iter().copied());
    }
}

/// The released files, as far as they are at hand.
#[derive(Clone, Copy, Default)]
pub enum GivenFiles<'a> {
    /// They are not; the verifier says so.
    #[default]
    NotGiven,
    /// Size and digest of each, as the caller measured them on its own copy.
    Measured(&'a BTreeMap<Name, (u64, Digest)>),
    /// Their bytes, to be hashed and judged again.
    Bytes {
        /// The bytes by name.
        files: &'a BTreeMap<Name, Vec<u8>>,
        /// Who judges. The judge is not part of this crate, since it parses what a job wrote.
        judge: &'a dyn Judge,
    },
}

/// Whoever can judge canonical files again: the `egress` crate, in the verifier and on a steward's machine.
pub trait Judge {
    /// What came of each rule that needs no data, and the bits. `None` if it could not be done at all, which
    /// refuses the release.
    fn judge(&self, again: &JudgeAgain<'_>) -> Option<OutputReport>;
}

/// What a judge needs.
pub struct JudgeAgain<'a> {
    /// The policy's TOML file.
    pub policy: &'a [u8],
    /// The declared outputs, in the order of the request.
    pub outputs: &'a [DeclaredOutput],
    /// The catalogue entries of the datasets, in the order of the request.
    pub catalogue: &'a [Catalogue],
    /// The canonical files by name.
    pub files: &'a BTreeMap<Name, Vec<u8>>,
}

/// A release whose every statement was checked, that stands in the log, and that enough witnesses saw there. The
/// enclave opens its outbox, and the gateway serves, on nothing less.
#[derive(Debug, Clone)]
pub struct LoggedRelease {
    manifest: Verified<Manifest>,
    verdict: JudgedVerdict,
    witnessed: Witnessed,
    site: Site,
}

impl LoggedRelease {
    /// The release manifest.
    pub fn manifest(&self) -> &Manifest {
        self.manifest.statement()
    }

    /// The manifest's digest, by which a release is recalled.
    pub fn manifest_digest(&self) -> Digest {
        self.manifest.payload_digest()
    }

    /// The verdict.
    pub fn verdict(&self) -> &JudgedVerdict {
        &self.verdict
    }

    /// The request.
    pub fn request(&self) -> &Request {
        self.verdict.request().request()
    }

    /// The request's digest, by which a gateway finds its job.
    pub fn request_digest(&self) -> Digest {
        self.verdict.request().payload_digest()
    }

    /// Where it stands in the log, and since when.
    pub fn witnessed(&self) -> &Witnessed {
        &self.witnessed
    }
}

impl ReleaseFile {
    /// Checks everything. The moment is used only against times in the future: whether roles, policy and grant were
    /// in force is asked for the witnesses' time, so that an old release stays valid.
    pub fn verify(
        &self,
        pinned: &Pinned,
        now: Timestamp,
        files: GivenFiles<'_>,
    ) -> Result<LoggedRelease, Refusal> {
        verify(self, pinned, now, files, &mut Rows::default())
    }
}

pub(super) fn verify(
    file: &ReleaseFile,
    pinned: &Pinned,
    now: Timestamp,
    files: GivenFiles<'_>,
    rows: &mut Rows,
) -> Result<LoggedRelease, Refusal> {
    let chain = rows.check("roles", chain(&file.roles, pinned), |chain| {
        let roles = chain[chain.len() - 1].statement();
        format!("site {}, version {} from the pinned version 1", roles.site, roles.version)
    })?;
    let newest = chain[chain.len() - 1].statement().clone();
    let manifest =
        rows.check("manifest signature", manifest(&file.manifest, &newest), |_| "by the signer".into())?;
    check_files(manifest.statement(), files, rows)?;
    let site = site(file, chain, rows)?;
    let request = rows.check("request", SignedRequest::verify(&file.request, &site), |request| {
        let request = request.request();
        format!("{} by {} for project {}", request.job, request.requester.id, request.project)
    })?;
    rows.check("catalogue complete", catalogue_complete(file, request.request()), |_| "nothing else".into())?;
    let verdict = JudgedVerdict::recorded(&file.verdict, &request, &site);
    let verdict = rows.check("verdict", verdict, |verdict| {
        let verdict = verdict.verdict();
        format!("{} bits in {} files, run {}", verdict.released_bits, verdict.files.len(), verdict.run)
    })?;
    let signed_at = manifest.statement().issued_at;
    let approved = Approved::signed(&file.approvals, &verdict, &site, signed_at);
    let approved = rows.check("approvals", approved, |approved| {
        let names = approved.approvals().iter().map(|approval| approval.statement().steward.as_str());
        names.collect::<Vec<_>>().join(", ")
    })?;
    rows.check("account", path::check_accounts(manifest.statement(), &verdict), |()| {
        let accounts = manifest.statement().accounts.iter().map(|account| {
            format!("{}: {} bits before, limit {}", account.dataset, account.released_before, account.limit)
        });
        let accounts: Vec<_> = accounts.collect();
        format!("{} bits; {}", manifest.statement().released_bits, accounts.join("; "))
    })?;
    let named = path::check_names_evidence(manifest.statement(), &verdict, &approved, &site);
    rows.check("manifest names this evidence", named, |_| "and nothing else".into())?;
    let signer = &newest.box_keys.signer;
    let witnessed = check_log(file, &manifest, signer, &newest, pinned, rows)?;
    let times = times(&manifest, &approved, witnessed.time, now);
    rows.check("time order", times, |_| format!("signed {signed_at}, witnessed {}", witnessed.time))?;
    rows.check("in force when witnessed", in_force(&site, &request, witnessed.time), |_| {
        "roles, revocation, policy and grant".into()
    })?;
    check_seen(&site, &manifest, &witnessed, pinned, rows)?;
    judge_again(file, &request, &verdict, files, rows)?;
    say_what_is_not_checked(&verdict, &approved, &manifest, &site, pinned, rows);
    Ok(LoggedRelease { manifest, verdict, witnessed, site })
}

fn chain(envelopes: &[Envelope], pinned: &Pinned) -> Result<Vec<Verified<Roles>>, Refusal> {
    let mut chain: Vec<Verified<Roles>> = Vec::new();
    // Whether a statement was made too early is asked for the witnesses' time, below; so no moment is given here.
    for envelope in envelopes {
        chain.push(crate::site::next_roles(chain.last(), envelope, &pinned.roles, Timestamp::LAST)?);
    }
    if chain.is_empty() { Err(Refusal::RolesPin) } else { Ok(chain) }
}

fn manifest(envelope: &Envelope, roles: &Roles) -> Result<Verified<Manifest>, Refusal> {
    let manifest: Manifest = envelope.unverified()?;
    if manifest.site != roles.site {
        return Err(Refusal::OtherSite);
    }
    envelope.signed_once_by([&roles.box_keys.signer], Refusal::ManifestSignature)?;
    Ok(Verified::new(manifest, envelope.clone()))
}

fn check_files(manifest: &Manifest, files: GivenFiles<'_>, rows: &mut Rows) -> Result<(), Refusal> {
    let measured = match files {
        GivenFiles::NotGiven => {
            rows.say("files", Outcome::NotChecked, "the files were not given");
            return Ok(());
        }
        GivenFiles::Measured(measured) => measured.clone(),
        GivenFiles::Bytes { files, .. } => files
            .iter()
            .map(|(name, bytes)| (name.clone(), (bytes.len() as u64, Digest::of(bytes))))
            .collect(),
    };
    rows.check("files", compare_files(manifest, &measured), |_| format!("{} files", measured.len()))
}

fn compare_files(manifest: &Manifest, measured: &BTreeMap<Name, (u64, Digest)>) -> Result<(), Refusal> {
    let named: BTreeMap<&Name, _> =
        manifest.files.iter().map(|file| (&file.name, (file.bytes.0, file.sha256))).collect();
    if named.len() != manifest.files.len() || !named.keys().copied().eq(measured.keys()) {
        return Err(Refusal::FilesSet);
    }
    let same = named.iter().all(|(name, file)| measured.get(*name) == Some(file));
    if same { Ok(()) } else { Err(Refusal::FileDiffers) }
}

/// What the site had decided, from the release file alone.
fn site(file: &ReleaseFile, chain: Vec<Verified<Roles>>, rows: &mut Rows) -> Result<Site, Refusal> {
    let newest = chain[chain.len() - 1].statement();
    let signer = key_id(&newest.box_keys.signer);
    let revocation = crate::site::check_revocation(&file.revocation, newest, Timestamp::LAST);
    let revocation = revocation.and_then(|revocation| {
        // The manifest's own signature was checked above; whether its key still counts is known only now.
        let revoked = revocation.statement().keys.contains(&signer)
            || revocation.statement().releases.contains(&file.manifest.payload_digest());
        if revoked { Err(Refusal::Revoked) } else { Ok(revocation) }
    });
    let revocation =
        rows.check("revocation", revocation, |found| format!("version {}", found.statement().version))?;
    let mut site = Site::bare(chain, revocation);
    let policy = site.check_policy(&file.policy, Some(&file.policy_file), Timestamp::LAST);
    let policy = rows.check("policy", policy, |policy| {
        let policy = policy.statement().statement();
        format!("{} version {}", policy.name, policy.version)
    })?;
    site.insert_policy(policy);
    for envelope in &file.catalogue {
        let entry = rows.check("catalogue", site.check_catalogue(envelope, Timestamp::LAST), |entry| {
            format!("{} version {}", entry.statement().name, entry.statement().version)
        })?;
        let name = entry.statement().name.clone();
        site.insert_catalogue(&name, entry);
    }
    let grant = rows.check("grant", site.check_grant(&file.grant, Timestamp::LAST), |grant| {
        format!("{} version {}", grant.statement().id, grant.statement().version)
    })?;
    site.insert_grant(grant);
    Ok(site)
}

/// Exactly the entries of what was used: one more would be unexplained, and a second one of a name would replace the
/// first.
fn catalogue_complete(file: &ReleaseFile, request: &Request) -> Result<(), Refusal> {
    let mut named = Vec::new();
    for envelope in &file.catalogue {
        let entry: Catalogue = envelope.unverified()?;
        named.push((matches!(entry.entry, CatalogueEntry::Dataset { .. }), entry.name));
    }
    let datasets = request.datasets.iter().map(|dataset| (true, dataset.name.clone()));
    let expected: Vec<_> = datasets.chain([(false, request.runtime.name.clone())]).collect();
    if named == expected { Ok(()) } else { Err(Refusal::CatalogueContent) }
}

fn check_log(
    file: &ReleaseFile,
    manifest: &Verified<Manifest>,
    signer: &crate::statement::PublicKey,
    roles: &Roles,
    pinned: &Pinned,
    rows: &mut Rows,
) -> Result<Witnessed, Refusal> {
    let proof =
        rows.check("log proof", log_check::parse(&file.log_proof), |proof| format!("index {}", proof.index))?;
    let head = rows.check("checkpoint", log_check::open(&proof, roles), |head| {
        format!("{} with {} leaves", head.origin, head.size)
    })?;
    let leaf = log_check::leaf(Event::Release, manifest.envelope(), signer)?;
    rows.check("log inclusion", log_check::included(&proof, &leaf, &head), |()| {
        format!("leaf {}", leaf.hash())
    })?;
    let witnessed = log_check::witnessed(&proof, roles, pinned.accept_on_box_witness);
    let (time, witnesses) = rows.check("witnesses", witnessed, |(_, names)| {
        format!("{} of {} needed: {}", names.len(), roles.witness_quorum, names.join(", "))
    })?;
    Ok(Witnessed { index: proof.index, head, time, witnesses })
}

fn times(
    manifest: &Verified<Manifest>,
    approved: &Approved,
    witnessed: Timestamp,
    now: Timestamp,
) -> Result<(), Refusal> {
    let signed = manifest.statement().issued_at;
    let expired = approved
        .approvals()
        .iter()
        .any(|approval| witnessed > approval.statement().expires.plus(CLOCK_SKEW_SECONDS));
    let ordered = signed <= witnessed.plus(CLOCK_SKEW_SECONDS) && witnessed <= now.plus(CLOCK_SKEW_SECONDS);
    if ordered && !expired { Ok(()) } else { Err(Refusal::LogTime) }
}

fn in_force(site: &Site, request: &SignedRequest, at: Timestamp) -> Result<(), Refusal> {
    site.fresh(at)?;
    let grant = site.grant_in_force(&request.request().grant, at)?;
    site.policy_in_force(&grant.statement().policy, at).map(drop)
}

fn check_seen(
    site: &Site,
    manifest: &Verified<Manifest>,
    witnessed: &Witnessed,
    pinned: &Pinned,
    rows: &mut Rows,
) -> Result<(), Refusal> {
    let Some(seen) = &pinned.seen else {
        rows.say("rollback", Outcome::NotChecked, "nothing is remembered from before");
        return Ok(());
    };
    rows.check("rollback", compare_seen(site, manifest, witnessed, seen), |()| {
        format!("valid as of log size {}", witnessed.head.size)
    })
}

fn compare_seen(
    site: &Site,
    manifest: &Verified<Manifest>,
    witnessed: &Witnessed,
    seen: &SeenState,
) -> Result<(), Refusal> {
    if seen.recalled.contains(&manifest.payload_digest()) {
        return Err(Refusal::Revoked);
    }
    let too_late = |seen_at: Timestamp| witnessed.time > seen_at.plus(SEEN_GRACE_SECONDS);
    let roles = seen.roles.as_ref().is_none_or(|seen| match site.roles().version < seen.roles.version {
        // An old release carries the roles of its time; a new one under old roles would be a way around new ones.
        true => !too_late(seen.since),
        false => site.roles_version(&seen.roles).is_some(),
    });
    let revocation = seen
        .revocation
        .as_ref()
        .is_none_or(|seen| site.revocation().version >= seen.version || !too_late(seen.since));
    // Two roots of one size are two pasts. Heads of other sizes need a consistency proof, which a log's mirror has.
    let found = &witnessed.head;
    let head = seen.head.is_none_or(|seen| found.size != seen.size.0 || found.root == seen.root);
    if roles && revocation && head { Ok(()) } else { Err(Refusal::Rollback) }
}

fn judge_again(
    file: &ReleaseFile,
    request: &SignedRequest,
    verdict: &JudgedVerdict,
    files: GivenFiles<'_>,
    rows: &mut Rows,
) -> Result<(), Refusal> {
    let GivenFiles::Bytes { files, judge } = files else {
        rows.say("judged again", Outcome::NotChecked, "the files' bytes were not given");
        return Ok(());
    };
    let datasets = &file.catalogue[..request.request().datasets.len()];
    let catalogue: Result<Vec<Catalogue>, _> = datasets.iter().map(Envelope::unverified).collect();
    let catalogue = catalogue?;
    let outputs = &request.request().outputs;
    let again = JudgeAgain { policy: &file.policy_file, outputs, catalogue: &catalogue, files };
    let report = judge.judge(&again).ok_or(Refusal::JudgedDifferently);
    let same = report.and_then(|report| compare_reports(&report, outputs, verdict));
    rows.check("judged again", same, |rules| format!("{rules} rules that need no data, and the bits"))?;
    Ok(())
}

/// Compares a second judgement with the verdict, and returns how many rules it covers.
///
/// The verdict's rule results also hold what the canonicaliser changed, which the canonical files no longer show; so
/// `noted` there and `passed` here agree. Bits may only be higher in the verdict: they are a bound, and it was charged.
fn compare_reports(
    report: &OutputReport,
    outputs: &[DeclaredOutput],
    verdict: &JudgedVerdict,
) -> Result<usize, Refusal> {
    let judged = verdict.verdict();
    let mut covered = 0;
    for (rule, outcome) in Rule::ALL.into_iter().zip(&judged.rules) {
        let again = report.rules[rule.index()];
        let agrees = match again {
            RuleResult::NotChecked => continue,
            RuleResult::Passed => matches!(outcome.result, RuleResult::Passed | RuleResult::Noted),
            RuleResult::Noted | RuleResult::Blocked | RuleResult::NotApplicable => outcome.result == again,
        };
        if !agrees {
            return Err(Refusal::JudgedDifferently);
        }
        covered += 1;
    }
    for (output, bits) in outputs.iter().zip(report.bits) {
        let file = judged.files.iter().find(|file| file.name == *output.path());
        if file.is_none_or(|file| file.released_bits.0 < bits) {
            return Err(Refusal::JudgedDifferently);
        }
    }
    // A judge that looked at nothing would agree with everything.
    if covered == 0 { Err(Refusal::JudgedDifferently) } else { Ok(covered) }
}

/// Rows for everything that reads `not-checked` in the evidence, and for what a reader must know.
fn say_what_is_not_checked(
    verdict: &JudgedVerdict,
    approved: &Approved,
    manifest: &Verified<Manifest>,
    site: &Site,
    pinned: &Pinned,
    rows: &mut Rows,
) {
    let judged = verdict.verdict();
    for outcome in judged.rules.iter().filter(|outcome| outcome.result == RuleResult::NotChecked) {
        rows.say(&format!("rule {}", outcome.id), Outcome::NotChecked, "the box did not run it");
    }
    let evidence = [
        ("verdict differencedAgainst", judged.differenced_against),
        ("verdict accountHead", judged.account_head),
        ("verdict codeReview", judged.code_review),
        ("verdict attestation", judged.attestation),
        ("manifest differencedAgainst", manifest.statement().differenced_against),
        ("revocation interests", site.revocation().interests),
    ];
    for (field, _) in evidence.into_iter().filter(|(_, evidence)| *evidence == Evidence::NotChecked) {
        rows.say(field, Outcome::NotChecked, "reads not-checked");
    }
    for approval in approved.approvals().iter().map(Verified::statement) {
        if approval.judged_again == Judgement::NotChecked {
            let check = format!("approval of {} judgedAgain", approval.steward);
            rows.say(&check, Outcome::NotChecked, "reads not-checked");
        }
    }
    for layer in judged.wall.layers.iter().filter(|layer| layer.state != LayerState::On) {
        let state = if layer.state == LayerState::Off { "off" } else { "absent" };
        rows.say(&format!("wall layer {}", layer.name), Outcome::Noted, state);
    }
    for file in judged.files.iter().filter(|file| file.declared_counts) {
        rows.say(&format!("counts in {}", file.name), Outcome::Noted, "are the job's word, bounded by bits");
    }
    for warning in &judged.warnings {
        rows.say("warning", Outcome::Noted, warning_text(*warning));
    }
    if pinned.accept_on_box_witness {
        rows.say(
            "witnesses",
            Outcome::Noted,
            "a witness on the box's own machine counts: you asked for that",
        );
    }
    say_guarantee(judged, rows);
}

/// The guarantee is words only, unless the search for copies ran.
fn say_guarantee(verdict: &Verdict, rows: &mut Rows) {
    let searched = verdict.rules[Rule::CopyExact.index()].result;
    if !matches!(searched, RuleResult::Passed | RuleResult::Noted) {
        return;
    }
    let guarantee = &verdict.guarantee;
    let views: Vec<_> = guarantee.views.iter().map(Name::as_str).collect();
    let text = format!(
        "the box says: no copied run of {} bytes ({} in plain data) in {}; {} millionths of the data exempt",
        guarantee.copied_run_bytes,
        guarantee.plain_run_bytes,
        views.join(", "),
        guarantee.exempt_millionths
    );
    rows.say("guarantee", Outcome::Noted, text);
}

fn warning_text(warning: Warning) -> &'static str {
    match warning {
        Warning::FineTimeGrid => "the time grid is finer than the standard policy's",
        Warning::WitnessOnBoxMachine => "the policy accepts a witness on the box's own machine",
        Warning::SharedKernel => "the job ran on the shared kernel",
        Warning::DemonstrationKeys => "people's keys were made by the box, as in a demonstration",
    }
}
