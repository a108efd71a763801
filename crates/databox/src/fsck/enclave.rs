//! The enclave's account and jobs.

use std::collections::{BTreeMap, BTreeSet};

use blobs::Digest;
use lifecycle::State;
use release::envelope::Envelope;
use release::statement::{Request, Verdict, VerdictResult};

use super::log::{Log, files_in};
use super::places::{Database, Places, database, digest, is_whole, rows};
use super::{LOOKS_EVERY, Report, Rule};
use crate::failure::{Failure, file_failure};

/// A job as the enclave has it.
pub struct Job {
    /// Its state.
    pub state: State,
    run: u32,
    /// For how many seconds the enclave has run since the job came into its state.
    waited: u64,
    /// True if stewards were asked to review its code before it ran.
    code_review: bool,
    nonce: Option<Vec<u8>>,
    request: Option<Request>,
}

/// Jobs by the digest of their request.
pub type Jobs = BTreeMap<Digest, Job>;

struct Entry {
    kind: String,
    dataset: String,
    bits: u64,
    request: Digest,
    run: u32,
}

struct Judged {
    digest: Digest,
    request: Digest,
    run: u32,
    verdict: Option<Verdict>,
    taken: bool,
}

/// Examines the enclave.
pub fn examine(places: &Places, log: &Log, report: &mut Report) -> Result<Jobs, Failure> {
    let Some(store) = database(&places.enclave.join("account.db"), report)? else {
        return Ok(Jobs::new());
    };
    let jobs = jobs(&store)?;
    report.jobs = jobs.len();
    let account = account(&store, places, report)?;
    charges(&jobs, &account, report);
    code_reviews(&store, &jobs, places, report)?;
    let verdicts = verdicts(&store)?;
    for (request, job) in &jobs {
        let verdict = verdicts.iter().find(|judged| judged.request == *request && judged.run == job.run);
        within_limit(request, job, report);
        reservation(request, job, verdict, &account, log, report);
        judged(places, request, job, verdict, report);
        decided(places, request, job, verdict, log, report);
    }
    outbox(&store, places, log, &verdicts, report)?;
    Ok(jobs)
}

fn jobs(store: &Database) -> Result<Jobs, Failure> {
    let found = rows(
        store,
        "SELECT request, nonce, envelope, state, run, (SELECT seconds FROM elapsed) - entered AS waited,
             EXISTS (SELECT 1 FROM code_reviews WHERE code_reviews.request = jobs.request) AS code_review
         FROM jobs",
        |row| {
            let envelope = Envelope::parse(&row.get::<_, Vec<u8>>("envelope")?).ok();
            let state: String = row.get("state")?;
            let job = Job {
                state: State::from_word(&state).ok_or(rusqlite::Error::InvalidQuery)?,
                run: row.get("run")?,
                waited: u64::try_from(row.get::<_, i64>("waited")?).unwrap_or(0),
                code_review: row.get("code_review")?,
                nonce: row.get("nonce")?,
                request: envelope.and_then(|envelope| envelope.unverified().ok()),
            };
            Ok((digest(row, "request")?, job))
        },
    )?;
    Ok(found.into_iter().collect())
}

/// A job is ended once it has been in a state for too long.
fn within_limit(request: &Digest, job: &Job, report: &mut Report) {
    let Some(limit) = job.state.limit_seconds() else { return };
    let run = job.request.as_ref().filter(|_| job.state == State::Running);
    let run = run.map_or(0, |request| request.limits.seconds.0);
    report.check(job.waited <= limit.saturating_add(run).saturating_add(LOOKS_EVERY), Rule::Limit, || {
        format!("job {request} has been {} for {} s of the enclave's time", job.state, job.waited)
    });
}

/// Reads the account, and checks that each entry follows from the one before and that the head outside is one of them.
fn account(store: &Database, places: &Places, report: &mut Report) -> Result<Vec<Entry>, Failure> {
    let mut head = Digest::of(b"databox-account/v1\n");
    let mut heads = vec![head];
    let query =
        "SELECT number, kind, dataset, grant_id, bits, request, run, at, head FROM account ORDER BY number";
    let mut entries = Vec::new();
    for (number, grant, at, written, entry) in rows(store, query, |row| {
        let entry = Entry {
            kind: row.get("kind")?,
            dataset: row.get("dataset")?,
            bits: row.get::<_, i64>("bits")?.unsigned_abs(),
            request: digest(row, "request")?,
            run: row.get("run")?,
        };
        let (number, at): (i64, i64) = (row.get("number")?, row.get("at")?);
        Ok((number, row.get::<_, String>("grant_id")?, at, digest(row, "head")?, entry))
    })? {
        let at =
            release::value::Timestamp::from_seconds(at).map_or_else(|_| String::new(), |at| at.to_string());
        let Entry { kind, dataset, bits, request, run } = &entry;
        let text = format!("{kind} {dataset} {grant} {bits} {request} {run} {at}");
        head = Digest::of(format!("{head}\n{text}\n").as_bytes());
        heads.push(head);
        let follows = written == head && number as usize == heads.len() - 1;
        report
            .check(follows, Rule::Account, || format!("entry {number} does not follow from the one before"));
        entries.push(entry);
    }
    report.entries = entries.len() as u64;
    match std::fs::read_to_string(&places.account_head) {
        Ok(text) => {
            let outside = text.trim_end().split_once(' ').and_then(|(number, head)| {
                Some((number.parse::<usize>().ok()?, head.parse::<Digest>().ok()?))
            });
            let fits = outside.is_some_and(|(number, head)| heads.get(number) == Some(&head));
            report.check(fits, Rule::Account, || {
                "the account is older than its head outside, or another".into()
            });
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            report.check(entries.is_empty(), Rule::Account, || "the head outside is missing".to_owned());
        }
        Err(error) => return Err(file_failure(&places.account_head)(error)),
    }
    Ok(entries)
}

/// Every run was charged to each of its datasets, and the request's nonce is kept with it.
fn charges(jobs: &Jobs, account: &[Entry], report: &mut Report) {
    let charged = |kind: &'static str| {
        account
            .iter()
            .filter(move |entry| entry.kind == kind)
            .map(|entry| (entry.request, entry.run, entry.dataset.as_str()))
    };
    let paid: BTreeSet<_> = charged("answer").collect();
    let noise: BTreeSet<_> = charged("privacy").collect();
    for (digest, job) in jobs {
        let Some(request) = &job.request else {
            report.add(Rule::States, format!("job {digest} has no request"));
            continue;
        };
        let was_admitted = job.run > 0 || !matches!(job.state, State::Submitted | State::Refused);
        let kept = job.nonce.as_deref() == Some(&request.nonce.0[..]);
        report.check(!was_admitted || kept, Rule::Nonce, || {
            format!("job {digest} was charged, and its nonce is not kept")
        });
        let ran = match job.state {
            State::Submitted | State::InCodeReview | State::Queued | State::Refused => false,
            // Whoever was refused, called off or forgotten while stewards read the code has no run.
            State::Rejected | State::Returned | State::Cancelled | State::Expired => !job.code_review,
            State::Running | State::InReview | State::Approved | State::Released => true,
            State::Failed | State::Blocked | State::Lost => true,
        };
        let free = job.state != State::InCodeReview || job.run == 0;
        report.check(free, Rule::ChargeBeforeRun, || {
            format!("job {digest} is under review of its code, and a run of it is charged")
        });
        for run in 1..=job.run.max(u32::from(ran && was_admitted)) {
            for dataset in &request.datasets {
                let is_paid = paid.contains(&(*digest, run, dataset.name.as_str()));
                report.check(is_paid, Rule::ChargeBeforeRun, || {
                    format!("run {run} of job {digest} was never charged to {}", dataset.name)
                });
                let noised = request.query.as_ref().is_some_and(|query| query.privacy.is_some());
                let noise = noise.contains(&(*digest, run, dataset.name.as_str()));
                report.check(noise == (noised && is_paid), Rule::ChargeBeforeRun, || {
                    format!(
                        "the noise of run {run} of job {digest} was not charged to {}, or was not asked for",
                        dataset.name
                    )
                });
            }
        }
    }
    for (request, run, _) in paid {
        let known = jobs.get(&request).is_some_and(|job| run <= job.run);
        report.check(known, Rule::ChargeBeforeRun, || {
            format!("run {run} of job {request} is charged and unknown")
        });
    }
}

/// A job under review of its code has its packet until the console has it; one that ran has the approvals of its code.
fn code_reviews(store: &Database, jobs: &Jobs, places: &Places, report: &mut Report) -> Result<(), Failure> {
    let query = "SELECT request, packet, taken,
        (SELECT count(*) FROM code_approvals WHERE code_approvals.request = code_reviews.request) AS approvals
        FROM code_reviews";
    for (request, packet, taken, approvals) in rows(store, query, |row| {
        let (taken, approvals): (bool, u32) = (row.get("taken")?, row.get("approvals")?);
        Ok((digest(row, "request")?, digest(row, "packet")?, taken, approvals))
    })? {
        let Some(job) = jobs.get(&request) else { continue };
        let waits = job.state == State::InCodeReview;
        report.check(!waits || taken || is_whole(&places.packets, &packet), Rule::Verdict, || {
            format!("the packet of job {request} is not whole")
        });
        report.check((job.run > 0) == (approvals > 0), Rule::CodeReview, || {
            format!("job {request} has {} runs and {approvals} approvals of its code", job.run)
        });
    }
    Ok(())
}

fn verdicts(store: &Database) -> Result<Vec<Judged>, Failure> {
    rows(store, "SELECT verdict, request, run, envelope, taken FROM verdicts", |row| {
        let envelope = Envelope::parse(&row.get::<_, Vec<u8>>("envelope")?).ok();
        Ok(Judged {
            digest: digest(row, "verdict")?,
            request: digest(row, "request")?,
            run: row.get("run")?,
            verdict: envelope.and_then(|envelope| envelope.unverified().ok()),
            taken: row.get("taken")?,
        })
    })
}

/// What is set aside, spent and freed fits the state; the account has at least what the log released.
fn reservation(
    request: &Digest,
    job: &Job,
    verdict: Option<&Judged>,
    account: &[Entry],
    log: &Log,
    report: &mut Report,
) {
    let Some(asked) = &job.request else { return };
    for dataset in &asked.datasets {
        let of = |kind: &str| -> u64 {
            let mine = account.iter().filter(|entry| entry.request == *request && entry.kind == kind);
            mine.filter(|entry| entry.dataset == dataset.name.as_str()).map(|entry| entry.bits).sum()
        };
        let (reserved, spent, freed) = (of("reserve"), of("spend"), of("free"));
        let open = reserved.saturating_sub(spent + freed);
        let passed = verdict.and_then(|judged| judged.verdict.as_ref());
        let passed = passed.filter(|verdict| verdict.result == VerdictResult::Pass);
        let fits = match job.state {
            State::InReview | State::Approved => passed.is_none() || open > 0,
            State::Released => spent > 0 && open == 0,
            State::Running => true,
            _ => open == 0,
        };
        report.check(fits, Rule::Reservation, || {
            format!(
                "job {request} is {} with {reserved} bits set aside, {spent} spent, {freed} freed",
                job.state
            )
        });
        let logged = verdict.is_some_and(|judged| log.is_published_release(&judged.digest));
        report.check(!logged || spent + open > 0, Rule::Reservation, || {
            format!("the log has a release of job {request}, and the account has nothing spent or set aside")
        });
    }
}

/// A job under review has its verdict, its canonical files, and its packet until the console has it.
fn judged(places: &Places, request: &Digest, job: &Job, verdict: Option<&Judged>, report: &mut Report) {
    let needed = matches!(job.state, State::InReview | State::Approved | State::Released | State::Blocked);
    report.check(!needed || verdict.is_some(), Rule::Verdict, || {
        format!("job {request} is {} and has no verdict", job.state)
    });
    let Some(Judged { verdict: Some(verdict), taken, .. }) = verdict else { return };
    let packet = *taken || is_whole(&places.packets, &verdict.packet.sha256);
    let open = matches!(job.state, State::InReview | State::Blocked);
    report.check(packet || !open, Rule::Verdict, || format!("the packet of job {request} is not whole"));
    if job.state == State::InReview {
        let quarantine = places.enclave.join("quarantine").join(format!("{request}-{}", job.run));
        for file in &verdict.files {
            report.check(is_whole(&quarantine, &file.sha256), Rule::Verdict, || {
                format!("{} of job {request} is not whole in quarantine", file.name)
            });
        }
    }
}

/// An end by stewards stands in the log.
fn decided(
    places: &Places,
    request: &Digest,
    job: &Job,
    verdict: Option<&Judged>,
    log: &Log,
    report: &mut Report,
) {
    // A refusal in the site directory ends a job at once, and becomes a leaf when the console has taken it to the signer.
    let rule = match lies_in_the_site(places, request) {
        true => Rule::Unfinished,
        false => Rule::Denial,
    };
    let Some(verdict) = verdict else {
        let denied = matches!(job.state, State::Rejected | State::Returned);
        report.check(!denied || log.is_denied(request), rule, || {
            format!("job {request} is {}, and the log has no refusal of its code", job.state)
        });
        return;
    };
    match job.state {
        State::Approved | State::Released => {
            report.check(log.is_published_release(&verdict.digest), Rule::Outbox, || {
                format!("job {request} is {}, and the witnessed log has no release of it", job.state)
            });
        }
        State::Rejected | State::Returned => {
            let denied = log.is_denied(&verdict.digest) || log.is_denied(request);
            report.check(denied, rule, || {
                format!("job {request} is {}, and the log has no denial of it", job.state)
            });
        }
        _ => {}
    }
}

/// True if a steward laid a refusal of this job's code into the site directory.
fn lies_in_the_site(places: &Places, request: &Digest) -> bool {
    let of_request = format!("{request}.");
    let entries = std::fs::read_dir(places.site.join("denials")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| name.starts_with(&of_request))
}

/// Each release verifies, and nothing lies in the outbox that no release names.
fn outbox(
    store: &Database,
    places: &Places,
    log: &Log,
    verdicts: &[Judged],
    report: &mut Report,
) -> Result<(), Failure> {
    let mut named = BTreeSet::new();
    let query = "SELECT release_file, verdict, bytes, staged, taken FROM releases";
    for (file, verdict, bytes, waits) in rows(store, query, |row| {
        let (staged, taken): (bool, bool) = (row.get("staged")?, row.get("taken")?);
        Ok((
            digest(row, "release_file")?,
            digest(row, "verdict")?,
            row.get::<_, Vec<u8>>("bytes")?,
            (staged, taken),
        ))
    })? {
        // Once the gateway has its copy the bytes may go.
        let (staged, taken) = waits;
        if !taken || !bytes.is_empty() {
            let found = log.verify(&bytes);
            report.check(found == Ok(verdict), Rule::Outbox, || {
                format!("release {file} is not one of the log's: {}", found.err().unwrap_or_default())
            });
        }
        let judged = verdicts.iter().find(|judged| judged.digest == verdict);
        let files = judged.and_then(|judged| judged.verdict.as_ref()).map(|verdict| &verdict.files);
        let files: Vec<_> = files.into_iter().flatten().map(|file| file.sha256).chain([file]).collect();
        if staged && !taken {
            for file in &files {
                report.check(is_whole(&places.outbox, file), Rule::Outbox, || {
                    format!("{file} is not whole in the outbox")
                });
            }
        }
        report
            .check(staged || taken, Rule::Unfinished, || format!("release {file} is not in the outbox yet"));
        named.extend(files);
    }
    for path in files_in(&places.outbox) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().parse();
        let is_named = name.is_ok_and(|name: Digest| named.contains(&name));
        report.check(is_named, Rule::Outbox, || format!("{} belongs to no logged release", path.display()));
    }
    Ok(())
}
