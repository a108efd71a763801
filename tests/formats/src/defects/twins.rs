//! The release that is nearest to a wrong one and must be verified: what they differ in is the defect and nothing else of
//! note. Without it a verifier that refuses whatever looks unusual would pass.

/// Beginnings of names, and the twin of those that begin so. The first that fits counts.
const TWINS: [(&str, &str); 51] = [
    ("approval-binding.roles", "roles-changed-in-review"),
    ("approval-interest.code", "code-reviewed-by-others"),
    ("approval-by-requester.code", "code-reviewed-by-others"),
    ("approval-signature.code", "code-reviewed"),
    ("approval-signature.security-key-claimed-pin", "security-key-with-pin"),
    ("approval-signature.security-key-no-pin", "security-key-with-pin"),
    ("approval-signature.security-key-pin-untouched", "security-key-with-pin"),
    ("approval-signature.security-key", "security-key"),
    ("approval-signature.ssh-unasked", "plain"),
    ("approval-signature.ssh", "ssh-steward"),
    ("approval-signature.supervisor-of-nothing", "supervisor-approves"),
    ("approval-twice.code", "code-reviewed"),
    ("approvals-organisations.code", "code-reviewed-by-others"),
    ("approvals-supervisor.code", "code-reviewed"),
    ("approvals-supervisor", "supervisor-approves"),
    ("approvals-too-few.code", "code-reviewed"),
    ("approvals-too-few.supervisor", "supervisor-approves"),
    ("catalogue-content.public-files", "public-files"),
    ("code-review-evidence.unasked", "plain"),
    ("code-review", "code-reviewed"),
    ("envelope-form.mixed-alphabets", "url-safe-base64"),
    ("envelope-form.payload-mixed-alphabets", "url-safe-base64"),
    ("envelope-form.security-key", "security-key"),
    ("envelope-form.ssh", "ssh-steward"),
    ("file-differs", "with-files"),
    ("files-set", "with-files"),
    ("judged-differently.fewer-bits-than-lengths", "plain"),
    ("judged-differently.fixed-tensor", "fixed-tensor"),
    ("judged-differently.precision-other-form", "precision-chosen"),
    ("judged-differently.precision", "precision-kept"),
    ("judged-differently.question", "question-of-a-quantile"),
    ("judged-differently", "with-files"),
    ("json-form", "fields-written-again"),
    ("log-form.too-many-signatures", "other-cosignatures"),
    ("log-time.too-late", "witnessed-late"),
    ("log-witnesses.on-box", "on-box-witness-accepted"),
    ("log-witnesses.one-of-two", "two-witnesses"),
    ("log-witnesses.unknown", "other-cosignatures"),
    ("manifest-account", "last-bit-of-the-grant"),
    ("out-of-force.revocation", "revocation-nearly-a-week-old"),
    ("request-content.question", "question"),
    ("request-runtime.question", "question"),
    ("request-signature.own-key-named", "last-of-several-roles"),
    ("rollback.forked-log", "remembered-other-log"),
    ("rollback", "remembered-since"),
    ("statement-form.dataset-twice", "two-members"),
    ("statement-form.member-twice", "two-members"),
    ("verdict-files.counts-of-a-question", "question"),
    ("verdict-files.precision-missing", "precision-kept"),
    ("verdict-files.precision-unasked", "precision-kept"),
    ("verdict-rules.public-files", "public-files"),
];

/// The name of the twin of a vector.
pub(super) fn of(name: &str) -> String {
    let twin = TWINS.iter().find(|(begin, _)| name.starts_with(begin)).map_or("plain", |(_, twin)| twin);
    format!("verified.{twin}")
}
