//! Reviews of code: which sets of approvals were handed to the enclave, and how a review ends. A verdict names the set
//! on which its run rests, so every set that was handed over is kept.

use blobs::Digest;
use release::envelope::Envelope;
use release::json;
use rusqlite::{OptionalExtension, params};

use super::{Standing, Store};

/// Largest set in bytes, written as JSON.
const SET_LIMIT: usize = 1 << 20;

impl Store {
    /// Keeps a set of approvals, by what a verdict will say of it. It is there before the enclave hears of it.
    pub fn keep_code_set(
        &self,
        evidence: &Digest,
        request: &Digest,
        approvals: &[Envelope],
    ) -> rusqlite::Result<()> {
        let bytes = json::to_bytes(&approvals);
        self.with(|connection| {
            connection
                .execute(
                    "INSERT OR IGNORE INTO code_sets VALUES (?1, ?2, ?3)",
                    params![evidence.as_bytes(), request.as_bytes(), bytes],
                )
                .map(drop)
        })
    }

    /// The set of approvals of which a verdict says this; empty if there is none.
    pub fn code_set(&self, evidence: &Digest) -> rusqlite::Result<Vec<Envelope>> {
        self.with(|connection| {
            let found: Option<Vec<u8>> = connection
                .query_row(
                    "SELECT approvals FROM code_sets WHERE evidence = ?1",
                    [evidence.as_bytes()],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(bytes) = found else { return Ok(Vec::new()) };
            json::from_bytes(&bytes, SET_LIMIT).map_err(|_| rusqlite::Error::InvalidQuery)
        })
    }

    /// Closes the review of a job's code, as the enclave says. A denial on its way to the log goes on; what the log said
    /// stays, and is taken now. A review that is not known has nothing to close.
    pub fn close_code(&self, request: &Digest, approved: bool) -> rusqlite::Result<()> {
        let end = if approved { Standing::Approved } else { Standing::Withdrawn };
        self.with(|connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE reviews SET standing = ?2, held_up_by = ''
                 WHERE verdict = ?1 AND verdict_envelope = x'' AND standing IN ('open', 'approving')",
                params![request.as_bytes(), end.word()],
            )?;
            if !approved {
                transaction.execute(
                    "UPDATE reviews SET taken = 1
                     WHERE verdict = ?1 AND verdict_envelope = x'' AND file IS NOT NULL",
                    [request.as_bytes()],
                )?;
            }
            transaction.commit()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::super::{Finished, NewReview, Subject};
    use super::*;

    fn code_review(request: Digest) -> NewReview<'static> {
        NewReview {
            verdict: request,
            verdict_envelope: b"",
            request_envelope: b"request",
            packet: Digest::of(b"packet"),
            passed: true,
            reviewers: vec!["ana".to_owned()],
            received_at: 100,
            expires_at: 200,
            placed: None,
        }
    }

    #[test]
    fn a_review_of_code_that_the_enclave_closed_takes_no_more_decisions() {
        let (_directory, store) = store();
        for (name, approved, end) in
            [(b"one", true, Standing::Approved), (b"two", false, Standing::Withdrawn)]
        {
            let request = Digest::of(name);
            store.add_review(&code_review(request)).unwrap();
            assert_eq!(store.review_of(&request, "ana").unwrap().unwrap().subject, Subject::Code);
            store.close_code(&request, approved).unwrap();
            assert_eq!(store.standing_of(&request).unwrap(), Some(end));
            store.set_standing(&request, Standing::Open).unwrap();
            assert_eq!(store.standing_of(&request).unwrap(), Some(end));
            assert!(store.has_ended(&request).unwrap());
        }
    }

    #[test]
    fn a_refusal_of_code_on_its_way_to_the_log_is_not_closed_away() {
        let (_directory, store) = store();
        let request = Digest::of(b"one");
        store.add_review(&code_review(request)).unwrap();
        store.set_standing(&request, Standing::Denying).unwrap();
        store.close_code(&request, true).unwrap();
        assert_eq!(store.standing_of(&request).unwrap(), Some(Standing::Denying));
        let denial =
            Finished { verdict: request, subject: Subject::Code, is_release: false, file: b"file".to_vec() };
        store.finish(&denial).unwrap();
        assert_eq!(store.not_taken().unwrap()[0].subject, Subject::Code);
        store.close_code(&request, false).unwrap();
        assert!(store.not_taken().unwrap().is_empty());
        assert_eq!(store.standing_of(&request).unwrap(), Some(Standing::Denied));
    }

    #[test]
    fn every_set_of_approvals_that_was_handed_over_is_found_by_what_a_verdict_says_of_it() {
        let (_directory, store) = store();
        let told = test_formats::story::Story::default().tell();
        let (one, both) = (Digest::of(b"one"), Digest::of(b"both"));
        let request = told.release.request.payload_digest();
        store.keep_code_set(&one, &request, &told.release.approvals[..1]).unwrap();
        store.keep_code_set(&both, &request, &told.release.approvals).unwrap();
        store.keep_code_set(&both, &request, &[]).unwrap();
        assert_eq!(store.code_set(&one).unwrap(), told.release.approvals[..1]);
        assert_eq!(store.code_set(&both).unwrap(), told.release.approvals);
        assert!(store.code_set(&Digest::of(b"unknown")).unwrap().is_empty());
    }
}
