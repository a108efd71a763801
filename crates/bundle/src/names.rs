//! Which paths a bundle may hold, each once.

use std::collections::HashMap;

use crate::BundleError;

/// Most bytes of a path.
pub(crate) const PATH_LIMIT: usize = 255;
/// Most parts of a path.
pub(crate) const DEPTH_LIMIT: usize = 16;

/// Checks the form of a path and returns it as text.
pub(crate) fn check_path(path: &[u8]) -> Result<&str, BundleError> {
    let lossy = || String::from_utf8_lossy(path).into_owned();
    if path.len() > PATH_LIMIT {
        return Err(BundleError::NameTooLong { path: lossy() });
    }
    if path.first() == Some(&b'/') {
        return Err(BundleError::NameAbsolute { path: lossy() });
    }
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" => return Err(BundleError::NameEmpty { path: lossy() }),
            b"." | b".." => return Err(BundleError::NameDots { path: lossy() }),
            _ if part.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte)) => {}
            _ => return Err(BundleError::NameCharacter { path: lossy() }),
        }
    }
    let text = std::str::from_utf8(path).map_err(|_| BundleError::NameCharacter { path: lossy() })?;
    if text.split('/').count() > DEPTH_LIMIT {
        return Err(BundleError::TooDeep { path: lossy(), limit: DEPTH_LIMIT });
    }
    Ok(text)
}

/// The paths seen so far, with the directories that they need.
pub(crate) struct Seen {
    /// By the path in lower case, which is enough: other alphabets are refused.
    by_folded: HashMap<String, Node>,
    limit: usize,
}

struct Node {
    path: String,
    directory: bool,
    /// True if an entry of its own was there, not only an entry below it.
    entry: bool,
}

impl Seen {
    pub(crate) fn new(limit: usize) -> Self {
        Self { by_folded: HashMap::new(), limit }
    }

    /// Adds a checked path and returns the directories to make that are new with it, outermost first.
    pub(crate) fn add(&mut self, path: &str, directory: bool) -> Result<Vec<String>, BundleError> {
        let mut needed = Vec::new();
        for (slash, _) in path.match_indices('/') {
            let parent = &path[..slash];
            if self.place(parent, true, false)? {
                needed.push(parent.to_owned());
            }
        }
        if self.place(path, directory, true)? && directory {
            needed.push(path.to_owned());
        }
        Ok(needed)
    }

    /// Returns true if the path was not there before.
    fn place(&mut self, path: &str, directory: bool, entry: bool) -> Result<bool, BundleError> {
        let folded = path.to_ascii_lowercase();
        if let Some(node) = self.by_folded.get_mut(&folded) {
            if node.path != path {
                return Err(BundleError::CaseTwins { path: path.to_owned(), other: node.path.clone() });
            }
            if node.directory != directory {
                return Err(BundleError::FileAndDirectory { path: path.to_owned() });
            }
            if entry && node.entry {
                return Err(BundleError::Duplicate { path: path.to_owned() });
            }
            node.entry |= entry;
            return Ok(false);
        }
        if self.by_folded.len() == self.limit {
            return Err(BundleError::TooManyEntries { limit: self.limit });
        }
        self.by_folded.insert(folded, Node { path: path.to_owned(), directory, entry });
        Ok(true)
    }
}
