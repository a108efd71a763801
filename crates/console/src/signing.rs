//! Takes decisions to the signer and its checkpoint to the witnesses, again and again until the log has them.
//!
//! The console believes nobody here: the signer checks the evidence itself, the witnesses check the log, and the
//! enclave checks the release. All that the console can do is stall.

mod together;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use blobs::Digest;
use daemon::{Journal, SiteWatch};
use release::envelope::Envelope;
use release::log::socket::{
    self, Answer, Appended, Cosign, Decision, DenyCode, Get, Message, Publish, SignerRefusal, Submit,
    Unwitnessed,
};
use release::refusal::Refusal;
use release::site::Site;
use release::statement::{Evidence, Verdict};
use release::value::Count;
use tokio::sync::Notify;

use crate::desk;
use crate::store::{Finished, Placed, Standing, Statements, Store, Subject};
use crate::witness;

/// How long to wait before a decision is taken up again.
const AGAIN: Duration = Duration::from_secs(2);

/// How long the signer may take for one message.
const SIGNER_PATIENCE: Duration = Duration::from_secs(60);

/// Why a decision is not in the log yet.
#[derive(Debug, thiserror::Error)]
enum Stalled {
    #[error("the store cannot be read or written")]
    Store(#[from] rusqlite::Error),
    #[error("what the store holds is not an envelope")]
    Envelope,
    #[error("the signer's socket cannot be used")]
    Signer(#[source] socket::SocketError),
    #[error("the signer's socket is not the signer's")]
    Peer(#[source] daemon::PeerError),
    #[error("the signer refused: {0}")]
    Refused(SignerRefusal),
    #[error("there is no site in force")]
    Site,
    #[error("too few witnesses cosigned")]
    Witnesses,
    #[error("the signer answered something else than was asked")]
    Answer,
    #[error("a task ended early")]
    Task,
}

impl Stalled {
    /// What holds the decision up, as a steward reads it.
    fn name(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.name(),
            Self::Witnesses => "too-few-witnesses",
            Self::Signer(_) | Self::Peer(_) => "signer-unreachable",
            Self::Site => "site-not-in-force",
            Self::Store(_) | Self::Envelope | Self::Task | Self::Answer => "console-failed",
        }
    }
}

/// A checkpoint that lacks its witnesses.
struct Head {
    size: Count,
    /// The body of the request to a witness.
    add_checkpoint: String,
}

impl From<Appended> for Head {
    fn from(appended: Appended) -> Self {
        Self { size: appended.size, add_checkpoint: appended.add_checkpoint }
    }
}

impl From<Unwitnessed> for Head {
    fn from(unwitnessed: Unwitnessed) -> Self {
        Self { size: unwitnessed.size, add_checkpoint: unwitnessed.add_checkpoint }
    }
}

/// Drives decisions into the log.
pub struct Signing {
    /// Reviews.
    pub store: Arc<Store>,
    /// The site.
    pub site: Arc<SiteWatch>,
    /// The signer's socket.
    pub signer_socket: PathBuf,
    /// The user who must be at its other end.
    pub signer_user: u32,
    /// Addresses of witnesses.
    pub witnesses: Vec<String>,
    /// Log lines.
    pub journal: Journal,
    /// Told when a decision is in.
    pub wanted: Notify,
    /// Told when the log has one.
    pub finished: Notify,
    /// Told when enough approvals of code are in for the enclave to count.
    pub approvals: Notify,
}

impl Signing {
    /// Works until the process ends.
    pub async fn run(&self) {
        let mut in_log = None;
        loop {
            let waiting = self.work_once().await;
            let published = self.publish_site(&mut in_log).await;
            let pause = match published {
                // Rooms start in any order; the signer is there in a moment.
                Err(Stalled::Signer(_)) => AGAIN / 4,
                _ if waiting => AGAIN,
                Err(_) => 5 * AGAIN,
                Ok(()) => 30 * AGAIN,
            };
            tokio::select! {
                () = self.wanted.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes the site in force into the log, if it is not the one that was taken last: a recall must not wait for the
    /// next decision.
    async fn publish_site(&self, in_log: &mut Option<Arc<Site>>) -> Result<(), Stalled> {
        let site = self.site.current();
        let is_same = match (&site, &*in_log) {
            (None, _) => true,
            (Some(site), Some(taken)) => Arc::ptr_eq(site, taken),
            (Some(_), None) => false,
        };
        if is_same {
            return Ok(());
        }
        let published = self.publish().await;
        match &published {
            Ok(()) => *in_log = site,
            Err(stalled) => self.journal.warning("the site is not in the log").own_error(stalled).write(),
        }
        published
    }

    async fn publish(&self) -> Result<(), Stalled> {
        let answer = self.ask(Message::Publish(Publish { witnessed: Count(0) })).await?;
        self.publish_head(answer).await
    }

    /// Takes up every decision that the log does not have; true if one is left.
    async fn work_once(&self) -> bool {
        let mut left = false;
        for (standing, approvals) in [(Standing::Denying, false), (Standing::Signing, true)] {
            let reviews = match self.store.standing(standing) {
                Ok(reviews) => reviews,
                Err(error) => {
                    self.journal.error("the store cannot be read").own_error(&error).write();
                    return true;
                }
            };
            // Those that wait together become leaves together, under one head and with one question to each witness. Taken
            // up one by one after that, they are finished or say what holds them up.
            if let Err(stalled) = self.gather(&reviews, approvals).await {
                self.journal.warning("decisions are not in the log together").own_error(&stalled).write();
            }
            for review in reviews {
                left |= self.drive(&review.verdict, approvals).await;
            }
        }
        left
    }

    async fn drive(&self, verdict: &Digest, approvals: bool) -> bool {
        let stalled = match self.take_to_the_log(verdict, approvals).await {
            Ok(()) => {
                self.finished.notify_waiters();
                return false;
            }
            Err(stalled) => stalled,
        };
        let _ = self.store.set_held_up(verdict, stalled.name());
        // What passes by itself (an unreadable or lapsed site, a late clock, a witness that cosigned something else or whose
        // clock is wrong) is tried again; a broken rule is not.
        let passes = [Refusal::OutOfForce, Refusal::LogWitnesses, Refusal::LogTime];
        let refused =
            matches!(stalled, Stalled::Refused(SignerRefusal::Rule(rule)) if !passes.contains(&rule));
        self.journal
            .warning("a decision is not in the log")
            .digest("verdict", verdict.as_bytes())
            .own_error(&stalled)
            .write();
        if let Stalled::Refused(SignerRefusal::Rule(Refusal::Denied)) = stalled {
            // A denial lies in the site directory or in the log: the stewards' consent is void.
            let _ = self.store.set_standing(verdict, Standing::Denying);
            return true;
        }
        if let Stalled::Refused(SignerRefusal::AlreadyReleased) = stalled {
            return self.denied_too_late(verdict);
        }
        if let Stalled::Refused(SignerRefusal::Rule(Refusal::CodeDenied)) = stalled {
            // A refusal of the code lies in the site directory or in the log. The enclave is to hear of it as a leaf, and
            // ends the job with the steward's reasons.
            self.take_up_code_denial(verdict);
        }
        if refused && approvals {
            // Something has changed since the approvals: they stay, and a further one, or another change of the site,
            // takes the review up again.
            let _ = self.store.set_standing(verdict, Standing::Open);
            self.finished.notify_waiters();
            return false;
        }
        true
    }

    /// The denial came after the release. A review of outputs goes on with the release, which still lacks its witnesses or
    /// its way to the enclave; code that has run was approved.
    fn denied_too_late(&self, verdict: &Digest) -> bool {
        let is_code =
            self.store.statements(verdict).is_ok_and(|found| found.is_some_and(|of| of.verdict.is_empty()));
        let _ =
            self.store.set_standing(verdict, if is_code { Standing::Approved } else { Standing::Signing });
        self.finished.notify_waiters();
        !is_code
    }

    fn take_up_code_denial(&self, verdict: &Digest) {
        let Ok(Some(statements)) = self.store.statements(verdict) else { return };
        let Ok(request) = Envelope::parse(&statements.request) else { return };
        let _ = self.store.set_standing(&request.payload_digest(), Standing::Denying);
        self.wanted.notify_one();
    }

    async fn take_to_the_log(&self, verdict: &Digest, approvals: bool) -> Result<(), Stalled> {
        let mut answer = self.first_answer(verdict, approvals).await?;
        for _ in 0..4 {
            let appended = match answer {
                Answer::Finished(finished) => {
                    let is_release = finished.outcome == socket::Outcome::Release;
                    let subject = match finished.outcome {
                        socket::Outcome::CodeDenial => Subject::Code,
                        socket::Outcome::Release | socket::Outcome::Denial => Subject::Outputs,
                    };
                    let file = finished.file.into_bytes();
                    return Ok(self.store.finish(&Finished {
                        verdict: *verdict,
                        subject,
                        is_release,
                        file,
                    })?);
                }
                Answer::Refused(refusal) => return Err(Stalled::Refused(refusal)),
                Answer::Appended(appended) => appended,
                Answer::Unwitnessed(_) | Answer::Published(_) => return Err(Stalled::Answer),
            };
            let ask = |size| Message::Get(Get { verdict: *verdict, witnessed: Count(size) });
            let (size, cosignatures) = self.witness(Head::from(appended), &ask).await?;
            answer = self.ask(Message::Cosign(Cosign { verdict: *verdict, size, cosignatures })).await?;
        }
        Err(Stalled::Witnesses)
    }

    async fn first_answer(&self, verdict: &Digest, approvals: bool) -> Result<Answer, Stalled> {
        self.ask(self.evidence(verdict, approvals)?).await
    }

    /// What the signer is told of a decision.
    fn evidence(&self, verdict: &Digest, approvals: bool) -> Result<Message, Stalled> {
        let statements = self.store.statements(verdict)?.ok_or(Stalled::Envelope)?;
        if statements.verdict.is_empty() {
            return self.deny_code(verdict, &statements);
        }
        let decision = if approvals {
            let site = self.site.current().ok_or(Stalled::Site)?;
            // An outdated approval would have the signer refuse those that count. If nothing verifies any more, the
            // signer is asked all the same: it may have signed before, and it names the rule.
            Decision::Approvals(desk::counting_approvals(&statements, &site).unwrap_or_default())
        } else if let Some(denial) = self.store.decisions(verdict, false)?.first() {
            Decision::Denial(Envelope::parse(denial).map_err(|_| Stalled::Envelope)?)
        } else {
            // The denial was laid into the site directory, where the signer reads it.
            return Ok(Message::Get(Get { verdict: *verdict, witnessed: Count(0) }));
        };
        Ok(Message::Submit(Submit {
            request: Envelope::parse(&statements.request).map_err(|_| Stalled::Envelope)?,
            verdict: Envelope::parse(&statements.verdict).map_err(|_| Stalled::Envelope)?,
            code_approvals: self.code_approvals(&statements)?,
            compared: if approvals { self.compared(&statements)? } else { Vec::new() },
            decision,
            witnessed: Count(0),
        }))
    }

    /// A refusal of code, which the signer logs by its request. The one that was handed in, or one that was laid into the
    /// site directory.
    fn deny_code(&self, request: &Digest, statements: &Statements) -> Result<Message, Stalled> {
        let site = self.site.current().ok_or(Stalled::Site)?;
        let denial = match self.store.decisions(request, false)?.first() {
            Some(denial) => Envelope::parse(denial).map_err(|_| Stalled::Envelope)?,
            None => {
                let denied = desk::code_denied_in_site(statements, &site).ok_or(Stalled::Envelope)?;
                denied.denial().envelope().clone()
            }
        };
        let request = Envelope::parse(&statements.request).map_err(|_| Stalled::Envelope)?;
        Ok(Message::DenyCode(DenyCode { request, denial, witnessed: Count(0) }))
    }

    /// The verdicts that a verdict's tables were compared with. The signer holds them against the digest that it says.
    fn compared(&self, statements: &Statements) -> Result<Vec<Digest>, Stalled> {
        let verdict = Envelope::parse(&statements.verdict).map_err(|_| Stalled::Envelope)?;
        let verdict: Verdict = verdict.unverified().map_err(|_| Stalled::Envelope)?;
        match Placed::of(&verdict) {
            Some(placed) => Ok(self.store.compared_with(&placed)?),
            None => Ok(Vec::new()),
        }
    }

    /// The approvals of the code that a verdict names, as the console kept them. The signer says what is wrong with them.
    fn code_approvals(&self, statements: &Statements) -> Result<Vec<Envelope>, Stalled> {
        let verdict = Envelope::parse(&statements.verdict).map_err(|_| Stalled::Envelope)?;
        let verdict: Verdict = verdict.unverified().map_err(|_| Stalled::Envelope)?;
        match verdict.code_review {
            Evidence::Digest(evidence) => Ok(self.store.code_set(&evidence)?),
            Evidence::NotChecked => Ok(Vec::new()),
        }
    }

    /// Takes a checkpoint to the witnesses. A witness that is at another size gets the proof from there, which `ask` asks
    /// the signer for. Returns the size that was cosigned last and all cosignatures.
    async fn witness(
        &self,
        mut head: Head,
        ask: &(dyn Fn(u64) -> Message + Sync),
    ) -> Result<(Count, String), Stalled> {
        let mut cosignatures = String::new();
        for address in &self.witnesses {
            match self.cosignature(address, &mut head, ask).await {
                Ok(lines) => cosignatures += &lines,
                Err(error) => self.journal.warning("a witness gave no cosignature").own_error(&error).write(),
            }
        }
        if cosignatures.is_empty() && !self.witnesses.is_empty() {
            return Err(Stalled::Witnesses);
        }
        Ok((head.size, cosignatures))
    }

    async fn cosignature(
        &self,
        address: &str,
        head: &mut Head,
        ask: &(dyn Fn(u64) -> Message + Sync),
    ) -> Result<String, Stalled> {
        for _ in 0..3 {
            match witness::add_checkpoint(address, &head.add_checkpoint).await {
                Ok(witness::Answer::Cosigned(lines)) => return Ok(lines),
                Ok(witness::Answer::OtherSize(size)) => match self.ask(ask(size)).await? {
                    Answer::Appended(appended) => *head = appended.into(),
                    Answer::Unwitnessed(unwitnessed) => *head = unwitnessed.into(),
                    Answer::Refused(refusal) => return Err(Stalled::Refused(refusal)),
                    Answer::Finished(_) | Answer::Published(_) => return Err(Stalled::Witnesses),
                },
                Err(error) => {
                    self.journal.warning("a witness did not cosign").own_error(&error).write();
                    return Err(Stalled::Witnesses);
                }
            }
        }
        Err(Stalled::Witnesses)
    }

    async fn ask(&self, message: Message) -> Result<Answer, Stalled> {
        let (socket, user) = (self.signer_socket.clone(), self.signer_user);
        let asked = tokio::task::spawn_blocking(move || {
            let broken = |error: std::io::Error| Stalled::Signer(error.into());
            let mut stream = UnixStream::connect(&socket).map_err(broken)?;
            daemon::check_peer(&stream, user).map_err(Stalled::Peer)?;
            stream.set_read_timeout(Some(SIGNER_PATIENCE)).map_err(broken)?;
            stream.set_write_timeout(Some(SIGNER_PATIENCE)).map_err(broken)?;
            socket::ask(&mut stream, &message).map_err(Stalled::Signer)
        });
        asked.await.map_err(|_| Stalled::Task)?
    }
}
