use test_formats::story::Story;

use super::*;
use crate::store::jobs::NewJob;
use crate::store::testing::{at, connection};

/// A job of the example's researcher, on a grid of ten minutes.
fn submitted(transaction: &Transaction<'_>) -> Digest {
    let told = Story::default().tell();
    let envelope = told.release.request;
    let job = NewJob {
        digest: envelope.payload_digest(),
        request: envelope.unverified().unwrap(),
        envelope: envelope.to_bytes(),
        purpose: "Visits by plan, for the example".to_owned(),
        purpose_salt: [7; 32],
        grid_seconds: 600,
    };
    jobs::take_in(transaction, &job, 1, at(0)).unwrap();
    job.digest
}

fn accepted(transaction: &Transaction<'_>) -> Digest {
    let request = submitted(transaction);
    take_answer(transaction, &Answer { request, refused: None }, at(1)).unwrap();
    request
}

fn report(request: Digest, number: u32, state: State) -> Transition {
    Transition {
        request,
        number,
        run: 1,
        state,
        reason: Reason::Unspecified,
        rule: None,
        output: None,
        grid_step: 3_000_000 + u64::from(number),
        denial_reasons: vec![],
    }
}

fn seen(transaction: &Transaction<'_>, job: &Digest, seconds: i64) -> State {
    last_visible(transaction, job, at(seconds)).unwrap().unwrap().state
}

#[test]
fn the_answer_to_a_submit_is_the_first_move_and_a_repeat_changes_nothing() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = submitted(&transaction);
    assert_eq!(jobs::unanswered(&transaction).unwrap().len(), 1);
    let answer = Answer { request, refused: None };
    assert_eq!(take_answer(&transaction, &answer, at(1)).unwrap(), Taken::New);
    assert!(jobs::unanswered(&transaction).unwrap().is_empty());
    let other = Answer { refused: Some(Reason::Account), ..answer };
    assert_eq!(take_answer(&transaction, &other, at(2)).unwrap(), Taken::Already);
    assert_eq!(seen(&transaction, &request, 3), State::Queued);
}

#[test]
fn a_refusal_ends_the_job_with_its_reason() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = submitted(&transaction);
    take_answer(&transaction, &Answer { request, refused: Some(Reason::Account) }, at(1)).unwrap();
    let last = last(&transaction, &request).unwrap().unwrap();
    assert_eq!((last.state, last.reason), (State::Refused, Reason::Account));
}

#[test]
fn moves_that_are_not_in_the_table_or_not_the_enclaves_are_not_taken() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = submitted(&transaction);
    let take = |report: &Transition| take_transition(&transaction, report, at(10));
    // Not even those that the table has from SUBMITTED: the answer to the submit makes them.
    for state in [State::Queued, State::Refused, State::Cancelled, State::Expired] {
        assert!(matches!(take(&report(request, 1, state)), Err(NotTaken::NotTheirs)), "{state}");
    }
    take_answer(&transaction, &Answer { request, refused: None }, at(1)).unwrap();
    for state in [State::InReview, State::Approved, State::Released, State::Blocked, State::Submitted] {
        assert!(matches!(take(&report(request, 1, state)), Err(NotTaken::Move(_))), "{state}");
    }
    let unknown = report(Digest::of(b"nobody's"), 1, State::Running);
    assert!(matches!(take(&unknown), Err(NotTaken::UnknownJob)));
    assert_eq!(take(&report(request, 1, State::Running)).unwrap(), Taken::New);
}

#[test]
fn no_report_makes_a_job_released() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = accepted(&transaction);
    for (number, state) in [(1, State::Running), (2, State::InReview), (3, State::Approved)] {
        take_transition(&transaction, &report(request, number, state), at(10)).unwrap();
    }
    let released = report(request, 4, State::Released);
    assert!(matches!(take_transition(&transaction, &released, at(10)), Err(NotTaken::NotTheirs)));
    let job = jobs::find(&transaction, &request).unwrap().unwrap();
    release(&transaction, &job, at(10)).unwrap();
    assert_eq!(take_transition(&transaction, &released, at(10)).unwrap(), Taken::Already);
}

#[test]
fn numbers_have_no_gap_and_a_repeat_must_be_the_same() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = accepted(&transaction);
    let take = |report: &Transition| take_transition(&transaction, report, at(10));
    let running = report(request, 1, State::Running);
    assert!(matches!(take(&report(request, 2, State::Running)), Err(NotTaken::Gap)));
    assert_eq!(take(&running).unwrap(), Taken::New);
    assert_eq!(take(&running).unwrap(), Taken::Already);
    assert!(matches!(take(&report(request, 1, State::Failed)), Err(NotTaken::Differs)));
    let same_step = Transition { grid_step: running.grid_step, ..report(request, 2, State::Failed) };
    assert!(matches!(take(&same_step), Err(NotTaken::Step)));
    assert_eq!(after(&transaction, &request, 0).unwrap().len(), 3);
}

#[test]
fn reports_that_come_at_once_are_seen_one_a_step_of_the_grid() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = accepted(&transaction);
    for (number, state) in [(1, State::Running), (2, State::InReview), (3, State::Rejected)] {
        take_transition(&transaction, &report(request, number, state), at(130)).unwrap();
    }
    let times = [(129, State::Queued), (130, State::Running), (599, State::Running), (600, State::InReview)];
    for (seconds, state) in times.into_iter().chain([(1199, State::InReview), (1200, State::Rejected)]) {
        assert_eq!(seen(&transaction, &request, seconds), state, "{seconds}");
    }
    let reported = after(&transaction, &request, 2).unwrap();
    assert!(reported.iter().all(|event| event.at.seconds() % 600 == 0), "{reported:?}");
}

#[test]
fn a_state_says_no_more_than_one_run_is_charged_for() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = accepted(&transaction);
    let talkative = |number, state| Transition {
        reason: Reason::Policy,
        rule: Some(Rule::CopyExact),
        output: Some(1),
        denial_reasons: vec![DenialReason::Other],
        ..report(request, number, state)
    };
    let told = |number, state| {
        take_transition(&transaction, &talkative(number, state), at(i64::from(number) * 600)).unwrap();
        last(&transaction, &request).unwrap().unwrap()
    };
    let running = told(1, State::Running);
    assert_eq!((running.reason, running.rule, running.file), (Reason::Unspecified, None, None));
    let blocked = told(2, State::Blocked);
    assert_eq!((blocked.reason, blocked.rule), (Reason::Policy, Some(Rule::CopyExact)));
    assert_eq!(blocked.file.unwrap().as_str(), "metrics.json");
    assert!(blocked.denial_reasons.is_empty());
}

#[test]
fn an_output_that_was_not_declared_has_no_name() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = accepted(&transaction);
    take_transition(&transaction, &report(request, 1, State::Running), at(10)).unwrap();
    let beyond = Transition { output: Some(3), ..report(request, 2, State::Failed) };
    assert!(matches!(take_transition(&transaction, &beyond, at(10)), Err(NotTaken::Output)));
}

#[test]
fn a_job_that_nobody_answers_ends_by_its_limit() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = submitted(&transaction);
    let limit = State::Submitted.limit_seconds().unwrap() as i64;
    assert!(expire(&transaction, at(limit)).unwrap().is_empty());
    assert_eq!(expire(&transaction, at(limit + 1)).unwrap(), [request]);
    assert_eq!(seen(&transaction, &request, limit + 1), State::Expired);
    assert!(jobs::unanswered(&transaction).unwrap().is_empty());
    let late = report(request, 1, State::Running);
    assert_eq!(take_transition(&transaction, &late, at(limit + 2)).unwrap(), Taken::Already);
    assert_eq!(seen(&transaction, &request, limit + 3), State::Expired);
}

#[test]
fn a_person_has_a_limited_number_of_open_jobs_and_a_repeat_is_none() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = submitted(&transaction);
    submitted(&transaction);
    let told = Story::default().request(|request| request.job = "another".parse().unwrap()).tell();
    let envelope = told.release.request;
    let another = NewJob {
        digest: envelope.payload_digest(),
        request: envelope.unverified().unwrap(),
        envelope: envelope.to_bytes(),
        purpose: String::new(),
        purpose_salt: [7; 32],
        grid_seconds: 600,
    };
    let refused = jobs::take_in(&transaction, &another, 1, at(1));
    assert!(matches!(refused, Err(server::Refused::Quota { .. })));
    take_answer(&transaction, &Answer { request, refused: Some(Reason::Grant) }, at(2)).unwrap();
    jobs::take_in(&transaction, &another, 1, at(3)).unwrap();
}
