//! What whoever takes over a room or a child cannot do, in the words of the design, and the tests that try.

use super::rows::{
    BUNDLE, CANONICALISER, COMPARER, CONSOLE_ENCLAVE, CONSOLE_SIGNER, CONSOLE_STEWARDS, ENCLAVE_CONSOLE,
    ENCLAVE_GATEWAY, EVALUATION, FILES, JOB_PROCESS, JUDGE, JUDGE_FIXED, JUDGE_LENIENT, NETWORK, PROCESSES,
    REACH, REPEAT, REPLAY, SCANNER, SIGNER, SMUGGLE, SOCKETS, TERMINAL, UNBUNDLER, UNITS, WITNESS,
};

/// Who, the sentence, and the tests.
pub const CANNOT: &[(&str, &str, &[&str])] = &[
    ("every room", "No room has two of {network, private data, release key}.", &[PROCESSES, NETWORK, UNITS]),
    ("every room", "with the peer's uid checked", &[SOCKETS]),
    ("every room", "each with its own user and unit", &[FILES, TERMINAL]),
    ("gateway", "Cannot read data", &[PROCESSES, FILES, UNITS]),
    ("gateway", "run a job nobody signed", &[REPLAY, BUNDLE]),
    ("gateway", "or release anything", &[super::rows::ACKNOWLEDGEMENTS, CONSOLE_SIGNER]),
    (
        "enclave",
        "none; its file tree holds exactly two sockets; it listens nowhere",
        &[PROCESSES, NETWORK, UNITS],
    ),
    ("enclave", "What it smuggles must pass two stewards", &[CONSOLE_SIGNER, ENCLAVE_GATEWAY]),
    ("enclave", "whose own tools re-check every rule that needs no data", &[JUDGE_LENIENT]),
    ("enclave", "and stays within the grant's bits", &[CONSOLE_SIGNER]),
    ("enclave", "each verdict is charged 1,024 bits more", &[ENCLAVE_CONSOLE]),
    ("enclave", "packets (capped at the canonical size plus 64 KiB)", &[ENCLAVE_CONSOLE]),
    (
        "enclave",
        "The enclave moves a file out of quarantine only on a LoggedRelease; the gateway copies, verifies, and only then serves the copy",
        &[CONSOLE_ENCLAVE, ENCLAVE_GATEWAY],
    ),
    ("console", "can stall and hide; cannot read what is under review", &[PROCESSES]),
    ("console", "forge or alter an approval", &[CONSOLE_SIGNER, CONSOLE_STEWARDS]),
    ("console", "or swallow a rejection unnoticed", &[REPEAT, CONSOLE_STEWARDS]),
    ("signer", "can sign rubbish, which verifiers refuse", &[SIGNER]),
    ("signer", "cannot rewrite the log unnoticed (witnesses)", &[SIGNER, WITNESS]),
    ("job", "fill what its declared outputs can carry", &[SMUGGLE, JOB_PROCESS]),
    ("canonicaliser", "choose other canonical bytes; they are judged like any", &[SMUGGLE, CANONICALISER]),
    ("judge", "nothing lasting: stewards and auditors run it again and compare", &[JUDGE, JUDGE_LENIENT]),
    (
        "judge",
        "the enclave refuses less than its own floor from lengths and declared shapes",
        &[JUDGE, JUDGE_FIXED],
    ),
    ("comparer", "hide a difference; neither change what leaves nor lower its price", &[COMPARER]),
    (
        "evaluation comparer",
        "choose among the policy's precisions; neither release a finer one nor lower a price",
        &[EVALUATION],
    ),
    ("evaluation comparer", "each behind the wall, with the directories of its row alone", &[EVALUATION]),
    ("canonicaliser", "each behind the wall, with the directories of its row alone", &[REACH]),
    ("judge", "each behind the wall, with the directories of its row alone", &[REACH]),
    ("comparer", "each behind the wall, with the directories of its row alone", &[REACH]),
    ("views", "each behind the wall, with the directories of its row alone", &[REACH]),
    ("scanner", "each behind the wall, with the directories of its row alone", &[REACH]),
    ("views", "hide a view", &[SCANNER]),
    ("scanner", "hide a copy; neither change what leaves nor lower its price", &[SCANNER]),
    ("scanner", "one fixed-size message: rule ids and places, never bytes", &[SCANNER]),
    (
        "unbundler",
        "nothing that a job wrote or shaped is parsed in a process that holds data or a key",
        &[UNBUNDLER],
    ),
];
