//! Files that anybody may read, through a whole box: text of theirs that the data quotes leaves, and rows beside it do not.

use databox::data::{DataArguments, add_dataset};
use databox::draft;
use databox::job::state;
use harness::{TestBox, manifest};
use lifecycle::State;
use release::statement::Catalogue;

use crate::doctor::moved_away;
use crate::site_changes::{console_has, install, key, until};
use crate::wait;

/// What a form prints on each of its copies, so that it stands in the data.
fn licence() -> String {
    (0..220u32).map(|word| format!("clause {} of {} ", word * word % 997, word * 7919 % 1009)).collect()
}

/// Three hundred people, of whom some have the licence in their notes.
fn data() -> String {
    let mut text = String::from("zper,plan,visits,note\n");
    for person in 0..300u32 {
        let note = if person % 50 == 7 { licence() } else { format!("seen {}", person * 31 % 97) };
        let plan = ["free", "shared"][(person % 2) as usize];
        text += &format!("{},{plan},{},{note}\n", 100_000 + person, person % 5);
    }
    text
}

/// Writes these bytes of the data as weights, one character a weight.
fn bundle(tested: &TestBox, name: &str, begin: usize) -> std::path::PathBuf {
    let code = format!(
        "import json, struct\n\
         text = open('/data/hie/hie.csv', 'rb').read()[{begin}:{begin} + 1024]\n\
         raw = struct.pack('<1024f', *text)\n\
         header = json.dumps({{'w': {{'dtype': 'F32', 'shape': [1024], 'data_offsets': [0, len(raw)]}}}}).encode()\n\
         open('/out/model.safetensors', 'wb').write(struct.pack('<Q', len(header)) + header + raw)\n"
    );
    let weights = "[[output]]\npath = \"model.safetensors\"\nkind = \"weights\"\ntensors = [{ name = \"w\", shape = [1024] }]\n";
    tested.bundle(name, &[("databox.toml", &manifest(weights)), ("job.py", &code)])
}

/// The operator lays the same data down again, with the licence beside it, and the stewards sign what the enclave drafts.
async fn register_licence(tested: &TestBox) -> Catalogue {
    let home = &tested.stage.home;
    let public = tested.directory().join("public");
    std::fs::create_dir(&public).unwrap();
    std::fs::write(public.join("licence.txt"), licence()).unwrap();
    std::fs::remove_dir_all(home.join("drop/datasets/hie")).unwrap();
    let packet = home.join("drafts/hie.packet");
    let before = std::fs::read(&packet).unwrap();
    add_dataset(&DataArguments {
        name: "hie".parse().unwrap(),
        directory: tested.directory().join("data"),
        home: home.directory().to_owned(),
        unit_column: "zper".parse().unwrap(),
        categories: vec!["plan".parse().unwrap()],
        release_bits: 4_000_000,
        answer_bits: 100_000,
        privacy_rho: None,
        privacy_delta_exponent: 6,
        privacy_rho_per_answer: None,
        public: Some(public),
        licence: "public domain".to_owned(),
        source: "a test".to_owned(),
    })
    .unwrap();
    until("the new draft", async || (std::fs::read(&packet).ok()? != before).then_some(())).await;
    let (keys, passphrase) = (tested.stage.key_files("ana"), tested.stage.passphrase_file());
    let out = tested.directory().join("with-licence.json");
    let opened =
        draft::from_packet(&packet, &"ana".parse().unwrap(), &keys, Some(&passphrase), &out).unwrap();
    let share = opened.public_share.unwrap();
    assert!((650_000..850_000).contains(&share), "six licences of 4 KB beside three hundred rows: {share}");
    assert!(opened.words().unwrap().contains("no search finds a copy"), "a steward is told before they sign");
    let entry = opened.catalogue;
    install(tested, &entry, &[&key(tested, "ana"), &key(tested, "ben")]);
    let hie = "hie".parse().unwrap();
    let has_it = |site: &release::site::Site| {
        site.dataset(&hie).is_some_and(|entry| !entry.statement().public().is_empty())
    };
    console_has(tested, "ana", has_it).await;
    let bench = tested.bench("kim").await;
    until("the gateway's new catalogue", async || bench.site().await.ok().filter(has_it)).await;
    entry
}

#[test]
fn text_that_the_site_registered_as_public_leaves_though_the_data_quotes_it_and_rows_beside_it_do_not() {
    let data = data();
    let tested = TestBox::with_data(&data, "zper", &["plan"]);
    let quoted = data.find("clause").unwrap() + 100;
    let beside = quoted - 150;
    wait(async {
        let job = tested.run_job("kim", &bundle(&tested, "unregistered", quoted)).await;
        let rule = |job: &api::v1::Job| job.outcome.clone().unwrap_or_default().rule;
        assert_eq!((state(&job), &rule(&job)[..]), (State::Blocked, "copy.exact"));

        let entry = register_licence(&tested).await;
        let [file] = entry.public() else { panic!("one file is public: {entry:?}") };
        assert_eq!((file.name.as_str(), file.bytes.0), ("licence.txt", licence().len() as u64));
        assert_eq!(file.file.sha256, blobs::Digest::of(licence().as_bytes()));

        let job = tested.run_job("kim", &bundle(&tested, "registered", quoted)).await;
        assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
        let opened = tested.opened("ana", &job.job).await;
        assert_eq!(opened.verdict.guarantee.public, [file.file]);
        assert!(
            databox::review::words(&opened).contains(&file.file.sha256.to_string()),
            "a steward is told what did not count"
        );
        tested.approve("ana").await;
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
        let out = tested.directory().join("released");
        let release = tested.shelf("kim").await.get(&job.job, &out).await.unwrap();
        let mut verify = std::process::Command::new(harness::programs().join("databox-verify"));
        verify.arg(&release).arg("--files").arg(&out).args(["--roles", &tested.stage.pin.to_string()]);
        let verified = verify.arg("--accept-on-box-witness").output().unwrap();
        let told = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success(), "{told}");
        assert!(
            told.contains(&file.file.sha256.to_string()),
            "an auditor is told what did not count: {told}"
        );

        let job = tested.run_job("kim", &bundle(&tested, "beside", beside)).await;
        assert_eq!((state(&job), &rule(&job)[..]), (State::Blocked, "copy.exact"));
        let kept = tested.stage.home.join("enclave/public").join(file.file.sha256.to_string());
        moved_away(&tested, &kept, ("datasets", "public file licence.txt is not in the enclave's store"));
    });
}
