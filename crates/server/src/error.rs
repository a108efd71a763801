//! The one place where an error of a room becomes a status of the wire. Every text is fixed: nothing that a job, a
//! file or a peer wrote can get into one.

use std::time::Duration;

use api::WireError;
use api::reason::{DOMAIN, Word};
use api::v1::CallReason;
use release::refusal::Refusal;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{PrincipalError, calls};

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The certificate does not name exactly one person of this site in a known role.
    #[error("the certificate does not name one person in a known role: {0}")]
    Certificate(PrincipalError),
    /// The person's role may not make this call.
    #[error("the role may not do this")]
    Role,
    /// The person or the certificate is revoked.
    #[error("the person or the certificate is revoked")]
    Revoked,
    /// There is no such thing, or it is not the caller's.
    #[error("there is no such thing")]
    NotFound,
    /// This field does not have its form.
    #[error("the field {0} does not have its form")]
    Malformed(&'static str),
    /// This field is larger than is accepted.
    #[error("the field {field} is larger than {limit}")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A chunk does not begin where the bytes on disk end.
    #[error("the chunk does not begin at {committed}")]
    Offset {
        /// How many bytes are on disk.
        committed: u64,
    },
    /// The bytes have another digest than announced.
    #[error("the bytes have another digest than announced")]
    Digest,
    /// The bundle is not whole yet.
    #[error("the bundle is not here")]
    BundleMissing,
    /// The caller has too many of these.
    #[error("no more than {limit} {subject}")]
    Quota {
        /// Of what.
        subject: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// A signed statement is not accepted.
    #[error("the statement is not accepted: {0}")]
    Statement(Refusal),
    /// The statement's maker is not the person in the certificate.
    #[error("the statement is not the caller's")]
    Requester,
    /// The site's roles or revocations are missing or expired.
    #[error("the site is not in force")]
    Site,
    /// The same call came before with other content.
    #[error("the same call came before with other content")]
    Conflict,
    /// Another party is not reachable just now.
    #[error("another party is not reachable just now")]
    NotReady,
    /// Too many calls at once.
    #[error("too many calls at once")]
    Overloaded,
    /// The call took too long, or sent too slowly.
    #[error("the call took too long")]
    Time,
    /// The box could not do its part.
    #[error("the box could not do its part")]
    Box,
    /// There is too little disk for new work.
    #[error("there is too little disk for new work")]
    Disk,
    /// The job is approved or has ended.
    #[error("the job can no longer be called off")]
    TooLate,
    /// A page is asked to be larger than pages are.
    #[error("a page has at most {limit} entries")]
    PageSize {
        /// How many a page has at most.
        limit: u32,
    },
    /// The page token is not one of this listing.
    #[error("the page token is not one of this listing")]
    PageToken,
}

impl Refused {
    /// The reason as a word of the closed list.
    pub fn reason(self) -> CallReason {
        match self {
            Self::Certificate(_) => CallReason::Certificate,
            Self::Role => CallReason::Role,
            Self::Revoked => CallReason::Revoked,
            Self::NotFound => CallReason::NotFound,
            Self::Malformed(_) => CallReason::Malformed,
            Self::TooLarge { .. } => CallReason::TooLarge,
            Self::Offset { .. } => CallReason::Offset,
            Self::Digest => CallReason::Digest,
            Self::BundleMissing => CallReason::BundleMissing,
            Self::Quota { .. } => CallReason::Quota,
            Self::Statement(_) => CallReason::Statement,
            Self::Requester => CallReason::Requester,
            Self::Site => CallReason::Site,
            Self::Conflict => CallReason::Conflict,
            Self::NotReady => CallReason::NotReady,
            Self::Overloaded => CallReason::Overloaded,
            Self::Time => CallReason::Time,
            Self::Box => CallReason::Box,
            Self::Disk => CallReason::Disk,
            Self::TooLate => CallReason::TooLate,
            Self::PageSize { .. } => CallReason::PageSize,
            Self::PageToken => CallReason::PageToken,
        }
    }

    /// The gRPC code. Only `UNAVAILABLE` is worth an unchanged repeat.
    pub fn code(self) -> Code {
        match self {
            Self::Certificate(_) => Code::Unauthenticated,
            Self::Role | Self::Revoked | Self::Requester => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Malformed(_) | Self::TooLarge { .. } | Self::Digest => Code::InvalidArgument,
            Self::PageSize { .. } | Self::PageToken => Code::InvalidArgument,
            Self::Offset { .. } => Code::Aborted,
            Self::BundleMissing | Self::Statement(_) | Self::Site | Self::TooLate => Code::FailedPrecondition,
            Self::Quota { .. } | Self::Disk => Code::ResourceExhausted,
            Self::Conflict => Code::AlreadyExists,
            Self::NotReady | Self::Overloaded => Code::Unavailable,
            Self::Time => Code::DeadlineExceeded,
            Self::Box => Code::Internal,
        }
    }

    fn details(self) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        let mut metadata = std::collections::HashMap::new();
        match self {
            Self::Malformed(field) => {
                details.add_bad_request_violation(field, "it does not have its form");
            }
            Self::TooLarge { field, limit } => {
                details.add_bad_request_violation(field, format!("at most {limit} are accepted"));
            }
            Self::Offset { committed } => {
                metadata.insert("committed_bytes".to_owned(), committed.to_string());
            }
            Self::PageSize { limit } => {
                details.add_bad_request_violation("page_size", format!("at most {limit} are accepted"));
            }
            Self::Quota { subject, limit } => {
                details.add_quota_failure_violation(subject, format!("at most {limit} at the same time"));
            }
            Self::Statement(refusal) => {
                metadata.insert("refusal".to_owned(), refusal.name().to_owned());
                metadata.insert("code".to_owned(), refusal.code().to_string());
            }
            Self::NotReady | Self::Overloaded => {
                details.set_retry_info(Some(Duration::from_secs(1)));
            }
            Self::Certificate(error) => {
                metadata.insert("certificate".to_owned(), error.name().to_owned());
            }
            Self::Role | Self::Revoked | Self::NotFound | Self::Digest | Self::BundleMissing => {}
            Self::Requester | Self::Site | Self::Conflict | Self::Time | Self::Box => {}
            Self::TooLate | Self::PageToken | Self::Disk => {}
        }
        details.set_error_info(self.reason().word(), DOMAIN, metadata);
        if let Some(id) = calls::request_id() {
            details.set_request_info(id, "");
        }
        details
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let message = match refused {
            Refused::Statement(refusal) => refusal.meaning(),
            _ => refused.reason().hint(),
        };
        Status::with_error_details(refused.code(), message, refused.details())
    }
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Self::Malformed(error.field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_its_reason_and_where_to_go_on() {
        let status = Status::from(Refused::Offset { committed: 7 });
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OFFSET", "databox"));
        assert_eq!(info.metadata["committed_bytes"], "7");
        assert_eq!(status.code(), Code::Aborted);
    }

    #[test]
    fn a_refused_statement_names_its_rule() {
        let status = Status::from(Refused::Statement(Refusal::RequestTime));
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["refusal"], Refusal::RequestTime.name());
        assert_eq!(status.message(), Refusal::RequestTime.meaning());
    }

    #[test]
    fn only_what_may_succeed_unchanged_is_unavailable() {
        for refused in [Refused::NotReady, Refused::Overloaded] {
            assert_eq!(refused.code(), Code::Unavailable);
            assert!(Status::from(refused).get_error_details().retry_info().is_some());
        }
        assert_ne!(Refused::Box.code(), Code::Unavailable);
    }
}
