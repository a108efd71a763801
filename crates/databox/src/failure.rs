//! What a command says when it cannot do its work: a reason from a closed list, one sentence, and what to do.

mod hints;

use std::io::ErrorKind;
use std::process::ExitCode;

use lifecycle::State;

/// How a command ends when it does not succeed. Frozen: scripts rely on these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Something failed.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The policy, a steward or a missing right said no.
    Denied = 3,
    /// No profile, or a certificate that the box does not accept.
    NotSignedIn = 4,
    /// The box does not answer.
    Unavailable = 5,
    /// Somebody else was first.
    Conflict = 6,
    /// The job has not ended yet.
    NotFinished = 8,
    /// `databox check`, `fsck` or `doctor` found something.
    CheckFailed = 10,
    /// `databox doctor` found something that needs care soon.
    NeedsCareSoon = 11,
    /// The job that was waited for ended FAILED: its own fault.
    JobFailed = 20,
    /// The job that was waited for ended BLOCKED: the policy forbids the release.
    JobBlocked = 21,
    /// The job that was waited for ended REFUSED: it was not admitted.
    JobRefused = 22,
    /// The job that was waited for ended REJECTED or RETURNED: a steward said no or asks for changes.
    JobDenied = 23,
    /// The job that was waited for ended CANCELLED.
    JobCancelled = 24,
    /// The job that was waited for ended EXPIRED: nobody decided in time.
    JobExpired = 25,
    /// The job that was waited for ended LOST: the box's fault.
    JobLost = 26,
}

impl Exit {
    /// How a command ends that waited for a job until it was in `wanted`, and found it in `reached`. None for success:
    /// the state that was waited for, or a later one on the way to a release.
    pub fn of_job(wanted: State, reached: State) -> Option<Self> {
        match reached {
            State::Failed => Some(Self::JobFailed),
            State::Blocked => Some(Self::JobBlocked),
            State::Refused => Some(Self::JobRefused),
            State::Rejected | State::Returned => Some(Self::JobDenied),
            State::Cancelled => Some(Self::JobCancelled),
            State::Expired => Some(Self::JobExpired),
            State::Lost => Some(Self::JobLost),
            State::Released => None,
            State::Submitted
            | State::InCodeReview
            | State::Queued
            | State::Running
            | State::InReview
            | State::Approved => (reached < wanted).then_some(Self::NotFinished),
        }
    }
}

/// A command that could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One of a closed list of words in capitals, the same as in the box's answers.
    pub reason: String,
    /// What is wrong, in one sentence.
    pub text: String,
    /// What to do, where that is more exact than what the reason alone suggests.
    pub hint: Option<String>,
    /// How the command ends.
    pub exit: Exit,
}

impl Failure {
    /// A failure with this reason and sentence.
    pub fn new(reason: &str, text: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), text: text.into(), hint: None, exit: Exit::Failure }
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets how the command ends.
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// What to do. Every failure has an answer.
    pub fn advice(&self) -> &str {
        self.hint.as_deref().unwrap_or_else(|| hints::usual(&self.reason))
    }

    /// Prints it to standard error, for people or as one JSON object, and gives the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            let told = serde_json::json!({
                "error": self.reason, "text": self.text, "hint": self.advice(), "exit": self.exit as u8,
            });
            eprintln!("{told}");
            return ExitCode::from(self.exit as u8);
        }
        eprintln!("error[{}]: {}", self.reason, self.text);
        eprintln!("  hint: {}", self.advice());
        ExitCode::from(self.exit as u8)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.reason, self.text)
    }
}

impl std::error::Error for Failure {}

/// Text of an error and all its causes, in one line. For errors of this program's own; never for text that a peer sent.
pub fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some errors say their cause's words themselves.
        if !text.ends_with(&words) {
            text += &format!(": {words}");
        }
        cause = error.source();
    }
    text
}

/// A bundle that is refused, by the name of its case.
pub fn bundle_failure(path: &std::path::Path) -> impl FnOnce(bundle::BundleError) -> Failure + '_ {
    move |error| {
        let form = "docs/formats/bundle.md says what a bundle may hold; `databox job submit` packs one from a directory";
        Failure::new(error.name(), format!("{}: {}", path.display(), whole(&error)))
            .hint(hints::of_file(&error).unwrap_or(form))
    }
}

/// A manifest that is refused, by the name of its case.
pub fn manifest_failure(path: &std::path::Path) -> impl FnOnce(bundle::ManifestError) -> Failure + '_ {
    move |error| {
        Failure::new(error.name(), format!("{}: {}", path.display(), whole(&error)))
            .hint("`databox job new DIR` writes a manifest that has every key")
            .exit(Exit::Usage)
    }
}

/// Turns an error about a file into a failure that names the file. One that is there already and was not overwritten is
/// `ALREADY_THERE`, everything else `FILE`.
pub fn file_failure<E: std::error::Error + 'static>(
    path: &std::path::Path,
) -> impl FnOnce(E) -> Failure + '_ {
    move |error| {
        let text = format!("{}: {}", path.display(), whole(&error));
        let mut failure = match hints::machine(&error) {
            Some(ErrorKind::AlreadyExists) => Failure::new("ALREADY_THERE", text).exit(Exit::Conflict),
            _ => Failure::new("FILE", text),
        };
        failure.hint = hints::of_file(&error).map(str::to_owned);
        failure
    }
}

/// A person's key that cannot be written, or read with this passphrase.
pub fn key_failure(error: packet::key::KeyFileError) -> Failure {
    use packet::key::KeyFileError as Error;
    let text = whole(&error);
    match &error {
        Error::WrongPassphrase { .. } => Failure::new("WRONG_PASSPHRASE", text)
            .hint("try again; `passphrase_file` in the profile, or --passphrase-file, names a file whose first line it is"),
        Error::PassphraseTooShort => Failure::new("PASSPHRASE", text).hint("choose a longer one").exit(Exit::Usage),
        Error::AlreadyThere { .. } => Failure::new("ALREADY_THERE", text)
            .hint("--out names another directory; a key that roles or a grant name is needed still")
            .exit(Exit::Conflict),
        Error::Missing { .. } => Failure::new("KEY_MISSING", text)
            .hint("`keys` in the profile, or --keys, names the directory where `databox key new` wrote it; `id` or --as whose it is"),
        Error::Io { .. } => {
            let failure = Failure::new("FILE", text);
            match hints::of_file(&error) {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        Error::NotEncrypted { .. } | Error::Form { .. } | Error::Encryption { .. } | Error::OtherKind { .. } => {
            Failure::new("KEY_FILE", text).hint("give the files as `databox key new` wrote them")
        }
        Error::Machine => Failure::new("MACHINE", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_goes_wrong_with_a_file_is_said_with_what_to_do() {
        let path = std::path::Path::new("x");
        let failure = |kind: ErrorKind| file_failure(path)(std::io::Error::from(kind));
        let there = failure(ErrorKind::AlreadyExists);
        assert_eq!((there.reason.as_str(), there.exit), ("ALREADY_THERE", Exit::Conflict));
        assert!(there.advice().contains("nothing was overwritten"));
        let hints =
            [ErrorKind::NotFound, ErrorKind::PermissionDenied, ErrorKind::StorageFull, ErrorKind::Other];
        let told: std::collections::BTreeSet<_> =
            hints.into_iter().map(|kind| failure(kind).advice().to_owned()).collect();
        assert_eq!(told.len(), hints.len(), "each its own: {told:?}");
        assert!(!Failure::new("A_NEW_ONE", "").advice().is_empty());
    }

    #[test]
    fn every_word_of_the_box_has_its_own_advice() {
        use api::reason::Word as _;
        let reasons = (1..).map_while(|number| api::v1::CallReason::try_from(number).ok());
        for reason in reasons {
            let advice = hints::usual(reason.word());
            assert_ne!(advice, hints::usual("A_NEW_ONE"), "{}", reason.word());
        }
    }

    #[test]
    fn a_wait_succeeds_only_where_the_job_came_as_far_as_was_asked_for() {
        for state in State::ALL {
            let review = Exit::of_job(State::InReview, state);
            let release = Exit::of_job(State::Released, state);
            let on_the_way = [State::InReview, State::Approved, State::Released].contains(&state);
            assert_eq!(review.is_none(), on_the_way, "{state}");
            assert_eq!(release.is_none(), state == State::Released, "{state}");
            if state.is_end() && state != State::Released {
                assert!((20..30).contains(&(release.unwrap() as u8)), "{state}");
                assert_eq!(review, release, "{state}");
            }
        }
    }
}
