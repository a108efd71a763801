//! The closed lists of reasons: their words, and what a person can do.

use crate::v1::{CallReason, Reason};

/// The domain of every `google.rpc.ErrorInfo` that a room sends.
pub const DOMAIN: &str = "databox";

/// A reason of one of the closed lists.
pub trait Word: Sized {
    /// Its word, as answers, the command line and the documents write it, such as `POLICY`.
    fn word(self) -> &'static str;
    /// What happened and what to do, for people.
    fn hint(self) -> &'static str;
    /// The reason with this word.
    fn from_word(word: &str) -> Option<Self>;
}

impl Word for Reason {
    fn word(self) -> &'static str {
        self.as_str_name().trim_start_matches("REASON_")
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Unspecified => "nothing is to be said yet",
            Self::Passed => "the outputs passed the policy; stewards decide next",
            Self::Policy => {
                "the policy forbids the release; run `databox check` on the outputs at your desk (copies of data are \
                 looked for with `--private` only)"
            }
            Self::ProgramFailed => {
                "the program ended with an error; run it at your desk with `databox job run --local`. A question: give it \
                 more limits.memory, 64MiB at least; else a cell of a column of numbers is none, or a sum is too large"
            }
            Self::TimeLimit => "the job took longer than it asked for; raise limits.time or do less",
            Self::MemoryLimit => {
                "the job used more memory than it asked for; raise limits.memory or use less"
            }
            Self::OutputLimit => "the job wrote more than it may; write only what databox.toml declares",
            Self::ProcessLimit => "the job started more processes than it may",
            Self::Bundle => {
                "the bundle is not accepted; `databox job inspect` says why, `databox job submit` packs one"
            }
            Self::Account => "the grant has not enough bits left for this dataset; ask its stewards",
            Self::Grant => "no current grant covers this request; ask the dataset's stewards",
            Self::Request => "the request was used before, is too old, or is not signed by an enrolled key",
            Self::SiteExpired => "the site's roles or revocations have expired; its operator must renew them",
            Self::Box => "the box could not do its part; its operator can see why",
            Self::Steward => "a steward refused; the denial reasons say why",
            Self::Undecided => "nobody decided in time; hand the job in again",
            Self::Cancelled => "its requester called it off",
            Self::Data => "the dataset, snapshot or runtime is not there; look at `databox data ls`",
            Self::Wall => "the box has not the wall that the grant demands; ask its operator",
            Self::Unheard => {
                "the box did not tell in time what became of the job; its operator can see why. A release that is \
                 logged later is served nevertheless: look at `databox release ls`"
            }
            Self::Limits => {
                "limits.cpus, limits.memory, limits.time, [devices] or the declared weights are more than the box or the \
                 policy gives; ask for less, or its operator for more room (docs/decisions/large-files.md)"
            }
            Self::Disk => {
                "the box has no room for new work, on its disk or among the reviews of code that may be open; hand it in \
                 again when something has ended, or ask its operator"
            }
            Self::Privacy => {
                "the dataset's privacy budget has too little left for this noise; ask for a smaller rho, or its stewards"
            }
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::from_str_name(&format!("REASON_{word}"))
    }
}

impl Word for CallReason {
    fn word(self) -> &'static str {
        self.as_str_name().trim_start_matches("CALL_REASON_")
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Unspecified => "no reason is given",
            Self::Certificate => "use the certificate that the site's operator issued to you",
            Self::Role => {
                "your certificate's role may not do this; researchers call the gateway, stewards the console"
            }
            Self::Revoked => "you, or this certificate, are revoked; ask the owner of the data",
            Self::NotFound => "there is no such thing, or it is not yours",
            Self::Malformed => "the message is not in its form; client and box may differ in version",
            Self::TooLarge => "more than the box accepts",
            Self::Offset => "ask how much has arrived, and go on from there",
            Self::Digest => "the bytes are not those announced; send them again",
            Self::BundleMissing => "upload the bundle first",
            Self::Quota => "wait until some of your uploads, calls, connections or jobs have ended",
            Self::Statement => "the signed statement is not accepted",
            Self::Requester => "the request must be signed by the person whose certificate is used",
            Self::Site => {
                "the site's roles or revocations are missing or expired; its operator must renew them"
            }
            Self::Conflict => "the same call came before with other content",
            Self::NotReady => "try again in a moment",
            Self::Overloaded => "too many calls at once; try again in a moment",
            Self::Time => "the call took too long; try again",
            Self::Box => "the box could not do its part; its operator can see why",
            Self::TooLate => "the job is approved or has ended; it can no longer be called off",
            Self::PageSize => "ask for at most 100 at a time",
            Self::Disk => {
                "the box has too little disk left for new work; its operator must make room, then hand it in again"
            }
            Self::PageToken => "take the token of the page before, unchanged, or begin anew without one",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::from_str_name(&format!("CALL_REASON_{word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_word() {
        for number in 0..=21 {
            let reason = Reason::try_from(number).unwrap();
            assert_eq!(Reason::from_word(reason.word()), Some(reason));
            assert!(!reason.hint().is_empty());
        }
        for number in 0..=22 {
            let reason = CallReason::try_from(number).unwrap();
            assert_eq!(CallReason::from_word(reason.word()), Some(reason));
        }
        assert_eq!(Reason::Policy.word(), "POLICY");
        assert_eq!(CallReason::NotFound.word(), "NOT_FOUND");
    }
}
