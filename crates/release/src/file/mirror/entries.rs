//! Reading the entries of a log, all or those since the last time. Leaves of denials are counted and dropped, so that
//! memory grows with what the site decided and released alone.

use super::past::Past;
use super::standing::Standing;
use super::sums::{Addend, Sums};
use super::{Audit, AuditState, Found, from_tiles, newest, say_release, statements, tiles_of};
use crate::file::SeenHead;
use crate::file::verify::LoggedRelease;
use crate::log::frontier::Frontier;
use crate::log::{Checkpoint, Event, Leaf, tiles};
use crate::refusal::Refusal;
use crate::value::Count;

/// Largest bundle of entries: 256 entries of at most 64 KiB.
const BUNDLE_LIMIT: usize = 256 * (65_535 + 2);

/// What was read before, or nothing.
struct Begin {
    edge: Frontier,
    standing: Standing,
}

/// The leaves that stand for something public, with their places.
pub(super) type PublicLeaves = Vec<(u64, Leaf)>;

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
        None => Ok(Begin { edge: Frontier::default(), standing: Standing::default() }),
    };
    let Begin { edge, mut standing } = match begin {
        Ok(begin) => begin,
        Err(refusal) => return refuse(audit, "since", refusal),
    };
    let leaves = match entries(audit, edge, &head)? {
        Ok(leaves) => leaves,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let roles = statements::follow_roles(audit, &mut standing, &leaves)?;
    let roles = audit.rows.check("roles", roles, |roles| format!("{} versions", roles.version));
    if let Err(refusal) = roles.and_then(|roles| audit.check_head(&note, &roles)) {
        return Ok(Err(refusal));
    }
    let read = statements::read(audit, &mut standing, &leaves)?;
    let said = |count: &usize| format!("{count} are there, each signed by those who could at its place");
    if let Err(refusal) = audit.rows.check("statements", read, said) {
        return Ok(Err(refusal));
    }
    Ok(releases(audit, &standing, &leaves, &head)?.map(|()| {
        let seen = SeenHead { origin: head.origin.clone(), size: Count(head.size), root: head.root };
        let state = standing
            .newest_revocation()
            .map(|revocation| AuditState::new(audit.pinned, seen, standing.roles(), revocation, &audit.sums));
        (head, state)
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
    let standing = match statements::resume(audit, state)? {
        Ok(standing) => standing,
        Err(refusal) => return Ok(Err(refusal)),
    };
    audit.sums = Sums::resume(state.totals(), state.recalled.clone(), state.tables());
    let said = |begin: &Begin| format!("continues the {} leaves that were read before", begin.edge.size());
    Ok(audit.rows.check("since", Ok(Begin { edge, standing }), said))
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

/// All are read, whatever is found in one, so that the totals are complete.
fn releases(
    audit: &mut Audit<'_>,
    standing: &Standing,
    leaves: &PublicLeaves,
    head: &Checkpoint,
) -> Found<()> {
    let past = Past::of(audit.mirror, head);
    let mut first = Ok(());
    for (index, leaf) in leaves.iter().filter(|(_, leaf)| leaf.event() == Event::Release) {
        let checked = match audit.release(&leaf.payload())? {
            Ok(release) if release.witnessed().index != *index => Err(Refusal::LogEntries),
            Ok(release) => match past.compare(&release, audit.rows)? {
                Ok(()) => add(&mut audit.sums, standing, &release),
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        let recalled = audit.sums.recalled.contains(&leaf.payload());
        first = first.and(say_release(audit.rows, &leaf.payload(), checked, recalled));
    }
    Ok(first)
}

/// What left has left, also under roles that were newer no more: it is added up before it is refused.
fn add(sums: &mut Sums, standing: &Standing, release: &LoggedRelease) -> Result<String, Refusal> {
    let added = sums.add(&Addend::from(release));
    standing.is_named_by(release.manifest(), release.witnessed().index)?;
    added
}
