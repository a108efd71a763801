//! What a gateway tells of jobs and datasets, before it is printed: the room may be of another mind.

use api::v1::{Dataset, Job, Outcome, WatchJobResponse};

use super::no_job;
use crate::failure::Failure;
use crate::listed::plain;

/// Most events of one job: every state that it passes through, over again for each lost run.
const EVENTS: u64 = 10_000;

/// The job of this name as the gateway tells it, whose words are to be printed.
///
/// # Errors
/// `ANSWER` if it is another one: whoever asked would take that one's state for their own job's.
pub(super) fn told(job: Option<Job>, asked: &str) -> Result<Job, Failure> {
    let job = job.filter(|job| job.job == asked).ok_or_else(no_job)?;
    plain([job.job.as_str(), &job.project, &job.name])?;
    job.outcome.as_ref().map_or(Ok(()), plain_outcome)?;
    Ok(job)
}

/// The same for what became of it.
pub(super) fn plain_outcome(outcome: &Outcome) -> Result<(), Failure> {
    plain([outcome.rule.as_str(), &outcome.file])
}

/// The number of an event that came after this one. A gateway that repeats events, leaves some out, or never ends is not
/// followed.
pub(super) fn next_event(last: u64, event: &WatchJobResponse) -> Result<u64, Failure> {
    match event.event {
        number if last.checked_add(1) == Some(number) && number <= EVENTS => Ok(number),
        _ => Err(Failure::new("ANSWER", "the gateway tells events that do not follow each other")),
    }
}

/// The same for a dataset.
pub(super) fn plain_dataset(dataset: &Dataset) -> Result<(), Failure> {
    plain([dataset.name.as_str(), &dataset.snapshot, &dataset.grant, &dataset.project])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client;

    #[test]
    fn a_gateway_of_another_mind_writes_nothing_to_a_terminal_by_what_it_tells_of_a_job() {
        let job = |change: fn(&mut Job)| {
            let mut job = Job { project: "hie".to_owned(), name: "any-visit".to_owned(), ..Job::default() };
            job.outcome = Some(Outcome { rule: "copy.exact".to_owned(), ..Outcome::default() });
            change(&mut job);
            told(Some(job), "").map(drop).map_err(|failure| failure.reason)
        };
        assert_eq!(job(|_| {}), Ok(()));
        let lies: [fn(&mut Job); 4] = [
            |job| job.project = "\u{1b}]0;owned\u{7}".to_owned(),
            |job| job.name = "a\nstate    RELEASED".to_owned(),
            |job| job.outcome.as_mut().unwrap().file = "model\u{202e}gpj.safetensors".to_owned(),
            |job| job.outcome.as_mut().unwrap().rule = "\r".to_owned(),
        ];
        for lie in lies {
            assert_eq!(job(lie), Err("LIST_REFUSED".to_owned()));
        }
        assert_eq!(job(|job| job.job = "\r".to_owned()), Err("ANSWER".to_owned()));
        let mut status = tonic::Status::internal("gone\u{1b}[2J");
        assert!(!client::refused(status.clone()).text.contains('\u{1b}'));
        status = <tonic::Status as tonic_types::StatusExt>::with_error_details(
            tonic::Code::Internal,
            "gone",
            tonic_types::ErrorDetails::with_error_info(
                "\u{1b}[2J",
                "databox",
                std::collections::HashMap::new(),
            ),
        );
        assert_eq!(client::refused(status).reason, "INTERNAL");
    }
}
