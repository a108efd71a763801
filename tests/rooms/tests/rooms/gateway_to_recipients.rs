//! A gateway that lies to a recipient: another release, an altered or unlogged one, other files, or a list that never
//! ends. The recipient's own tool keeps nothing that does not verify from the pin.

use std::path::{Path, PathBuf};

use api::v1::{GetReleaseResponse, ListReleasesResponse, Release, ReleasedFile};
use databox::release_files::Shelf;
use harness::TestBox;
use lifecycle::State;
use prost::Message;
use release::file::ReleaseFile;

use crate::held::{Held, approve};
use crate::{Liar, wait};

/// A release as the real gateway handed it out.
#[derive(Clone)]
struct Said {
    job: String,
    answer: GetReleaseResponse,
    metrics: Vec<u8>,
}

impl Said {
    async fn of(tested: &TestBox, name: &str, value: &str) -> Self {
        let job = Held::of_job(tested, name, value).await.job();
        approve(tested, &job).await;
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
        let out = tested.directory().join(name);
        let file = tested.shelf("kim").await.get(&job, &out).await.unwrap();
        let listed = tested.shelf("kim").await.list().await.unwrap();
        let release = listed.into_iter().find(|one| one.job == job);
        let release_file = std::fs::read(file).unwrap().into();
        let metrics = std::fs::read(out.join("metrics.json")).unwrap();
        Self { job, answer: GetReleaseResponse { release, release_file }, metrics }
    }

    fn file(&self) -> ReleaseFile {
        ReleaseFile::parse(&self.answer.release_file).unwrap()
    }

    fn with_file(&self, file: &ReleaseFile) -> Self {
        let mut said = self.clone();
        said.answer.release_file = file.to_bytes().into();
        said
    }
}

/// The answers of the lying gateway, as files that it reads anew for each call.
struct Answers(PathBuf);

impl Answers {
    fn say(&self, said: &Said) {
        self.write("get-release", &said.answer.encode_to_vec());
        self.write("file-metrics.json", &said.metrics);
        let releases = said.answer.release.clone().into_iter().collect();
        self.list(&ListReleasesResponse { releases, next_page_token: String::new() });
    }

    fn list(&self, list: &ListReleasesResponse) {
        self.write("list-releases", &list.encode_to_vec());
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }
}

/// Lies about the first release, with the names under which the recipient's tool refuses them.
fn lies(one: &Said, other: &Said) -> Vec<(&'static str, Said)> {
    let with = |change: &dyn Fn(&mut Said)| {
        let mut said = one.clone();
        change(&mut said);
        said
    };
    let mixed = |change: &dyn Fn(&mut ReleaseFile, ReleaseFile)| {
        let mut file = one.file();
        change(&mut file, other.file());
        one.with_file(&file)
    };
    vec![
        // A true release, but of another job, and one under this one's name.
        ("RELEASE_REFUSED", other.clone()),
        ("RELEASE_REFUSED", with(&|said| said.answer.release_file = other.answer.release_file.clone())),
        // Parts of two releases; without its log; altered; not one.
        ("RELEASE_REFUSED", mixed(&|file, other| file.verdict = other.verdict)),
        ("RELEASE_REFUSED", mixed(&|file, other| file.request = other.request)),
        ("RELEASE_REFUSED", mixed(&|file, other| file.approvals = other.approvals)),
        ("RELEASE_REFUSED", mixed(&|file, other| file.log_proof = other.log_proof)),
        ("RELEASE_REFUSED", mixed(&|file, _| file.approvals.truncate(1))),
        (
            "RELEASE_REFUSED",
            mixed(&|file, _| {
                let kept: Vec<_> =
                    file.log_proof.lines().filter(|line| !line.contains("databox.example/witness")).collect();
                file.log_proof = kept.join("\n") + "\n";
            }),
        ),
        ("RELEASE_REFUSED", with(&|said| said.answer.release_file = b"{}".to_vec().into())),
        // Other files: of another release, altered, cut off, longer.
        ("RELEASE_REFUSED", with(&|said| said.metrics.clone_from(&other.metrics))),
        ("RELEASE_REFUSED", with(&|said| said.metrics[10] ^= 1)),
        ("RELEASE_REFUSED", with(&|said| said.metrics.truncate(3))),
        ("RELEASE_REFUSED", with(&|said| said.metrics.push(b'\n'))),
        ("RELEASE_REFUSED", with(&|said| said.metrics.clear())),
        // Nothing where something was to be.
        ("ANSWER", with(&|said| said.answer.release = None)),
    ]
}

/// Lists that are refused: words that would write to the terminal, no ids, no end.
fn lists(one: &Said) -> Vec<ListReleasesResponse> {
    let true_one = one.answer.release.clone().unwrap();
    let list = |change: &dyn Fn(&mut Release), next: &str| {
        let mut release = true_one.clone();
        change(&mut release);
        ListReleasesResponse { releases: vec![release], next_page_token: next.to_owned() }
    };
    let escape = "\u{1b}[2J".to_owned();
    vec![
        list(&|release| release.release.clone_from(&escape), ""),
        list(&|release| release.job.clone_from(&escape), ""),
        list(&|release| release.files.push(ReleasedFile { name: escape.clone(), ..Default::default() }), ""),
        list(&|release| release.release.clear(), ""),
        list(&|_| {}, "more"),
    ]
}

async fn fetch(tested: &TestBox, job: &str, out: &Path) -> Result<PathBuf, String> {
    let channel = databox::client::connect(&tested.stage.profile("kim")).await.unwrap();
    let mut shelf = Shelf::new(tested.stage.profile("kim"), channel);
    shelf.get(job, out).await.map_err(|failure| failure.reason)
}

#[test]
fn a_recipient_keeps_nothing_of_a_lying_gateway_that_is_not_this_release_whole_and_logged() {
    let mut tested = TestBox::start_with_users();
    let [one, other] =
        wait(async { [Said::of(&tested, "one", "1").await, Said::of(&tested, "other", "2").await] });
    let (liar, answers) = Liar::before_researchers(&mut tested);
    let answers = Answers(answers);

    wait(async {
        let kept = tested.directory().join("kept");
        std::fs::create_dir(&kept).unwrap();
        // Said as it was, all is well: it is not the liar's voice that is refused.
        answers.say(&one);
        fetch(&tested, &one.job, &kept.join("true")).await.unwrap();
        for (index, (refusal, lie)) in lies(&one, &other).iter().enumerate() {
            answers.say(lie);
            let out = kept.join(index.to_string());
            assert_eq!(fetch(&tested, &one.job, &out).await.err().as_deref(), Some(*refusal), "lie {index}");
        }
        let left: Vec<_> =
            std::fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["true"], "nothing is left of what was refused");

        let channel = databox::client::connect(&tested.stage.profile("kim")).await.unwrap();
        let mut shelf = Shelf::new(tested.stage.profile("kim"), channel);
        answers.say(&one);
        assert_eq!(shelf.list().await.unwrap().len(), 1);
        for (index, list) in lists(&one).iter().enumerate() {
            answers.list(list);
            let refused = shelf.list().await.map_err(|failure| failure.reason);
            assert_eq!(refused.err().as_deref(), Some("LIST_REFUSED"), "list {index}");
        }
    });
    drop(liar);
}
