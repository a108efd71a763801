//! The steward's side of a review of code, before a run. It believes neither console nor enclave: everything in the
//! packet is checked against the request that the researcher signed. The bundle is unpacked behind a wall, since a
//! stranger packed it; the steward reads what lies there then.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use api::v1::{GetReviewRequest, Review, SubmitDecisionResponse};
use blobs::Digest;
use release::envelope::Envelope;
use release::file::CodeDenialFile;
use release::path::SignedRequest;
use release::site::{Site, grant_id};
use release::statement::{
    CodeApproval, CodeDenial, CodeReview, DenialDecision, DenialReason, Request, SaltedPurpose,
};

use super::words::{declared_empty, plural, printable};
use super::{APPROVAL_SECONDS, Desk};
use crate::client;
use crate::failure::{Exit, Failure, file_failure, whole};
use crate::site::now;
use crate::wall;

/// Most files of a bundle that are listed.
const LISTED: usize = 200;

/// The code of a request that was verified, opened and unpacked.
pub struct OpenedCode {
    /// The site, verified from the pin.
    pub site: Site,
    /// Where the review stands.
    pub review: Review,
    /// The request as it was checked.
    request: SignedRequest,
    /// What it is for, in words.
    purpose: String,
    /// The files of the bundle and their sizes in bytes, by path.
    pub files: Vec<(PathBuf, u64)>,
    /// Where they lie, until this is dropped.
    unpacked: tempfile::TempDir,
}

impl OpenedCode {
    /// What is asked for.
    pub fn request(&self) -> &Request {
        self.request.request()
    }

    /// The review's name: the request's payload digest.
    pub fn digest(&self) -> Digest {
        self.request.payload_digest()
    }
}

fn refused(what: &'static str, why: impl std::fmt::Display) -> Failure {
    Failure::new(what, why.to_string()).exit(Exit::Denied)
}

impl Desk {
    /// Verifies a request, opens its packet and unpacks its bundle.
    pub async fn open_code(&mut self, review: Review) -> Result<OpenedCode, Failure> {
        let site = self.site().await?;
        let asked = GetReviewRequest { review: review.review.clone() };
        let answer = self.client.get_review(asked).await.map_err(client::refused)?.into_inner();
        if !answer.verdict.is_empty() {
            return Err(refused("REQUEST_REFUSED", "the console handed out a verdict in a review of code"));
        }
        let request = Envelope::parse(&answer.request)
            .map_err(|error| error.refusal())
            .and_then(|envelope| SignedRequest::verify(&envelope, &site))
            .map_err(|refusal| {
                refused("REQUEST_REFUSED", format!("the request does not verify: {}", whole(&refusal)))
            })?;
        if request.payload_digest().to_string() != review.review {
            return Err(refused("REQUEST_REFUSED", "the console handed out another request"));
        }
        if request.grant().statement().code_review != CodeReview::BeforeRun {
            return Err(refused("REQUEST_REFUSED", "its grant asks for no review of code"));
        }
        let (purpose, bundle) = self.open_code_packet(&review.review, &request).await?;
        let unpacked = unpack(&bundle)?;
        let mut files = Vec::new();
        list(&bundle_directory(&unpacked), Path::new(""), &mut files)
            .map_err(|error| Failure::new("FILE", whole(&error)))?;
        Ok(OpenedCode { site, review, request, purpose, files, unpacked })
    }

    async fn open_code_packet(
        &mut self,
        review: &str,
        request: &SignedRequest,
    ) -> Result<(String, Vec<u8>), Failure> {
        let packet = self.read_packet(review).await?;
        let content = self.open_sealed(&packet, &request.payload_digest())?;
        let asked = request.request();
        if SaltedPurpose::of(&content.salt, &content.purpose) != asked.purpose {
            return Err(refused(
                "PACKET_REFUSED",
                "the purpose in the packet is not the one that was signed",
            ));
        }
        let [(_, bundle)] = &content.canonical[..] else {
            return Err(refused("PACKET_REFUSED", "the packet holds something else than one bundle"));
        };
        if Digest::of(bundle) != asked.bundle.sha256
            || !content.details.is_empty()
            || !content.places.is_empty()
        {
            return Err(refused("PACKET_REFUSED", "the packet does not hold the bundle that was signed"));
        }
        Ok((content.purpose, bundle.clone()))
    }

    /// Signs an approval of the code and hands it in.
    pub async fn approve_code(&mut self, opened: &OpenedCode) -> Result<SubmitDecisionResponse, Failure> {
        let approval = self.code_approval(opened)?;
        self.hand_in(&approval).await
    }

    /// A signed approval of the code.
    pub fn code_approval(&self, opened: &OpenedCode) -> Result<Envelope, Failure> {
        let request = opened.request();
        if request.requester.id == self.profile.id {
            return Err(refused(
                "REQUESTER",
                "you asked for this job, so someone else must approve its code",
            ));
        }
        if opened.site.has_interest(&self.profile.id, &request.project) {
            return Err(super::has_interest(&request.project));
        }
        let issued_at = now();
        self.sign(&CodeApproval {
            site: request.site.clone(),
            request: opened.digest().into(),
            bundle: request.bundle,
            steward: self.profile.id.clone(),
            grant: grant_id(opened.request.grant()),
            policy: opened.request.grant().statement().policy.clone(),
            roles: opened.site.roles_id(),
            issued_at,
            expires: issued_at.plus(APPROVAL_SECONDS),
        })
    }

    /// Signs a refusal of the code and hands it in. Succeeds only on the proof that a refusal of this code is a witnessed
    /// leaf of the log, checked here.
    pub async fn deny_code(
        &mut self,
        opened: &OpenedCode,
        decision: DenialDecision,
        reasons: Vec<DenialReason>,
        keep: Option<&Path>,
    ) -> Result<SubmitDecisionResponse, Failure> {
        let envelope = self.code_denial(opened, decision, reasons)?;
        if let Some(path) = keep {
            blobs::write_new_file_durably(path, &envelope.to_bytes(), 0o644).map_err(file_failure(path))?;
        }
        let answer = self.hand_in(&envelope).await?;
        let proof = CodeDenialFile::parse(&answer.denial_file).and_then(|file| {
            file.verify(&opened.request, &opened.site, self.profile.accept_on_box_witness, now())
        });
        match proof {
            Ok(_) => Ok(answer),
            Err(refusal) => Err(super::unproven(format!(
                "the console gave no proof that verifies that the refusal is in the log: {}",
                whole(&refusal)
            ))),
        }
    }

    /// A signed refusal of the code.
    pub fn code_denial(
        &self,
        opened: &OpenedCode,
        decision: DenialDecision,
        mut reasons: Vec<DenialReason>,
    ) -> Result<Envelope, Failure> {
        reasons.sort();
        reasons.dedup();
        let request = opened.request();
        self.sign(&CodeDenial {
            site: request.site.clone(),
            request: opened.digest().into(),
            bundle: request.bundle,
            steward: self.profile.id.clone(),
            decision,
            reasons,
            roles: opened.site.roles_id(),
            issued_at: now(),
        })
    }
}

/// Unpacks behind a wall. The directory is the walled user's until it is copied.
fn unpack(bundle: &[u8]) -> Result<tempfile::TempDir, Failure> {
    let failed = |error: io::Error| Failure::new("FILE", whole(&error));
    let scratch = tempfile::tempdir().map_err(failed)?;
    let into = bundle_directory(&scratch);
    fs::create_dir(&into).map_err(failed)?;
    let archive = scratch.path().join("bundle.tar.zst");
    fs::write(&archive, bundle).map_err(failed)?;
    let open = |path: &Path| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755));
    open(scratch.path()).and_then(|()| open(&into)).map_err(failed)?;
    wall::unbundle(fs::File::open(&archive).map_err(failed)?, &into)?;
    Ok(scratch)
}

fn bundle_directory(scratch: &tempfile::TempDir) -> PathBuf {
    scratch.path().join("bundle")
}

/// Plain files below a directory, by path. A link is not followed; the unpacker makes none.
fn list(root: &Path, below: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(root.join(below))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        let found = entry.metadata()?;
        if found.is_dir() {
            list(root, &path, files)?;
        } else if found.is_file() {
            files.push((path, found.len()));
        }
    }
    Ok(())
}

/// What a steward reads before signing.
pub fn words(opened: &OpenedCode) -> String {
    let request = opened.request();
    let grant = opened.request.grant().statement();
    let mut text = String::new();
    let _ = writeln!(text, "review     {} of code: nothing has run", opened.digest());
    let _ = writeln!(
        text,
        "asked by   {} under grant {} version {} for project {}",
        request.requester.id, grant.id, grant.version, request.project
    );
    let _ = writeln!(text, "purpose    {}", printable(&opened.purpose));
    if let Some(query) = &request.query {
        // That, and not what a file of the bundle says, is what the box would answer.
        let _ = writeln!(text, "asks       {}", query.words());
    }
    let datasets: Vec<_> = request.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
    let _ = writeln!(text, "data       {}", datasets.join(", "));
    let _ = writeln!(text, "runtime    {}", request.runtime.name);
    let command: Vec<_> = request.command.iter().map(|word| printable(word)).collect();
    let _ = writeln!(text, "command    {}", command.join(" "));
    for (output, evaluation) in request.outputs.iter().filter_map(|one| Some((one, one.evaluation()?))) {
        let command: Vec<_> = evaluation.command.iter().map(|word| printable(word)).collect();
        let _ = writeln!(text, "evaluates  {} by {}", output.path(), command.join(" "));
    }
    for output in &request.outputs {
        let _ = writeln!(text, "output     {}", output.path());
        text += &declared_empty(output);
    }
    let _ = writeln!(text, "bundle     {}, {}", request.bundle.sha256, plural(opened.files.len(), "file"));
    for (path, bytes) in opened.files.iter().take(LISTED) {
        let _ = writeln!(text, "file       {} {bytes} bytes", printable(&path.to_string_lossy()));
    }
    if opened.files.len() > LISTED {
        let _ = writeln!(text, "           and {} more", opened.files.len() - LISTED);
    }
    if !opened.review.held_up_by.is_empty() {
        let _ = writeln!(text, "held up    by {}, the console says", printable(&opened.review.held_up_by));
    }
    let _ = writeln!(text, "unpacked   on this machine, behind a wall; --files DIR keeps it for reading");
    text
}

/// Copies the unpacked bundle into a new directory, for its reader. A file may hold anything, control characters for a
/// terminal too: read it in an editor.
pub fn write_files(opened: &OpenedCode, directory: &Path) -> Result<(), Failure> {
    fs::create_dir(directory).map_err(file_failure(directory))?;
    for (path, _) in &opened.files {
        let to = directory.join(path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(file_failure(parent))?;
        }
        let bytes = fs::read(bundle_directory(&opened.unpacked).join(path)).map_err(file_failure(path))?;
        blobs::write_new_file_durably(&to, &bytes, 0o600).map_err(file_failure(&to))?;
    }
    Ok(())
}
