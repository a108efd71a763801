//! The steward's side: `databox review ls|show|approve|reject`. It runs on the steward's own machine and believes
//! neither console nor enclave: it verifies the verdict from the steward's pin, opens the packet, hashes the canonical
//! files, judges them again behind a wall, says in words what will be signed, and only then asks for the key.

pub mod code;
mod findings;
mod judging_again;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use api::v1::review_service_client::ReviewServiceClient;
use api::v1::{
    GetReviewRequest, GetReviewSiteRequest, ListReviewsRequest, ReadPacketRequest, Review, ReviewState,
    SubmitDecisionRequest, SubmitDecisionResponse,
};
use blobs::Digest;
use release::envelope::Envelope;
use release::file::{DenialFile, RELEASE_FILE_LIMIT};
use release::path::{JudgedVerdict, ReviewedRun, SignedRequest};
use release::site::Site;
use release::statement::{
    Approval, Denial, DenialDecision, DenialReason, Judgement, Request, Verdict, VerdictResult,
};
use release::value::Name;
use tonic::transport::Channel;

use crate::client::{self, MESSAGE_LIMIT};
use crate::failure::{Exit, Failure, key_failure, whole};
use crate::handed_out::HandedOut;
use crate::key::{self, PersonSigner};
use crate::listed::{Listed, PAGE_SIZE};
use crate::profile::Profile;
use crate::site::now;

pub use findings::findings;
use judging_again::{compare_files, judge_again};
pub use words::{printable, words};

/// How long an approval counts.
const APPROVAL_SECONDS: i64 = 7 * 24 * 3600;

/// Largest packet that this tool takes, in bytes.
const PACKET_LIMIT: usize = 4 << 30;

/// A steward's connection to the console.
pub struct Desk {
    profile: Profile,
    client: ReviewServiceClient<Channel>,
}

/// A review that was verified, opened and judged again.
pub struct Opened {
    /// The site, verified from the pin.
    pub site: Site,
    /// Where it stands.
    pub review: Review,
    /// The request that it is about.
    pub request: Request,
    /// The verdict.
    pub verdict: Verdict,
    /// Payload digest of the verdict.
    pub digest: Digest,
    /// The verdict as it was checked.
    judged: JudgedVerdict,
    /// What the packet holds.
    pub content: packet::Content,
    /// Whether a second judgement gave the same.
    pub judged_again: Judgement,
}

impl Desk {
    /// Connects as the profile says.
    pub async fn connect(profile: Profile) -> Result<Self, Failure> {
        let channel = client::connect(&profile).await?;
        let client = ReviewServiceClient::new(channel)
            // A last approval is answered with the whole release file.
            .max_decoding_message_size(RELEASE_FILE_LIMIT + MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        Ok(Self { profile, client })
    }

    /// The reviews that are sealed to this steward, each once.
    pub async fn list(&mut self) -> Result<Vec<Review>, Failure> {
        let mut listed = Listed::default();
        let mut page_token = String::new();
        loop {
            let request = ListReviewsRequest { page_size: PAGE_SIZE, page_token };
            let page = self.client.list_reviews(request).await.map_err(client::refused)?.into_inner();
            for review in page.reviews {
                listed.add(review, |one| {
                    let words = [&one.held_up_by, &one.job, &one.job_name, &one.project, &one.requester];
                    (&one.review, words.map(|word| &word[..]).to_vec())
                })?;
            }
            if !listed.goes_on(&page.next_page_token)? {
                return Ok(listed.entries());
            }
            page_token = page.next_page_token;
        }
    }

    /// The site as the console hands it out, verified from the pin.
    pub async fn site(&mut self) -> Result<Site, Failure> {
        let mut stream =
            self.client.get_review_site(GetReviewSiteRequest {}).await.map_err(client::refused)?.into_inner();
        let mut handed_out = HandedOut::default();
        while let Some(file) = stream.message().await.map_err(client::refused)? {
            handed_out.add("console", file.path, file.content.to_vec())?;
        }
        handed_out.verified("console", &self.profile.site_pin)
    }

    /// Verifies, opens and judges again. The whole review id is needed, or its first characters if only one fits.
    pub async fn open(&mut self, review: &str) -> Result<Opened, Failure> {
        let review = self.find(review).await?;
        self.open_outputs(review).await
    }

    /// The same for a review that was found.
    pub async fn open_outputs(&mut self, review: Review) -> Result<Opened, Failure> {
        let site = self.site().await?;
        let request = GetReviewRequest { review: review.review.clone() };
        let answer = self.client.get_review(request).await.map_err(client::refused)?.into_inner();
        let refused = |error: &dyn std::error::Error| {
            Failure::new("VERDICT_REFUSED", format!("the verdict does not verify: {}", whole(error)))
                .exit(Exit::Denied)
        };
        let envelope = Envelope::parse(&answer.request).map_err(|error| refused(&error))?;
        let request = SignedRequest::verify(&envelope, &site).map_err(|error| refused(&error))?;
        let envelope = Envelope::parse(&answer.verdict).map_err(|error| refused(&error))?;
        let judged = JudgedVerdict::recorded(&envelope, &request, &site).map_err(|error| refused(&error))?;
        let digest = judged.payload_digest();
        if digest.to_string() != review.review {
            return Err(
                Failure::new("VERDICT_REFUSED", "the console handed out another verdict").exit(Exit::Denied)
            );
        }
        let code =
            answer.code_approvals.iter().map(|bytes| Envelope::parse(bytes)).collect::<Result<Vec<_>, _>>();
        let code = code.map_err(|error| refused(&error))?;
        // A run whose code nobody reviewed, though its grant asks for it, is not what was granted.
        ReviewedRun::check(&code, &judged, &site).map_err(|error| refused(&error))?;
        let verdict = judged.verdict().clone();
        let content = self.open_packet(&review.review, &verdict).await?;
        compare_files(&verdict, &content)?;
        let judged_again = judge_again(&site, request.request(), &verdict, &content)?;
        Ok(Opened {
            site,
            review,
            request: request.request().clone(),
            verdict,
            digest,
            judged,
            content,
            judged_again,
        })
    }

    /// The review that begins so, if there is one and no other.
    pub async fn find(&mut self, begin: &str) -> Result<Review, Failure> {
        let mut fitting: Vec<_> =
            self.list().await?.into_iter().filter(|review| review.review.starts_with(begin)).collect();
        match (fitting.pop(), fitting.is_empty()) {
            (Some(review), true) => Ok(review),
            (None, _) => {
                Err(Failure::new("NO_SUCH_REVIEW", format!("no review of yours begins with {begin}"))
                    .hint("`databox review ls` lists them"))
            }
            _ => Err(Failure::new("SEVERAL_REVIEWS", format!("several reviews begin with {begin}"))
                .hint("give more of its characters; `databox review ls` lists them")
                .exit(Exit::Usage)),
        }
    }

    async fn open_packet(&mut self, review: &str, verdict: &Verdict) -> Result<packet::Content, Failure> {
        let bytes = self.read_packet(review).await?;
        if Digest::of(&bytes) != verdict.packet.sha256 {
            return Err(Failure::new("PACKET_REFUSED", "the packet is not the one that the verdict names")
                .exit(Exit::Denied));
        }
        self.open_sealed(&bytes, &verdict.request.sha256)
    }

    async fn read_packet(&mut self, review: &str) -> Result<Vec<u8>, Failure> {
        let request = ReadPacketRequest { review: review.to_owned(), offset: 0 };
        let mut stream = self.client.read_packet(request).await.map_err(client::refused)?.into_inner();
        let mut bytes = Vec::new();
        while let Some(part) = stream.message().await.map_err(client::refused)? {
            bytes.extend_from_slice(&part.chunk);
            if bytes.len() > PACKET_LIMIT {
                return Err(Failure::new("PACKET_REFUSED", "the packet is larger than any packet may be"));
            }
        }
        Ok(bytes)
    }

    /// Opens a packet that is about this request.
    fn open_sealed(&self, bytes: &[u8], request: &Digest) -> Result<packet::Content, Failure> {
        let files = self.profile.key_files();
        let passphrase = self.passphrase()?;
        let secret = packet::key::read_review(&files.review(), &passphrase).map_err(key_failure)?;
        packet::open(bytes, &self.profile.id, &secret, request).map_err(|error| {
            Failure::new("PACKET_REFUSED", format!("the packet cannot be opened: {}", whole(&error)))
                .exit(Exit::Denied)
        })
    }

    fn passphrase(&self) -> Result<zeroize::Zeroizing<String>, Failure> {
        key::passphrase(
            self.profile.passphrase_file.as_deref(),
            &format!("Passphrase of {}: ", self.profile.id),
        )
    }

    /// Signs an approval of an opened review and hands it in.
    pub async fn approve(&mut self, opened: &Opened) -> Result<SubmitDecisionResponse, Failure> {
        let approval = self.approval(opened)?;
        self.hand_in(&approval).await
    }

    /// Whether the steward may approve an opened review at all. Asked before anybody is asked to sign.
    pub fn may_approve(&self, opened: &Opened) -> Result<(), Failure> {
        if opened.verdict.result != VerdictResult::Pass {
            return Err(
                Failure::new("BLOCKED", "the policy blocked it; nobody can approve it")
                    .hint("nothing is to be decided: the job has ended, and `databox review show` shows the findings")
                    .exit(Exit::Denied)
            );
        }
        if opened.judged_again != Judgement::Same {
            return Err(
                Failure::new("JUDGED_DIFFERENTLY", "judging again gave another result").exit(Exit::Denied)
            );
        }
        if opened.site.has_interest(&self.profile.id, &opened.request.project) {
            return Err(has_interest(&opened.request.project));
        }
        Ok(())
    }

    /// A signed approval of an opened review.
    pub fn approval(&self, opened: &Opened) -> Result<Envelope, Failure> {
        self.may_approve(opened)?;
        let issued_at = now();
        let approval = Approval {
            site: opened.verdict.site.clone(),
            verdict: opened.digest.into(),
            challenge: opened.verdict.challenge,
            steward: self.profile.id.clone(),
            grant: opened.verdict.grant.clone(),
            policy: opened.verdict.policy.clone(),
            roles: opened.site.roles_id(),
            judged_again: opened.judged_again,
            issued_at,
            expires: issued_at.plus(APPROVAL_SECONDS).min(opened.verdict.expires),
        };
        self.sign(&approval)
    }

    /// Signs a denial and hands it in. Succeeds only on the proof that a denial of this verdict is a witnessed leaf of the
    /// log, checked here: a console could else say that it was, and drop it.
    pub async fn deny(
        &mut self,
        opened: &Opened,
        decision: DenialDecision,
        reasons: Vec<DenialReason>,
        keep: Option<&Path>,
    ) -> Result<SubmitDecisionResponse, Failure> {
        let envelope = self.denial(opened, decision, reasons)?;
        if let Some(path) = keep {
            blobs::write_new_file_durably(path, &envelope.to_bytes(), 0o644)
                .map_err(crate::failure::file_failure(path))?;
        }
        let answer = self.hand_in(&envelope).await?;
        self.check_denied(opened, &answer)?;
        Ok(answer)
    }

    /// A signed denial of an opened review.
    pub fn denial(
        &self,
        opened: &Opened,
        decision: DenialDecision,
        mut reasons: Vec<DenialReason>,
    ) -> Result<Envelope, Failure> {
        reasons.sort();
        reasons.dedup();
        self.sign(&Denial {
            site: opened.verdict.site.clone(),
            verdict: opened.digest.into(),
            challenge: opened.verdict.challenge,
            steward: self.profile.id.clone(),
            decision,
            reasons,
            roles: opened.site.roles_id(),
            issued_at: now(),
        })
    }

    /// Checks that an answer proves a denial of this verdict to be a witnessed leaf of the log.
    pub fn check_denied(&self, opened: &Opened, answer: &SubmitDecisionResponse) -> Result<(), Failure> {
        if answer.denial_file.is_empty() {
            return Err(unproven("the console gave no proof that the denial is in the log".to_owned()));
        }
        let refused = |error: release::refusal::Refusal| {
            unproven(format!("the console's proof does not verify: {}", whole(&error)))
        };
        let file = DenialFile::parse(&answer.denial_file).map_err(refused)?;
        file.verify(&opened.judged, &opened.site, self.profile.accept_on_box_witness, now())
            .map_err(refused)?;
        Ok(())
    }

    /// Hands a signed decision in. A repeat gets the first answer.
    pub async fn hand_in(&mut self, envelope: &Envelope) -> Result<SubmitDecisionResponse, Failure> {
        let request = SubmitDecisionRequest { decision: envelope.to_bytes().into() };
        let answer = self.client.submit_decision(request).await.map_err(|status| {
            let failure = client::refused(status);
            match &failure.reason[..] {
                "NOT_READY" => failure.hint(
                    "the decision is kept and not in the log yet: `databox review ls` says what holds it up; give it again \
                     to wait on, a repeat changes nothing",
                ),
                _ => failure,
            }
        });
        Ok(answer?.into_inner())
    }

    fn sign<P: release::statement::Predicate>(&self, statement: &P) -> Result<Envelope, Failure> {
        let files = self.profile.key_files();
        let signer = PersonSigner::unlock(&files, || self.passphrase())?;
        signer.sign(statement).map_err(|error| Failure::new("STATEMENT", whole(&error)))
    }
}

/// Refuses to look at what is decided: its packet is gone, and a decision about it changes nothing.
pub fn undecided(review: &Review) -> Result<(), Failure> {
    let word = match review.state() {
        ReviewState::Released => "released",
        ReviewState::Denied => "denied",
        ReviewState::Expired => "expired",
        ReviewState::Withdrawn => "withdrawn: its requester called the job off",
        _ => return Ok(()),
    };
    Err(Failure::new("DECIDED", format!("review {} is {word}", review.review))
        .hint("nothing is left to decide; `databox-verify` reads what stands in the log")
        .exit(Exit::Conflict))
}

fn has_interest(project: &Name) -> Failure {
    Failure::new("INTEREST", format!("the site marks you as having an interest in project {project}"))
        .hint("someone else must approve; you may refuse")
        .exit(Exit::Denied)
}

fn unproven(text: String) -> Failure {
    Failure::new("NOT_WITNESSED", text)
        .hint("the denial does not count yet: try again, and tell the owner if it stays so")
        .exit(Exit::Denied)
}

/// What `review` subcommands need to know beyond the profile.
#[derive(Debug, Clone, clap::Args)]
pub struct ReviewArguments {
    /// The review's id, or its first characters.
    pub review: String,
    /// Write the canonical files here, or the bundle's in a review of code, to look at them.
    #[arg(long)]
    pub files: Option<PathBuf>,
    /// Say in words what the box found in the outputs. It may quote what the job wrote, rows of the data among it.
    #[arg(long)]
    pub findings: bool,
}

/// Writes the canonical files of a packet into a new directory.
pub fn write_files(opened: &Opened, directory: &std::path::Path) -> Result<(), Failure> {
    fs::create_dir(directory).map_err(crate::failure::file_failure(directory))?;
    for (name, bytes) in &opened.content.canonical {
        let path = directory.join(name.as_str());
        blobs::write_new_file_durably(&path, bytes, 0o600).map_err(crate::failure::file_failure(&path))?;
    }
    Ok(())
}
