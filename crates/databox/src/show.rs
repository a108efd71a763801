//! What commands print.

use std::io::{IsTerminal as _, Write as _};

use api::reason::Word as _;
use api::v1::{Dataset, Job, Outcome, Release, Review, ReviewKind, SubmitDecisionResponse, WatchJobResponse};
use databox::failure::{Exit, Failure};
use databox::published::Published;
use lifecycle::State;
use release::rule::Rule;
use serde_json::{Value, json};

/// A line for each thing made.
pub fn made(lines: &[String], json: bool) {
    if json {
        println!("{}", json!({ "made": lines }));
    } else {
        lines.iter().for_each(|line| println!("✔ {line}"));
    }
}

/// What comes next, for a person: a script reads what was made, and nothing else.
pub fn next(steps: &[String], json: bool) {
    if !json {
        steps.iter().for_each(|step| println!("  {step}"));
    }
}

/// A line for each thing found.
pub fn found(lines: &[String], json: bool) {
    if json {
        println!("{}", json!({ "found": lines }));
    } else {
        lines.iter().for_each(|line| println!("{line}"));
    }
}

/// What a person reads before they sign. With `--json` it goes to standard error, and only where a person sits there:
/// scripts read one object there, the error's.
pub fn before_signing(words: &str, json: bool) {
    match json {
        true if std::io::stderr().is_terminal() => eprintln!("{words}"),
        true => {}
        false => println!("{words}"),
    }
}

/// What a steward looked at.
pub fn looked(kind: ReviewKind, words: &str, json: bool) {
    if json {
        println!("{}", json!({ "kind": kind_word(kind), "words": words }));
    } else {
        print!("{words}");
    }
}

/// Files that were written.
pub fn files(paths: &[String], json: bool) {
    if json {
        println!("{}", json!({ "files": paths }));
    } else {
        made(paths, false);
    }
}

/// A release that verified and was written.
pub fn fetched(release_file: &std::path::Path, note: Option<&str>, json: bool) {
    if json {
        let file = release_file.display().to_string();
        println!("{}", json!({ "verified": true, "releaseFile": file, "note": note }));
    } else {
        made(&[format!("VERIFIED {}", release_file.display())], false);
        note.iter().for_each(|note| println!("  {note}"));
    }
}

/// One event of a job. In JSON it is a line of its own, since more may follow.
pub fn event(event: &WatchJobResponse, json: bool) {
    let outcome = event.outcome.clone().unwrap_or_default();
    let state = event.state().as_str_name().trim_start_matches("JOB_STATE_");
    if json {
        let value = json!({
            "event": event.event,
            "state": state,
            "reason": outcome.reason().word(),
            "rule": outcome.rule,
            "file": outcome.file,
        });
        println!("{value}");
    } else {
        println!("{}", event_words(event));
    }
}

/// One event of a job in words.
pub fn event_words(event: &WatchJobResponse) -> String {
    let reason = event.outcome.as_ref().map_or(api::v1::Reason::Unspecified, Outcome::reason);
    let state = event.state().as_str_name().trim_start_matches("JOB_STATE_");
    match reason {
        api::v1::Reason::Unspecified => format!("{:>3}  {state}", event.event),
        reason => format!("{:>3}  {state:<10} {}", event.event, reason.word()),
    }
}

/// What a person who waits sees meanwhile. Scripts have standard error for the error alone.
pub fn waiting(words: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("{words}");
    }
}

fn job_value(job: &Job) -> Value {
    let outcome = job.outcome.clone().unwrap_or_default();
    json!({
        "job": job.job,
        "project": job.project,
        "name": job.name,
        "state": databox::job::state(job).word(),
        "run": job.run,
        "reason": outcome.reason().word(),
        "rule": outcome.rule,
        "file": outcome.file,
        "denialReasons": denial_reasons(&outcome),
        "hint": hint(&outcome),
        "failure": outcome.failure.as_ref().map(|told| json!({
            "class": api::class_name(told.class()),
            "file": told.file,
            "line": told.line,
            "words": failed_at(job, told),
        })),
        "limits": job.limits.as_ref().map(|limits| json!({
            "cpus": limits.cpus, "memoryBytes": limits.memory_bytes, "seconds": limits.seconds,
        })),
        "usedEighths": outcome.used.as_ref().map(|used| json!({ "memory": used.memory, "output": used.output })),
        "queuePlace": job.queue_place,
        "cancelRequested": job.cancel_requested,
    })
}

fn failed_at(job: &Job, told: &api::v1::Failure) -> String {
    databox::place::words(told, databox::place::remembered(&job.job).as_deref())
}

fn hint(outcome: &Outcome) -> &'static str {
    let reason = outcome.reason();
    let forbids = |rule: Rule| reason == api::v1::Reason::Policy && outcome.rule == rule.name().as_str();
    if forbids(Rule::WeightsForm) {
        return "a tensor is not as it was declared: `databox check --manifest JOB/databox.toml --outputs OUT` at your desk names \
                it; one with a sha256 must not be trained, nor saved in another precision than `databox tensors` read";
    }
    if forbids(Rule::TableDifferencing) {
        return "with a table of another job it tells of a few people; only the box can see that: use the groups and people \
                of the other table, or ask the stewards, to whom it is named";
    }
    let told = outcome.failure.as_ref().filter(|_| reason == api::v1::Reason::ProgramFailed);
    told.and_then(databox::place::hint).unwrap_or_else(|| reason.hint())
}

/// What was asked for and what was used of it, so that the next request can be of the right size.
fn limits(job: &Job, outcome: &Outcome) {
    let (Some(limits), Some(used)) = (&job.limits, &outcome.used) else { return };
    if let Some(eighths) = databox::place::eighths(used.memory) {
        let mebibytes = limits.memory_bytes >> 20;
        println!("memory   limit {mebibytes} MiB, largest process used {eighths}");
    }
    if let Some(eighths) = databox::place::eighths(used.output) {
        println!("output   {eighths} of the space that the box gives");
    }
    println!("time     limit {} s", limits.seconds);
}

fn denial_reasons(outcome: &Outcome) -> Vec<&'static str> {
    outcome.denial_reasons().map(|reason| reason.as_str_name().trim_start_matches("DENIAL_REASON_")).collect()
}

/// One job.
pub fn job(job: &Job, json: bool) {
    if json {
        println!("{}", job_value(job));
        return;
    }
    println!("job      {}", job.job);
    println!("name     {} of project {}", job.name, job.project);
    println!("state    {}", databox::job::state(job));
    if job.queue_place > 0 {
        println!("queue    place {}, as of the policy's last step of time", job.queue_place);
    }
    if job.cancel_requested && !databox::job::state(job).is_end() {
        println!("cancel   asked for; what becomes of it is told on the policy's steps of time");
    }
    let outcome = job.outcome.clone().unwrap_or_default();
    if outcome.reason() != api::v1::Reason::Unspecified {
        println!("reason   {}", outcome.reason().word());
        if let Some(told) = &outcome.failure {
            println!("failed   {}", failed_at(job, told));
        }
        println!("hint     {}", hint(&outcome));
        limits(job, &outcome);
    }
    if databox::job::state(job) == State::Released {
        println!(
            "hint     `databox release get {} --out DIR` fetches and verifies it",
            job.job.get(..12).unwrap_or(&job.job)
        );
    }
    if !outcome.rule.is_empty() {
        println!("rule     {} in {}", outcome.rule, outcome.file);
    }
    let denial_reasons = denial_reasons(&outcome);
    if !denial_reasons.is_empty() {
        println!("because  {}", denial_reasons.join(", "));
    }
}

/// Several jobs.
pub fn jobs(jobs: &[Job], json: bool) {
    if json {
        println!("{}", json!({ "jobs": jobs.iter().map(job_value).collect::<Vec<_>>() }));
        return;
    }
    for job in jobs {
        println!(
            "{}  {:<10} {}/{}",
            job.job.get(..12).unwrap_or(&job.job),
            databox::job::state(job).word(),
            job.project,
            job.name
        );
    }
}

/// The datasets of one's grants.
/// What the catalogue publishes of a dataset.
pub fn published(published: &Published, json: bool) {
    match json {
        true => println!("{}", json!(published)),
        false => print!("{}", published.words()),
    }
}

pub fn datasets(datasets: &[Dataset], json: bool) {
    if json {
        let values: Vec<_> = datasets
            .iter()
            .map(|one| json!({ "name": one.name, "snapshot": one.snapshot, "grant": one.grant, "project": one.project }))
            .collect();
        println!("{}", json!({ "datasets": values }));
        return;
    }
    for dataset in datasets {
        println!(
            "{}  snapshot {}  {} for project {}",
            dataset.name, dataset.snapshot, dataset.grant, dataset.project
        );
    }
}

/// Several releases.
pub fn releases(releases: &[Release], json: bool) {
    if json {
        let values: Vec<_> =
            releases.iter().map(|one| json!({ "release": one.release, "job": one.job })).collect();
        println!("{}", json!({ "releases": values }));
        return;
    }
    for release in releases {
        let files: Vec<_> = release.files.iter().map(|file| file.name.as_str()).collect();
        println!(
            "{}  of job {}  {}",
            release.release,
            release.job.get(..12).unwrap_or(&release.job),
            files.join(", ")
        );
    }
}

fn review_state(review: &Review) -> &'static str {
    review.state().as_str_name().trim_start_matches("REVIEW_STATE_")
}

/// Whose job a review is of, in the console's words.
fn of_whom(review: &Review) -> String {
    match review.job.get(..12) {
        Some(job) => format!("{job} {}/{} of {}", review.project, review.job_name, review.requester),
        None => "of a request that does not verify now".to_owned(),
    }
}

fn review_kind(review: &Review) -> &'static str {
    kind_word(review.kind())
}

fn kind_word(kind: ReviewKind) -> &'static str {
    match kind {
        ReviewKind::Code => "code",
        ReviewKind::Outputs => "outputs",
        ReviewKind::Unspecified => "unknown",
    }
}

/// What keeps a decision from the log, in the console's words.
pub fn held_up(review: &Review) -> String {
    match review.held_up_by.as_str() {
        "" => String::new(),
        name => format!("  held up by {}", databox::review::printable(name)),
    }
}

/// Several reviews: ids, states and ages only.
pub fn reviews(reviews: &[Review], json: bool) {
    if json {
        let values: Vec<_> = reviews
            .iter()
            .map(|one| json!({ "review": one.review, "state": review_state(one), "approvals": one.approvals, "needed": one.needed,
                         "kind": review_kind(one), "heldUpBy": one.held_up_by, "job": one.job, "jobName": one.job_name,
                         "project": one.project, "requester": one.requester }))
            .collect();
        println!("{}", json!({ "reviews": values }));
        return;
    }
    for review in reviews {
        println!(
            "{}  {}  {:<7} {:<9} {} of {} approvals  {} min{}",
            review.review,
            databox::review::printable(&of_whom(review)),
            review_kind(review),
            review_state(review),
            review.approvals,
            review.needed,
            review.age_minutes,
            held_up(review)
        );
    }
}

/// What became of a decision.
pub fn decision(answer: &SubmitDecisionResponse, json: bool) {
    let review = answer.review.clone().unwrap_or_default();
    if json {
        let value = json!({
            "review": review.review,
            "state": review_state(&review),
            "approvals": review.approvals,
            "needed": review.needed,
            "witnessedDenial": !answer.denial_file.is_empty(),
            "heldUpBy": review.held_up_by,
        });
        println!("{value}");
        return;
    }
    let leaf = if answer.denial_file.is_empty() { "" } else { "; it is a witnessed leaf of the log" };
    println!(
        "✔ recorded: {} with {} of {} approvals{leaf}",
        review_state(&review),
        review.approvals,
        review.needed
    );
    if !review.held_up_by.is_empty() {
        println!("  not in the log yet:{}; the console tries again when the site changes", held_up(&review));
    }
}

/// Never one click: the review's id is typed, at least its first 8 characters. Nobody is asked with `--json`.
pub fn confirm(id: &str, given: Option<String>, json: bool) -> Result<(), Failure> {
    let typed = match given.or(json.then(String::new)) {
        Some(typed) if typed == id => return Ok(()),
        Some(typed) => typed,
        None => {
            print!("Type the first 8 characters of the review to sign: ");
            let _ = std::io::stdout().flush();
            let mut line = String::new();
            let _ = std::io::stdin().read_line(&mut line);
            let line = line.trim().to_owned();
            if line.len() >= 8 && id.starts_with(&line) {
                return Ok(());
            }
            line
        }
    };
    Err(Failure::new(
        "NOT_CONFIRMED",
        match typed.is_empty() {
            true => "nothing was typed; nothing was signed".to_owned(),
            false => format!("`{}` is not this review; nothing was signed", typed.escape_default()),
        },
    )
    .hint(
        "without a terminal: `--confirm ID`, with the review's whole id, which `databox review show` prints",
    )
    .exit(Exit::Usage))
}
