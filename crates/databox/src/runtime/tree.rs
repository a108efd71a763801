//! The file tree of an image, built from its layers as names only: no name of an image is ever followed on this
//! machine's disk, so that a link in one layer leads a later one nowhere (CVE-2025-52881 and its kin).

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::RuntimeFailure as E;

/// Most names of one image; the enclave's tree digest takes as many files.
const NAMES: usize = 200_000;

/// Most bytes of all files of one image, layer by layer, in bytes.
const BYTES: u64 = 32 << 30;

/// Links that are followed on the way to one name, as many as the kernel follows.
const FOLLOWED: u32 = 40;

/// One name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Directory,
    /// Its content lies under this number.
    File {
        content: u64,
        executable: bool,
    },
    /// Where it leads, as the image has it.
    Link(String),
}

#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    /// The layer that it comes from.
    layer: usize,
}

/// A tree in the making.
pub(super) struct Tree {
    /// By path, without a slash at the beginning.
    nodes: BTreeMap<String, Node>,
    contents: tempfile::TempDir,
    next: u64,
    bytes: u64,
    layer: usize,
}

impl Tree {
    /// An empty tree, whose files lie in a directory beside where it will be.
    pub(super) fn new(beside: &Path) -> io::Result<Self> {
        let contents = tempfile::Builder::new().prefix(".image-").tempdir_in(beside)?;
        Ok(Self { nodes: BTreeMap::new(), contents, next: 0, bytes: 0, layer: 0 })
    }

    /// All that follows is of the next layer.
    pub(super) fn next_layer(&mut self) {
        self.layer += 1;
    }

    /// A directory; one that is there keeps what is in it.
    pub(super) fn directory(&mut self, path: &str) -> Result<(), E> {
        let Some(place) = self.place(path)? else { return Ok(()) };
        if !matches!(self.nodes.get(&place), Some(Node { kind: Kind::Directory, .. })) {
            self.put(place, Kind::Directory)?;
        }
        Ok(())
    }

    /// A file with this content.
    pub(super) fn file(&mut self, path: &str, executable: bool, content: &mut impl Read) -> Result<(), E> {
        let place = self.place(path)?.ok_or_else(|| E::Path(path.to_owned()))?;
        let number = self.next;
        self.next += 1;
        let left = BYTES.saturating_sub(self.bytes);
        let mut to = File::create_new(self.content(number)).map_err(E::NotWritten)?;
        let copied = io::copy(&mut content.take(left + 1), &mut to).map_err(E::NotRead)?;
        if copied > left {
            return Err(E::TooLarge);
        }
        self.bytes += copied;
        self.put(place, Kind::File { content: number, executable })
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<(), E> {
        let place = self.place(path)?.ok_or_else(|| E::Path(path.to_owned()))?;
        self.put(place, Kind::Link(target.to_owned()))
    }

    /// A further name of a file that is there.
    pub(super) fn second_name(&mut self, path: &str, of: &str) -> Result<(), E> {
        let first = self.place(of)?.and_then(|first| self.nodes.get(&first).cloned());
        match first {
            Some(Node { kind: kind @ (Kind::File { .. } | Kind::Link(_)), .. }) => {
                let place = self.place(path)?.ok_or_else(|| E::Path(path.to_owned()))?;
                self.put(place, kind)
            }
            _ => Err(E::HardLink { path: path.to_owned(), of: of.to_owned() }),
        }
    }

    /// Takes away what lower layers have under this name.
    pub(super) fn white_out(&mut self, path: &str) -> Result<(), E> {
        if let Some(place) = self.place(path)? {
            let layer = self.layer;
            self.remove(&place, |node| node.layer < layer);
        }
        Ok(())
    }

    /// Takes away what lower layers have in this directory.
    pub(super) fn white_out_below(&mut self, path: &str) -> Result<(), E> {
        let place = self.place(path)?.unwrap_or_default();
        let (layer, prefix) =
            (self.layer, if place.is_empty() { String::new() } else { format!("{place}/") });
        self.nodes.retain(|name, node| !(name.starts_with(&prefix) && node.layer < layer));
        Ok(())
    }

    fn remove(&mut self, place: &str, which: impl Fn(&Node) -> bool) {
        let prefix = format!("{place}/");
        self.nodes.retain(|name, node| !((name == place || name.starts_with(&prefix)) && which(node)));
    }

    fn put(&mut self, place: String, kind: Kind) -> Result<(), E> {
        self.remove(&place, |_| true);
        // A layer may leave out the directories above.
        for (end, _) in place.match_indices('/') {
            let above = &place[..end];
            if !matches!(self.nodes.get(above), Some(Node { kind: Kind::Directory, .. })) {
                self.nodes.insert(above.to_owned(), Node { kind: Kind::Directory, layer: self.layer });
            }
        }
        self.nodes.insert(place, Node { kind, layer: self.layer });
        if self.nodes.len() > NAMES { Err(E::TooLarge) } else { Ok(()) }
    }

    fn content(&self, number: u64) -> PathBuf {
        self.contents.path().join(number.to_string())
    }

    /// Where a path lies, links above its last part followed within the tree; None for the root itself.
    fn place(&self, path: &str) -> Result<Option<String>, E> {
        let bad = || E::Path(path.to_owned());
        let plain = path.trim_start_matches("./").trim_end_matches('/');
        if plain.starts_with('/') || path.contains(['\0', '\n']) {
            return Err(bad());
        }
        let parts: Vec<&str> = plain.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return Err(bad());
        }
        let Some((last, above)) = parts.split_last() else { return Ok(None) };
        let mut followed = 0;
        let mut at = String::new();
        for part in above {
            at = self.follow(&at, part, &mut followed).ok_or_else(bad)?;
        }
        Ok(Some(join(&at, last)))
    }

    /// Where one part leads from a directory of the tree; None if links go round in circles.
    fn follow(&self, directory: &str, part: &str, followed: &mut u32) -> Option<String> {
        match part {
            "" | "." => return Some(directory.to_owned()),
            // At the top `..` is the top, as for a program whose root this is.
            ".." => {
                return Some(directory.rsplit_once('/').map_or(String::new(), |(above, _)| above.to_owned()));
            }
            _ => {}
        }
        let here = join(directory, part);
        let Some(Node { kind: Kind::Link(target), .. }) = self.nodes.get(&here) else { return Some(here) };
        *followed += 1;
        if *followed > FOLLOWED {
            return None;
        }
        let mut at = if target.starts_with('/') { String::new() } else { directory.to_owned() };
        for part in target.split('/') {
            at = self.follow(&at, part, followed)?;
        }
        Some(at)
    }

    /// Names at the top, and whether each is a directory, or a link to one.
    pub(super) fn top(&self) -> Vec<(String, bool)> {
        let tops = self.nodes.iter().filter(|(name, _)| !name.contains('/'));
        tops.map(|(name, node)| (name.clone(), node.kind == Kind::Directory)).collect()
    }

    /// True if something lies below this name.
    pub(super) fn holds_something(&self, name: &str) -> bool {
        let prefix = format!("{name}/");
        self.nodes.range(prefix.clone()..).next().is_some_and(|(found, _)| found.starts_with(&prefix))
    }

    /// True if a file lies at this path.
    pub(super) fn holds_file(&self, path: &str) -> bool {
        matches!(self.nodes.get(path), Some(Node { kind: Kind::File { .. }, .. }))
    }

    /// True if a file with this name lies in any directory.
    pub(super) fn has_file_called(&self, name: &str) -> bool {
        let last = |path: &str| path.rsplit_once('/').map_or(path == name, |(_, last)| last == name);
        self.nodes.iter().any(|(path, node)| last(path) && !matches!(node.kind, Kind::Directory))
    }

    /// Takes a name at the top away, with all below it.
    pub(super) fn leave_out(&mut self, name: &str) {
        self.remove(name, |_| true);
    }

    /// Where a name at the top that is a link leads, if that is a directory of the tree.
    pub(super) fn top_link(&self, name: &str) -> Option<String> {
        let place = self.follow("", name, &mut 0)?;
        let node = self.nodes.get(&place)?;
        (node.kind == Kind::Directory && place != name).then_some(place)
    }

    /// Writes the tree to a new directory. Links that begin at the root are written as relative ones: for a program
    /// whose root this is they lead to the same place, and for everybody else nowhere but into the tree.
    pub(super) fn write(&self, into: &Path) -> Result<(), E> {
        fs::create_dir(into).map_err(E::NotWritten)?;
        let mut first_names: BTreeMap<u64, PathBuf> = BTreeMap::new();
        for (name, node) in &self.nodes {
            let path = into.join(name);
            match &node.kind {
                Kind::Directory => fs::create_dir(&path),
                Kind::Link(target) => symlink(relative(name, target), &path),
                Kind::File { content, executable } => match first_names.get(content) {
                    Some(first) => fs::copy(first, &path).map(drop),
                    None => {
                        first_names.insert(*content, path.clone());
                        let mode = if *executable { 0o755 } else { 0o644 };
                        fs::rename(self.content(*content), &path)
                            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(mode)))
                    }
                },
            }
            .map_err(E::NotWritten)?;
        }
        Ok(())
    }
}

fn join(directory: &str, part: &str) -> String {
    if directory.is_empty() { part.to_owned() } else { format!("{directory}/{part}") }
}

/// A link's target, relative to where the link is, and never above the root.
fn relative(link: &str, target: &str) -> String {
    let mut at: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => {
            link.split('/').collect::<Vec<_>>().split_last().map_or(Vec::new(), |(_, above)| above.to_vec())
        }
    };
    let above = link.matches('/').count();
    let mut clamped = target.starts_with('/');
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => clamped |= at.pop().is_none(),
            part => at.push(part),
        }
    }
    if !clamped {
        return target.to_owned();
    }
    let inside = at.join("/");
    match (above, inside.is_empty()) {
        (0, true) => ".".to_owned(),
        (above, true) => vec![".."; above].join("/"),
        (above, false) => "../".repeat(above) + &inside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let directory = tempfile::tempdir().unwrap();
        let mut tree = Tree::new(directory.path()).unwrap();
        tree.directory("usr/bin/").unwrap();
        tree.file("./usr/bin/python3", true, &mut &b"program"[..]).unwrap();
        tree.link("bin", "usr/bin").unwrap();
        (directory, tree)
    }

    fn written(tree: &Tree, directory: &tempfile::TempDir) -> PathBuf {
        let into = directory.path().join("tree");
        tree.write(&into).unwrap();
        into
    }

    #[test]
    fn a_name_below_a_link_lands_where_the_link_leads_within_the_tree() {
        let (directory, mut tree) = tree();
        tree.next_layer();
        tree.file("bin/other", false, &mut &b"x"[..]).unwrap();
        tree.link("out", "/../../etc").unwrap();
        tree.file("out/passwd", false, &mut &b"inside"[..]).unwrap();
        let into = written(&tree, &directory);
        assert_eq!(fs::read(into.join("usr/bin/other")).unwrap(), b"x");
        assert_eq!(fs::read(into.join("etc/passwd")).unwrap(), b"inside");
        assert_eq!(fs::read_link(into.join("out")).unwrap(), Path::new("etc"));
        assert!(blobs::tree_digest(&into).is_ok());
    }

    #[test]
    fn names_that_leave_the_tree_and_links_in_circles_are_refused() {
        let (_directory, mut tree) = tree();
        for bad in ["/etc/passwd", "../etc", "usr/../../etc", "a\nb"] {
            assert!(matches!(tree.file(bad, false, &mut io::empty()), Err(E::Path(_))), "{bad}");
        }
        tree.link("one", "two").unwrap();
        tree.link("two", "one").unwrap();
        assert!(matches!(tree.file("one/x", false, &mut io::empty()), Err(E::Path(_))));
        tree.file("usr/x", false, &mut io::empty()).unwrap();
    }

    #[test]
    fn whiteouts_take_away_what_lower_layers_have_and_nothing_of_their_own() {
        let (directory, mut tree) = tree();
        tree.file("usr/lib/old", false, &mut io::empty()).unwrap();
        tree.file("usr/lib/gone", false, &mut io::empty()).unwrap();
        tree.next_layer();
        tree.file("usr/lib/new", false, &mut io::empty()).unwrap();
        tree.white_out_below("usr/lib").unwrap();
        tree.white_out("usr/bin/python3").unwrap();
        tree.file("usr/bin/kept", false, &mut io::empty()).unwrap();
        tree.white_out("usr/bin/kept").unwrap();
        let into = written(&tree, &directory);
        assert!(into.join("usr/lib/new").exists() && into.join("usr/bin/kept").exists());
        for gone in ["usr/lib/old", "usr/lib/gone", "usr/bin/python3"] {
            assert!(!into.join(gone).exists(), "{gone}");
        }
    }

    #[test]
    fn a_second_name_has_the_content_of_the_first_and_needs_one() {
        let (directory, mut tree) = tree();
        tree.second_name("usr/bin/python", "bin/python3").unwrap();
        assert!(matches!(tree.second_name("x", "usr/nothing"), Err(E::HardLink { .. })));
        assert!(matches!(tree.second_name("x", "usr"), Err(E::HardLink { .. })));
        let into = written(&tree, &directory);
        assert_eq!(fs::read(into.join("usr/bin/python")).unwrap(), b"program");
        let mode = fs::metadata(into.join("usr/bin/python")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_replaces_it_and_the_other_way_round() {
        let (directory, mut tree) = tree();
        tree.file("usr/bin", false, &mut &b"file"[..]).unwrap();
        tree.file("usr/bin/again", false, &mut &b"directory"[..]).unwrap();
        let into = written(&tree, &directory);
        assert_eq!(fs::read(into.join("usr/bin/again")).unwrap(), b"directory");
        assert!(!into.join("usr/bin/python3").exists());
    }

    #[test]
    fn links_are_written_so_that_they_lead_to_the_same_place_for_a_program_inside() {
        for (link, target, expected) in [
            ("bin/python", "python3", "python3"),
            ("usr/bin/python", "/usr/bin/python3", "../../usr/bin/python3"),
            ("top", "/usr/lib", "usr/lib"),
            ("usr/up", "../../../etc/x", "../etc/x"),
            ("usr/root", "/", ".."),
            ("usr/lib/y", "../bin/z", "../bin/z"),
        ] {
            assert_eq!(relative(link, target), expected, "{link} -> {target}");
        }
    }
}
