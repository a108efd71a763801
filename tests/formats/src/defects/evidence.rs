//! Defects of manifest, files, request and verdict.

use std::collections::BTreeMap;

use blobs::Digest;
use release::key::{Sign, key_id};
use release::refusal::Refusal;
use release::rule::Rule;
use release::statement::*;
use release::value::Count;

use super::form::edit_json;
use super::{Defect, story};
use crate::story::{Story, key, name, reviewer, time};

pub(super) fn all() -> Vec<Defect> {
    [manifest(), files(), request(), request_content(), verdict(), verdict_sums(), judged()]
        .into_iter()
        .flatten()
        .collect()
}

fn manifest() -> Vec<Defect> {
    let signature = |which, about, story| Defect::new(Refusal::ManifestSignature, which, about, story);
    let evidence = |which, about, story| Defect::new(Refusal::ManifestEvidence, which, about, story);
    let account = |which, about, story| Defect::new(Refusal::ManifestAccount, which, about, story);
    vec![
        signature(
            "enclave",
            "The manifest is signed by the enclave.",
            story().signed_by("manifest", &["enclave"]),
        ),
        signature(
            "second-s",
            "The signer's signature with the order of the group added to S: the leaf of the log has the first.",
            story().signed_by("manifest", &["signer/second-s"]),
        ),
        signature(
            "other-statement",
            "The manifest carries the signature of another statement.",
            story().bytes(|bytes| {
                edit_json(bytes, |file| {
                    let other = file["verdict"]["signatures"][0]["sig"].clone();
                    file["manifest"]["signatures"][0]["sig"] = other;
                });
            }),
        ),
        evidence(
            "recipient",
            "Someone else receives the files.",
            story().manifest(|manifest| {
                manifest.recipient = name("researcher-max");
            }),
        ),
        evidence(
            "file-more",
            "A file that no verdict names.",
            story().manifest(|manifest| {
                let bytes = Count(3);
                manifest.files.push(ReleasedFile {
                    name: name("rows.csv"),
                    bytes,
                    sha256: Digest::of(b"abc"),
                });
            }),
        ),
        evidence(
            "file-twice",
            "One file twice: of two with one name, readers would differ on which counts.",
            story().manifest(|manifest| manifest.files.push(manifest.files[0].clone())),
        ),
        evidence(
            "file-less",
            "A file of the verdict is left out.",
            story().manifest(|manifest| {
                manifest.files.pop();
            }),
        ),
        evidence(
            "file-digest",
            "A file has another digest than in the verdict.",
            story().manifest(|manifest| {
                manifest.files[0].sha256 = Digest::of(b"rows");
            }),
        ),
        evidence(
            "verdict",
            "The manifest names another verdict.",
            story().manifest(|manifest| {
                manifest.verdict = Digest::of(b"another verdict").into();
            }),
        ),
        evidence(
            "approval-unnamed",
            "An approval that the manifest does not name.",
            story().manifest(|manifest| {
                manifest.approvals.pop();
            }),
        ),
        evidence(
            "revocation",
            "The manifest names another revocation.",
            story().manifest(|manifest| {
                manifest.revocation = Digest::of(b"an older revocation").into();
            }),
        ),
        evidence(
            "roles",
            "The manifest names older roles than the file's last.",
            story().manifest(|manifest| {
                manifest.roles.version = Count(1);
            }),
        ),
        account(
            "overrun",
            "More bits than the grant has left.",
            story().manifest(|manifest| {
                let left = manifest.accounts[0].limit.0 - manifest.released_bits.0;
                manifest.accounts[0].released_before = Count(left + 1);
            }),
        ),
        account(
            "wraps",
            "A sum past the largest number.",
            story().manifest(|manifest| {
                manifest.accounts[0].released_before = Count(u64::MAX);
            }),
        ),
        account(
            "limit",
            "Another limit than the grant's.",
            story().manifest(|manifest| {
                manifest.accounts[0].limit = Count(1_000_000);
            }),
        ),
        account(
            "no-account",
            "A dataset without its account.",
            story().manifest(|manifest| {
                manifest.accounts.clear();
            }),
        ),
        account(
            "bits",
            "The verdict's own bits are not charged.",
            story().manifest(|manifest| {
                manifest.released_bits.0 -= 1_024;
            }),
        ),
    ]
}

fn files() -> Vec<Defect> {
    let set = |which, about, story| Defect::new(Refusal::FilesSet, which, about, story).with_files();
    let differs = |which, about, story| Defect::new(Refusal::FileDiffers, which, about, story).with_files();
    vec![
        set(
            "missing",
            "A released file is not there.",
            story().files(|files| {
                files.remove(&name("metrics.json"));
            }),
        ),
        set(
            "extra",
            "A file that was not released lies beside them.",
            story().files(|files| {
                files.insert(name("rows.csv"), b"1,2,3\n".to_vec());
            }),
        ),
        set(
            "renamed",
            "A file under another name.",
            story().files(|files| {
                let content = files.remove(&name("metrics.json")).expect("metrics");
                files.insert(name("metrics.JSON"), content);
            }),
        ),
        differs(
            "one-bit",
            "One bit of a weights file is flipped.",
            story().files(|files| {
                let weights = files.get_mut(&name("model.safetensors")).expect("weights");
                *weights.last_mut().expect("a byte") ^= 1;
            }),
        ),
        differs(
            "longer",
            "A file is one byte longer.",
            story().files(|files| {
                files.get_mut(&name("by_plan.csv")).expect("a table").push(b'\n');
            }),
        ),
    ]
}

fn request() -> Vec<Defect> {
    let signature = |which, about, story| Defect::new(Refusal::RequestSignature, which, about, story);
    let grant = |which, about, story| Defect::new(Refusal::RequestGrant, which, about, story);
    let data = |which, about, story| Defect::new(Refusal::RequestData, which, about, story);
    let moment = |which, about, story| Defect::new(Refusal::RequestTime, which, about, story);
    vec![
        signature("stranger", "A stranger signed the request.", story().signed_by("request", &["stranger"])),
        signature(
            "not-a-member",
            "The requester is no member of the grant.",
            story().request(|request| {
                request.requester.id = name("researcher-max");
            }),
        ),
        signature(
            "own-key-named",
            "The request names the key that signed it, which is no member's.",
            story()
                .request(|request| request.requester.key_id = key_id(&key("stranger").public()))
                .signed_by("request", &["stranger"]),
        ),
        grant(
            "older-version",
            "The request names an older version of the grant.",
            story().request(|request| {
                request.grant.version = Count(1);
            }),
        ),
        grant(
            "other-payload",
            "The request names a grant with another payload.",
            story().request(|request| {
                request.grant.payload = Digest::of(b"another grant").into();
            }),
        ),
        grant(
            "other-project",
            "The request is for another project.",
            story().request(|request| {
                request.project = name("other");
            }),
        ),
        data(
            "snapshot",
            "A snapshot that the catalogue does not have.",
            story().request(|request| {
                request.datasets[0].tree = Digest::of(b"another snapshot").into();
            }),
        ),
        data(
            "dataset",
            "A dataset outside the grant.",
            story().request(|request| {
                request.datasets[0].name = name("genomes");
            }),
        ),
        data(
            "twice",
            "A dataset twice.",
            story().request(|request| {
                let again = request.datasets[0].clone();
                request.datasets.push(again);
            }),
        ),
        data("none", "No dataset.", story().request(|request| request.datasets.clear())),
        Defect::new(
            Refusal::RequestRuntime,
            "tree",
            "A runtime with another tree than the catalogue's.",
            story().request(|request| request.runtime.tree = Digest::of(b"another runtime").into()),
        ),
        Defect::new(
            Refusal::RequestRuntime,
            "no-entry",
            "The runtime's catalogue entry is not in the file.",
            story().release(|release| release.catalogue.truncate(1)),
        ),
        Defect::new(
            Refusal::RequestRuntime,
            "unknown",
            "A runtime that the catalogue does not have.",
            story().request(|request| request.runtime.name = name("hie")),
        ),
        moment(
            "open-too-long",
            "The request was open for more than a day.",
            story().request(|request| {
                request.expires = time("2026-03-03T09:00:01Z");
            }),
        ),
        moment(
            "expires-first",
            "The request expired before it was made.",
            story().request(|request| {
                request.expires = time("2026-03-02T08:00:00Z");
            }),
        ),
    ]
}

/// A grant that gives two devices of a kind, and a request and a run with both.
pub(super) fn with_devices() -> Story {
    let gpus = |count| BTreeMap::from([(name("gpu"), Count(count))]);
    story().grant(move |grant| grant.devices = gpus(2)).request(move |request| request.devices = gpus(2))
}

fn request_content() -> Vec<Defect> {
    let content = |which, about, story| Defect::new(Refusal::RequestContent, which, about, story);
    let shape = |sizes: &'static [u64]| {
        story().request(move |request| {
            if let DeclaredOutput::Weights { tensors, .. } = &mut request.outputs[0] {
                tensors[0].shape = sizes.iter().copied().map(Count).collect();
            }
        })
    };
    let columns = |edit: fn(&mut Vec<DeclaredColumn>, &mut Option<release::value::Name>)| {
        story().request(move |request| {
            if let DeclaredOutput::Table { columns, count_column, .. } = &mut request.outputs[2] {
                edit(columns, count_column);
            }
        })
    };
    let structural_zeros = |row: &'static [&'static str]| {
        story().request(move |request| {
            if let DeclaredOutput::Table { structural_zeros, .. } = &mut request.outputs[2] {
                structural_zeros.push(row.iter().map(|value| (*value).to_owned()).collect());
            }
        })
    };
    let devices = |kind: &'static str, count| {
        with_devices().request(move |request| request.devices = BTreeMap::from([(name(kind), Count(count))]))
    };
    vec![
        content("devices-too-many", "More devices than the grant gives.", devices("gpu", 3)),
        content(
            "devices-of-another-kind",
            "A device of a kind that the grant does not give.",
            devices("tpu", 1),
        ),
        content("devices-none", "No device of a kind that is named.", devices("gpu", 0)),
        content("no-output", "No output is declared.", story().request(|request| request.outputs.clear())),
        content(
            "case",
            "Two outputs whose names differ in case alone.",
            story().request(|request| {
                request.outputs.push(DeclaredOutput::Metrics {
                    path: name("Metrics.json"),
                    names: vec![name("a")],
                    degrees_of_freedom: None,
                });
            }),
        ),
        content(
            "too-many",
            "More outputs than a job may declare.",
            story().request(|request| {
                let more = (0..30).map(|number| DeclaredOutput::Metrics {
                    path: name(&format!("more-{number}.json")),
                    names: vec![name("a")],
                    degrees_of_freedom: None,
                });
                request.outputs.extend(more);
            }),
        ),
        content("shape-wraps", "A shape whose product wraps to a small number.", shape(&[1 << 32, 1 << 32])),
        content("shape-bits-wrap", "A shape whose bits wrap.", shape(&[1 << 60])),
        content("shape-zero", "A tensor without values.", shape(&[3, 0])),
        content(
            "category",
            "A category that the catalogue does not have.",
            columns(|columns, _| {
                columns[0].column_type = "category:hie.visits".parse().expect("a type");
            }),
        ),
        content(
            "structural-zero",
            "A structural zero with more values than the table has categories.",
            structural_zeros(&["free", "male"]),
        ),
        content(
            "degrees-of-freedom",
            "Degrees of freedom under a name that is no metric.",
            story().request(|request| {
                if let DeclaredOutput::Metrics { degrees_of_freedom, .. } = &mut request.outputs[1] {
                    *degrees_of_freedom = Some(name("df"));
                }
            }),
        ),
        content("column-twice", "A column twice.", columns(|columns, _| columns.push(columns[0].clone()))),
        content(
            "count-column",
            "A count column that is no column.",
            columns(|_, count| *count = Some(name("m"))),
        ),
        content("no-command", "No command.", story().request(|request| request.command.clear())),
        content(
            "zero-byte",
            "An argument that the kernel would cut short.",
            story().request(|request| {
                request.command[1] = "train.py\0--all".to_owned();
            }),
        ),
        content(
            "no-time",
            "A job without time.",
            story().request(|request| request.limits.seconds = Count(0)),
        ),
    ]
}

fn verdict() -> Vec<Defect> {
    let signature = |which, about, story| Defect::new(Refusal::VerdictSignature, which, about, story);
    let binding = |which, about, story| Defect::new(Refusal::VerdictBinding, which, about, story);
    let rules = |which, about, story| Defect::new(Refusal::VerdictRules, which, about, story);
    let reviewers = |which, about, story| Defect::new(Refusal::VerdictReviewers, which, about, story);
    let moment = |which, about, story| Defect::new(Refusal::VerdictTime, which, about, story);
    vec![
        signature("signer", "The signer signed the verdict.", story().signed_by("verdict", &["signer"])),
        signature(
            "dropped-key",
            "The verdict names older roles, whose enclave key newer roles dropped.",
            story().second_roles(|roles| roles.box_keys.enclave = key("enclave second").public()).verdict(
                |verdict| {
                    let first = crate::story::Story::default().decide().roles[0].payload_digest();
                    verdict.roles = RolesId { version: Count(1), payload: first.into() };
                },
            ),
        ),
        binding(
            "request",
            "The verdict is about another request.",
            story().verdict(|verdict| {
                verdict.request = Digest::of(b"another request").into();
            }),
        ),
        binding(
            "requester",
            "The verdict names another requester.",
            story().verdict(|verdict| {
                verdict.requester.id = name("researcher-max");
            }),
        ),
        binding(
            "policy",
            "The verdict was judged by another policy.",
            story().verdict(|verdict| {
                verdict.policy.version = Count(2);
            }),
        ),
        binding(
            "snapshot",
            "The run saw another snapshot.",
            story().verdict(|verdict| {
                verdict.datasets[0].tree = Digest::of(b"another snapshot").into();
            }),
        ),
        binding(
            "device-not-held",
            "The run had no device, and was asked for with one.",
            with_devices().verdict(|verdict| verdict.wall.devices.clear()),
        ),
        binding(
            "device-not-asked-for",
            "The run had a device that nobody asked for.",
            story().verdict(|verdict| {
                verdict.wall.devices = vec![WallDevice { kind: name("gpu"), number: Count(1) }];
            }),
        ),
        binding(
            "device-twice",
            "The run names one device twice.",
            with_devices().verdict(|verdict| verdict.wall.devices[1].number = Count(1)),
        ),
        binding(
            "device-out-of-order",
            "The run's devices stand in another order.",
            with_devices().verdict(|verdict| verdict.wall.devices.swap(0, 1)),
        ),
        binding(
            "device-number",
            "A device has a number above 64.",
            with_devices().verdict(|verdict| verdict.wall.devices[1].number = Count(65)),
        ),
        binding(
            "runtime",
            "The run used another runtime.",
            story().verdict(|verdict| {
                verdict.runtime.tree = Digest::of(b"another runtime").into();
            }),
        ),
        binding(
            "grant",
            "The run was under another version of the grant.",
            story().verdict(|verdict| {
                verdict.grant.version = Count(1);
            }),
        ),
        binding(
            "roles",
            "The verdict names roles that are not in the chain.",
            story().verdict(|verdict| {
                verdict.roles.version = Count(7);
            }),
        ),
        binding("run-0", "A run that was not counted.", story().verdict(|verdict| verdict.run = Count(0))),
        rules(
            "one-missing",
            "A rule is left out, as if it had passed.",
            story().verdict(|verdict| {
                verdict.rules.remove(Rule::TableDifferencing.index());
            }),
        ),
        rules(
            "one-twice",
            "A rule twice, with two results.",
            story().verdict(|verdict| {
                let again = verdict.rules[0].clone();
                verdict.rules.insert(0, again);
            }),
        ),
        rules(
            "unknown",
            "A rule that nobody knows in the place of another.",
            story().verdict(|verdict| {
                verdict.rules[0].id = name("copy.anything");
            }),
        ),
        rules("order", "The rules are not sorted.", story().verdict(|verdict| verdict.rules.swap(0, 1))),
        rules(
            "blocked-passes",
            "A rule blocks and the result is PASS.",
            story().verdict(|verdict| {
                verdict.rules[Rule::CopyExact.index()].result = RuleResult::Blocked;
            }),
        ),
        rules(
            "exempt",
            "More than all of the data is exempt.",
            story().verdict(|verdict| {
                verdict.guarantee.exempt_millionths = Count(1_000_001);
            }),
        ),
        Defect::new(
            Refusal::VerdictBlocked,
            "released",
            "The policy said no, and all the rest was done anyway.",
            story().verdict(|verdict| {
                verdict.result = VerdictResult::Blocked;
                verdict.rules[Rule::CopyExact.index()].result = RuleResult::Blocked;
                verdict.charges[0].release_bits = Count(0);
                verdict.table_place = Count(0);
            }),
        ),
        reviewers(
            "none",
            "Nobody could see what was approved.",
            story().verdict(|verdict| {
                verdict.reviewers.clear();
            }),
        ),
        reviewers(
            "stranger",
            "The packet is sealed to someone who is no steward.",
            story().verdict(|verdict| {
                verdict.reviewers.push(reviewer("supervisor-sue"));
            }),
        ),
        reviewers(
            "other-key",
            "The packet is sealed to another key than the steward's.",
            story().verdict(|verdict| {
                verdict.reviewers[0].review_key = reviewer("mallory").review_key;
            }),
        ),
        reviewers(
            "twice",
            "A steward twice.",
            story().verdict(|verdict| {
                let again = verdict.reviewers[0].clone();
                verdict.reviewers.push(again);
            }),
        ),
        moment(
            "expired",
            "The verdict had expired when the release was signed.",
            story().verdict(|verdict| {
                verdict.expires = time("2026-03-02T10:59:59Z");
            }),
        ),
        moment(
            "open-too-long",
            "The verdict was open for more than 30 days.",
            story().verdict(|verdict| {
                verdict.expires = time("2026-04-02T09:20:01Z");
            }),
        ),
        moment(
            "before-request",
            "The verdict is older than its request.",
            story().verdict(|verdict| {
                verdict.issued_at = time("2026-03-02T08:00:00Z");
            }),
        ),
    ]
}

fn verdict_sums() -> Vec<Defect> {
    let files = |which, about, story| Defect::new(Refusal::VerdictFiles, which, about, story);
    let bits = |which, about, story| Defect::new(Refusal::VerdictBits, which, about, story);
    vec![
        files(
            "one-missing",
            "A declared output is not among the files.",
            story().verdict(|verdict| {
                verdict.files.pop();
            }),
        ),
        files(
            "twice",
            "One declared output twice.",
            story().verdict(|verdict| verdict.files.push(verdict.files[0].clone())),
        ),
        files(
            "undeclared",
            "A file that was not declared.",
            story().verdict(|verdict| {
                let more = VerdictFile { name: name("rows.csv"), ..verdict.files[0].clone() };
                verdict.files.push(more);
            }),
        ),
        files(
            "kind",
            "A table passes for weights.",
            story().verdict(|verdict| {
                verdict.files[0].kind = OutputKind::Weights;
            }),
        ),
        files("order", "The files are not sorted.", story().verdict(|verdict| verdict.files.swap(0, 1))),
        bits(
            "sum",
            "The files' bits do not add up.",
            story().verdict(|verdict| verdict.released_bits.0 -= 8),
        ),
        bits(
            "wraps",
            "A sum that wraps to what is written.",
            story().verdict(|verdict| {
                let sum = verdict.released_bits.0;
                verdict.files[0].released_bits = Count(u64::MAX);
                verdict.released_bits = Count(sum);
            }),
        ),
        bits(
            "verdict",
            "The verdict does not charge for itself.",
            story().verdict(|verdict| {
                verdict.verdict_bits = Count(0);
            }),
        ),
        bits(
            "charge",
            "Less is charged than leaves.",
            story().verdict(|verdict| {
                verdict.charges[0].release_bits.0 -= 1;
            }),
        ),
        bits("no-charge", "A dataset is not charged.", story().verdict(|verdict| verdict.charges.clear())),
        bits(
            "charged-twice",
            "One dataset has two charges.",
            story().verdict(|verdict| {
                let again = verdict.charges[0].clone();
                verdict.charges.push(again);
            }),
        ),
    ]
}

fn judged() -> Vec<Defect> {
    let judged =
        |which, about, story| Defect::new(Refusal::JudgedDifferently, which, about, story).with_files();
    vec![
        judged("fewer-bits", "The box charged fewer bits for the weights than they can carry.", fewer_bits()),
        judged(
            "silent",
            "The box says that a rule passed on which a second judgement has nothing to say.",
            story().verdict(|verdict| {
                verdict.rules[Rule::MetricsDegreesOfFreedom.index()].result = RuleResult::Passed;
            }),
        ),
        judged(
            "rule",
            "The box says that a rule did not apply which does.",
            story().verdict(|verdict| {
                verdict.rules[Rule::TableSmallestCount.index()].result = RuleResult::NotApplicable;
            }),
        ),
        judged(
            "fixed-tensor",
            "A tensor left that is not the one whose digest the request named before the run, and was charged nothing.",
            fixed_tensor(Digest::of(b"another tensor")),
        ),
        Defect::new(
            Refusal::JudgedDifferently,
            "fewer-bits-than-lengths",
            "The box charged fewer bits than the lengths of the files make: that shows without the files.",
            fewer_bits(),
        ),
        judged("not-canonical", "What left is not the canonical form of anything.", not_canonical()),
    ]
}

fn fewer_bits() -> crate::story::Story {
    story().verdict(|verdict| {
        let weights = verdict.files.iter_mut().find(|file| file.kind == OutputKind::Weights);
        weights.expect("weights").released_bits.0 -= 8;
        verdict.released_bits.0 -= 8;
        verdict.charges[0].release_bits.0 -= 8;
    })
}

/// A release whose weights are one tensor that the request fixed by this digest.
pub(super) fn fixed_tensor(digest: Digest) -> crate::story::Story {
    story()
        .request(move |request| {
            if let DeclaredOutput::Weights { tensors, .. } = &mut request.outputs[0] {
                tensors[0].sha256 = Some(digest);
            }
        })
        .verdict(|verdict| {
            let weights = verdict.files.iter_mut().find(|file| file.kind == OutputKind::Weights);
            let bits = std::mem::take(&mut weights.expect("weights").released_bits.0);
            verdict.released_bits.0 -= bits;
            verdict.charges[0].release_bits.0 -= bits;
        })
}

/// White space in the metrics: room for a message, were it not for the judge.
fn not_canonical() -> crate::story::Story {
    const METRICS: &[u8] = b"{ \"log_loss\" :\t0.6123}";
    story()
        .verdict(|verdict| {
            let metrics =
                verdict.files.iter_mut().find(|file| file.kind == OutputKind::Metrics).expect("metrics");
            metrics.sha256 = Digest::of(METRICS);
            metrics.bytes = Count(METRICS.len() as u64);
            metrics.released_bits.0 += 1_000;
            verdict.released_bits.0 += 1_000;
            verdict.charges[0].release_bits.0 += 1_000;
        })
        .files(|files| {
            files.insert(name("metrics.json"), METRICS.to_vec());
        })
}
