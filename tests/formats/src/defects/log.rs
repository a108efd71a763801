//! Defects of the log proof, its witnesses and times, and what a verifier remembers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::Digest;
use release::file::{SeenHead, SeenRevocation, SeenRoles, SeenState};
use release::key::Sign as _;
use release::log::checkpoint::cosign;
use release::log::{Event, KeyType, Leaf, LeafSignature, Note, NoteSignature, VerifierKey};
use release::refusal::Refusal;
use release::site::RevokedThings;
use release::statement::{Revocation, RolesId};
use release::value::Count;

use super::{Defect, story};
use crate::log_story::{Cosigner, LogStory, cosigner};
use crate::second_signature::with_second_s;
use crate::story::{BOX_WITNESS, LOG, Story, WITNESS, key, name, revocation, time, witness};

pub(super) fn all() -> Vec<Defect> {
    [texts(), inclusion(), checkpoints(), witnesses(), times(), rollback()].into_iter().flatten().collect()
}

fn text(edit: impl Fn(&mut String) + Copy + 'static) -> Story {
    story().log(move |log| log.edit_text = Some(Box::new(edit)))
}

fn proof(edit: impl Fn(&mut release::log::LogProof) + Copy + 'static) -> Story {
    story().log(move |log| log.edit_proof = Some(Box::new(edit)))
}

/// A note of this text with these lines.
fn with_lines(note: &Note, lines: impl IntoIterator<Item = NoteSignature>) -> Note {
    let mut other = Note::unsigned(note.text().to_owned()).expect("a note");
    lines.into_iter().for_each(|line| other.push(line));
    other
}

/// The same note, one of whose signatures has the order of the group added to S.
fn with_second_s_at(note: &Note, place: usize) -> Note {
    let mut lines = note.signatures().to_vec();
    let signature = lines[place].bytes.last_chunk_mut::<64>().expect("a signature");
    *signature = with_second_s(*signature);
    with_lines(note, lines)
}

/// A checkpoint of this text, signed by the log and its witness whatever it says.
fn signed_text(text: String) -> Note {
    let mut note = Note::unsigned(text).expect("a note");
    let named = |name: &str, key_type| {
        let secret = key(if name == LOG { "log" } else { name });
        (VerifierKey::new(name, key_type, secret.public().public.0).expect("a key"), secret)
    };
    let (log, log_secret) = named(LOG, KeyType::Log);
    let (witness, witness_secret) = named(WITNESS, KeyType::Witness);
    let signature = log_secret.sign(note.text().as_bytes()).to_vec();
    let seen = time("2026-03-02T11:00:30Z");
    let cosigned = cosign(note.text(), &witness, seen, |message| witness_secret.sign(message));
    note.push(NoteSignature::new(&log, signature));
    note.push(cosigned.expect("a cosignature"));
    note
}

fn texts() -> Vec<Defect> {
    let form = |which, about, story| Defect::new(Refusal::LogForm, which, about, story);
    vec![
        form("empty", "No log proof.", text(String::clear)),
        form(
            "leading-zero",
            "An index with a leading zero.",
            text(|text| *text = text.replace("index 7", "index 07")),
        ),
        form("carriage-return", "Lines that end in CR LF.", text(|text| *text = text.replace('\n', "\r\n"))),
        form("version", "Another version of the proof.", text(|text| *text = text.replace("@v1", "@v2"))),
        form(
            "extra",
            "A line that nobody signs.",
            text(|text| {
                *text = text.replace("\nindex", "\nextra dHJ1c3QgbWU=\nindex");
            }),
        ),
        form(
            "too-long",
            "More hashes than any tree needs.",
            proof(|proof| {
                proof.hashes = vec![Digest::of(b"x"); 64];
            }),
        ),
        form(
            "long-line",
            "A line longer than any hash.",
            text(|text| {
                *text = text.replace("\nindex 7\n", &format!("\nindex 7\n{}\n", "A".repeat(1 << 14)))
            }),
        ),
        form(
            "index-too-large",
            "An index that wraps to the right one in 64 bits.",
            text(|text| *text = text.replace("index 7", "index 18446744073709551623")),
        ),
        form(
            "surplus-bits",
            "A hash in base64 whose last character has bits that decode to nothing.",
            text(|text| {
                let at = text.find("=\n").expect("a hash") - 1;
                let other = char::from_u32(u32::from(text.as_bytes()[at]) + 1).expect("a letter");
                text.replace_range(at..=at, &other.to_string());
            }),
        ),
        form(
            "too-many-signatures",
            "More cosignatures than any reader must look at.",
            proof(|proof| {
                let line = proof.checkpoint.signatures()[1].clone();
                (0..100).for_each(|_| proof.checkpoint.push(line.clone()));
            }),
        ),
        form(
            "unsigned",
            "A checkpoint without a signature line.",
            text(|text| {
                let end = text.rfind("\n\n").expect("a blank line");
                text.truncate(end + 2);
            }),
        ),
    ]
}

fn inclusion() -> Vec<Defect> {
    let inclusion = |which, about, story| Defect::new(Refusal::LogInclusion, which, about, story);
    vec![
        inclusion(
            "other-entry",
            "The proof is about another entry of the log.",
            story().log(|log| {
                let other = log.before[0].clone();
                log.leaf = other;
            }),
        ),
        inclusion(
            "denial",
            "The entry is about this manifest, but of another event.",
            story().log(|log| {
                let text = String::from_utf8(log.leaf.clone()).expect("UTF-8");
                log.leaf = text.replace("\nrelease\n", "\ndenial\n").into_bytes();
            }),
        ),
        inclusion(
            "other-signature",
            "The entry has another signature than the manifest.",
            story().log(|log| {
                let leaf = Leaf::parse(&log.leaf).expect("a leaf");
                let signature = LeafSignature { key_id: LogStory::signer_id(), signature: [7; 64].into() };
                let other = Leaf::new(Event::Release, leaf.payload(), [signature]).expect("a leaf");
                log.leaf = other.to_text().into_bytes();
            }),
        ),
        inclusion("index", "The neighbour's index.", proof(|proof| proof.index -= 1)),
        inclusion("index-past-end", "An index past the end of the tree.", proof(|proof| proof.index = 9)),
        inclusion(
            "short",
            "A hash is missing.",
            proof(|proof| proof.hashes.truncate(proof.hashes.len() - 1)),
        ),
        inclusion("long", "A hash too many.", proof(|proof| proof.hashes.push(Digest::of(b"x")))),
        inclusion("one-bit", "One hash is another.", proof(|proof| proof.hashes[0] = Digest::of(b"x"))),
        // What tells a leaf from an inner node: without either, an entry of two hashes would pass for the node above them,
        // and one root would stand for two logs.
        inclusion(
            "leaf-without-prefix",
            "The log hashes its entries without the byte that tells them from inner nodes.",
            hashed_with(&[], &[1]),
        ),
        inclusion(
            "node-without-prefix",
            "The log hashes inner nodes without the byte that tells them from entries.",
            hashed_with(&[0], &[]),
        ),
    ]
}

/// The story with a log that puts these bytes before what it hashes, all else as it must be.
fn hashed_with(leaf: &'static [u8], node: &'static [u8]) -> Story {
    story().log(move |log| {
        let entries = log.before.iter().chain([&log.leaf]).chain(&log.after);
        let index = log.before.len();
        let shown = |leaf: &[u8], node| {
            let hash = |entry: &Vec<u8>| Digest::of(&[leaf, entry].concat());
            path_and_root(&entries.clone().map(hash).collect::<Vec<_>>(), index, node)
        };
        let (right, wrong) = (shown(&[0], &[1]), shown(leaf, node));
        log.edit_proof = Some(Box::new(move |proof| {
            // The way is RFC 6962's, but for the bytes.
            assert_eq!(proof.hashes, right.0);
            let text = proof.checkpoint.text().replace(&base64(&right.1), &base64(&wrong.1));
            assert_ne!(proof.checkpoint.text(), text);
            proof.hashes = wrong.0.clone();
            proof.checkpoint = signed_text(text);
        }));
    })
}

fn base64(digest: &Digest) -> String {
    STANDARD.encode(digest.as_bytes())
}

/// The siblings of a leaf from the lowest on, and the root, as RFC 6962 builds its tree.
fn path_and_root(leaves: &[Digest], index: usize, node: &[u8]) -> (Vec<Digest>, Digest) {
    if let [leaf] = leaves {
        return (Vec::new(), *leaf);
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let join =
        |left: &Digest, right: &Digest| Digest::of(&[node, left.as_bytes(), right.as_bytes()].concat());
    if index < left.len() {
        let ((mut path, own), (_, other)) = (path_and_root(left, index, node), path_and_root(right, 0, node));
        path.push(other);
        (path, join(&own, &other))
    } else {
        let own = path_and_root(right, index - left.len(), node);
        let ((mut path, own), (_, other)) = (own, path_and_root(left, 0, node));
        path.push(other);
        (path, join(&other, &own))
    }
}

fn checkpoints() -> Vec<Defect> {
    let checkpoint = |which, about, story| Defect::new(Refusal::LogCheckpoint, which, about, story);
    vec![
        checkpoint(
            "other-key",
            "The checkpoint is signed by another key under the log's name.",
            story().log(|log| {
                log.log_key = "mallory".to_owned();
            }),
        ),
        checkpoint(
            "other-log",
            "The checkpoint of another log.",
            story().log(|log| {
                log.origin = "hospital.example/other/log".to_owned();
            }),
        ),
        checkpoint(
            "bad-signature",
            "The log's signature is over another size.",
            text(|text| {
                *text = text.replace(&format!("\n{LOG}\n9\n"), &format!("\n{LOG}\n8\n"));
            }),
        ),
        checkpoint(
            "leading-zero",
            "A size with a leading zero, signed by the log and its witness.",
            proof(|proof| proof.checkpoint = signed_text(proof.checkpoint.text().replace("\n9\n", "\n09\n"))),
        ),
        checkpoint(
            "second-s",
            "The log's signature with the order of the group added to S.",
            proof(|proof| proof.checkpoint = with_second_s_at(&proof.checkpoint, 0)),
        ),
        checkpoint(
            "by-witness",
            "The witness's cosignature under the log's name, in the place of the log's signature.",
            proof(|proof| {
                let [own, cosigned] = proof.checkpoint.signatures() else { panic!("two signatures") };
                let renamed = NoteSignature { bytes: cosigned.bytes.clone(), ..own.clone() };
                proof.checkpoint = with_lines(&proof.checkpoint, [renamed, cosigned.clone()]);
            }),
        ),
        checkpoint(
            "extra-line",
            "A checkpoint with a fourth line.",
            proof(|proof| {
                let text = format!("{}more\n", proof.checkpoint.text());
                let mut note = Note::unsigned(text).expect("a note");
                proof.checkpoint.signatures().iter().for_each(|line| note.push(line.clone()));
                proof.checkpoint = note;
            }),
        ),
    ]
}

fn witnesses() -> Vec<Defect> {
    let witnesses = |which, about, story| Defect::new(Refusal::LogWitnesses, which, about, story);
    let cosigned = |cosigners: &'static [(&str, &str)]| {
        story().log(move |log| {
            log.cosigners = cosigners
                .iter()
                .map(|(name, key)| Cosigner {
                    name: (*name).to_owned(),
                    key: (*key).to_owned(),
                    time: time("2026-03-02T11:00:30Z"),
                })
                .collect();
        })
    };
    vec![
        witnesses("none", "Nobody has cosigned.", cosigned(&[])),
        witnesses(
            "on-box",
            "Only the witness on the box's own machine has.",
            cosigned(&[(BOX_WITNESS, BOX_WITNESS)]),
        ),
        witnesses(
            "on-box-against-policy",
            "The verifier accepts the witness on the box's machine, and the policy does not.",
            cosigned(&[(BOX_WITNESS, BOX_WITNESS)]),
        )
        .accepting_on_box_witness(),
        witnesses(
            "unknown",
            "Only an unknown witness has.",
            cosigned(&[("witness.mallory.example", "mallory")]),
        ),
        witnesses("log-key", "The log has cosigned for itself.", cosigned(&[(LOG, "log")])),
        witnesses(
            "other-key",
            "A cosignature under the witness's name by another key.",
            cosigned(&[(WITNESS, "mallory")]),
        ),
        witnesses(
            "second-s",
            "The witness's cosignature with the order of the group added to S.",
            proof(|proof| proof.checkpoint = with_second_s_at(&proof.checkpoint, 1)),
        ),
        witnesses(
            "without-time",
            "The witness has signed the checkpoint as a log does, without a time.",
            proof(|proof| {
                let [own, cosigned] = proof.checkpoint.signatures() else { panic!("two signatures") };
                let signature = key(WITNESS).sign(proof.checkpoint.text().as_bytes());
                let plain = NoteSignature { bytes: signature.to_vec(), ..cosigned.clone() };
                proof.checkpoint = with_lines(&proof.checkpoint, [own.clone(), plain]);
            }),
        ),
        witnesses(
            "one-of-two",
            "One witness twice, where two are needed.",
            story()
                .second_roles(|roles| {
                    roles.witnesses.push(witness("witness.company.example/two", false));
                    roles.witness_quorum = Count(2);
                })
                .log(|log| log.cosigners.push(cosigner(WITNESS, "2026-03-02T11:01:00Z"))),
        ),
        witnesses(
            "bad-signature",
            "A cosignature of a known witness over another time.",
            proof(|proof| {
                let mut lines = proof.checkpoint.to_string();
                let at = lines.rfind("AAAAA").unwrap_or(lines.len() - 20);
                lines.replace_range(at..at + 1, "B");
                if let Ok(note) = Note::parse(lines.as_bytes()) {
                    proof.checkpoint = note;
                }
            }),
        ),
    ]
}

fn times() -> Vec<Defect> {
    let moment = |which, about, story| Defect::new(Refusal::LogTime, which, about, story);
    let witnessed = |at: &'static str| story().log(move |log| log.cosigners = vec![cosigner(WITNESS, at)]);
    vec![
        moment(
            "before-release",
            "Witnessed before the release was signed.",
            witnessed("2026-03-02T10:50:00Z"),
        ),
        moment(
            "too-late",
            "Witnessed more than 30 days after it was signed.",
            witnessed("2026-04-01T11:00:01Z"),
        )
        .at(time("2026-04-02T00:00:00Z")),
        moment("future", "Witnessed in the future.", witnessed("2999-01-01T00:00:00Z")),
    ]
}

/// A memory of newer roles and a newer revocation, first seen at this moment. It revokes a steward who approved.
pub(super) fn seen_later(since: &str) -> SeenState {
    let revoked = RevokedThings::of(&Revocation { people: vec![name("steward-ben")], ..revocation() });
    let roles = RolesId { version: Count(3), payload: Digest::of(b"roles, version 3").into() };
    SeenState {
        roles: Some(SeenRoles { roles, since: time(since) }),
        revocation: Some(SeenRevocation { version: Count(10), since: time(since), revoked }),
        ..SeenState::default()
    }
}

/// A memory of a newer revocation that revokes nothing more.
pub(super) fn seen_weekly_revocation(since: &str) -> SeenState {
    let (version, revoked) = (Count(10), RevokedThings::of(&revocation()));
    let revocation = Some(SeenRevocation { version, since: time(since), revoked });
    SeenState { revocation, ..SeenState::default() }
}

/// A memory of another root of the example's size.
pub(super) fn seen_head(origin: &str) -> SeenState {
    let head = SeenHead { origin: origin.to_owned(), size: Count(9), root: Digest::of(b"another past") };
    SeenState { head: Some(head), ..SeenState::default() }
}

fn rollback() -> Vec<Defect> {
    let rollback = |which, about, seen: SeenState| {
        Defect::new(Refusal::Rollback, which, about, story()).remembering(seen)
    };
    let fork = RolesId { version: Count(2), payload: Digest::of(b"other roles, version 2").into() };
    let since = time("2026-02-02T09:00:00Z");
    vec![
        rollback(
            "roles",
            "Newer roles were seen hours before this was witnessed.",
            SeenState { revocation: None, ..seen_later("2026-03-02T09:00:00Z") },
        ),
        rollback(
            "revocation",
            "A newer revocation was seen hours before.",
            SeenState { roles: None, ..seen_later("2026-03-02T09:00:00Z") },
        ),
        rollback(
            "forked-roles",
            "Other roles of the same version were seen.",
            SeenState { roles: Some(SeenRoles { roles: fork, since }), ..SeenState::default() },
        ),
        rollback("forked-log", "Another root of the same size was seen.", seen_head(LOG)),
    ]
}
