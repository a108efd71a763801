//! Examining the release files of a mirror without reading the log: each is verified by itself, and its head held
//! against the mirror's by tiles. In the order of the log, what each manifest says was released before must be what those
//! before it add up to, so that one which is missing between others is found.
//!
//! Roles and revocations are those of the folders. Without entries nobody can know that the log has no newer ones, and the
//! examination says so. But a folder that has less than its own release files show is refused.

use blobs::Digest;

use super::past::Past;
use super::sums::Addend;
use super::{Audit, Found, envelope, follow, newest, say_release};
use crate::envelope::Envelope;
use crate::file::LoggedRelease;
use crate::file::examination::Outcome;
use crate::log::Checkpoint;
use crate::refusal::Refusal;
use crate::site::check_revocation;
use crate::statement::{Revocation, Roles};
use crate::value::{Count, Timestamp};

pub(super) fn examine(audit: &mut Audit<'_>) -> Found<Checkpoint> {
    let (note, head) = match newest(audit.mirror)? {
        Ok(found) => found,
        Err(refusal) => return Ok(audit.rows.check("checkpoint", Err(refusal), |_| String::new())),
    };
    let roles = roles(audit)?;
    let verified = audit.rows.check("roles", roles, |roles| format!("version {}", roles.version));
    let verified = verified.and_then(|roles| audit.check_head(&note, &roles).map(|time| (roles, time)));
    let (roles, witnessed) = match verified {
        Ok(verified) => verified,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let revocation = revocation(audit, &roles)?;
    let said = |revocation: &Revocation| format!("version {}", revocation.version);
    let revocation = match audit.rows.check("revocation", revocation, said) {
        Ok(revocation) => revocation,
        Err(refusal) => return Ok(Err(refusal)),
    };
    audit.sums.recalled.extend(revocation.releases.iter().copied());
    let newest = Newest { roles: roles.version, revocation: revocation.version };
    let found = releases(audit, &head, newest)?;
    say_what_is_not_known(audit, newest, revocation.expires, witnessed);
    Ok(found.map(|()| head))
}

/// Versions of the newest statements that are here.
#[derive(Clone, Copy)]
struct Newest {
    roles: Count,
    revocation: Count,
}

impl Newest {
    /// Refuses folders that are older than what a release carries: newer roles or a newer revocation, with what it
    /// recalls, were left out.
    fn covers(self, release: &LoggedRelease) -> Result<(), Refusal> {
        let site = release.site();
        let covers = site.roles().version <= self.roles && site.revocation().version <= self.revocation;
        if covers { Ok(()) } else { Err(Refusal::LogStatement) }
    }
}

fn say_what_is_not_known(audit: &mut Audit<'_>, newest: Newest, expires: Timestamp, witnessed: Timestamp) {
    let mut say = |check: &str, text: String| audit.rows.say(check, Outcome::NotChecked, text);
    let roles =
        format!("version {} is the newest here; whether the log has newer ones is not known", newest.roles);
    say("newest roles", roles);
    let revocation = match witnessed > expires {
        true => format!("version {} expired at {expires}, before the head was witnessed", newest.revocation),
        false => format!("version {} is the newest here", newest.revocation),
    };
    say("newest revocation", revocation + "; a recall by a newer one is not seen");
    let entries = "not read: releases that are not here and come last, and denials, are not seen";
    say("entries", entries.to_owned());
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
    let mut newest = None;
    for (_, envelope) in versioned {
        match follow(newest.as_ref(), envelope, audit.pinned) {
            Ok(next) => newest = Some(next),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(newest.map(|roles| roles.statement().clone()).ok_or(Refusal::RolesPin))
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
    added: Addend,
    stands_on: StandsOn,
}

/// The roles and the revocation of a release, each by version and payload digest.
#[derive(Clone, Copy)]
struct StandsOn {
    roles: (Count, Digest),
    revocation: (Count, Digest),
}

impl StandsOn {
    fn of(release: &LoggedRelease) -> Self {
        let (roles, revocation) = (release.site().roles_id(), release.site().verified_revocation());
        Self {
            roles: (roles.version, roles.payload.sha256),
            revocation: (revocation.statement().version, revocation.payload_digest()),
        }
    }

    /// Refuses one that goes back behind a release before it. Whoever took over the signer's keys would name the roles and
    /// the revocation from before it was noticed.
    fn follows(self, before: Option<Self>) -> Result<(), Refusal> {
        let goes_on = |before: (Count, Digest), now: (Count, Digest)| before == now || before.0 < now.0;
        let sound = before.is_none_or(|before| {
            goes_on(before.roles, self.roles) && goes_on(before.revocation, self.revocation)
        });
        if sound { Ok(()) } else { Err(Refusal::LogOrder) }
    }
}

fn releases(audit: &mut Audit<'_>, head: &Checkpoint, newest: Newest) -> Found<()> {
    let past = Past::of(audit.mirror, head);
    let mut listed = Vec::new();
    let mut first = Ok(());
    for name in audit.mirror.list("releases")? {
        let digest = name.strip_suffix(".release.json").and_then(|digest| digest.parse::<Digest>().ok());
        let Some(digest) = digest else { continue };
        let checked = match audit.release(&digest)? {
            Ok(release) => {
                past.compare(&release, audit.rows)?.and_then(|()| newest.covers(&release)).map(|()| {
                    let index = release.witnessed().index;
                    let (added, stands_on) = (Addend::from(&release), StandsOn::of(&release));
                    Listed { index, digest, added, stands_on }
                })
            }
            Err(refusal) => Err(refusal),
        };
        match checked {
            Ok(release) => listed.push(release),
            Err(refusal) => first = first.and(say_release(audit.rows, &digest, Err(refusal), false)),
        }
    }
    listed.sort_by_key(|release| release.index);
    let mut before = None;
    for Listed { digest, added, stands_on, .. } in listed {
        audit.sums.know_of(&added);
        let added = audit.sums.add(&added);
        let follows = stands_on.follows(before);
        if follows.is_ok() {
            before = Some(stands_on);
        }
        let added = follows.and(added);
        let recalled = audit.sums.recalled.contains(&digest);
        first = first.and(say_release(audit.rows, &digest, added, recalled));
    }
    Ok(first)
}
