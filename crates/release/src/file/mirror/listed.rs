//! Examining the release files of a mirror without reading the log: each is verified by itself, and its head held
//! against the mirror's by tiles. In the order of the log, what each manifest says was released before must be what those
//! before it add up to, so that one which is missing between others is found.

use blobs::Digest;

use super::{Audit, Found, check_past, envelope, follow, newest, newest_roles, say_release, tiles_of};
use crate::envelope::Envelope;
use crate::file::examination::Outcome;
use crate::log::Checkpoint;
use crate::refusal::Refusal;
use crate::site::check_revocation;
use crate::statement::{Manifest, Revocation, Roles};
use crate::value::Timestamp;

pub(super) fn examine(audit: &mut Audit<'_>) -> Found<Checkpoint> {
    let (note, head) = match newest(audit.mirror)? {
        Ok(found) => found,
        Err(refusal) => return Ok(audit.rows.check("checkpoint", Err(refusal), |_| String::new())),
    };
    let roles = roles(audit)?;
    let verified = audit.rows.check("roles", roles, |roles| format!("version {}", roles.version));
    let verified = verified.and_then(|roles| audit.check_head(&note, &roles).map(|()| roles));
    let roles = match verified {
        Ok(roles) => roles,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let revocation = revocation(audit, &roles)?;
    let said = |revocation: &Revocation| format!("version {}", revocation.version);
    match audit.rows.check("revocation", revocation, said) {
        Ok(revocation) => audit.sums.recalled.extend(revocation.releases),
        Err(refusal) => return Ok(Err(refusal)),
    }
    let found = releases(audit, &head)?;
    audit.rows.say(
        "entries",
        Outcome::NotChecked,
        "not read: releases that are not here and come last, and denials, are not seen",
    );
    Ok(found.map(|()| head))
}

/// The statements in a folder, by their payload digests.
fn folder(audit: &Audit<'_>, folder: &str) -> std::io::Result<Vec<Envelope>> {
    let mut envelopes = Vec::new();
    for name in audit.mirror.list(folder)?.iter().filter(|name| name.ends_with(".json")) {
        envelopes.extend(envelope(audit.mirror, &format!("{folder}/{name}"))?);
    }
    Ok(envelopes)
}

/// The chain of all roles that are there, from the pin.
fn roles(audit: &Audit<'_>) -> Found<Roles> {
    let envelopes = folder(audit, "roles")?;
    let versioned = envelopes.iter().map(|envelope| {
        let roles: Roles = envelope.unverified()?;
        Ok((roles.version, envelope))
    });
    let mut versioned = match versioned.collect::<Result<Vec<_>, Refusal>>() {
        Ok(versioned) => versioned,
        Err(refusal) => return Ok(Err(refusal)),
    };
    versioned.sort_by_key(|(version, _)| *version);
    let mut chain = Vec::new();
    for (_, envelope) in versioned {
        if let Err(refusal) = follow(&mut chain, envelope, audit.pinned) {
            return Ok(Err(refusal));
        }
    }
    Ok(newest_roles(&chain))
}

/// The newest revocation that is there. Earlier ones may be signed by people whom older roles named.
fn revocation(audit: &Audit<'_>, roles: &Roles) -> Found<Revocation> {
    let mut newest: Option<(Revocation, Envelope)> = None;
    for envelope in folder(audit, "revocations")? {
        let revocation: Revocation = match envelope.unverified() {
            Ok(revocation) => revocation,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if newest.as_ref().is_none_or(|(newest, _)| newest.version < revocation.version) {
            newest = Some((revocation, envelope));
        }
    }
    let newest = newest.ok_or(Refusal::LogStatement);
    Ok(newest
        .and_then(|(newest, envelope)| check_revocation(&envelope, roles, Timestamp::LAST).map(|_| newest)))
}

/// A release that was verified, as far as it is added up.
struct Listed {
    index: u64,
    digest: Digest,
    manifest: Manifest,
}

fn releases(audit: &mut Audit<'_>, head: &Checkpoint) -> Found<()> {
    let tiles = tiles_of(audit.mirror, head.size);
    let mut listed = Vec::new();
    let mut first = Ok(());
    for name in audit.mirror.list("releases")? {
        let digest = name.strip_suffix(".release.json").and_then(|digest| digest.parse::<Digest>().ok());
        let Some(digest) = digest else { continue };
        let checked = match audit.release(&digest)? {
            Ok(release) => check_past(&release, head, &tiles)?.map(|()| Listed {
                index: release.witnessed().index,
                digest,
                manifest: release.manifest().clone(),
            }),
            Err(refusal) => Err(refusal),
        };
        match checked {
            Ok(release) => listed.push(release),
            Err(refusal) => first = first.and(say_release(audit.rows, &digest, Err(refusal), false)),
        }
    }
    listed.sort_by_key(|release| release.index);
    for Listed { digest, manifest, .. } in listed {
        audit.sums.know_of(&manifest);
        let added = audit.sums.add(&manifest);
        let recalled = audit.sums.recalled.contains(&digest);
        first = first.and(say_release(audit.rows, &digest, added, recalled));
    }
    Ok(first)
}
