use api::Admission;
use test_formats::story::Story;

use super::*;
use crate::store::jobs::{JobLimits, NewJob};
use crate::store::testing::{at, connection};
use crate::store::{cancels, elapsed, queue};

const LIMITS: JobLimits = JobLimits { open_per_person: 1, waiting_per_grant: 9 };

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
    jobs::take_in(transaction, &job, LIMITS, at(0)).unwrap();
    job.digest
}

fn accepted(transaction: &Transaction<'_>) -> Digest {
    let request = submitted(transaction);
    take_answer(transaction, &Answer { request, admission: Admission::Queued }, at(1)).unwrap();
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
        failure: None,
        used: api::Use::default(),
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
    assert_eq!(queue::unanswered(&transaction).unwrap().len(), 1);
    let answer = Answer { request, admission: Admission::Queued };
    assert_eq!(take_answer(&transaction, &answer, at(1)).unwrap(), Taken::New);
    assert!(queue::unanswered(&transaction).unwrap().is_empty());
    let other = Answer { admission: Admission::Refused(Reason::Account), ..answer };
    assert_eq!(take_answer(&transaction, &other, at(2)).unwrap(), Taken::Already);
    assert_eq!(seen(&transaction, &request, 3), State::Queued);
}

#[test]
fn a_refusal_ends_the_job_with_its_reason() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = submitted(&transaction);
    take_answer(&transaction, &Answer { request, admission: Admission::Refused(Reason::Account) }, at(1))
        .unwrap();
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
    take_answer(&transaction, &Answer { request, admission: Admission::Queued }, at(1)).unwrap();
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
        failure: Some(api::Failure::new(api::v1::FailureClass::KeyError, 1, 41).unwrap()),
        used: api::Use::new(7, 1).unwrap(),
        ..report(request, number, state)
    };
    let told = |number, state| {
        take_transition(&transaction, &talkative(number, state), at(i64::from(number) * 600)).unwrap();
        last(&transaction, &request).unwrap().unwrap()
    };
    let running = told(1, State::Running);
    assert_eq!((running.reason, running.rule, running.file), (Reason::Unspecified, None, None));
    assert_eq!((running.failure, running.used), (None, api::Use::default()));
    let blocked = told(2, State::Blocked);
    assert_eq!((blocked.reason, blocked.rule), (Reason::Policy, Some(Rule::CopyExact)));
    assert_eq!(blocked.file.unwrap().as_str(), "metrics.json");
    assert!(blocked.denial_reasons.is_empty());
    assert_eq!((blocked.failure, blocked.used), (None, api::Use::new(7, 1).unwrap()));
}

#[test]
fn where_a_program_failed_is_kept_as_it_was_told_and_not_told_anew() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = accepted(&transaction);
    take_transition(&transaction, &report(request, 1, State::Running), at(10)).unwrap();
    let failure = |line| api::Failure::new(api::v1::FailureClass::KeyError, 1, line).unwrap();
    let failed = Transition {
        failure: Some(failure(41)),
        used: api::Use::new(3, 2).unwrap(),
        ..report(request, 2, State::Failed)
    };
    assert_eq!(take_transition(&transaction, &failed, at(700)).unwrap(), Taken::New);
    let event = last(&transaction, &request).unwrap().unwrap();
    assert_eq!((event.failure, event.used), (failed.failure, failed.used));
    assert_eq!(take_transition(&transaction, &failed, at(800)).unwrap(), Taken::Already);
    let another = Transition { failure: Some(failure(42)), ..failed };
    assert!(matches!(take_transition(&transaction, &another, at(900)), Err(NotTaken::Differs)));
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

/// Lets the gateway run for so many seconds; the machine's clock stands still.
fn run_for(transaction: &Transaction<'_>, seconds: u64) {
    elapsed::count(transaction, seconds, at(0).seconds()).unwrap();
}

#[test]
fn a_job_that_nobody_answers_ends_by_its_limit() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = submitted(&transaction);
    run_for(&transaction, State::Submitted.limit_seconds().unwrap());
    assert!(end_unheard(&transaction, at(5)).unwrap().is_empty());
    run_for(&transaction, 1);
    let ended = end_unheard(&transaction, at(5)).unwrap();
    assert_eq!(ended, [Unheard { job: request, state: State::Submitted }]);
    assert_eq!(seen(&transaction, &request, 5), State::Expired);
    assert!(queue::unanswered(&transaction).unwrap().is_empty());
    let late = report(request, 1, State::Running);
    assert_eq!(take_transition(&transaction, &late, at(6)).unwrap(), Taken::Already);
    assert_eq!(seen(&transaction, &request, 700), State::Expired);
}

/// Moves of an honest enclave up to a state.
fn brought_to(transaction: &Transaction<'_>, until: State) -> Digest {
    let request = accepted(transaction);
    let moves = [(1, State::Running), (2, State::InReview), (3, State::Approved)];
    for (number, state) in moves.into_iter().filter(|(_, state)| *state <= until) {
        let seconds = i64::from(number) * 600;
        take_transition(transaction, &report(request, number, state), at(seconds)).unwrap();
    }
    request
}

#[test]
fn no_state_is_shown_for_ever_when_the_enclave_falls_silent() {
    let cases = [
        (State::Queued, State::Expired),
        (State::Running, State::Lost),
        (State::InReview, State::Expired),
        (State::Approved, State::Lost),
    ];
    for (state, end) in cases {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let request = brought_to(&transaction, state);
        let job = jobs::find(&transaction, &request).unwrap().unwrap();
        assert_eq!(job.state, state);
        let limit = state.view_limit_seconds(job.run_seconds, 600).unwrap();
        run_for(&transaction, limit);
        assert!(
            end_unheard(&transaction, at(2000)).unwrap().is_empty(),
            "{state}: its owner may still speak"
        );
        run_for(&transaction, 1);
        assert_eq!(end_unheard(&transaction, at(2000)).unwrap(), [Unheard { job: request, state }]);
        assert!(end_unheard(&transaction, at(2000)).unwrap().is_empty(), "{state}: once");
        let last = last_visible(&transaction, &request, at(2000)).unwrap().unwrap();
        assert_eq!((last.state, last.reason), (end, Reason::Unheard), "{state}");
    }
}

#[test]
fn a_run_has_its_own_limit_before_nothing_was_heard_of_it() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = brought_to(&transaction, State::Running);
    transaction.execute("UPDATE jobs SET run_seconds = 1000000", []).unwrap();
    run_for(&transaction, State::Running.view_limit_seconds(0, 600).unwrap() + 1);
    assert!(end_unheard(&transaction, at(2000)).unwrap().is_empty());
    run_for(&transaction, 1_000_000);
    assert_eq!(end_unheard(&transaction, at(2000)).unwrap()[0].job, request);
}

#[test]
fn a_clock_that_jumps_ends_nothing_and_hides_nothing() {
    const YEAR: i64 = 400 * 24 * 3600;
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = accepted(&transaction);
    take_transition(&transaction, &report(request, 1, State::Running), at(YEAR)).unwrap();
    assert!(end_unheard(&transaction, at(YEAR)).unwrap().is_empty(), "forward: no time has passed");
    take_transition(&transaction, &report(request, 2, State::InReview), at(YEAR)).unwrap();
    assert_eq!(seen(&transaction, &request, 10), State::Queued, "hidden, since the clock is back");
    elapsed::set_back(&transaction, YEAR.unsigned_abs(), at(10)).unwrap();
    assert_eq!(seen(&transaction, &request, 10), State::Running);
    assert_eq!(seen(&transaction, &request, 599), State::Running, "the grid still counts");
    assert_eq!(seen(&transaction, &request, 610), State::InReview);
}

#[test]
fn after_an_end_that_the_view_made_only_a_release_is_shown() {
    for until in [State::Queued, State::Running, State::InReview] {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let request = brought_to(&transaction, until);
        run_for(&transaction, 1 << 30);
        end_unheard(&transaction, at(2000)).unwrap();
        let end = seen(&transaction, &request, 2000);
        let job = jobs::find(&transaction, &request).unwrap().unwrap();
        for (number, state) in (job.last_number + 1..).zip([State::Running, State::Failed, State::Blocked]) {
            let late = report(request, number, state);
            assert_eq!(take_transition(&transaction, &late, at(9000)).unwrap(), Taken::Already);
            assert_eq!(seen(&transaction, &request, 99_000), end, "{until}: a late word reopens nothing");
        }
        let job = jobs::find(&transaction, &request).unwrap().unwrap();
        release(&transaction, &job, at(9000)).unwrap();
        assert_eq!(seen(&transaction, &request, 9000), State::Released, "{until}: the log decides");
    }
}

#[test]
fn no_release_follows_an_end_that_a_verdict_or_a_denial_made() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = brought_to(&transaction, State::InReview);
    take_transition(&transaction, &report(request, 3, State::Rejected), at(1800)).unwrap();
    let job = jobs::find(&transaction, &request).unwrap().unwrap();
    assert!(release(&transaction, &job, at(1800)).is_err());
    assert_eq!(seen(&transaction, &request, 1800), State::Rejected);
}

fn called_off(transaction: &Transaction<'_>, request: &Digest, seconds: i64) -> Result<(), server::Refused> {
    cancels::take_in(transaction, request, b"cancel", at(seconds))
}

#[test]
fn a_job_that_waits_for_the_enclave_is_called_off_at_once_and_the_enclave_is_told() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = submitted(&transaction);
    called_off(&transaction, &request, 1).unwrap();
    called_off(&transaction, &request, 2).unwrap();
    assert_eq!(seen(&transaction, &request, 2), State::Cancelled);
    assert!(queue::unanswered(&transaction).unwrap().is_empty());
    assert_eq!(cancels::untaken(&transaction).unwrap().len(), 1, "its answer may be on the way");
    assert_eq!(after(&transaction, &request, 0).unwrap().len(), 2, "one event for two calls");
    // The answer crosses the cancel, and the enclave ends the job itself: both are taken and neither is shown.
    assert_eq!(
        take_answer(&transaction, &Answer { request, admission: Admission::Queued }, at(3)).unwrap(),
        Taken::Already
    );
    let report = report(request, 1, State::Cancelled);
    assert_eq!(take_transition(&transaction, &report, at(4)).unwrap(), Taken::Already);
    assert_eq!(after(&transaction, &request, 0).unwrap().len(), 2);
    cancels::taken(&transaction, &request).unwrap();
    assert!(cancels::untaken(&transaction).unwrap().is_empty());
    called_off(&transaction, &request, 5).unwrap();
}

#[test]
fn a_cancel_in_any_state_before_approval_waits_for_the_enclave_and_later_it_is_too_late() {
    for state in [State::Queued, State::Running, State::InReview, State::Approved] {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let request = brought_to(&transaction, state);
        let answer = called_off(&transaction, &request, 5000);
        if state == State::Approved {
            assert_eq!(answer, Err(server::Refused::TooLate));
            assert!(cancels::untaken(&transaction).unwrap().is_empty());
        } else {
            answer.unwrap();
            assert_eq!(seen(&transaction, &request, 5000), state, "the enclave makes the move");
            assert_eq!(cancels::untaken(&transaction).unwrap().len(), 1);
        }
    }
}

#[test]
fn a_cancel_does_not_tell_that_a_run_has_ended_before_the_grid_does() {
    let (_directory, mut connection) = connection();
    let transaction = connection.transaction().unwrap();
    let request = accepted(&transaction);
    for (number, state) in [(1, State::Running), (2, State::Failed)] {
        take_transition(&transaction, &report(request, number, state), at(130)).unwrap();
    }
    assert_eq!(seen(&transaction, &request, 140), State::Running);
    called_off(&transaction, &request, 140).unwrap();
    assert_eq!(seen(&transaction, &request, 600), State::Failed);
    let another = brought_to_its_end(&transaction);
    assert_eq!(called_off(&transaction, &another, 99_000), Err(server::Refused::TooLate));
}

fn brought_to_its_end(transaction: &Transaction<'_>) -> Digest {
    let envelope =
        Story::default().request(|request| request.job = "another".parse().unwrap()).tell().release.request;
    let job = NewJob {
        digest: envelope.payload_digest(),
        request: envelope.unverified().unwrap(),
        envelope: envelope.to_bytes(),
        purpose: String::new(),
        purpose_salt: [7; 32],
        grid_seconds: 600,
    };
    jobs::take_in(transaction, &job, LIMITS, at(601)).unwrap();
    take_answer(
        transaction,
        &Answer { request: job.digest, admission: Admission::Refused(Reason::Grant) },
        at(602),
    )
    .unwrap();
    job.digest
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
    let refused = jobs::take_in(&transaction, &another, LIMITS, at(1));
    assert!(matches!(refused, Err(server::Refused::Quota { .. })));
    take_answer(&transaction, &Answer { request, admission: Admission::Refused(Reason::Grant) }, at(2))
        .unwrap();
    jobs::take_in(&transaction, &another, LIMITS, at(3)).unwrap();
}
