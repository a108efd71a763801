//! Decisions that wait together are taken to the signer together.

use release::json;
use release::log::socket::{
    Answer, CosignHead, MESSAGE_LIMIT, Message, Publish, Submit, TOGETHER_LIMIT, Together,
};
use release::value::Count;

use super::{Head, Signing, Stalled};
use crate::store::Review;

impl Signing {
    /// Has the signer take all that wait, as many as go into one message at a time.
    pub(super) async fn gather(&self, reviews: &[Review], approvals: bool) -> Result<(), Stalled> {
        let mut submits = Vec::new();
        for review in reviews.iter().filter(|_| reviews.len() > 1) {
            // One whose evidence is not at hand says so when its turn comes.
            if let Ok(Message::Submit(submit)) = self.evidence(&review.verdict, approvals) {
                submits.push(submit);
            }
        }
        while submits.len() > 1 {
            let rest = submits.split_off(together(&submits));
            let message = Message::Together(Together { submits, witnessed: Count(0) });
            let answer = self.ask(message).await?;
            self.publish_head(answer).await?;
            submits = rest;
        }
        Ok(())
    }

    /// Takes a head that nobody waits for alone to the witnesses, and has the signer publish it.
    pub(super) async fn publish_head(&self, answer: Answer) -> Result<(), Stalled> {
        let ask = |size| Message::Publish(Publish { witnessed: Count(size) });
        match answer {
            Answer::Published(_) => Ok(()),
            Answer::Refused(refusal) => Err(Stalled::Refused(refusal)),
            Answer::Unwitnessed(unwitnessed) => {
                let (size, cosignatures) = self.witness(Head::from(unwitnessed), &ask).await?;
                match self.ask(Message::CosignHead(CosignHead { size, cosignatures })).await? {
                    Answer::Published(_) => Ok(()),
                    Answer::Refused(refusal) => Err(Stalled::Refused(refusal)),
                    Answer::Unwitnessed(_) | Answer::Appended(_) | Answer::Finished(_) => {
                        Err(Stalled::Answer)
                    }
                }
            }
            Answer::Appended(_) | Answer::Finished(_) => Err(Stalled::Answer),
        }
    }
}

/// How many of these go into one message: it has a limit of its own, and half of it is left for its form.
fn together(submits: &[Submit]) -> usize {
    let mut bytes = 0;
    let fits = |submit: &&Submit| {
        bytes += json::to_bytes(*submit).len();
        bytes <= MESSAGE_LIMIT / 2
    };
    submits.iter().take(TOGETHER_LIMIT).take_while(fits).count().max(1)
}
