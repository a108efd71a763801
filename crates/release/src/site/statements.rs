//! Revocation, policies, catalogue, grants and denials, each checked against the newest roles.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::directory::{PolicyFiles, Versions};
use super::seen::RevokedThings;
use super::{
    CLOCK_SKEW_SECONDS, SetAside, Site, SiteError, Verified, VerifiedCatalogue, VerifiedPolicy,
    signed_by_threshold,
};
use crate::envelope::{Envelope, SignaturesMade};
use crate::key;
use crate::refusal::Refusal;
use crate::statement::{
    Catalogue, CatalogueEntry, CodeDenial, DEVICES_LIMIT, Denial, DenialReason, Grant, PUBLIC_FILES_LIMIT,
    Policy, PrivacyBudget, Revocation, Roles, ValueType,
};
use crate::value::{Name, Timestamp};

/// Most members, datasets or supervisors of a grant, and columns, snapshots or tables of a dataset.
const LIST_LIMIT: usize = 4096;

/// The newest revocation, after comparing all versions that are there: nothing may be dropped.
pub(super) fn revocation(
    versions: &Versions,
    roles: &Roles,
    now: Timestamp,
) -> Result<Verified<Revocation>, SiteError> {
    let mut before: Option<RevokedThings> = None;
    let mut newest = None;
    for (path, envelope) in versions.values() {
        let refused = |refusal| SiteError::Refused { path: path.clone(), refusal };
        let statement: Revocation = envelope.unverified().map_err(refused)?;
        let revoked = RevokedThings::of(&statement);
        if before.is_some_and(|before| !before.is_within(&revoked)) {
            return Err(refused(Refusal::RevocationDropped));
        }
        before = Some(revoked);
        newest = Some((path, envelope));
    }
    let (path, envelope) = newest.ok_or(SiteError::Missing("revocation"))?;
    check_revocation(envelope, roles, now)
        .map_err(|refusal| SiteError::Refused { path: path.clone(), refusal })
}

pub(crate) fn check_revocation(
    envelope: &Envelope,
    roles: &Roles,
    now: Timestamp,
) -> Result<Verified<Revocation>, Refusal> {
    let statement: Revocation = envelope.unverified()?;
    belongs(roles, &statement.site, statement.issued_at, now)?;
    let role = &roles.revocation;
    // Whoever a revocation itself revokes does not count among its signers: a stolen key cannot be the one that
    // says which keys are stolen.
    let own = Some(&statement);
    let made = &mut SignaturesMade::default();
    let refusal = Refusal::RevocationSignatures;
    signed_by_threshold(envelope, roles, own, &role.people, role.threshold.0, made, refusal)?;
    Ok(Verified::new(statement, envelope.clone()))
}

impl Site {
    pub(super) fn add_policies(&mut self, files: &BTreeMap<Name, PolicyFiles>, now: Timestamp) {
        for (name, policy) in files {
            let newest = policy.versions.keys().next_back();
            for (version, (path, envelope)) in &policy.versions {
                let file = policy.toml.get(version).map(Vec::as_slice);
                match self.check_policy(envelope, file, now) {
                    Ok(policy) if Some(version) == newest => {
                        self.policies.insert(name.clone(), policy);
                    }
                    Ok(policy) => self.earlier_policies.push(policy),
                    Err(refusal) => self.put_aside(path, refusal),
                }
            }
        }
    }

    pub(crate) fn check_policy(
        &self,
        envelope: &Envelope,
        file: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<VerifiedPolicy, Refusal> {
        let statement: Policy = envelope.unverified()?;
        self.belongs(&statement.site, statement.issued_at, now)?;
        let role = &self.roles().policy;
        self.signed_by(envelope, &role.people, role.threshold.0, Refusal::PolicySignatures)?;
        let file = file.filter(|file| blobs::Digest::of(file) == statement.file.sha256);
        let file = file.ok_or(Refusal::PolicyFile)?.to_vec();
        Ok(VerifiedPolicy { statement: Verified::new(statement, envelope.clone()), file })
    }

    pub(super) fn add_catalogue(
        &mut self,
        datasets: &BTreeMap<Name, Versions>,
        runtimes: &BTreeMap<Name, Versions>,
        now: Timestamp,
    ) {
        for (name, versions) in datasets.iter().chain(runtimes) {
            let Some((_, (path, envelope))) = versions.last_key_value() else { continue };
            match self.check_catalogue(envelope, now) {
                Ok(entry) => self.insert_catalogue(name, entry),
                Err(refusal) => self.put_aside(path, refusal),
            }
        }
    }

    pub(crate) fn insert_catalogue(&mut self, name: &Name, entry: VerifiedCatalogue) {
        let entries = match entry.statement().entry {
            CatalogueEntry::Dataset { .. } => &mut self.datasets,
            CatalogueEntry::Runtime { .. } => &mut self.runtimes,
        };
        entries.insert(name.clone(), entry);
    }

    pub(crate) fn insert_policy(&mut self, policy: VerifiedPolicy) {
        self.policies.insert(policy.statement().statement().name.clone(), policy);
    }

    pub(crate) fn insert_grant(&mut self, grant: Verified<Grant>) {
        self.grants.insert(grant.statement().id.clone(), grant);
    }

    pub(crate) fn check_catalogue(
        &self,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<VerifiedCatalogue, Refusal> {
        let statement: Catalogue = envelope.unverified()?;
        self.belongs(&statement.site, statement.issued_at, now)?;
        let roles = self.roles();
        let (people, threshold) = match &statement.entry {
            CatalogueEntry::Dataset { .. } => {
                let role = roles.datasets.get(&statement.name).ok_or(Refusal::CatalogueSignatures)?;
                (&role.stewards, role.catalogue_threshold)
            }
            CatalogueEntry::Runtime { .. } => (&roles.runtime.people, roles.runtime.threshold),
        };
        self.signed_by(envelope, people, threshold.0, Refusal::CatalogueSignatures)?;
        check_entry(&statement.entry)?;
        Ok(Verified::new(statement, envelope.clone()))
    }

    pub(super) fn add_grants(&mut self, grants: &BTreeMap<Name, Versions>, now: Timestamp) {
        for versions in grants.values() {
            let newest = versions.keys().next_back();
            for (version, (path, envelope)) in versions {
                match self.check_grant(envelope, now) {
                    Ok(grant) if Some(version) == newest => self.insert_grant(grant),
                    Ok(grant) => self.earlier_grants.push(grant),
                    Err(refusal) => self.put_aside(path, refusal),
                }
            }
        }
    }

    pub(crate) fn check_grant(
        &self,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<Verified<Grant>, Refusal> {
        let statement: Grant = envelope.unverified()?;
        self.belongs(&statement.site, statement.issued_at, now)?;
        if statement.datasets.is_empty() {
            return Err(Refusal::GrantContent);
        }
        for dataset in statement.datasets.keys() {
            let role = self.roles().datasets.get(dataset).ok_or(Refusal::GrantContent)?;
            self.signed_by(envelope, &role.stewards, role.grant_threshold.0, Refusal::GrantSignatures)?;
        }
        self.check_grant_content(&statement)?;
        Ok(Verified::new(statement, envelope.clone()))
    }

    fn check_grant_content(&self, grant: &Grant) -> Result<(), Refusal> {
        let supervisors = grant.approvals.supervisors.len();
        let sizes = [grant.members.len(), grant.datasets.len(), supervisors, grant.devices.len()];
        if sizes.into_iter().any(|size| size > LIST_LIMIT) {
            return Err(Refusal::SizeLimit);
        }
        self.check_members(grant)?;
        let people = &self.roles().people;
        let supervisors: BTreeSet<_> = grant.approvals.supervisors.iter().collect();
        let sound = grant.approvals.threshold.0 > 0
            && grant.approvals.organisations.0 > 0
            && grant.expires > grant.issued_at
            && !grant.members.is_empty()
            && supervisors.len() == grant.approvals.supervisors.len()
            && supervisors.iter().all(|name| people.contains_key(*name))
            && grant.devices.values().all(|count| (1..=DEVICES_LIMIT).contains(&count.0));
        if sound { Ok(()) } else { Err(Refusal::GrantContent) }
    }

    /// A member's key is nobody else's: one that is also a steward's under another name would let one person ask
    /// and approve.
    fn check_members(&self, grant: &Grant) -> Result<(), Refusal> {
        let roles = self.roles();
        let rooms = [roles.box_keys.enclave.public, roles.box_keys.signer.public, roles.log.public];
        let witnesses = roles.witnesses.iter().map(|witness| witness.public);
        let mut taken: BTreeSet<_> = rooms.into_iter().chain(witnesses).map(|key| key.0).collect();
        for (name, member) in &grant.members {
            if member.keys.is_empty() {
                return Err(Refusal::GrantContent);
            }
            let held = |public: &[u8; 32]| {
                let others = roles.people.iter().filter(|(person, _)| *person != name);
                others.flat_map(|(_, person)| &person.keys).any(|key| key.public.0 == *public)
            };
            for key in &member.keys {
                key::enrolable(key).map_err(|_| Refusal::KeyUnusable)?;
                if held(&key.public.0) || !taken.insert(key.public.0) {
                    return Err(Refusal::KeyShared);
                }
            }
        }
        Ok(())
    }

    pub(super) fn add_denials(&mut self, denials: &[(std::path::PathBuf, Envelope)]) {
        for (path, envelope) in denials {
            match self.check_denial(envelope) {
                Ok(denial) => self.denials.push(denial),
                Err(refusal) => self.put_aside(path, refusal),
            }
        }
    }

    /// A denial by someone who holds a role. Whether they may deny one verdict is for [`crate::path::Denied`].
    pub(crate) fn check_denial(&self, envelope: &Envelope) -> Result<Verified<Denial>, Refusal> {
        let statement: Denial = envelope.unverified()?;
        if statement.site != *self.name() {
            return Err(Refusal::OtherSite);
        }
        envelope.signed_once_by(self.keys_of(&statement.steward), Refusal::ApprovalSignature)?;
        check_reasons(&statement.reasons)?;
        Ok(Verified::new(statement, envelope.clone()))
    }

    pub(super) fn add_code_denials(&mut self, denials: &[(std::path::PathBuf, Envelope)]) {
        for (path, envelope) in denials {
            match self.check_code_denial(envelope) {
                Ok(denial) => self.code_denials.push(denial),
                Err(refusal) => self.put_aside(path, refusal),
            }
        }
    }

    /// A refusal of code by someone who holds a role. Whether they may refuse one request's is for
    /// [`crate::path::CodeDenied`].
    pub(crate) fn check_code_denial(&self, envelope: &Envelope) -> Result<Verified<CodeDenial>, Refusal> {
        let statement: CodeDenial = envelope.unverified()?;
        if statement.site != *self.name() {
            return Err(Refusal::OtherSite);
        }
        envelope.signed_once_by(self.keys_of(&statement.steward), Refusal::ApprovalSignature)?;
        check_reasons(&statement.reasons)?;
        Ok(Verified::new(statement, envelope.clone()))
    }

    /// Roles and revocation alone, for a verifier that adds the rest as it checks it.
    pub(crate) fn bare(roles: Vec<Verified<Roles>>, revocation: Verified<Revocation>) -> Self {
        Self {
            roles,
            revocation,
            policies: BTreeMap::new(),
            grants: BTreeMap::new(),
            datasets: BTreeMap::new(),
            runtimes: BTreeMap::new(),
            earlier_grants: Vec::new(),
            earlier_policies: Vec::new(),
            denials: Vec::new(),
            code_denials: Vec::new(),
            set_aside: Vec::new(),
        }
    }

    fn signed_by(
        &self,
        envelope: &Envelope,
        people: &[Name],
        threshold: u64,
        refusal: Refusal,
    ) -> Result<(), Refusal> {
        let made = &mut SignaturesMade::default();
        signed_by_threshold(envelope, self.roles(), Some(self.revocation()), people, threshold, made, refusal)
    }

    fn belongs(&self, site: &Name, issued_at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        belongs(self.roles(), site, issued_at, now)
    }

    fn put_aside(&mut self, path: &Path, refusal: Refusal) {
        self.set_aside.push(SetAside { path: path.to_owned(), refusal });
    }
}

/// At least one, each once, in one order.
fn check_reasons(reasons: &[DenialReason]) -> Result<(), Refusal> {
    let sound = !reasons.is_empty() && reasons.is_sorted_by(|left, right| left < right);
    if sound { Ok(()) } else { Err(Refusal::StatementForm) }
}

fn belongs(roles: &Roles, site: &Name, issued_at: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if *site != roles.site {
        return Err(Refusal::OtherSite);
    }
    if issued_at <= now.plus(CLOCK_SKEW_SECONDS) { Ok(()) } else { Err(Refusal::OutOfForce) }
}

fn check_entry(entry: &CatalogueEntry) -> Result<(), Refusal> {
    let CatalogueEntry::Dataset { snapshots, unit_column, tables, privacy, public, .. } = entry else {
        return Ok(());
    };
    let columns = tables.iter().map(|table| table.columns.len()).sum::<usize>();
    if snapshots.len() > LIST_LIMIT || tables.len() > LIST_LIMIT || columns > LIST_LIMIT {
        return Err(Refusal::SizeLimit);
    }
    let files: BTreeSet<_> = tables.iter().map(|table| &table.file).collect();
    let trees: BTreeSet<_> = snapshots.iter().map(|snapshot| snapshot.tree.sha256).collect();
    let has_unit = tables.iter().any(|table| table.columns.iter().any(|column| column.name == *unit_column));
    let sound = !snapshots.is_empty()
        && has_unit
        && privacy.as_ref().is_none_or(PrivacyBudget::is_sound)
        && public.len() <= PUBLIC_FILES_LIMIT
        && public.is_sorted_by(|left, right| left.name < right.name)
        && files.len() == tables.len()
        && trees.len() == snapshots.len()
        && tables.iter().all(|table| table_is_sound(&table.columns));
    if sound { Ok(()) } else { Err(Refusal::CatalogueContent) }
}

fn table_is_sound(columns: &[crate::statement::Column]) -> bool {
    let names: BTreeSet<_> = columns.iter().map(|column| &column.name).collect();
    let categories = columns.iter().all(|column| match column.value_type {
        ValueType::Category => column.categories.is_sorted_by(|left, right| left < right),
        ValueType::Integer | ValueType::Decimal | ValueType::Text => column.categories.is_empty(),
    });
    names.len() == columns.len() && categories
}
