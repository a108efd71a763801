//! What to do, by the name of an error: for those that say nothing more exact themselves.

use std::error::Error;
use std::io::{self, ErrorKind};

/// What to do about an error of this name. Every error has something: the last words are for those of the machine.
pub fn usual(reason: &str) -> &'static str {
    match reason {
        "FILE" | "BUNDLE_REFUSED" => {
            "look at the file that is named; a command takes files as another command wrote them"
        }
        "ENDPOINT" => "`endpoint` in the profile is of the form https://HOST:PORT",
        "CERTIFICATE" => "`databox cert issue` makes a certificate from NAME.tls.csr",
        "STATEMENT" | "STATEMENT_FIELD" => {
            "docs/formats/statements.md has every field; `databox site new` makes a draft"
        }
        "DRAFT" => "give the file as the enclave laid it into BOX/drafts: NAME.packet, or runtime-NAME.json",
        "POLICY" => "policies/egress has policies with every key",
        "WITNESS_NAME" => "a name such as witness.example/1, without spaces and plus signs",
        "WITNESS_STATE" => {
            "restore the directory from its newest copy, or begin with a new one and so a new key"
        }
        "NOT_FINISHED" => "`databox job watch` follows it to its end",
        "SEVERAL_JOBS" | "SEVERAL_REVIEWS" => "give more of its characters",
        "CHECKER_FAILED" => "run `databox check` on the outputs again; `databox doctor` looks at the wall",
        "ANSWER" | "LIST_REFUSED" | "PACKET_REFUSED" | "RELEASE_REFUSED" | "VERDICT_REFUSED"
        | "REQUEST_REFUSED" | "DENIAL_REFUSED" => {
            "nothing of it was kept; the box answers what it must not, so ask its owner before you go on"
        }
        // Words of the box.
        "NOT_FOUND" => "`databox job ls`, `databox release ls` and `databox review ls` list what is yours",
        "ROLE" | "UNIMPLEMENTED" => {
            "`endpoint` in the profile: researchers call the gateway, stewards the console"
        }
        "REVOKED" | "REQUESTER" => {
            "`id` and `keys` in the profile must be yours; else ask the owner of the data"
        }
        "STATEMENT_REFUSED" => "the rule in brackets says what is wrong with it",
        "SITE" => "its operator sees with `databox doctor` what is missing, and renews it",
        "MALFORMED" | "TOO_LARGE" | "PAGE_SIZE" | "PAGE_TOKEN" => {
            "`databox --version` here and at the box should be the same"
        }
        "OFFSET" | "DIGEST" | "BUNDLE_MISSING" | "CONFLICT" => {
            "hand it in again; what has arrived is not sent twice"
        }
        "QUOTA" => "`databox job ls` shows what waits; hand in again when something has ended",
        "NOT_READY" | "OVERLOADED" | "TIME" | "UNAVAILABLE" | "UNKNOWN" | "CANCELLED" => {
            "try again in a moment; if it stays so, ask the box's operator, who has `databox doctor`"
        }
        "DISK" => "the box's operator must make room (`databox doctor` says where); then hand it in again",
        "BOX" | "INTERNAL" => "ask the box's operator: `databox doctor` and the room's journal say why",
        "TOO_LATE" => "`databox job show` says how it stands",
        _ => {
            "run it again; if it stays so, `databox doctor` looks at the machine, and --help says what is expected"
        }
    }
}

/// What to do about a file that could not be read or written, by what the machine said. None for any other error.
pub fn of_file(error: &(dyn Error + 'static)) -> Option<&'static str> {
    Some(match machine(error)? {
        ErrorKind::NotFound => "nothing is there: look at the path, and at the directory that you are in",
        ErrorKind::PermissionDenied => "this user may not do that with it: `ls -ld` names its owner and mode",
        ErrorKind::AlreadyExists => "nothing was overwritten: give another name, or take away what is there",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on this disk, then run it again",
        ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            "a file is wanted where a directory is, or the other way round"
        }
        ErrorKind::InvalidData => "it is no text (UTF-8): is it the right file?",
        _ => return None,
    })
}

/// The machine's own error among the causes of another.
pub fn machine(error: &(dyn Error + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
