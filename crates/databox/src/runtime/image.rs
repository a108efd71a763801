//! An OCI image layout (image-spec, `image-layout.md`): a directory, or a tar archive of one, as `skopeo copy` and
//! `docker save` write it. Everything in it is named by its SHA-256, which is compared before a byte of it is used.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use blobs::Digest;
use serde::Deserialize;

use super::tree::Tree;
use super::{Choice, RuntimeFailure as E, layer};

/// Most bytes of one index or manifest.
const DOCUMENT_BYTES: u64 = 4 << 20;

/// Most layers of one image.
const LAYERS: usize = 256;

/// What names a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

/// Builds the tree of an image and returns the image's name: the digest of its manifest.
pub(super) fn read(from: &Path, tree: &mut Tree, choice: Choice) -> Result<String, E> {
    let unpacked;
    let layout = match from.is_dir() {
        true => from,
        false => {
            unpacked = unpack(from)?;
            unpacked.path()
        }
    };
    let index: Index = document(&layout.join("index.json"))?;
    let descriptor = chosen(layout, index.manifests)?;
    let manifest: Manifest = document(&blob(layout, &descriptor)?)?;
    if manifest.layers.is_empty() || manifest.layers.len() > LAYERS {
        return Err(E::Layout("it has no layer, or too many".to_owned()));
    }
    for descriptor in &manifest.layers {
        let file = File::open(blob(layout, descriptor)?).map_err(E::NotRead)?;
        match descriptor.media_type.rsplit_once(['.', '+']).map(|(_, kind)| kind) {
            Some("tar") => layer::apply(file, tree, choice)?,
            Some("gzip") => layer::apply(flate2::read::MultiGzDecoder::new(file), tree, choice)?,
            Some("zstd") => {
                let plain = zstd::stream::read::Decoder::new(file).map_err(E::NotRead)?;
                layer::apply(plain, tree, choice)?;
            }
            _ => return Err(E::Layout(format!("{} is no kind of layer", descriptor.media_type))),
        }
    }
    Ok(descriptor.digest)
}

/// The one image for this machine's processor. An index may lead to one more index.
fn chosen(layout: &Path, mut manifests: Vec<Descriptor>) -> Result<Descriptor, E> {
    for _ in 0..2 {
        manifests.retain(|one| {
            one.platform
                .as_ref()
                .is_none_or(|platform| platform.os == "linux" && platform.architecture == "amd64")
        });
        let [one] = &manifests[..] else {
            return Err(E::Layout(format!(
                "it holds {} images for linux on amd64, not one",
                manifests.len()
            )));
        };
        if !one.media_type.contains(".index.") && !one.media_type.contains(".list.") {
            return Ok(one.clone());
        }
        manifests = document::<Index>(&blob(layout, one)?)?.manifests;
    }
    Err(E::Layout("its index leads to too many others".to_owned()))
}

fn document<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, E> {
    let wrong = |what: String| E::Layout(format!("{}: {what}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(DOCUMENT_BYTES).read_to_end(&mut bytes).map_err(E::NotRead)?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

/// The file of a blob, whose bytes are those that name it.
fn blob(layout: &Path, descriptor: &Descriptor) -> Result<PathBuf, E> {
    let digest = descriptor.digest.strip_prefix("sha256:").and_then(|digest| digest.parse::<Digest>().ok());
    let Some(digest) = digest else {
        return Err(E::Layout(format!("{} is not named by its SHA-256", descriptor.digest)));
    };
    let path = layout.join("blobs/sha256").join(digest.to_string());
    let is_file = fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
    if !is_file {
        return Err(E::BlobMissing(descriptor.digest.clone()));
    }
    let file = File::open(&path).map_err(E::NotRead)?;
    let (found, size) = Digest::of_reader(file).map_err(E::NotRead)?;
    if found != digest || size != descriptor.size {
        return Err(E::BlobDiffers(descriptor.digest.clone()));
    }
    Ok(path)
}

/// Takes the documents and blobs out of an archive, by their names alone.
fn unpack(archive: &Path) -> Result<tempfile::TempDir, E> {
    let into = tempfile::tempdir().map_err(E::NotWritten)?;
    fs::create_dir_all(into.path().join("blobs/sha256")).map_err(E::NotWritten)?;
    let mut archive = tar::Archive::new(File::open(archive).map_err(E::NotRead)?);
    for entry in archive.entries().map_err(E::NotRead)? {
        let mut entry = entry.map_err(E::NotRead)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.trim_start_matches("./");
        let is_blob =
            name.strip_prefix("blobs/sha256/").is_some_and(|digest| digest.parse::<Digest>().is_ok());
        if entry.header().entry_type().is_file() && (is_blob || name == "index.json") {
            let mut to = File::create(into.path().join(name)).map_err(E::NotWritten)?;
            io::copy(&mut entry, &mut to).map_err(E::NotRead)?;
        }
    }
    Ok(into)
}
