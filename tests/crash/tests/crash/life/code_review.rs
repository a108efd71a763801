//! The part of a life under a grant that asks stewards to read the code before it runs.

use api::v1::ReviewKind;
use databox::failure::Failure;
use databox::review::code::OpenedCode;
use lifecycle::State;
use release::statement::{DenialDecision, DenialReason};

use super::{CODE, CODE_APPROVAL, CODE_REFUSAL, End, Life, PREPARE, Stuck, desk, enter, until};
use crate::plan::Mode;
use crate::stage::TracedBox;

impl Life {
    /// From the bundle to the review of its outputs, or to the refusal of its code.
    pub(super) async fn review_code(&mut self, traced: &TracedBox, mode: Mode) -> Result<(), Stuck> {
        enter(traced, CODE, mode.clone());
        self.submit(traced).await?;
        self.wait(traced, State::InCodeReview).await?;
        enter(traced, PREPARE, Mode::Quiet);
        if self.end == End::CodeRefused {
            let opened = self.open_code(traced, "ben").await?;
            enter(traced, CODE_REFUSAL, mode);
            return self.refuse_code(traced, &opened).await;
        }
        let mut approvals = Vec::new();
        for steward in ["ana", "ben"] {
            let opened = self.open_code(traced, steward).await?;
            let own = until(traced, "connect", || desk(traced, steward)).await?;
            approvals.push((steward, own.code_approval(&opened).map_err(|failure| failure.to_string())?));
        }
        enter(traced, CODE_APPROVAL, mode);
        for (steward, approval) in &approvals {
            until(traced, "approve the code", async || desk(traced, steward).await?.hand_in(approval).await)
                .await?;
        }
        self.wait(traced, State::InReview).await
    }

    async fn open_code(&self, traced: &TracedBox, steward: &str) -> Result<OpenedCode, Stuck> {
        until(traced, "open the code", async || {
            let mut own = desk(traced, steward).await?;
            let mut reviews = own.list().await?.into_iter();
            match reviews.find(|review| review.review == self.job && review.kind() == ReviewKind::Code) {
                Some(review) => own.open_code(review).await,
                None => Err(Failure::new("NOT_YET", "no review of this code")),
            }
        })
        .await
    }

    /// The steward's command succeeds only on the witnessed proof.
    async fn refuse_code(&self, traced: &TracedBox, opened: &OpenedCode) -> Result<(), Stuck> {
        until(traced, "refuse the code", async || {
            let mut own = desk(traced, "ben").await?;
            own.deny_code(opened, DenialDecision::Reject, vec![DenialReason::TooMuch], None).await
        })
        .await?;
        self.wait(traced, State::Rejected).await
    }
}
