//! Reading the entries of a log, all or those since the last time. Leaves of denials are counted and dropped, so that
//! memory grows with what the site decided and released alone.

use blobs::Digest;

use super::past::Past;
use super::sums::{Addend, Sums};
use super::{
    Audit, AuditState, Found, follow, from_tiles, newest, newest_roles, say_release, statement, tiles_of,
};
use crate::file::SeenHead;
use crate::file::examination::Outcome;
use crate::log::frontier::Frontier;
use crate::log::{Checkpoint, Event, Leaf, tiles};
use crate::refusal::Refusal;
use crate::site::Verified;
use crate::statement::{Revocation, Roles};
use crate::value::Count;

/// Largest bundle of entries: 256 entries of at most 64 KiB.
const BUNDLE_LIMIT: usize = 256 * (65_535 + 2);

/// What was read before, or nothing.
struct Begin {
    edge: Frontier,
    roles: Vec<Verified<Roles>>,
}

/// The leaves that stand for something public, with their places.
type PublicLeaves = Vec<(u64, Leaf)>;

pub(super) fn examine(
    audit: &mut Audit<'_>,
    since: Option<&AuditState>,
) -> Found<(Checkpoint, Option<AuditState>)> {
    let (note, head) = match newest(audit.mirror)? {
        Ok(found) => found,
        Err(refusal) => return refuse(audit, "entries", refusal),
    };
    let begin = match since {
        Some(state) => resume(audit, state, &head)?,
        None => Ok(Begin { edge: Frontier::default(), roles: Vec::new() }),
    };
    let Begin { edge, roles } = match begin {
        Ok(begin) => begin,
        Err(refusal) => return refuse(audit, "since", refusal),
    };
    let leaves = match entries(audit, edge, &head)? {
        Ok(leaves) => leaves,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let chain = follow_all(audit, roles, &leaves)?;
    let chain = audit.rows.check("roles", chain, |chain| format!("{} versions", chain.len()));
    let verified = chain.and_then(|chain| {
        let roles = newest_roles(&chain)?;
        audit.check_head(&note, &roles).map(|_| chain)
    });
    let chain = match verified {
        Ok(chain) => chain,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let statements = statements(audit, &leaves)?;
    if let Err(refusal) = audit.rows.check("statements", statements, |count| format!("{count} are there")) {
        return Ok(Err(refusal));
    }
    Ok(releases(audit, &leaves, &head)?.map(|()| {
        let seen = SeenHead { origin: head.origin.clone(), size: Count(head.size), root: head.root };
        let roles = chain.iter().map(Verified::payload_digest).collect();
        (head, Some(AuditState::new(audit.pinned, seen, roles, &audit.sums)))
    }))
}

fn refuse<T>(audit: &mut Audit<'_>, check: &str, refusal: Refusal) -> Found<T> {
    Ok(audit.rows.check(check, Err(refusal), |_: &T| String::new()))
}

/// Goes on where an earlier examination ended. The tiles must lead to the root that it saw: so this log is the one that
/// was read then, and none of what was read is gone.
fn resume(audit: &mut Audit<'_>, state: &AuditState, head: &Checkpoint) -> Found<Begin> {
    let seen = &state.head;
    if state.pin != audit.pinned.roles {
        return Ok(Err(Refusal::RolesPin));
    }
    if state.accept_on_box_witness && !audit.pinned.accept_on_box_witness {
        return Ok(Err(Refusal::LogWitnesses));
    }
    if head.origin != seen.origin || head.size < seen.size.0 {
        return Ok(Err(Refusal::Rollback));
    }
    let tiles = tiles_of(audit.mirror, head.size);
    let edge = match from_tiles(Frontier::of(&tiles, seen.size.0))? {
        Ok(edge) => edge,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if edge.root() != seen.root {
        return Ok(Err(Refusal::Rollback));
    }
    let mut roles = Vec::new();
    for digest in &state.roles {
        let envelope = super::envelope(audit.mirror, &format!("roles/{digest}.json"))?;
        let envelope = envelope.filter(|envelope| envelope.payload_digest() == *digest);
        let followed = envelope.ok_or(Refusal::LogStatement);
        if let Err(refusal) = followed.and_then(|envelope| follow(&mut roles, &envelope, audit.pinned)) {
            return Ok(Err(refusal));
        }
    }
    audit.sums = Sums::resume(state.totals(), state.recalled.clone(), state.tables());
    let said = |begin: &Begin| format!("continues the {} leaves that were read before", begin.edge.size());
    Ok(audit.rows.check("since", Ok(Begin { edge, roles }), said))
}

/// Reads the entries to the right of an edge. They and what is left of it must lead to the head's root.
fn entries(audit: &mut Audit<'_>, mut edge: Frontier, head: &Checkpoint) -> Found<PublicLeaves> {
    let begin = edge.size();
    let mut leaves = Vec::new();
    for bundle in tiles::bundles_from(begin, head.size) {
        let entries = match read_bundle(audit, &bundle)? {
            Ok(entries) => entries,
            Err(refusal) => return refuse(audit, "entries", refusal),
        };
        let first = bundle.index * tiles::TILE_WIDTH;
        for (index, entry) in (first..).zip(entries).filter(|(index, _)| *index >= begin) {
            let Ok(leaf) = Leaf::parse(&entry) else { return refuse(audit, "entries", Refusal::LogEntries) };
            edge.append(leaf.hash());
            match leaf.event() {
                // A denial is not public; its leaf says that there is one.
                Event::Denial | Event::CodeDenial => {}
                _ => leaves.push((index, leaf)),
            }
        }
    }
    let leads = if edge.root() == head.root { Ok(leaves) } else { Err(Refusal::LogEntries) };
    let said = |_: &PublicLeaves| format!("{} leaves, {} of them read", head.size, head.size - begin);
    Ok(audit.rows.check("entries", leads, said))
}

fn read_bundle(audit: &Audit<'_>, bundle: &tiles::Tile) -> Found<Vec<Vec<u8>>> {
    // A full bundle may have taken the place of a part of it.
    let bytes = audit.mirror.read(&format!("log/{}", bundle.path()), BUNDLE_LIMIT)?;
    let entries = bytes.and_then(|bytes| tiles::read_bundle(&bytes, bundle.width).ok());
    Ok(entries.ok_or(Refusal::LogEntries))
}

/// The chain of roles in the order of the log, from the pin.
fn follow_all(
    audit: &Audit<'_>,
    mut chain: Vec<Verified<Roles>>,
    leaves: &PublicLeaves,
) -> Found<Vec<Verified<Roles>>> {
    for (_, leaf) in leaves.iter().filter(|(_, leaf)| leaf.event() == Event::Roles) {
        let envelope = statement(audit.mirror, leaf, "roles")?.ok_or(Refusal::LogStatement);
        if let Err(refusal) = envelope.and_then(|envelope| follow(&mut chain, &envelope, audit.pinned)) {
            return Ok(Err(refusal));
        }
    }
    Ok(if chain.is_empty() { Err(Refusal::RolesPin) } else { Ok(chain) })
}

/// Reads every statement of the site that is a leaf, and remembers what grants allow and what is recalled.
fn statements(audit: &mut Audit<'_>, leaves: &PublicLeaves) -> Found<usize> {
    let mut count = 0;
    let is_read_now = |release: &Digest| {
        leaves.iter().any(|(_, leaf)| leaf.event() == Event::Release && leaf.payload() == *release)
    };
    for (_, leaf) in leaves {
        let folder = match leaf.event() {
            Event::Roles => "roles",
            Event::Policy => "policies",
            Event::Grant => "grants",
            Event::Catalogue => "catalogue",
            Event::Revocation => "revocations",
            Event::Release | Event::Denial | Event::CodeDenial => continue,
        };
        let Some(envelope) = statement(audit.mirror, leaf, folder)? else {
            return Ok(Err(Refusal::LogStatement));
        };
        let read = match leaf.event() {
            Event::Grant => envelope.unverified().map(|grant| audit.sums.know(&grant)),
            Event::Revocation => envelope.unverified().map(|revocation: Revocation| {
                for release in revocation.releases {
                    // A release that is read now says so in a row of its own.
                    if audit.sums.recalled.insert(release) && !is_read_now(&release) {
                        audit.rows.say("recalled", Outcome::Noted, format!("release {release}"));
                    }
                }
            }),
            _ => Ok(()),
        };
        if let Err(refusal) = read {
            return Ok(Err(refusal));
        }
        count += 1;
    }
    Ok(Ok(count))
}

/// All are read, whatever is found in one, so that the totals are complete.
fn releases(audit: &mut Audit<'_>, leaves: &PublicLeaves, head: &Checkpoint) -> Found<()> {
    let past = Past::of(audit.mirror, head);
    let mut first = Ok(());
    for (index, leaf) in leaves.iter().filter(|(_, leaf)| leaf.event() == Event::Release) {
        let checked = match audit.release(&leaf.payload())? {
            Ok(release) if release.witnessed().index != *index => Err(Refusal::LogEntries),
            Ok(release) => match past.compare(&release, audit.rows)? {
                Ok(()) => audit.sums.add(&Addend::from(&release)),
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        let recalled = audit.sums.recalled.contains(&leaf.payload());
        first = first.and(say_release(audit.rows, &leaf.payload(), checked, recalled));
    }
    Ok(first)
}
