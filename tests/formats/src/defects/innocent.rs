//! Releases that must be verified: a verifier that refuses everything would pass all other vectors.

use blobs::Digest;
use release::key::{Sign, key_id};
use release::statement::{Approval, Judgement, Member, RolesId, Warning};
use release::value::Count;
use serde_json::Value;

use super::form::{as_json, edit_json};
use super::{Defect, story};
use crate::log_story::cosigner;
use crate::story::{BOX_WITNESS, Story, WITNESS, key, name, time, witness};

pub(super) fn all() -> Vec<Defect> {
    vec![
        Defect::innocent("plain", "The release of the story, nothing changed.", story()),
        Defect::innocent("with-files", "The same with its files, which are judged again.", story())
            .with_files(),
        Defect::innocent(
            "fixed-tensor",
            "Weights that the request fixed before the run: they are as it says, and cost nothing.",
            // 0.25, -1.5 and 3.0 in bfloat16, the lower byte first.
            super::evidence::fixed_tensor(Digest::of(&[0x80, 0x3e, 0xc0, 0xbf, 0x40, 0x40])),
        )
        .with_files(),
        Defect::innocent(
            "devices",
            "A grant that gives two devices, and a job that held both.",
            super::evidence::with_devices(),
        ),
        Defect::innocent(
            "years-later",
            "The same long after roles, grant, policy and approvals expired.",
            story(),
        )
        .at(time("2040-01-01T00:00:00Z")),
        Defect::innocent(
            "remembered-since",
            "An old release, by a verifier that has seen newer roles and revocations since.",
            story(),
        )
        .remembering(super::log::seen_later("2026-03-02T11:30:00Z")),
        Defect::innocent(
            "remembered-weekly-revocation",
            "Witnessed hours after a newer revocation was seen, which revokes nothing that the release stands on.",
            story(),
        )
        .remembering(super::log::seen_weekly_revocation("2026-03-02T09:00:00Z")),
        Defect::innocent(
            "revocation-nearly-a-week-old",
            "The revocation says that it is good for a year, and was made a minute less than a week before.",
            story().revocation(|revocation| {
                revocation.issued_at = time("2026-02-23T11:01:00Z");
                revocation.expires = time("2027-02-23T11:01:00Z");
            }),
        ),
        Defect::innocent(
            "witnessed-late",
            "Signed in time and witnessed weeks later, when approvals, policy, grant, revocation and roles had expired.",
            story()
                .second_roles(|roles| roles.expires = time("2026-03-02T12:00:00Z"))
                .grant(|grant| grant.expires = time("2026-03-02T11:00:10Z"))
                .policy(|policy| policy.expires = time("2026-03-02T11:00:20Z"))
                .log(|log| log.cosigners = vec![cosigner(WITNESS, "2026-04-01T10:59:59Z")]),
        )
        .at(time("2026-04-02T00:00:00Z")),
        Defect::innocent(
            "roles-changed-in-review",
            "One approval was given under the roles of the verdict, the other under those that came since.",
            story()
                .verdict(|verdict| {
                    let first = Story::default().decide().roles[0].payload_digest();
                    verdict.roles = RolesId { version: Count(1), payload: first.into() };
                })
                .approvals(|approvals| {
                    let first = Story::default().decide().roles[0].payload_digest();
                    approvals[0].roles = RolesId { version: Count(1), payload: first.into() };
                }),
        ),
        Defect::innocent(
            "remembered-other-log",
            "Another root of the same size was seen, of another log: a site may begin a new one.",
            story(),
        )
        .remembering(super::log::seen_head("hospital.example/databox/older-log")),
        Defect::innocent(
            "url-safe-base64",
            "DSSE lets writers choose the alphabet of base64.",
            story().bytes(|bytes| {
                edit_json(bytes, |file| {
                    let mut changed = 0;
                    for statement in ["manifest", "verdict", "grant", "request"] {
                        let signature = &mut file[statement]["signatures"][0]["sig"];
                        let other = signature.as_str().unwrap_or_default().replace('+', "-").replace('/', "_");
                        if !other.is_empty() {
                            changed += usize::from(*signature != other);
                            *signature = Value::from(other);
                        }
                    }
                    assert!(changed > 0, "no signature has a character that the alphabets differ in");
                });
            }),
        ),
        Defect::innocent(
            "other-key-ids",
            "Other tools name keys by other ids; an id is a hint.",
            story().bytes(|bytes| {
                edit_json(bytes, |file| {
                    file["verdict"]["signatures"][0]["keyid"] = Value::from("enclave-2026");
                    file["grant"]["signatures"][0]["keyid"] = Value::from("");
                });
            }),
        ),
        Defect::innocent(
            "one-root-signature-more",
            "A signature by a key that no role has is passed over on a statement of the site.",
            story().signed_by("grant", &["stranger", "steward-ana", "steward-ben"]),
        ),
        Defect::innocent(
            "other-cosignatures",
            "Lines of unknown witnesses are passed over.",
            story().log(|log| {
                log.cosigners.push(cosigner("witness.elsewhere.example/x", "2026-03-02T11:00:20Z"))
            }),
        ),
        Defect::innocent(
            "on-box-witness-accepted",
            "Only the witness on the box's machine has cosigned; the policy and the verifier both accept it.",
            story()
                .verdict(|verdict| verdict.warnings.push(Warning::WitnessOnBoxMachine))
                .log(|log| log.cosigners = vec![cosigner(BOX_WITNESS, "2026-03-02T11:00:30Z")]),
        )
        .accepting_on_box_witness(),
        Defect::innocent(
            "two-witnesses",
            "A quorum of two different witnesses.",
            story()
                .second_roles(|roles| {
                    roles.witnesses.push(witness("witness.company.example/two", false));
                    roles.witness_quorum = Count(2);
                })
                .log(|log| {
                    log.cosigners.push(cosigner("witness.company.example/two", "2026-03-02T11:01:00Z"))
                }),
        ),
        Defect::innocent(
            "supervisor-approves",
            "The supervisor whom the grant names approved too.",
            story().grant(|grant| grant.approvals.supervisors = vec![name("supervisor-sue")]).approvals(
                |approvals| {
                    let sue = Approval { steward: name("supervisor-sue"), ..approvals[0].clone() };
                    approvals.push(sue);
                },
            ),
        ),
        Defect::innocent(
            "approval-without-second-judgement",
            "A steward's tool did not judge again; that is said and no reason to refuse.",
            story().approvals(|approvals| approvals[1].judged_again = Judgement::NotChecked),
        ),
        Defect::innocent(
            "last-of-several-roles",
            "A member of the grant has two keys and signs with the second.",
            story()
                .grant(|grant| {
                    let member = grant.members.get_mut(&name("researcher-mia")).expect("a member");
                    member.keys.push(key("researcher-mia second").public());
                })
                .request(|request| {
                    request.requester.key_id = key_id(&key("researcher-mia second").public());
                })
                .signed_by("request", &["researcher-mia second"]),
        ),
        Defect::innocent(
            "two-members",
            "A grant with two members, of whom one asked.",
            story().grant(|grant| {
                let keys = vec![key("researcher-noa").public()];
                let member = Member { organisation: name("school"), keys };
                grant.members.insert(name("researcher-noa"), member);
            }),
        ),
        Defect::innocent(
            "last-bit-of-the-grant",
            "The release spends exactly what the grant has left.",
            story().manifest(|manifest| {
                let left = manifest.accounts[0].limit.0 - manifest.released_bits.0;
                manifest.accounts[0].released_before = Count(left);
            }),
        ),
        Defect::innocent(
            "cosigned-twice",
            "A witness that cosigned a second time later; the first time counts.",
            story().log(|log| log.cosigners.push(cosigner(WITNESS, "2026-03-02T11:30:00Z"))),
        ),
        Defect::innocent(
            "fields-written-again",
            "The file read and written by another JSON library, in its one form.",
            story().bytes(|bytes| *bytes = as_json(bytes).to_string().into_bytes()),
        ),
    ]
}
