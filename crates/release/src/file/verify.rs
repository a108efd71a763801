//! The checks of a release file, in order. None asks anything but the file, what the verifier pinned, the moment
//! and, if given, the released files.

use std::collections::BTreeMap;
use std::sync::Arc;

use blobs::Digest;

use super::again::Judge;
use super::examination::{Outcome, Rows};
use super::known_site::KnownSite;
use super::log_check::{self, Witnessed};
use super::seen::SeenState;
use super::{ReleaseFile, again, remarks, seen};
use crate::envelope::Envelope;
use crate::key::key_id;
use crate::log::Event;
use crate::path::{self, Approved, JudgedVerdict, ReviewedRun, SignedRequest, VERDICT_SECONDS_LIMIT};
use crate::refusal::Refusal;
use crate::site::{CLOCK_SKEW_SECONDS, Site, Verified};
use crate::statement::{CatalogueEntry, Manifest, Request, Revocation, Roles, Warning};
use crate::value::{Name, Timestamp};

/// Longest time between signing and the quorum of witnesses, in seconds: 30 days, after which no verdict is open and
/// the box has wiped what it would release. It bounds how far back whoever holds the signer's keys could date.
pub const WITNESS_SECONDS_LIMIT: i64 = VERDICT_SECONDS_LIMIT;

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

/// The released files, as far as they are at hand.
#[derive(Clone, Copy, Default)]
pub enum GivenFiles<'a> {
    /// They are not; the verifier says so.
    #[default]
    NotGiven,
    /// They are not, and somebody counts bits from the lengths that the verdict states.
    ToCount(&'a dyn Judge),
    /// Size and digest of each, as the caller measured them on its own copy.
    Measured(&'a BTreeMap<Name, (u64, Digest)>),
    /// The same, and somebody who judges them again.
    ToJudge {
        /// Size and digest of each.
        measured: &'a BTreeMap<Name, (u64, Digest)>,
        /// Who judges, and has the files. The judge is not part of this crate, since it parses what a job wrote.
        judge: &'a dyn Judge,
    },
}

/// A release whose every statement was checked, that stands in the log, and that enough witnesses saw there. The
/// enclave opens its outbox, and the gateway serves, on nothing less.
#[derive(Debug, Clone)]
pub struct LoggedRelease {
    manifest: Verified<Manifest>,
    verdict: JudgedVerdict,
    witnessed: Witnessed,
    site: Arc<Site>,
}

impl LoggedRelease {
    /// The release manifest.
    pub fn manifest(&self) -> &Manifest {
        self.manifest.statement()
    }

    /// The manifest as it was signed.
    pub(super) fn manifest_envelope(&self) -> &Envelope {
        self.manifest.envelope()
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

    /// What the site had decided when it was signed, as far as the release file shows it.
    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// Where it stands in the log, and since when.
    pub fn witnessed(&self) -> &Witnessed {
        &self.witnessed
    }
}

impl ReleaseFile {
    /// Checks everything. The moment is used only against times in the future: whether roles, policy, grant and
    /// approvals were in force is asked for the time of signing, so that an old release stays valid.
    pub fn verify(
        &self,
        pinned: &Pinned,
        now: Timestamp,
        files: GivenFiles<'_>,
    ) -> Result<LoggedRelease, Refusal> {
        self.verify_beside(pinned, now, files, &mut KnownSite::default())
    }

    /// The same for one of many files: what the site decided is not verified again if it is, byte for byte, what stood in
    /// the file before.
    pub fn verify_beside(
        &self,
        pinned: &Pinned,
        now: Timestamp,
        files: GivenFiles<'_>,
        known: &mut KnownSite,
    ) -> Result<LoggedRelease, Refusal> {
        verify(self, pinned, now, files, known, &mut Rows::default())
    }
}

pub(super) fn verify(
    file: &ReleaseFile,
    pinned: &Pinned,
    now: Timestamp,
    files: GivenFiles<'_>,
    known: &mut KnownSite,
    rows: &mut Rows,
) -> Result<LoggedRelease, Refusal> {
    let (manifest, site, named) = match known.of(file, &pinned.roles) {
        Some((site, named)) => {
            let manifest = manifest(&file.manifest, site.roles())?;
            check_files(manifest.statement(), files, rows)?;
            not_revoked(site.revocation(), site.roles(), file)?;
            (manifest, site, named)
        }
        None => {
            let (manifest, found) = signed_manifest(file, pinned, files, rows)?;
            known.keep(file, pinned.roles, &found);
            (manifest, found.0, found.1)
        }
    };
    let request = rows.check("request", SignedRequest::verify(&file.request, &site), |request| {
        let request = request.request();
        format!("{} by {} for project {}", request.job, request.requester.id, request.project)
    })?;
    rows.check("catalogue complete", catalogue_complete(&named, request.request()), |_| {
        "nothing else".into()
    })?;
    let verdict = JudgedVerdict::recorded(&file.verdict, &request, &site);
    let verdict = rows.check("verdict", verdict, |verdict| {
        let verdict = verdict.verdict();
        format!("{} bits in {} files, run {}", verdict.released_bits, verdict.files.len(), verdict.run)
    })?;
    code_review(file, &verdict, &site, rows)?;
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
    // The signed policy must allow such a witness too, not only whoever verifies: the verdict carries its word. Without
    // this an unsigned line in a configuration would loosen what the policy's signers decided.
    let policy_accepts = verdict.verdict().warnings.contains(&Warning::WitnessOnBoxMachine);
    let accept_on_box_witness = pinned.accept_on_box_witness && policy_accepts;
    let witnessed = check_log(file, &manifest, site.roles(), accept_on_box_witness, rows)?;
    let times = times(signed_at, witnessed.time, now);
    rows.check("time order", times, |_| format!("signed {signed_at}, witnessed {}", witnessed.time))?;
    rows.check("in force when signed", in_force(&site, &request, signed_at), |_| {
        "roles, revocation, policy and grant".into()
    })?;
    let found = seen::Found { site: &site, manifest: &manifest, verdict: &verdict, witnessed: &witnessed };
    seen::check(&found, pinned, rows)?;
    again::judge_again(file, &request, &verdict, files, rows)?;
    again::say_what_weights_hold(file, request.request(), files, rows);
    remarks::say_what_is_not_checked(&verdict, &approved, &manifest, &witnessed, (pinned, &site), rows);
    Ok(LoggedRelease { manifest, verdict, witnessed, site })
}

/// The manifest, signed by the signer of the roles, and what the site had decided.
fn signed_manifest(
    file: &ReleaseFile,
    pinned: &Pinned,
    files: GivenFiles<'_>,
    rows: &mut Rows,
) -> Result<(Verified<Manifest>, FoundSite), Refusal> {
    let chain = rows.check("roles", chain(&file.roles, pinned), |chain| {
        let roles = chain[chain.len() - 1].statement();
        format!("site {}, version {} from the pinned version 1", roles.site, roles.version)
    })?;
    let manifest = manifest(&file.manifest, chain[chain.len() - 1].statement());
    let manifest = rows.check("manifest signature", manifest, |_| "by the signer".into())?;
    check_files(manifest.statement(), files, rows)?;
    let (site, named) = site(file, chain, rows)?;
    Ok((manifest, (Arc::new(site), named)))
}

/// Who let the code run. Of a grant that demands nobody's word there is nothing to say, unless there is a word too many.
fn code_review(
    file: &ReleaseFile,
    verdict: &JudgedVerdict,
    site: &Site,
    rows: &mut Rows,
) -> Result<(), Refusal> {
    let reviewed = ReviewedRun::check(&file.code_approvals, verdict, site);
    if reviewed.as_ref().is_ok_and(|reviewed| !reviewed.code().is_demanded()) {
        return Ok(());
    }
    let reviewed = rows.check("code review", reviewed, |reviewed| {
        let approvals = reviewed.code().approvals().iter();
        approvals.map(|approval| approval.statement().steward.as_str()).collect::<Vec<_>>().join(", ")
    })?;
    // In the order of the evidence, so that one release has one file.
    let sorted = reviewed.code().approvals().iter().map(Verified::envelope).eq(&file.code_approvals);
    if sorted {
        Ok(())
    } else {
        rows.check("code review", Err(Refusal::CodeReviewEvidence), |()| String::new())
    }
}

fn chain(envelopes: &[Envelope], pinned: &Pinned) -> Result<Vec<Verified<Roles>>, Refusal> {
    let mut chain: Vec<Verified<Roles>> = Vec::new();
    // Whether a statement was made too early is asked for the time of signing, below; so no moment is given here.
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
        GivenFiles::NotGiven | GivenFiles::ToCount(_) => {
            rows.say("files", Outcome::NotChecked, "the files were not given");
            return Ok(());
        }
        GivenFiles::Measured(measured) | GivenFiles::ToJudge { measured, .. } => measured,
    };
    match compare_files(manifest, measured) {
        Ok(()) => {
            rows.say("files", Outcome::Passed, format!("{} files", measured.len()));
            Ok(())
        }
        Err((refusal, words)) => {
            rows.say("files", Outcome::Refused(refusal), words);
            Err(refusal)
        }
    }
}

/// The first file that is not as the manifest says, in words for whoever has them before them.
fn compare_files(
    manifest: &Manifest,
    measured: &BTreeMap<Name, (u64, Digest)>,
) -> Result<(), (Refusal, String)> {
    let named: BTreeMap<&Name, _> =
        manifest.files.iter().map(|file| (&file.name, (file.bytes.0, file.sha256))).collect();
    if named.len() != manifest.files.len() {
        return Err((Refusal::FilesSet, "the manifest names a file twice".to_owned()));
    }
    if let Some(missing) = named.keys().find(|name| !measured.contains_key(**name)) {
        return Err((Refusal::FilesSet, format!("{missing} is missing")));
    }
    if let Some(surplus) = measured.keys().find(|name| !named.contains_key(name)) {
        return Err((Refusal::FilesSet, format!("{surplus} is not one of the release's")));
    }
    let differs = named.iter().find(|(name, file)| measured.get(**name) != Some(*file));
    let Some((name, (bytes, _))) = differs else { return Ok(()) };
    let found = measured.get(*name).map_or(0, |(bytes, _)| *bytes);
    let words = match found == *bytes {
        true => format!("{name} has other bytes than those that were released"),
        false => format!("{name} has {found} bytes; the one that was released has {bytes}"),
    };
    Err((Refusal::FileDiffers, words))
}

/// A catalogue entry of the file: whether it is a dataset's, and its name.
type Named = (bool, Name);

/// What the site had decided, and the catalogue entries in the order of the file.
pub(super) type FoundSite = (Arc<Site>, Vec<Named>);

/// What the site had decided, from the release file alone, and the catalogue entries in the order of the file.
fn site(
    file: &ReleaseFile,
    chain: Vec<Verified<Roles>>,
    rows: &mut Rows,
) -> Result<(Site, Vec<Named>), Refusal> {
    let newest = chain[chain.len() - 1].statement();
    let revocation = crate::site::check_revocation(&file.revocation, newest, Timestamp::LAST);
    let revocation = revocation.and_then(|revocation| {
        not_revoked(revocation.statement(), newest, file)?;
        Ok(revocation)
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
    let mut named = Vec::new();
    for envelope in &file.catalogue {
        let entry = rows.check("catalogue", site.check_catalogue(envelope, Timestamp::LAST), |entry| {
            format!("{} version {}", entry.statement().name, entry.statement().version)
        })?;
        let name = entry.statement().name.clone();
        named.push((matches!(entry.statement().entry, CatalogueEntry::Dataset { .. }), name.clone()));
        site.insert_catalogue(&name, entry);
    }
    let grant = rows.check("grant", site.check_grant(&file.grant, Timestamp::LAST), |grant| {
        format!("{} version {}", grant.statement().id, grant.statement().version)
    })?;
    site.insert_grant(grant);
    Ok((site, named))
}

/// The manifest's own signature is checked before this; whether its key still counts is known only with the revocation.
fn not_revoked(revocation: &Revocation, roles: &Roles, file: &ReleaseFile) -> Result<(), Refusal> {
    let revoked = revocation.keys.contains(&key_id(&roles.box_keys.signer))
        || revocation.releases.contains(&file.manifest.payload_digest());
    if revoked { Err(Refusal::Revoked) } else { Ok(()) }
}

/// Exactly the entries of what was used: one more would be unexplained, and a second one of a name would replace the
/// first.
fn catalogue_complete(named: &[Named], request: &Request) -> Result<(), Refusal> {
    let datasets = request.datasets.iter().map(|dataset| (true, dataset.name.clone()));
    let expected: Vec<_> = datasets.chain([(false, request.runtime.name.clone())]).collect();
    if named == expected { Ok(()) } else { Err(Refusal::CatalogueContent) }
}

fn check_log(
    file: &ReleaseFile,
    manifest: &Verified<Manifest>,
    roles: &Roles,
    accept_on_box_witness: bool,
    rows: &mut Rows,
) -> Result<Witnessed, Refusal> {
    let proof =
        rows.check("log proof", log_check::parse(&file.log_proof), |proof| format!("index {}", proof.index))?;
    let head = rows.check("checkpoint", log_check::open(&proof, roles), |head| {
        format!("{} with {} leaves", head.origin, head.size)
    })?;
    let leaf = log_check::leaf(Event::Release, manifest.envelope(), &roles.box_keys.signer)?;
    rows.check("log inclusion", log_check::included(&proof, &leaf, &head), |()| {
        format!("leaf {}", leaf.hash())
    })?;
    let witnessed = log_check::witnessed(&proof, roles, accept_on_box_witness);
    let (time, witnesses) = rows.check("witnesses", witnessed, |(_, names)| {
        format!("{} of {} needed: {}", names.len(), roles.witness_quorum, names.join(", "))
    })?;
    Ok(Witnessed { index: proof.index, head, time, witnesses })
}

/// The signer's word on when it signed is bounded by witnesses on both sides. Whatever expires was asked for the moment
/// of signing: had it to hold until witnesses come, a release could be logged and never be finished.
fn times(signed: Timestamp, witnessed: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    let ordered = signed <= witnessed.plus(CLOCK_SKEW_SECONDS)
        && witnessed <= signed.plus(WITNESS_SECONDS_LIMIT)
        && witnessed <= now.plus(CLOCK_SKEW_SECONDS);
    if ordered { Ok(()) } else { Err(Refusal::LogTime) }
}

fn in_force(site: &Site, request: &SignedRequest, at: Timestamp) -> Result<(), Refusal> {
    site.fresh(at)?;
    let grant = site.grant_unexpired(&request.request().grant, at)?;
    site.policy_unexpired(&grant.statement().policy, at).map(drop)
}
