//! A box whose grant asks stewards to review code before it runs.

use std::path::Path;
use std::time::{Duration, Instant};

use api::v1::{Job, ReviewKind};
use databox::job::state;
use databox::review::code::OpenedCode;
use databox::site::{InstallArguments, now};
use lifecycle::State;
use release::envelope::Envelope;
use release::key::SecretKey;
use release::site::Site;
use release::statement::{CodeReview, Grant};
use release::value::Count;

use crate::{PATIENCE, TestBox};

impl TestBox {
    /// Installs a second version of the grant, which asks for a review of code before the run, and waits until the
    /// gateway has it.
    pub async fn ask_for_code_review(&self) {
        self.replace_grant(|grant| grant.code_review = CodeReview::BeforeRun).await;
    }

    /// Installs a second version of the grant, and waits until the gateway has it.
    pub async fn replace_grant(&self, change: impl FnOnce(&mut Grant)) {
        self.install_grant(|grant| {
            grant.version = Count(2);
            change(grant);
        });
        let bench = self.bench("kim").await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let site = bench.site().await.ok();
            let newest = site.as_ref().and_then(|site| site.grants().next());
            if newest.is_some_and(|grant| grant.statement().version == Count(2)) {
                return;
            }
            assert!(Instant::now() < deadline, "the gateway has no new grant");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Installs one more grant: for the project `reviewed`, whose code is reviewed before it runs.
    pub fn add_reviewed_project(&self) {
        self.install_grant(|grant| {
            grant.id = "grant-reviewed".parse().expect("a name");
            grant.project = "reviewed".parse().expect("a name");
            grant.code_review = CodeReview::BeforeRun;
        });
    }

    /// Has the stewards sign and install what `change` makes of the grant.
    fn install_grant(&self, change: impl FnOnce(&mut Grant)) {
        let site = Site::load(&self.stage.home.site(), &self.stage.pin, now()).expect("a site");
        let mut grant = site.grants().next().expect("a grant").statement().clone();
        grant.issued_at = now();
        change(&mut grant);
        let [ana, ben] = ["ana", "ben"].map(|steward| self.signing_key(steward));
        let envelope = Envelope::sign(&grant, &[&ana, &ben]).expect("an envelope");
        let file = tempfile::NamedTempFile::new_in(self.directory()).expect("a new file");
        std::fs::write(file.path(), envelope.to_bytes()).expect("a file");
        let (site_directory, pin) = (self.stage.home.site(), Some(self.stage.pin));
        let arguments =
            InstallArguments { file: file.path().to_owned(), site_directory, policy_file: None, pin };
        databox::site::install(&arguments).unwrap_or_else(|failure| panic!("not installed: {failure}"));
    }

    /// A person's signing key.
    pub fn signing_key(&self, person: &str) -> SecretKey {
        let passphrase = std::fs::read_to_string(self.stage.people().join("passphrase")).expect("a file");
        let file = self.stage.key_files(person).signing();
        packet::key::read_signing(&file, passphrase.trim_end()).expect("a key")
    }

    /// Submits a bundle and waits until its code is under review.
    pub async fn submit_for_code_review(&self, researcher: &str, bundle: &Path) -> Job {
        let bench = self.bench(researcher).await;
        let prepared =
            bench.prepare(bundle).await.unwrap_or_else(|failure| panic!("not prepared: {failure}"));
        let submitted =
            bench.submit(&prepared).await.unwrap_or_else(|failure| panic!("not submitted: {failure}"));
        let waiting = bench.wait(&submitted.job, &[State::InCodeReview], PATIENCE).await;
        let waiting = waiting.unwrap_or_else(|failure| panic!("not under review: {failure}"));
        assert_eq!((state(&waiting), waiting.run), (State::InCodeReview, 0), "{:?}", waiting.outcome);
        waiting
    }

    /// Opens, as a steward, the review of this job's code once the console has it.
    pub async fn opened_code(&self, steward: &str, job: &str) -> OpenedCode {
        let mut desk = self.desk(steward).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let reviews = desk.list().await.unwrap_or_else(|failure| panic!("no list: {failure}"));
            let of_job = |review: &api::v1::Review| review.review == job && review.kind() == ReviewKind::Code;
            if let Some(review) = reviews.into_iter().find(of_job) {
                return desk
                    .open_code(review)
                    .await
                    .unwrap_or_else(|failure| panic!("not opened: {failure}"));
            }
            assert!(Instant::now() < deadline, "no review of the code of job {job}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
