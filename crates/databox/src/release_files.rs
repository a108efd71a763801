//! `databox release ls|get`: released files. `get` verifies before it writes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use api::v1::release_service_client::ReleaseServiceClient;
use api::v1::{GetReleaseRequest, Job, ListReleasesRequest, ReadFileRequest, Release};
use lifecycle::State;
use release::file::{GivenFiles, Pinned, RELEASE_FILE_LIMIT, ReleaseFile};
use release::statement::{Manifest, Request, WITHOUT_ROWS};
use tonic::transport::Channel;

use crate::client::{self, MESSAGE_LIMIT};
use crate::failure::{Exit, Failure, file_failure, whole};
use crate::job;
use crate::listed::{Listed, PAGE_SIZE};
use crate::profile::Profile;
use crate::site::now;

/// Largest released file that this command takes, in bytes.
const FILE_LIMIT: u64 = 16 << 30;

/// A recipient's connection to the gateway.
pub struct Shelf {
    profile: Profile,
    client: ReleaseServiceClient<Channel>,
}

impl Shelf {
    /// Uses a connection of the researcher.
    pub fn new(profile: Profile, channel: Channel) -> Self {
        let client = ReleaseServiceClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        Self { profile, client }
    }

    /// The caller's releases, the newest first.
    pub async fn list(&mut self) -> Result<Vec<Release>, Failure> {
        let mut listed = Listed::default();
        let mut page_token = String::new();
        loop {
            let request = ListReleasesRequest { page_size: PAGE_SIZE, page_token };
            let page = self.client.list_releases(request).await.map_err(client::refused)?.into_inner();
            for release in page.releases {
                listed.add(release, |one| {
                    let files = one.files.iter().map(|file| file.name.as_str());
                    (&one.release, files.chain([one.job.as_str()]).collect())
                })?;
            }
            if !listed.goes_on(&page.next_page_token)? {
                return Ok(listed.entries());
            }
            page_token = page.next_page_token;
        }
    }

    /// Fetches a release, verifies it from the pin with its files, and only then gives it its place: a new directory
    /// with the release file and the files beside it.
    pub async fn get(&mut self, release: &str, out: &Path) -> Result<PathBuf, Failure> {
        let request = GetReleaseRequest { release: release.to_owned() };
        let answer = self.client.get_release(request).await.map_err(client::refused)?.into_inner();
        let listed =
            answer.release.ok_or_else(|| Failure::new("ANSWER", "the gateway answered without a release"))?;
        if out.exists() {
            return Err(Failure::new("ALREADY_THERE", format!("{} is there already", out.display()))
                .hint("--out names a new directory")
                .exit(Exit::Conflict));
        }
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(file_failure(parent))?;
        let scratch =
            tempfile::Builder::new().prefix(".fetching-").tempdir_in(parent).map_err(file_failure(parent))?;
        let release_file = match answer.release_file.is_empty() {
            false => answer.release_file.to_vec(),
            // Too large for one message.
            true => {
                let path = scratch.path().join(".release-file");
                self.fetch(&listed.release, "", RELEASE_FILE_LIMIT as u64, &path).await?;
                let bytes = fs::read(&path).map_err(file_failure(&path))?;
                fs::remove_file(&path).map_err(file_failure(&path))?;
                bytes
            }
        };
        let parsed = ReleaseFile::parse(&release_file).map_err(refused)?;
        // The names come from a manifest that is not verified yet: as names they are safe, and nothing of the files
        // is kept unless the whole verifies.
        let manifest: Manifest = parsed.manifest.unverified().map_err(refused)?;
        let mut measured = BTreeMap::new();
        for file in &manifest.files {
            let path = scratch.path().join(file.name.as_str());
            self.fetch(&listed.release, file.name.as_str(), FILE_LIMIT, &path).await?;
            let copy = fs::File::open(&path).map_err(file_failure(&path))?;
            let (digest, bytes) = blobs::Digest::of_reader(copy).map_err(file_failure(&path))?;
            measured.insert(file.name.clone(), (bytes, digest));
        }
        let accept_on_box_witness = self.profile.accept_on_box_witness;
        let pinned = Pinned { accept_on_box_witness, ..Pinned::new(self.profile.site_pin) };
        let logged = parsed.verify(&pinned, now(), GivenFiles::Measured(&measured)).map_err(refused)?;
        // A gateway could else hand out a true release of another job.
        let digests = [logged.manifest_digest(), logged.request_digest()];
        if digests.iter().all(|digest| digest.to_string() != release) {
            return Err(
                Failure::new("RELEASE_REFUSED", "the gateway handed out another release").exit(Exit::Denied)
            );
        }
        // The name is the verified digest: one of the gateway's choosing could lead elsewhere.
        let name = format!("{}.release.json", logged.manifest_digest());
        let evidence = scratch.path().join(&name);
        blobs::write_new_file_durably(&evidence, &release_file, 0o644).map_err(file_failure(&evidence))?;
        fs::rename(scratch.keep(), out).map_err(file_failure(out))?;
        blobs::sync_directory(parent).map_err(file_failure(parent))?;
        Ok(out.join(name))
    }

    async fn fetch(&mut self, release: &str, file: &str, limit: u64, to: &Path) -> Result<(), Failure> {
        use std::io::Write as _;
        let request = ReadFileRequest { release: release.to_owned(), file: file.to_owned(), offset: 0 };
        let mut stream = self.client.read_file(request).await.map_err(client::refused)?.into_inner();
        let mut target = fs::File::create_new(to).map_err(file_failure(to))?;
        let mut total = 0;
        while let Some(part) = stream.message().await.map_err(client::refused)? {
            total += part.chunk.len() as u64;
            if total > limit {
                return Err(Failure::new("FILE", format!("{file} is larger than any released file may be")));
            }
            target.write_all(&part.chunk).map_err(file_failure(to))?;
        }
        target.sync_all().map_err(file_failure(to))
    }
}

/// What the recipient of a release that was verified and written should know of it: nothing of most.
pub fn note(release_file: &Path) -> Result<Option<&'static str>, Failure> {
    let bytes = fs::read(release_file).map_err(file_failure(release_file))?;
    let file = ReleaseFile::parse(&bytes).map_err(refused)?;
    let (request, manifest): (Request, Manifest) =
        (file.request.unverified().map_err(refused)?, file.manifest.unverified().map_err(refused)?);
    let is_empty = request
        .query
        .is_some_and(|query| manifest.files.iter().any(|file| query.is_without_rows(file.bytes.0)));
    Ok(is_empty.then_some(WITHOUT_ROWS))
}

/// A job whose release was asked for and that has none: how far it is, and what to do.
pub fn not_released(job: &Job) -> Failure {
    let state = job::state(job);
    let hint = match state.is_end() {
        true => "`databox job show` says why; it will never be released",
        false => "`databox job watch` follows it; `databox job submit --wait=released` waits",
    };
    Failure::new("NOT_RELEASED", format!("job {} is {state}: nothing of it is released", job.job))
        .hint(hint)
        .exit(Exit::of_job(State::Released, state).unwrap_or(Exit::NotFinished))
}

fn refused(refusal: release::refusal::Refusal) -> Failure {
    Failure::new("RELEASE_REFUSED", format!("the release does not verify: {}", whole(&refusal)))
        .hint(format!("databox-verify explain {}", refusal.code()))
        .exit(Exit::Denied)
}
