//! Every way in which a statement, a release or a site is refused: one named case, one exit code and one sentence.

use std::fmt;

macro_rules! refusals {
    ($($code:literal $refusal:ident = $name:literal, $meaning:literal;)*) => {
        /// A rule that was broken. Its code is the exit code of `databox-verify`; codes are never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Refusal { $(#[doc = $meaning] $refusal = $code,)* }

        impl Refusal {
            /// Every refusal, by code. The order is roughly that in which a release file is checked.
            pub const ALL: [Self; [$($code),*].len()] = [$(Self::$refusal),*];

            /// Its name, as tools print it and as test vectors expect it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$refusal => $name,)* }
            }

            /// What it means, in one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$refusal => $meaning,)* }
            }
        }
    };
}

refusals! {
    40 SizeLimit = "size-limit", "A file, statement or list is larger than its limit.";
    41 JsonForm = "json-form", "The file is not JSON in its one form, or has a field too many or too few.";
    42 EnvelopeForm = "envelope-form", "A DSSE envelope has another payload type, or base64 that is not in its one form.";
    43 StatementForm = "statement-form", "A signed payload is not a version 1 statement in its one form.";
    44 StatementKind = "statement-kind", "A statement of one kind stands where another kind is expected.";
    45 SignatureCount = "signature-count", "A statement that one person or room makes does not carry exactly one signature, or any statement carries one twice.";
    46 KeyUnusable = "key-unusable", "A public key is not in its one encoding, of small order, or not in the prime-order group.";
    47 KeyShared = "key-shared", "One key stands for two people, rooms, logs or witnesses.";
    48 RolesPin = "roles-pin", "Version 1 of the roles is not the pinned one.";
    49 RolesOrder = "roles-order", "The versions of the roles do not follow each other without a gap.";
    50 RolesSignatures = "roles-signatures", "Roles lack signatures by the root threshold of their own or of the version before.";
    51 RolesContent = "roles-content", "Roles name unknown people, a threshold of 0 or one that nobody can meet.";
    52 OtherSite = "other-site", "A statement belongs to another site.";
    53 RevocationSignatures = "revocation-signatures", "The revocation lacks signatures by the threshold of its role.";
    54 RevocationDropped = "revocation-dropped", "A revocation leaves out what an earlier version revoked.";
    55 PolicySignatures = "policy-signatures", "The policy lacks signatures by the threshold of its role.";
    56 PolicyFile = "policy-file", "The policy's file is missing or has another digest than the signed statement says.";
    57 GrantSignatures = "grant-signatures", "The grant lacks signatures by the threshold of a dataset's stewards.";
    58 GrantContent = "grant-content", "The grant names unknown datasets, people, policies or limits, or cannot be met.";
    59 CatalogueSignatures = "catalogue-signatures", "A catalogue entry lacks signatures by the threshold of those who answer for it.";
    60 CatalogueContent = "catalogue-content", "A catalogue entry is missing, or contradicts itself.";
    61 Revoked = "revoked", "A person, key, grant or release is revoked.";
    62 OutOfForce = "out-of-force", "Roles, revocation, policy or grant were not in force at the time that counts.";
    63 ManifestSignature = "manifest-signature", "The release manifest is not signed by the signer's key of the roles.";
    64 ManifestEvidence = "manifest-evidence", "The release manifest does not name exactly the evidence beside it.";
    65 ManifestAccount = "manifest-account", "The release's bits are added up wrongly or exceed what the grant has left.";
    66 FilesSet = "files-set", "A released file is missing, or there is one too many.";
    67 FileDiffers = "file-differs", "A file has another size or digest than the release manifest says.";
    68 RequestSignature = "request-signature", "The request is not signed by a key of a member of its grant.";
    69 RequestGrant = "request-grant", "The request names no grant, version or project that is in force.";
    70 RequestData = "request-data", "The request names a dataset or snapshot outside its grant or the catalogue.";
    71 RequestRuntime = "request-runtime", "The request names a runtime that is not in the catalogue.";
    72 RequestContent = "request-content", "The request's outputs, command or limits are not acceptable.";
    73 RequestTime = "request-time", "The request is expired, from the future, or open for too long.";
    74 CodeReviewMissing = "code-review-missing", "The grant demands that stewards review code before it runs, and no such review is there.";
    75 VerdictSignature = "verdict-signature", "The verdict is not signed by the enclave's key of the roles.";
    76 VerdictBinding = "verdict-binding", "The verdict is about another request, grant, dataset, runtime, policy or roles.";
    77 VerdictRules = "verdict-rules", "The verdict does not name each egress rule once, or its result contradicts them.";
    78 VerdictBlocked = "verdict-blocked", "The verdict is BLOCKED.";
    79 VerdictFiles = "verdict-files", "The verdict's files are not the declared outputs, or not the released files.";
    80 VerdictBits = "verdict-bits", "The verdict's bits or charges are added up wrongly.";
    81 VerdictWall = "verdict-wall", "The job ran in a weaker wall than the grant demands.";
    82 VerdictReviewers = "verdict-reviewers", "The review packet is sealed to someone who is no steward, or to another key.";
    83 VerdictTime = "verdict-time", "The verdict is expired or from the future.";
    84 ApprovalSignature = "approval-signature", "An approval or denial is not signed by a steward or supervisor whose consent counts.";
    85 ApprovalBinding = "approval-binding", "An approval or denial is about another verdict, challenge, grant, policy or roles.";
    86 ApprovalByRequester = "approval-by-requester", "The requester is among those who approve.";
    87 ApprovalTwice = "approval-twice", "One person approves twice.";
    88 ApprovalsTooFew = "approvals-too-few", "Fewer people approve than roles and grant demand.";
    89 ApprovalsOrganisations = "approvals-organisations", "The people who approve belong to fewer organisations than the grant demands.";
    90 ApprovalsSupervisor = "approvals-supervisor", "A supervisor whom the grant names did not approve.";
    91 ApprovalTime = "approval-time", "An approval is expired, from the future, or older than its verdict.";
    92 Denied = "denied", "A steward has refused this verdict.";
    93 LogForm = "log-form", "The log proof is not in its one form.";
    94 LogInclusion = "log-inclusion", "The release is not the leaf that the log proof proves.";
    95 LogCheckpoint = "log-checkpoint", "The checkpoint is not signed by the log's key, or belongs to another log.";
    96 LogWitnesses = "log-witnesses", "Too few known witnesses that count have cosigned the checkpoint.";
    97 LogTime = "log-time", "The witnesses' time lies before the release, more than 30 days after it, or in the future.";
    98 Rollback = "rollback", "Something is older than, or differs from, what was already seen.";
    99 JudgedDifferently = "judged-differently", "Judging the files again gives other rule results or bits than the verdict says.";
    100 ApprovalInterest = "approval-interest", "Someone marked as having an interest in the project is among those who approve.";
    101 LogEntries = "log-entries", "Entries of the log are missing, or do not lead to the root of its checkpoint.";
    102 LogStatement = "log-statement", "A statement or release file for which a leaf of the log stands is missing or another.";
    103 CodeReviewEvidence = "code-review-evidence", "The verdict does not name exactly the approvals of code beside it, or nobody demanded them.";
    104 CodeReviewBinding = "code-review-binding", "An approval or denial of code is about another request, bundle, grant, policy or roles.";
    105 CodeReviewTime = "code-review-time", "An approval of code is expired, from the future, older than its request, newer than the run, or too old for it.";
    106 CodeDenied = "code-denied", "A steward has refused the code of this request.";
    107 Differencing = "differencing", "The verdict and an earlier release of a dataset were not compared with each other, or the set that is named is another.";
    108 LogOrder = "log-order", "A release does not name the newest roles and revocation that stand before it in the log, or versions in the log go back.";
}

impl Refusal {
    /// Its code: 40 to 119.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The refusal with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }

    /// The refusal with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.name() == name)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.name(), self.meaning())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn each_refusal_has_a_code_of_its_own_between_40_and_119_and_is_found_by_it() {
        assert!(Refusal::ALL.is_sorted_by(|left, right| left.code() < right.code()));
        for refusal in Refusal::ALL {
            assert!((40..=119).contains(&refusal.code()));
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
            assert_eq!(Refusal::from_name(refusal.name()), Some(refusal));
        }
    }
}
