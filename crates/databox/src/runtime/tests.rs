use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};

use blobs::Digest;
use tar::{Builder, EntryType, Header};

use super::*;

/// One entry of a layer.
struct Entry<'a> {
    path: &'a str,
    kind: EntryType,
    mode: u32,
    text: &'a str,
}

fn file<'a>(path: &'a str, text: &'a str) -> Entry<'a> {
    Entry { path, kind: EntryType::Regular, mode: 0o755, text }
}

fn of_kind<'a>(path: &'a str, kind: EntryType, text: &'a str) -> Entry<'a> {
    Entry { path, kind, mode: 0o777, text }
}

fn layer(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        let is_link = matches!(entry.kind, EntryType::Symlink | EntryType::Link);
        // Written past the library, which would not write a hostile name.
        header.as_gnu_mut().unwrap().name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        let content = match is_link {
            true => {
                header.as_gnu_mut().unwrap().linkname[..entry.text.len()]
                    .copy_from_slice(entry.text.as_bytes());
                ""
            }
            false => entry.text,
        };
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("image/blobs/sha256")).unwrap();
        fs::create_dir(directory.path().join("target")).unwrap();
        Self { directory }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> serde_json::Value {
        let digest = Digest::of(bytes);
        fs::write(self.at("image/blobs/sha256").join(digest.to_string()), bytes).unwrap();
        serde_json::json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    fn image(&self, layers: &[serde_json::Value]) {
        let manifest = serde_json::json!({ "schemaVersion": 2, "layers": layers }).to_string();
        let manifest = self.blob("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
        let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string();
        fs::write(self.at("image/index.json"), index).unwrap();
    }

    fn image_of(&self, layers: &[&[Entry<'_>]]) {
        let blobs: Vec<_> = layers
            .iter()
            .map(|entries| self.blob("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(&layer(entries))))
            .collect();
        self.image(&blobs);
    }

    fn add(&self, from: &str, choice: Choice) -> Result<String, RuntimeFailure> {
        let _ = fs::remove_dir_all(self.at("target/tree"));
        from_image(&self.at(from), &self.at("target"), choice)
    }

    fn refused(&self, entries: &[Entry<'_>]) -> &'static str {
        self.image_of(&[&[file("usr/bin/python3", "program")], entries]);
        let refused = self.add("image", Choice::Refused).expect_err("a hostile image");
        assert!(!self.at("target/tree").exists(), "half a tree is left");
        refused.name()
    }
}

#[test]
fn layers_are_applied_in_order_with_whiteouts_hard_links_and_merged_directories() {
    let stage = Stage::new();
    let lower = [
        file("./usr/bin/python3", "program"),
        of_kind("usr/bin/python", EntryType::Link, "usr/bin/python3"),
        of_kind("bin", EntryType::Symlink, "usr/bin"),
        of_kind("lib", EntryType::Symlink, "/usr/lib"),
        file("usr/lib/gone", "x"),
        file("usr/lib/kept", "x"),
        file("etc/old/one", "x"),
        of_kind("dev/", EntryType::Directory, ""),
        file("tmp/left", "x"),
        file(".dockerenv", ""),
    ];
    let upper = [
        file("usr/lib/.wh.gone", ""),
        file("etc/old/.wh..wh..opq", ""),
        file("etc/old/two", "y"),
        file("bin/more", "z"),
    ];
    stage.image_of(&[&lower, &upper]);
    let digest = stage.add("image", Choice::Refused).unwrap();
    assert!(digest.starts_with("sha256:"));
    let tree = stage.at("target/tree");
    let read = |name: &str| fs::read_to_string(tree.join(name)).unwrap_or_default();
    assert_eq!((read("usr/bin/python").as_str(), read("usr/bin/more").as_str()), ("program", "z"));
    assert_eq!(fs::metadata(tree.join("usr/bin/python3")).unwrap().permissions().mode() & 0o7777, 0o755);
    assert_eq!((read("usr/lib/kept").as_str(), read("etc/old/two").as_str()), ("x", "y"));
    for gone in ["usr/lib/gone", "etc/old/one", "dev", "tmp", ".dockerenv"] {
        assert!(!tree.join(gone).exists(), "{gone}");
    }
    assert_eq!(fs::read_link(tree.join("lib")).unwrap(), Path::new("usr/lib"));
    assert!(blobs::tree_digest(&tree).is_ok());
    // Each top directory is shown, and each link to one as the directory that it leads to.
    let shown = |name: &str| sandbox::job::top_directory(&tree, name).unwrap().unwrap();
    assert!(shown("lib").ends_with("usr/lib") && shown("bin").ends_with("usr/bin"));
}

#[test]
fn an_archive_of_a_layout_gives_the_same_tree_and_other_compressions_are_read() {
    let stage = Stage::new();
    let plain = layer(&[file("usr/bin/python3", "program")]);
    let compressed = zstd::encode_all(&layer(&[file("usr/bin/more", "more")])[..], 1).unwrap();
    let blobs = [
        stage.blob("application/vnd.oci.image.layer.v1.tar", &plain),
        stage.blob("application/vnd.oci.image.layer.v1.tar+zstd", &compressed),
    ];
    stage.image(&blobs);
    let mut archive = Builder::new(fs::File::create(stage.at("image.tar")).unwrap());
    archive.append_dir_all(".", stage.at("image")).unwrap();
    archive.finish().unwrap();
    let mut digests = Vec::new();
    for from in ["image", "image.tar"] {
        let name = stage.add(from, Choice::Refused).unwrap();
        digests.push((name, blobs::tree_digest(&stage.at("target/tree")).unwrap()));
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(fs::read(stage.at("target/tree/usr/bin/more")).unwrap(), b"more");
}

#[test]
fn hostile_layers_are_refused_by_name() {
    let stage = Stage::new();
    let set_user_id = Entry { path: "usr/bin/su", kind: EntryType::Regular, mode: 0o4755, text: "su" };
    let cases: [(&str, Entry<'_>); 13] = [
        ("IMAGE_PATH", file("../../etc/cron.d/x", "x")),
        ("IMAGE_PATH", file("usr/../../x", "x")),
        ("IMAGE_PATH", file("/etc/passwd", "x")),
        ("IMAGE_DEVICE", of_kind("dev/sda", EntryType::Block, "")),
        ("IMAGE_DEVICE", of_kind("usr/tty", EntryType::Char, "")),
        ("IMAGE_DEVICE", of_kind("usr/pipe", EntryType::Fifo, "")),
        ("IMAGE_SET_USER_ID", set_user_id),
        ("IMAGE_SET_USER_ID", Entry { path: "x", kind: EntryType::Regular, mode: 0o2755, text: "x" }),
        ("IMAGE_HARD_LINK", of_kind("usr/shadow", EntryType::Link, "../../etc/shadow")),
        ("IMAGE_HARD_LINK", of_kind("usr/shadow", EntryType::Link, "etc/shadow")),
        ("IMAGE_MOUNT_POINT", of_kind("proc", EntryType::Symlink, "usr")),
        ("IMAGE_MOUNT_POINT", of_kind("dev", EntryType::Symlink, "/")),
        ("IMAGE_MOUNT_POINT", file("data/hie/rows.csv", "made up")),
    ];
    for (name, entry) in cases {
        let expected = match entry.text {
            // The first name of a hard link is looked for in the tree like any other.
            "../../etc/shadow" => "IMAGE_PATH",
            _ => name,
        };
        let path = entry.path.to_owned();
        assert_eq!(stage.refused(&[entry]), expected, "{path}");
    }
    stage.image_of(&[
        &[file("usr/bin/python3", "program")],
        &[Entry { mode: 0o4755, ..file("usr/bin/su", "su") }],
    ]);
    stage.add("image", Choice::LeftOut).unwrap();
    assert!(!stage.at("target/tree/usr/bin/su").exists() && stage.at("target/tree/usr/bin/python3").exists());
}

#[test]
fn a_layer_that_goes_through_a_link_of_a_lower_one_stays_in_the_tree() {
    let stage = Stage::new();
    let outside = stage.at("outside");
    fs::create_dir(&outside).unwrap();
    let target = outside.display().to_string();
    stage.image_of(&[
        &[file("usr/bin/python3", "program"), of_kind("usr/out", EntryType::Symlink, &target)],
        &[file("usr/out/escaped", "x")],
    ]);
    stage.add("image", Choice::Refused).unwrap();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "a file was written out of the tree");
}

#[test]
fn a_blob_that_is_missing_or_altered_and_a_layout_of_no_image_are_refused() {
    let stage = Stage::new();
    assert_eq!(stage.add("image", Choice::Refused).unwrap_err().name(), "IMAGE_LAYOUT");
    stage.image_of(&[&[file("usr/bin/python3", "program")]]);
    stage.add("image", Choice::Refused).unwrap();
    let gzipped = gzip(&layer(&[file("usr/bin/python3", "program")]));
    let blob = stage.at("image/blobs/sha256").join(Digest::of(&gzipped).to_string());
    fs::write(&blob, gzip(&layer(&[file("usr/bin/python3", "another")]))).unwrap();
    assert_eq!(stage.add("image", Choice::Refused).unwrap_err().name(), "IMAGE_BLOB_DIFFERS");
    fs::remove_file(&blob).unwrap();
    assert_eq!(stage.add("image", Choice::Refused).unwrap_err().name(), "IMAGE_BLOB_MISSING");
    symlink("/etc/passwd", &blob).unwrap();
    assert_eq!(stage.add("image", Choice::Refused).unwrap_err().name(), "IMAGE_BLOB_MISSING");
    fs::write(stage.at("image/index.json"), r#"{"manifests":[]}"#).unwrap();
    assert_eq!(stage.add("image", Choice::Refused).unwrap_err().name(), "IMAGE_LAYOUT");
}

#[test]
fn a_directory_is_copied_and_what_has_no_place_in_a_runtime_is_refused() {
    let stage = Stage::new();
    let from = stage.at("from");
    fs::create_dir_all(from.join("usr/bin")).unwrap();
    fs::create_dir(from.join("proc")).unwrap();
    fs::write(from.join("usr/bin/python3"), "program").unwrap();
    symlink("usr/bin", from.join("bin")).unwrap();
    let copy = |choice| {
        let _ = fs::remove_dir_all(stage.at("target/tree"));
        from_directory(&from, &stage.at("target/tree"), choice)
    };
    copy(Choice::Refused).unwrap();
    assert!(stage.at("target/tree/bin/python3").exists() && !stage.at("target/tree/proc").exists());
    fs::set_permissions(from.join("usr/bin/python3"), fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(copy(Choice::Refused).unwrap_err().name(), "IMAGE_SET_USER_ID");
    fs::set_permissions(from.join("usr/bin/python3"), fs::Permissions::from_mode(0o755)).unwrap();
    let _door = std::os::unix::net::UnixListener::bind(from.join("usr/door")).unwrap();
    assert_eq!(copy(Choice::Refused).unwrap_err().name(), "IMAGE_DEVICE");
}
