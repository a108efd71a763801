//! The rows.

use super::Cell::{Nothing, Told};
use super::Row;

pub const SMUGGLE: &str = "children::rows_that_a_lying_canonicaliser_puts_into_weights_are_judged_and_blocked_and_its_honest_forms_pass";
pub const EVALUATION: &str =
    "evaluations::a_lying_comparer_of_evaluations_chooses_among_the_policys_precisions_alone";
pub const CANONICALISER: &str = "children::what_a_lying_canonicaliser_writes_is_judged_like_any_and_counts_only_under_declared_names_and_limits";
pub const JUDGE: &str =
    "children::nothing_becomes_cheaper_by_a_judge_that_lies_and_a_rule_that_it_leaves_out_forbids";
pub const COMPARER: &str =
    "children::a_child_that_lies_about_tables_hides_a_difference_at_most_and_one_that_says_nothing_forbids";
pub const JUDGE_LENIENT: &str =
    "children::what_a_lying_judge_allows_no_steward_can_approve_since_their_own_judge_says_otherwise";
pub const JUDGE_FIXED: &str =
    "children::what_the_request_fixed_is_fixed_though_a_lying_judge_says_that_any_bytes_are_it";
pub const SCANNER: &str = "children::views_and_a_scanner_that_lie_hide_a_copy_at_most_and_neither_change_what_leaves_nor_lower_its_price";
pub const REACH: &str =
    "children::a_checker_that_was_taken_over_sees_writes_and_speaks_to_nothing_but_what_its_wall_shows";
pub const UNBUNDLER: &str =
    "children::an_unbundler_that_was_taken_over_sees_and_writes_nothing_but_its_own_directory";
pub const JOB_PROCESS: &str = "children::a_job_that_leaves_a_process_behind_changes_nothing_after_its_end";
pub const CONSOLE_ENCLAVE: &str =
    "console_to_enclave::the_enclave_lets_nothing_out_and_ends_no_job_on_what_a_lying_console_made";
pub const CONSOLE_SIGNER: &str =
    "console_to_signer::the_signer_signs_nothing_for_a_lying_console_that_lacks_the_consent_of_two_stewards";
pub const REPEAT: &str = "console_to_signer::a_repeat_gets_the_first_answer_and_a_denial_that_a_lying_console_hides_stops_the_signer";
pub const CONSOLE_STEWARDS: &str = "console_to_stewards::a_steward_opens_and_signs_nothing_that_a_lying_console_altered_and_believes_no_denial_without_its_proof";
pub const ENCLAVE_CONSOLE: &str = "enclave_to_console::the_console_takes_no_verdict_and_no_packet_of_a_lying_enclave_that_does_not_verify_and_forgets_none";
pub const ENCLAVE_GATEWAY: &str = "enclave_to_gateway::what_a_lying_enclave_lays_into_the_outbox_is_not_served_and_moves_off_the_table_are_not_believed";
pub const RECIPIENTS: &str = "gateway_to_recipients::a_recipient_keeps_nothing_of_a_lying_gateway_that_is_not_this_release_whole_and_logged";
pub const RESEARCHERS: &str = "gateway_to_researchers::a_researcher_signs_only_what_the_pinned_site_says_takes_no_other_job_or_event_for_theirs_and_hands_in_again_what_was_lost";
pub const REPLAY: &str =
    "gateway::a_request_that_a_lying_gateway_replays_is_run_and_charged_once_and_a_forged_one_never";
pub const BUNDLE: &str =
    "gateway::a_purpose_or_a_bundle_that_the_researcher_did_not_sign_is_never_run_or_shown_to_a_steward";
pub const ACKNOWLEDGEMENTS: &str = "gateway::acknowledgements_that_a_lying_gateway_forges_withholds_or_reorders_release_nothing_and_lose_nothing";
pub const CHANGING: &str =
    "changing_files::of_a_bundle_that_changes_while_it_is_copied_the_enclave_runs_what_was_signed_or_nothing";
pub const HAND_OVER: &str =
    "gateway::a_hand_over_that_the_researcher_did_not_sign_so_burns_no_request_and_fills_no_database";
pub const CANCEL: &str = "cancel::a_running_or_waiting_job_ends_on_its_requesters_word_and_on_no_one_elses";
pub const CANCEL_EARLY: &str =
    "cancel::a_cancel_that_comes_before_its_job_counts_for_the_requester_and_for_nobody_else";
const CANCEL_AGAIN: &str =
    "cancel::a_cancel_that_cannot_be_judged_now_is_not_acknowledged_so_that_it_comes_again";
pub const WITHDRAWN: &str =
    "cancel::a_review_is_withdrawn_when_its_job_is_called_off_unless_the_log_came_first";
pub const PROCESSES: &str = "separation::each_room_is_a_user_of_its_own_enclave_and_signer_have_no_network_and_no_other_room_opens_what_is_its_own";
pub const FILES: &str =
    "users_of_rooms::no_room_reads_or_writes_what_is_anothers_and_each_reads_and_writes_its_own";
pub const NETWORK: &str = "users_of_rooms::a_program_in_the_place_of_enclave_or_signer_reaches_nobody_and_one_in_that_of_gateway_or_console_does";
pub const TERMINAL: &str = "users_of_rooms::no_room_has_the_terminal_of_whoever_started_it";
pub const SOCKETS: &str =
    "users_of_rooms::a_socket_answers_the_room_that_it_is_for_and_no_other_not_even_root";
pub const UNITS: &str =
    "separation::no_room_has_two_of_network_private_data_and_release_key_in_the_units_that_a_site_installs";
pub const SIGNER: &str =
    "signer::what_a_lying_signer_signs_without_consent_no_enclave_no_gateway_and_no_auditor_takes";
pub const WITNESS: &str =
    "witness::nothing_is_released_on_the_word_of_a_lying_witness_and_the_honest_one_completes_it";

pub const CODE_CONSOLE: &str = "code_review::no_code_runs_on_what_a_lying_console_forges_replays_or_hides_and_the_true_approvals_run_it_once";
pub const CODE_ENCLAVE: &str =
    "code_review::an_enclave_that_runs_unreviewed_code_or_asks_for_a_review_that_nobody_needs_is_not_heard";

pub const HEAD: &str =
    "heads::no_head_is_published_on_what_a_lying_console_forges_or_replays_and_the_honest_one_publishes_it";
pub const SIGNER_HEAD: &str = "heads::a_signer_that_lies_about_its_head_gets_no_cosignature_and_what_it_withheld_is_in_the_log_once_it_is_honest";

/// Every message, in the order of the path.
pub const ROWS: &[Row] = &[
    // The gateway to the enclave.
    Row {
        message: "LinkResponse.submit",
        forged: Told(&[REPLAY, BUNDLE, HAND_OVER, CHANGING]),
        replayed: Told(&[REPLAY]),
        withheld: Told(&[BUNDLE]),
        reordered: Told(&[REPLAY]),
    },
    Row {
        message: "LinkResponse.transition_taken",
        forged: Told(&[ACKNOWLEDGEMENTS]),
        replayed: Told(&[ACKNOWLEDGEMENTS]),
        withheld: Told(&[ACKNOWLEDGEMENTS]),
        reordered: Told(&[ACKNOWLEDGEMENTS]),
    },
    Row {
        message: "LinkResponse.release_taken",
        forged: Told(&[ACKNOWLEDGEMENTS]),
        replayed: Told(&[ACKNOWLEDGEMENTS]),
        withheld: Told(&[ACKNOWLEDGEMENTS]),
        reordered: Told(&[ACKNOWLEDGEMENTS]),
    },
    Row {
        message: "LinkResponse.cancel",
        forged: Told(&[CANCEL, CANCEL_AGAIN]),
        replayed: Told(&[CANCEL]),
        withheld: Nothing("A job that is not called off goes on; nothing leaves by that without consent."),
        reordered: Told(&[CANCEL_EARLY, WITHDRAWN]),
    },
    // The enclave to the gateway.
    Row {
        message: "LinkRequest.ready",
        forged: Nothing("It says nothing that could be false."),
        replayed: Told(&[ENCLAVE_GATEWAY]),
        withheld: Nothing("Without it nothing is handed over: an enclave can stall."),
        reordered: Told(&[ENCLAVE_GATEWAY]),
    },
    Row {
        message: "LinkRequest.submit_answer",
        forged: Told(&[ENCLAVE_GATEWAY]),
        replayed: Told(&[ENCLAVE_GATEWAY]),
        withheld: Told(&[ENCLAVE_GATEWAY]),
        reordered: Told(&[ENCLAVE_GATEWAY]),
    },
    Row {
        message: "LinkRequest.transition",
        forged: Told(&[ENCLAVE_GATEWAY]),
        replayed: Told(&[ENCLAVE_GATEWAY]),
        withheld: Told(&[ENCLAVE_GATEWAY]),
        reordered: Told(&[ENCLAVE_GATEWAY]),
    },
    Row {
        message: "LinkRequest.release",
        forged: Told(&[ENCLAVE_GATEWAY, SIGNER]),
        replayed: Told(&[ENCLAVE_GATEWAY]),
        withheld: Told(&[ENCLAVE_GATEWAY]),
        reordered: Told(&[ENCLAVE_GATEWAY]),
    },
    Row {
        message: "LinkRequest.cancel_taken",
        forged: Nothing("An enclave can run what was called off; without consent nothing of it leaves."),
        replayed: Told(&[ENCLAVE_GATEWAY]),
        withheld: Nothing("The gateway sends the cancel again until the job has ended."),
        reordered: Told(&[ENCLAVE_GATEWAY]),
    },
    // The enclave to the console.
    Row {
        message: "ExchangeRequest.ready",
        forged: Nothing("It says nothing that could be false."),
        replayed: Told(&[ENCLAVE_CONSOLE]),
        withheld: Nothing("The console sends what is not acknowledged without being asked."),
        reordered: Told(&[ENCLAVE_CONSOLE]),
    },
    Row {
        message: "ExchangeRequest.verdict",
        forged: Told(&[ENCLAVE_CONSOLE]),
        replayed: Told(&[ENCLAVE_CONSOLE]),
        withheld: Nothing("Without a verdict nobody approves anything: an enclave can stall."),
        reordered: Told(&[ENCLAVE_CONSOLE]),
    },
    Row {
        message: "ExchangeRequest.code_review",
        forged: Told(&[CODE_ENCLAVE]),
        replayed: Told(&[CODE_ENCLAVE]),
        withheld: Nothing("Without it nobody reviews the code, and it does not run: an enclave can stall."),
        reordered: Nothing("Each names its own request, and nothing follows from their order."),
    },
    Row {
        message: "ExchangeRequest.code_review_closed",
        forged: Told(&[CODE_ENCLAVE]),
        replayed: Told(&[CODE_ENCLAVE]),
        withheld: Nothing("The console keeps a packet that it cannot open, until it expires."),
        reordered: Nothing(
            "A review that was closed early is one that the enclave stalls; nothing runs by it.",
        ),
    },
    Row {
        message: "ExchangeRequest.outcome_taken",
        forged: Told(&[ENCLAVE_CONSOLE]),
        replayed: Nothing("What is marked as taken can be marked so again."),
        withheld: Nothing(
            "The console sends the outcome again, and the answer to a repeat is the first one.",
        ),
        reordered: Told(&[ENCLAVE_CONSOLE]),
    },
    Row {
        message: "ExchangeRequest.withdrawn",
        forged: Told(&[ENCLAVE_CONSOLE]),
        replayed: Told(&[ENCLAVE_CONSOLE]),
        withheld: Nothing("A review that is not withdrawn is decided by its stewards, as any other."),
        reordered: Told(&[ENCLAVE_CONSOLE, WITHDRAWN]),
    },
    // The console to the enclave.
    Row {
        message: "ExchangeResponse.verdict_taken",
        forged: Told(&[CONSOLE_ENCLAVE]),
        replayed: Nothing("What is marked as taken can be marked so again."),
        withheld: Nothing("The enclave hands the verdict over again, and the console finds it there."),
        reordered: Told(&[CONSOLE_ENCLAVE]),
    },
    Row {
        message: "ExchangeResponse.code_review_taken",
        forged: Told(&[CODE_CONSOLE]),
        replayed: Told(&[CODE_CONSOLE]),
        withheld: Nothing("The enclave sends the review again; nothing runs."),
        reordered: Told(&[CODE_CONSOLE]),
    },
    Row {
        message: "ExchangeResponse.code_approvals",
        forged: Told(&[CODE_CONSOLE]),
        replayed: Told(&[CODE_CONSOLE]),
        withheld: Told(&[CODE_CONSOLE]),
        reordered: Told(&[CODE_CONSOLE]),
    },
    Row {
        message: "ExchangeResponse.code_denial_file",
        forged: Told(&[CODE_CONSOLE]),
        replayed: Told(&[CODE_CONSOLE]),
        withheld: Told(&[CODE_CONSOLE]),
        reordered: Told(&[CODE_CONSOLE]),
    },
    Row {
        message: "ExchangeResponse.code_review_close_taken",
        forged: Told(&[CODE_CONSOLE]),
        replayed: Told(&[CODE_CONSOLE]),
        withheld: Nothing("The enclave says again that the review is closed."),
        reordered: Told(&[CODE_CONSOLE]),
    },
    Row {
        message: "ExchangeResponse.release_file",
        forged: Told(&[CONSOLE_ENCLAVE, SIGNER]),
        replayed: Told(&[CONSOLE_ENCLAVE]),
        withheld: Told(&[CONSOLE_ENCLAVE]),
        reordered: Told(&[CONSOLE_ENCLAVE]),
    },
    Row {
        message: "ExchangeResponse.denial_file",
        forged: Told(&[CONSOLE_ENCLAVE]),
        replayed: Told(&[CONSOLE_ENCLAVE]),
        withheld: Told(&[CONSOLE_ENCLAVE]),
        reordered: Told(&[CONSOLE_ENCLAVE]),
    },
    Row {
        message: "ExchangeResponse.withdrawal_taken",
        forged: Told(&[CONSOLE_ENCLAVE]),
        replayed: Told(&[CONSOLE_ENCLAVE]),
        withheld: Nothing("The enclave says again that it withdraws, until an outcome comes."),
        reordered: Told(&[CONSOLE_ENCLAVE]),
    },
    // The console to stewards.
    Row {
        message: "ListReviewsResponse",
        forged: Told(&[CONSOLE_STEWARDS]),
        replayed: Nothing("It carries ids, states and ages; what a steward signs is read elsewhere."),
        withheld: Told(&[CONSOLE_STEWARDS]),
        reordered: Nothing("A list in another order names the same reviews."),
    },
    Row {
        message: "GetReviewResponse",
        forged: Told(&[CONSOLE_STEWARDS]),
        replayed: Told(&[CONSOLE_STEWARDS]),
        withheld: Told(&[CONSOLE_STEWARDS]),
        reordered: Told(&[CONSOLE_STEWARDS]),
    },
    Row {
        message: "ReadPacketResponse",
        forged: Told(&[CONSOLE_STEWARDS]),
        replayed: Told(&[CONSOLE_STEWARDS]),
        withheld: Told(&[CONSOLE_STEWARDS]),
        reordered: Nothing("Chunks in another order are another packet, which has another digest."),
    },
    Row {
        message: "SubmitDecisionResponse",
        forged: Told(&[CONSOLE_STEWARDS]),
        replayed: Told(&[CONSOLE_STEWARDS]),
        withheld: Told(&[CONSOLE_STEWARDS]),
        reordered: Told(&[CONSOLE_STEWARDS]),
    },
    Row {
        message: "GetReviewSiteResponse",
        forged: Told(&[CONSOLE_STEWARDS]),
        replayed: Nothing(
            "A file twice has one place in the site; an older site is one without its newest files.",
        ),
        withheld: Told(&[CONSOLE_STEWARDS]),
        reordered: Nothing("Files are put in their places by their names, whatever their order."),
    },
    // The gateway to researchers.
    Row {
        message: "CreateUploadResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Nothing(
            "What is committed is asked anew for each upload; an older word makes it send more.",
        ),
        withheld: Nothing("A gateway can stall; the client tries again for a while and then says so."),
        reordered: Nothing("There is one answer to one question."),
    },
    Row {
        message: "WriteUploadResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Nothing("It carries a size that nobody reads; what counts is that the bundle runs."),
        withheld: Nothing("A gateway can stall; the client tries again for a while and then says so."),
        reordered: Nothing("There is one answer to one question."),
    },
    Row {
        message: "FinishUploadResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Nothing("It is empty: the same as forged."),
        withheld: Nothing("A gateway can stall; the client tries again for a while and then says so."),
        reordered: Nothing("There is one answer to one question."),
    },
    Row {
        message: "CreateJobResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Told(&[RESEARCHERS]),
        withheld: Nothing("A gateway can stall; the client tries again for a while and then says so."),
        reordered: Nothing("There is one answer to one question."),
    },
    Row {
        message: "GetJobResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Told(&[RESEARCHERS]),
        withheld: Nothing(
            "A gateway can stall, and tell an older state of the same job; what leaves is verified for itself.",
        ),
        reordered: Nothing("There is one answer to one question."),
    },
    Row {
        message: "ListJobsResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Told(&[RESEARCHERS]),
        withheld: Nothing("A gateway can stall; whoever handed a job in has its name."),
        reordered: Nothing("A list in another order names the same jobs."),
    },
    Row {
        message: "WatchJobResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Told(&[RESEARCHERS]),
        withheld: Told(&[RESEARCHERS]),
        reordered: Told(&[RESEARCHERS]),
    },
    Row {
        message: "CancelJobResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Told(&[RESEARCHERS]),
        withheld: Nothing("A gateway can stall; the signed cancel may be sent again, also after it is back."),
        reordered: Nothing("There is one answer to one question."),
    },
    Row {
        message: "ListDatasetsResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Nothing("It carries names to look at; what is signed comes from the site."),
        withheld: Nothing("It carries names to look at; what is signed comes from the site."),
        reordered: Nothing("A list in another order names the same datasets."),
    },
    Row {
        message: "GetSiteResponse",
        forged: Told(&[RESEARCHERS]),
        replayed: Nothing(
            "An older site that has not expired is one; what is signed under it the enclave judges by its own.",
        ),
        withheld: Told(&[RESEARCHERS]),
        reordered: Nothing("Files are put in their places by their names, whatever their order."),
    },
    // The gateway to recipients.
    Row {
        message: "ListReleasesResponse",
        forged: Told(&[RECIPIENTS]),
        replayed: Told(&[RECIPIENTS]),
        withheld: Nothing(
            "A gateway can stall; the log names each release, and its recipient has the job's id.",
        ),
        reordered: Nothing("A list in another order names the same releases."),
    },
    Row {
        message: "GetReleaseResponse",
        forged: Told(&[RECIPIENTS]),
        replayed: Told(&[RECIPIENTS]),
        withheld: Told(&[RECIPIENTS]),
        reordered: Told(&[RECIPIENTS]),
    },
    Row {
        message: "ReadFileResponse",
        forged: Told(&[RECIPIENTS]),
        replayed: Told(&[RECIPIENTS]),
        withheld: Told(&[RECIPIENTS]),
        reordered: Nothing("Chunks in another order are another file, which has another digest."),
    },
    // The console to the signer, and back.
    Row {
        message: "signer submit",
        forged: Told(&[CONSOLE_SIGNER]),
        replayed: Told(&[REPEAT]),
        withheld: Told(&[REPEAT]),
        reordered: Told(&[REPEAT]),
    },
    Row {
        message: "signer denyCode",
        forged: Told(&[CODE_CONSOLE]),
        replayed: Told(&[CODE_CONSOLE]),
        withheld: Nothing(
            "The steward lays the refusal into the site directory, which signer and enclave read.",
        ),
        reordered: Told(&[CODE_CONSOLE]),
    },
    Row {
        message: "signer together",
        forged: Told(&[CONSOLE_SIGNER]),
        replayed: Told(&[CONSOLE_SIGNER]),
        withheld: Nothing(
            "Each of its decisions is asked for alone after it, so nothing is missing without it.",
        ),
        reordered: Nothing("Each decision is weighed with those before it, whatever their order."),
    },
    Row {
        message: "signer cosign",
        forged: Told(&[CONSOLE_SIGNER, WITNESS]),
        replayed: Told(&[REPEAT]),
        withheld: Told(&[WITNESS]),
        reordered: Told(&[REPEAT]),
    },
    Row {
        message: "signer get",
        forged: Told(&[REPEAT]),
        replayed: Nothing("It changes nothing, however often it is asked."),
        withheld: Nothing("It changes nothing, so nothing is missing without it."),
        reordered: Nothing("It changes nothing, whenever it is asked."),
    },
    Row {
        message: "signer publish",
        forged: Told(&[HEAD]),
        replayed: Told(&[HEAD]),
        withheld: Told(&[HEAD]),
        reordered: Nothing("It appends what lies in the site directory, whenever it is asked."),
    },
    Row {
        message: "signer cosignHead",
        forged: Told(&[HEAD]),
        replayed: Told(&[HEAD]),
        withheld: Told(&[HEAD]),
        reordered: Told(&[HEAD]),
    },
    Row {
        message: "signer unwitnessed",
        forged: Told(&[SIGNER_HEAD]),
        replayed: Told(&[SIGNER_HEAD]),
        withheld: Told(&[SIGNER_HEAD]),
        reordered: Nothing("One connection carries one message and one answer."),
    },
    Row {
        message: "signer published",
        forged: Told(&[SIGNER_HEAD]),
        replayed: Told(&[SIGNER_HEAD]),
        withheld: Told(&[SIGNER_HEAD]),
        reordered: Nothing("One connection carries one message and one answer."),
    },
    Row {
        message: "signer appended",
        forged: Told(&[SIGNER]),
        replayed: Told(&[SIGNER]),
        withheld: Told(&[SIGNER]),
        reordered: Nothing("One connection carries one message and one answer."),
    },
    Row {
        message: "signer finished",
        forged: Told(&[SIGNER]),
        replayed: Told(&[SIGNER]),
        withheld: Told(&[SIGNER]),
        reordered: Nothing("One connection carries one message and one answer."),
    },
    Row {
        message: "signer refused",
        forged: Nothing("A signer that refuses what it should sign stalls; nothing leaves."),
        replayed: Nothing("A signer that refuses again stalls; nothing leaves."),
        withheld: Told(&[SIGNER]),
        reordered: Nothing("One connection carries one message and one answer."),
    },
    // The witness to the console.
    Row {
        message: "witness cosignature",
        forged: Told(&[WITNESS, CONSOLE_SIGNER]),
        replayed: Told(&[WITNESS]),
        withheld: Told(&[WITNESS]),
        reordered: Told(&[WITNESS]),
    },
    // Children to the enclave.
    Row {
        message: "child job",
        forged: Told(&[SMUGGLE]),
        replayed: Told(&[JOB_PROCESS]),
        withheld: Nothing(
            "An output that is missing is refused by its rule, which the suite of bad inputs tries.",
        ),
        reordered: Told(&[JOB_PROCESS]),
    },
    Row {
        message: "child canonicaliser",
        forged: Told(&[SMUGGLE, CANONICALISER]),
        replayed: Nothing("Each run has directories of its own, which are empty at its start."),
        withheld: Told(&[CANONICALISER]),
        reordered: Nothing("It hands back one message, and files under declared names."),
    },
    Row {
        message: "child judge",
        forged: Told(&[JUDGE, JUDGE_LENIENT]),
        replayed: Nothing("It keeps nothing from one run to the next."),
        withheld: Told(&[JUDGE]),
        reordered: Nothing("It hands back one message of fixed size."),
    },
    Row {
        message: "child comparer",
        forged: Told(&[COMPARER]),
        replayed: Nothing("It keeps nothing from one run to the next."),
        withheld: Told(&[COMPARER]),
        reordered: Nothing("It hands back one message of fixed size."),
    },
    Row {
        message: "child question comparer",
        forged: Nothing("It reads data and signed statements, and no byte that a job shaped took it over."),
        replayed: Nothing("It keeps nothing from one run to the next."),
        withheld: Nothing("Silence blocks the answer; the enclave's own tests hold that up."),
        reordered: Nothing("It hands back one message of fixed size."),
    },
    Row {
        message: "child evaluation comparer",
        forged: Told(&[EVALUATION]),
        replayed: Nothing("It keeps nothing from one run to the next."),
        withheld: Told(&[EVALUATION]),
        reordered: Nothing("It hands back one message of fixed size."),
    },
    Row {
        message: "child views",
        forged: Told(&[SCANNER]),
        replayed: Nothing("Each run has directories of its own, which are empty at its start."),
        withheld: Told(&[SCANNER]),
        reordered: Nothing("It hands back files under names from a closed list."),
    },
    Row {
        message: "child scanner",
        forged: Told(&[SCANNER]),
        replayed: Nothing("It keeps nothing from one run to the next."),
        withheld: Told(&[SCANNER]),
        reordered: Nothing("It hands back one message of fixed size."),
    },
    Row {
        message: "child unbundler",
        forged: Told(&[UNBUNDLER]),
        replayed: Nothing("Each run has directories of its own, which are empty at its start."),
        withheld: Nothing("Without a bundle there is no run: the job fails with that reason."),
        reordered: Nothing("It hands back files under their names, and no message."),
    },
];
