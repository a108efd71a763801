//! One layer of an OCI image: a tar archive of changes (image-spec, `layer.md`).

use std::io::Read;

use tar::{Archive, EntryType};

use super::tree::Tree;
use super::{Choice, RuntimeFailure as E};

/// A name that takes another one away, and one that takes all of a directory away (image-spec, "Whiteouts").
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// Applies a layer. What has no place in a runtime is refused by name, not passed over: devices, pipes, files that act
/// as their owner.
pub(super) fn apply(layer: impl Read, tree: &mut Tree, choice: Choice) -> Result<(), E> {
    tree.next_layer();
    let mut archive = Archive::new(layer);
    for entry in archive.entries().map_err(E::NotRead)? {
        let mut entry = entry.map_err(E::NotRead)?;
        let path = text(&entry.path_bytes())?;
        let header = entry.header();
        let (kind, mode) = (header.entry_type(), header.mode().map_err(E::NotRead)?);
        if let Some((directory, gone)) = whiteout(&path) {
            match gone {
                OPAQUE => tree.white_out_below(directory)?,
                gone => tree.white_out(&format!("{directory}/{}", &gone[WHITEOUT.len()..]))?,
            }
            continue;
        }
        match kind {
            EntryType::Directory => tree.directory(&path)?,
            EntryType::Regular | EntryType::Continuous => {
                let acts_as_owner = mode & 0o6000 != 0 || has_capabilities(&mut entry)?;
                match (acts_as_owner, choice) {
                    (true, Choice::Refused) => return Err(E::SetUserId(path)),
                    (true, Choice::LeftOut) => continue,
                    (false, _) => tree.file(&path, mode & 0o111 != 0, &mut entry)?,
                }
            }
            EntryType::Symlink => {
                let target = link_of(&entry, &path)?;
                tree.link(&path, &target)?;
            }
            EntryType::Link => {
                let first = link_of(&entry, &path)?;
                match (tree.second_name(&path, &first), choice) {
                    // A further name of what was left out is left out.
                    (Err(E::HardLink { .. }), Choice::LeftOut) => {}
                    (made, _) => made?,
                }
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(E::Kind(path)),
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, E> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| E::Path(String::from_utf8_lossy(bytes).into_owned()))?;
    Ok(text.to_owned())
}

fn link_of(entry: &tar::Entry<'_, impl Read>, path: &str) -> Result<String, E> {
    match entry.link_name_bytes() {
        Some(target) => text(&target),
        None => Err(E::Path(path.to_owned())),
    }
}

/// The directory and the last part of a path that takes something away.
fn whiteout(path: &str) -> Option<(&str, &str)> {
    let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
    name.starts_with(WHITEOUT).then_some((directory, name))
}

/// File capabilities act like set-user-id bits (CVE-2021-3493); archives hold them as an extended attribute.
fn has_capabilities(entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, E> {
    let Some(extensions) = entry.pax_extensions().map_err(E::NotRead)? else { return Ok(false) };
    for extension in extensions {
        let extension = extension.map_err(E::NotRead)?;
        if extension.key_bytes().ends_with(b"security.capability") {
            return Ok(true);
        }
    }
    Ok(false)
}
