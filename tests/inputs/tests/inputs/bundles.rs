//! Bundles that no client of ours would pack. Each is named at the desk by `databox job inspect`; in the box such a job ends
//! with the reason BUNDLE, without having run.

#[path = "../../../../crates/bundle/tests/writer/mod.rs"]
mod writer;

use api::reason::Word as _;
use databox::job::{Bench, Prepared, state};
use harness::{ONE_METRIC, PATIENCE, TestBox, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::statement::Request;
use release::value::Bytes;
use writer::{Archive, compressed, entry, skippable_frame, with_window};

use crate::command;
use crate::table::Table;
use crate::wire::key;

const GROUP: &str = "bundle";

/// Which of them are handed in as jobs, too.
const IN_THE_BOX: [&str; 7] = [
    "BUNDLE_PATH_DOTS",
    "BUNDLE_SYMBOLIC_LINK",
    "BUNDLE_CHARACTER_DEVICE",
    "BUNDLE_TRUNCATED",
    "BUNDLE_RATIO_TOO_HIGH",
    "BUNDLE_WINDOW_TOO_LARGE",
    "BUNDLE_MANIFEST_MISSING",
];

fn file(name: &[u8]) -> Vec<u8> {
    entry(name, b'0', b"x", |_| {})
}

fn of_type(type_byte: u8) -> Vec<u8> {
    entry(b"entry", type_byte, b"", |_| {})
}

fn link(type_byte: u8, target: &[u8]) -> Vec<u8> {
    entry(b"link", type_byte, b"", |block| block[157..157 + target.len()].copy_from_slice(target))
}

fn with(entries: &[Vec<u8>]) -> Vec<u8> {
    entries.iter().fold(Archive::with_manifest(), |archive, entry| archive.add(entry)).bundle()
}

/// A file whose header promises eight thousand million bytes, of which there are none.
fn giant() -> Vec<u8> {
    entry(b"giant", b'0', b"", |block| block[124..136].copy_from_slice(b"77777777777\0"))
}

fn bad() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    // Bytes that no compression makes small, or the ratio would be what is wrong.
    let noise = |number: u32| {
        (0..24)
            .flat_map(|part: u32| {
                *blobs::Digest::of(&[number, part].map(u32::to_le_bytes).concat()).as_bytes()
            })
            .collect::<Vec<_>>()
    };
    let many: Vec<_> = (0..10_001)
        .map(|number| entry(format!("f{number}").as_bytes(), b'0', &noise(number), |_| {}))
        .collect();
    let deep = vec!["d"; 17].join("/");
    let mut broken = with(&[]);
    let middle = broken.len() / 2;
    broken[middle] ^= 0xff;
    vec![
        ("an absolute path", "BUNDLE_PATH_ABSOLUTE", with(&[file(b"/etc/passwd")])),
        ("a path with ..", "BUNDLE_PATH_DOTS", with(&[file(b"../../escape")])),
        ("a path with an empty part", "BUNDLE_PATH_EMPTY", with(&[file(b"a//b")])),
        ("a name that is no UTF-8", "BUNDLE_PATH_CHARACTER", with(&[file(b"na\xefve")])),
        ("a path that is too deep", "BUNDLE_TOO_DEEP", with(&[file(deep.as_bytes())])),
        ("a symbolic link", "BUNDLE_SYMBOLIC_LINK", with(&[link(b'2', b"/etc/passwd")])),
        ("a hard link", "BUNDLE_HARD_LINK", with(&[link(b'1', b"databox.toml")])),
        ("a file that names a link's target", "BUNDLE_LINK_TARGET", with(&[link(b'0', b"y")])),
        ("a character device", "BUNDLE_CHARACTER_DEVICE", with(&[of_type(b'3')])),
        ("a block device", "BUNDLE_BLOCK_DEVICE", with(&[of_type(b'4')])),
        ("a pipe", "BUNDLE_PIPE", with(&[of_type(b'6')])),
        ("a sparse giant", "BUNDLE_GNU_EXTENSION", with(&[of_type(b'S')])),
        ("a pax header", "BUNDLE_PAX_EXTENSION", with(&[of_type(b'x')])),
        ("a giant without bytes", "BUNDLE_TRUNCATED", with(&[giant()])),
        ("a file twice", "BUNDLE_DUPLICATE", with(&[file(b"twin"), file(b"twin")])),
        ("twins in upper and lower case", "BUNDLE_CASE_TWINS", with(&[file(b"twin"), file(b"TWIN")])),
        ("a file that is a directory", "BUNDLE_FILE_AND_DIRECTORY", with(&[file(b"d"), file(b"d/x")])),
        ("ten thousand and one files", "BUNDLE_TOO_MANY_ENTRIES", with(&many)),
        ("no databox.toml", "BUNDLE_MANIFEST_MISSING", Archive::default().add(&file(b"job.py")).bundle()),
        ("a zstd bomb", "BUNDLE_RATIO_TOO_HIGH", with(&[entry(b"zeros", b'0', &vec![0; 64 << 20], |_| {})])),
        (
            "a window of 128 MiB",
            "BUNDLE_WINDOW_TOO_LARGE",
            with_window(&Archive::with_manifest().whole(), 27),
        ),
        ("no zstd", "BUNDLE_NOT_ZSTD", Archive::with_manifest().whole()),
        (
            "bytes in a frame that is skipped",
            "BUNDLE_NOT_ZSTD",
            [skippable_frame(b"hidden"), with(&[])].concat(),
        ),
        ("bytes after its end", "BUNDLE_BYTES_AFTER_FRAME", [with(&[]), b"hidden".to_vec()].concat()),
        ("no end", "BUNDLE_TRUNCATED", compressed(&Archive::with_manifest().without_end())),
        ("a flipped byte", "BUNDLE_COMPRESSION_DAMAGED", broken),
    ]
}

/// Hands in a bundle as it is, under a request that is rightly signed.
async fn hand_in(
    tested: &TestBox,
    bench: &Bench,
    like: &Prepared,
    bundle: Vec<u8>,
) -> Result<String, String> {
    let mut request: Request = like.envelope.unverified().unwrap();
    request.bundle = blobs::Digest::of(&bundle).into();
    request.nonce = Bytes(*blobs::Digest::of(&bundle).as_bytes());
    let envelope = Envelope::sign(&request, &[&key(tested, "kim")]).unwrap();
    let prepared = Prepared { bundle, envelope, purpose: like.purpose.clone(), salt: like.salt };
    bench.submit(&prepared).await.map(|job| job.job).map_err(|failure| failure.to_string())
}

pub async fn cases(tested: &TestBox, table: &mut Table) {
    let bench = tested.bench("kim").await;
    let text = manifest(ONE_METRIC);
    let files = [("databox.toml", &text[..]), ("job.py", &write_metric("1"))];
    let like = bench.prepare(&tested.bundle("like", &files)).await.unwrap();
    let mut jobs = Vec::new();
    for (case, expected, bundle) in bad() {
        let path = tested.directory().join("bad.bundle");
        std::fs::write(&path, &bundle).unwrap();
        let desk = command::name(&command::run(&["job", "inspect", path.to_str().unwrap()]));
        table.refused(GROUP, case, expected, &desk);
        // A run for every kind of entry would show the same: it is the same reader, behind the wall.
        if IN_THE_BOX.contains(&expected) {
            jobs.push((case, hand_in(tested, &bench, &like, bundle).await));
        }
    }
    for (case, job) in jobs {
        let end = match job {
            Ok(job) => {
                bench.wait(&job, &[State::InReview], PATIENCE).await.map_err(|failure| failure.to_string())
            }
            Err(failure) => Err(failure),
        };
        let end = end
            .map(|job| format!("{} {}", state(&job).word(), job.outcome.unwrap_or_default().reason().word()));
        let in_the_box = end.unwrap_or_else(|failure| failure);
        table.refused(GROUP, &format!("{case}, in the box"), "FAILED BUNDLE", &in_the_box);
    }
    let good = Archive::default()
        .add(&entry(b"databox.toml", b'0', text.as_bytes(), |_| {}))
        .add(&entry(b"job.py", b'0', write_metric("1").as_bytes(), |_| {}))
        .bundle();
    let path = tested.directory().join("good.bundle");
    std::fs::write(&path, &good).unwrap();
    table.taken(
        GROUP,
        "bundle at the desk",
        command::said(&command::run(&["job", "inspect", path.to_str().unwrap()])),
    );
    let job = hand_in(tested, &bench, &like, good).await.unwrap();
    let end = state(&bench.wait(&job, &[State::InReview], PATIENCE).await.unwrap());
    table.taken(
        GROUP,
        "bundle in the box",
        (end == State::InReview).then_some(()).ok_or_else(|| end.to_string()),
    );
}
