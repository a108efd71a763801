//! Whether a request is covered by a grant.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;

use crate::envelope::Envelope;
use crate::key::key_id;
use crate::refusal::Refusal;
use crate::report::OUTPUT_LIMIT;
use crate::site::{CLOCK_SKEW_SECONDS, Site, Verified};
use crate::statement::{
    CatalogueEntry, CodeReview, ColumnType, DEVICES_LIMIT, DeclaredColumn, DeclaredOutput, Grant,
    QUERY_PROGRAM, Query, Request, ValueType, WallName,
};
use crate::value::{Count, Name, Timestamp};

/// Longest time between a request's making and its expiry: 24 hours. The box keeps nonces at least that long.
pub const REQUEST_SECONDS_LIMIT: i64 = 24 * 3600;

/// Most tensors, columns or names of one output.
const PART_LIMIT: usize = 4096;

/// Most dimensions of a tensor.
const DIMENSION_LIMIT: usize = 16;

/// Most words of a command, and most bytes of all of them.
const COMMAND_LIMIT: (usize, usize) = (256, 32 * 1024);

/// A request signed by a member of the version of a grant that it names, for data and a runtime that the catalogue
/// has. It says nothing about the moment: for that there is [`AdmittedRequest`], which asks for the newest version.
#[derive(Debug, Clone)]
pub struct SignedRequest {
    request: Verified<Request>,
    grant: Verified<Grant>,
}

impl SignedRequest {
    /// Checks everything that does not depend on the moment.
    pub fn verify(envelope: &Envelope, site: &Site) -> Result<Self, Refusal> {
        let request: Request = envelope.unverified()?;
        if request.site != *site.name() {
            return Err(Refusal::OtherSite);
        }
        let grant = site.grant_unrevoked(&request.grant)?;
        if grant.statement().project != request.project {
            return Err(Refusal::RequestGrant);
        }
        check_signature(envelope, &request, grant.statement(), site)?;
        check_data(&request, grant.statement(), site)?;
        check_runtime(&request, site)?;
        check_content(&request, grant.statement(), site)?;
        let open = request.expires.seconds() - request.issued_at.seconds();
        if !(1..=REQUEST_SECONDS_LIMIT).contains(&open) {
            return Err(Refusal::RequestTime);
        }
        Ok(Self { request: Verified::new(request, envelope.clone()), grant: grant.clone() })
    }

    /// What is asked for.
    pub fn request(&self) -> &Request {
        self.request.statement()
    }

    /// The request's envelope.
    pub fn envelope(&self) -> &Envelope {
        self.request.envelope()
    }

    /// The request's digest, by which everything later names it.
    pub fn payload_digest(&self) -> Digest {
        self.request.payload_digest()
    }

    /// The grant that covers it.
    pub fn grant(&self) -> &Verified<Grant> {
        &self.grant
    }

    /// The weakest wall in which it may run.
    pub fn least_wall(&self) -> WallName {
        self.grant.statement().least_wall
    }
}

/// A request that is covered now, as far as statements can tell. Nonce and charge are the enclave's own transaction,
/// and a grant may demand that stewards review its code first.
#[derive(Debug, Clone)]
pub struct AdmittedRequest(SignedRequest);

impl AdmittedRequest {
    /// Admits a request: roles, revocation, grant and policy are in force, it is neither expired nor from the
    /// future. Whether its code may run is for [`super::ReviewedCode`].
    pub fn admit(envelope: &Envelope, site: &Site, now: Timestamp) -> Result<Self, Refusal> {
        site.fresh(now)?;
        let signed = SignedRequest::verify(envelope, site)?;
        let request = signed.request();
        let grant = site.grant_in_force(&request.grant, now)?.statement();
        site.policy_in_force(&grant.policy, now)?;
        if request.issued_at > now.plus(CLOCK_SKEW_SECONDS) || now >= request.expires {
            return Err(Refusal::RequestTime);
        }
        // A verdict by a revoked key counts for nothing: the run would be charged in vain.
        if site.revocation().keys.contains(&key_id(&site.roles().box_keys.enclave)) {
            return Err(Refusal::Revoked);
        }
        Ok(Self(signed))
    }

    /// The request without the word about the moment.
    pub fn signed(&self) -> &SignedRequest {
        &self.0
    }

    /// What is asked for.
    pub fn request(&self) -> &Request {
        self.0.request()
    }

    /// The request's digest.
    pub fn payload_digest(&self) -> Digest {
        self.0.payload_digest()
    }

    /// The grant that covers it.
    pub fn grant(&self) -> &Verified<Grant> {
        self.0.grant()
    }

    /// True if stewards must review its code before it runs.
    pub fn needs_code_review(&self) -> bool {
        self.grant().statement().code_review == CodeReview::BeforeRun
    }
}

fn check_signature(
    envelope: &Envelope,
    request: &Request,
    grant: &Grant,
    site: &Site,
) -> Result<(), Refusal> {
    let requester = &request.requester;
    let member = grant.members.get(&requester.id).ok_or(Refusal::RequestSignature)?;
    let key = member.keys.iter().find(|key| key_id(key) == requester.key_id);
    let key = key.ok_or(Refusal::RequestSignature)?;
    if site.is_revoked(&requester.id, &requester.key_id) {
        return Err(Refusal::Revoked);
    }
    envelope.signed_once_by([key], Refusal::RequestSignature).map(drop)
}

fn check_data(request: &Request, grant: &Grant, site: &Site) -> Result<(), Refusal> {
    let names: BTreeSet<_> = request.datasets.iter().map(|dataset| &dataset.name).collect();
    if names.is_empty() || names.len() != request.datasets.len() {
        return Err(Refusal::RequestData);
    }
    let known = request.datasets.iter().all(|dataset| {
        grant.datasets.contains_key(&dataset.name)
            && site.snapshot(&dataset.name, &dataset.tree.sha256).is_some()
    });
    if known { Ok(()) } else { Err(Refusal::RequestData) }
}

fn check_runtime(request: &Request, site: &Site) -> Result<(), Refusal> {
    let entry = site.runtime(&request.runtime.name).ok_or(Refusal::RequestRuntime)?;
    match &entry.statement().entry {
        // Code of a researcher's that ran in it could pass its counts off as the box's own; a question that ran in another
        // would be answered by who knows whom.
        CatalogueEntry::Runtime { tree, answers_queries, .. }
            if *tree == request.runtime.tree && *answers_queries == request.query.is_some() =>
        {
            Ok(())
        }
        CatalogueEntry::Runtime { .. } | CatalogueEntry::Dataset { .. } => Err(Refusal::RequestRuntime),
    }
}

fn check_content(request: &Request, grant: &Grant, site: &Site) -> Result<(), Refusal> {
    let runnable = is_runnable(&request.command);
    let limits = &request.limits;
    let limited = limits.cpus.0 > 0 && limits.memory_bytes.0 > 0 && limits.seconds.0 > 0;
    let outputs = &request.outputs;
    // Names that differ in case alone are one file on some recipients' machines.
    let paths: BTreeSet<_> =
        outputs.iter().map(|output| output.path().as_str().to_ascii_lowercase()).collect();
    let counted = (1..=OUTPUT_LIMIT).contains(&outputs.len()) && paths.len() == outputs.len();
    let limited = limited && are_given(&request.devices, &grant.devices);
    let declared = || outputs.iter().all(|output| is_declared(output, request, site)) && bits_fit(outputs);
    let asked = || request.query.as_ref().is_none_or(|query| is_asked(query, request, site));
    if runnable && limited && counted && declared() && asked() {
        Ok(())
    } else {
        Err(Refusal::RequestContent)
    }
}

fn is_runnable(words: &[String]) -> bool {
    let bytes: usize = words.iter().map(String::len).sum();
    words.first().is_some_and(|program| !program.is_empty())
        && words.len() <= COMMAND_LIMIT.0
        && bytes <= COMMAND_LIMIT.1
        // A NUL ends an argument for the kernel, so what runs would not be what was signed.
        && words.iter().all(|word| !word.contains('\0'))
}

/// A question names what is public alone, and nothing of its job is the requester's choice but that: another command would
/// run the program to other ends, and another output could have its shares released.
fn is_asked(query: &Query, request: &Request, site: &Site) -> bool {
    let [dataset] = &request.datasets[..] else { return false };
    let entry = site.dataset(&query.dataset).filter(|_| dataset.name == query.dataset);
    request.command == [QUERY_PROGRAM]
        && request.devices.is_empty()
        && entry.is_some_and(|entry| query.check(entry.statement()).is_ok())
        && query.output().is_ok_and(|output| request.outputs == [output])
}

/// Of each kind at least one, and no more than the grant gives.
fn are_given(asked: &BTreeMap<Name, Count>, given: &BTreeMap<Name, Count>) -> bool {
    let most = |kind: &Name| given.get(kind).map_or(0, |count| count.0.min(DEVICES_LIMIT));
    asked.iter().all(|(kind, count)| (1..=most(kind)).contains(&count.0))
}

/// Bits are counted as values times at most 64; a product or sum that wraps would cost nothing.
fn bits_fit(outputs: &[DeclaredOutput]) -> bool {
    let tensors = outputs.iter().flat_map(|output| match output {
        DeclaredOutput::Weights { tensors, .. } => &tensors[..],
        DeclaredOutput::Metrics { .. } | DeclaredOutput::Table { .. } | DeclaredOutput::Figure { .. } => &[],
    });
    let bits = |shape: &[Count]| shape.iter().try_fold(64u64, |bits, size| bits.checked_mul(size.0));
    let mut total = Some(0u64);
    for tensor in tensors {
        total = total.and_then(|total| total.checked_add(bits(&tensor.shape)?));
    }
    total.is_some()
}

fn is_declared(output: &DeclaredOutput, request: &Request, site: &Site) -> bool {
    match output {
        DeclaredOutput::Weights { tensors, evaluation, .. } => {
            let sized = tensors.iter().all(|tensor| {
                tensor.shape.len() <= DIMENSION_LIMIT && tensor.shape.iter().all(|size| size.0 > 0)
            });
            // A digest is that of one precision; in another the tensor would be a trained one that nobody charged.
            let is_fixed = tensors.iter().any(|tensor| tensor.sha256.is_some());
            let evaluated = evaluation.as_ref();
            let evaluated = evaluated.is_none_or(|one| !is_fixed && is_runnable(&one.command));
            sized && evaluated && are_different(tensors.iter().map(|tensor| &tensor.name))
        }
        DeclaredOutput::Metrics { names, degrees_of_freedom, .. } => {
            are_different(names.iter()) && degrees_of_freedom.as_ref().is_none_or(|name| names.contains(name))
        }
        DeclaredOutput::Table {
            columns,
            count_column,
            largest_column,
            two_largest_column,
            structural_zeros,
            noised,
            ..
        } => {
            // Rules that noise stands in for look away; a job that could say so of its own numbers would need no noise.
            let is_noised = request.query.as_ref().is_some_and(|query| query.privacy.is_some());
            let marks = [count_column, largest_column, two_largest_column];
            *noised == is_noised
                && are_columns(columns, request, site)
                && marks.into_iter().all(|mark| is_mark(mark, columns))
                && are_structural_zeros(structural_zeros, columns)
        }
        DeclaredOutput::Figure { columns, count_column, .. } => {
            are_columns(columns, request, site) && is_mark(count_column, columns)
        }
    }
}

fn are_different<'a>(names: impl ExactSizeIterator<Item = &'a Name>) -> bool {
    let count = names.len();
    (1..=PART_LIMIT).contains(&count) && names.collect::<BTreeSet<_>>().len() == count
}

/// A count or a share is a number of the table itself.
fn is_mark(mark: &Option<Name>, columns: &[DeclaredColumn]) -> bool {
    mark.as_ref().is_none_or(|mark| {
        columns
            .iter()
            .any(|column| column.name == *mark && !matches!(column.column_type, ColumnType::Category { .. }))
    })
}

/// Rows that nobody can stand in: one value for each category, and no row twice.
fn are_structural_zeros(zeros: &[Vec<String>], columns: &[DeclaredColumn]) -> bool {
    let is_category = |column: &&DeclaredColumn| matches!(column.column_type, ColumnType::Category { .. });
    let width = columns.iter().filter(is_category).count();
    zeros.len() <= PART_LIMIT
        && zeros.iter().all(|row| width > 0 && row.len() == width)
        && zeros.iter().collect::<BTreeSet<_>>().len() == zeros.len()
}

fn are_columns(columns: &[DeclaredColumn], request: &Request, site: &Site) -> bool {
    are_different(columns.iter().map(|column| &column.name))
        && columns.iter().all(|column| match &column.column_type {
            ColumnType::Integer | ColumnType::Decimal(_) => true,
            ColumnType::Category { dataset, category } => {
                request.datasets.iter().any(|named| named.name == *dataset)
                    && is_category(site, dataset, category)
            }
        })
}

fn is_category(site: &Site, dataset: &Name, category: &Name) -> bool {
    match site.dataset(dataset).map(|entry| &entry.statement().entry) {
        Some(CatalogueEntry::Dataset { tables, .. }) => tables.iter().any(|table| {
            table
                .columns
                .iter()
                .any(|column| column.name == *category && column.value_type == ValueType::Category)
        }),
        Some(CatalogueEntry::Runtime { .. }) | None => false,
    }
}
