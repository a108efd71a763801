//! The site's statements as a gateway or a console hands them out, verified from the reader's own pin. The room may lie.

use std::path::PathBuf;

use blobs::Digest;
use release::site::Site;

use crate::failure::{Exit, Failure, whole};
use crate::site::now;

/// Most bytes that all statements of a site may have. A room could else fill its reader's memory.
const BYTES: usize = 64 << 20;

/// Most files: an empty one takes memory, too.
const FILES: usize = 100_000;

/// Files up to now, none of them trusted.
#[derive(Debug, Default)]
pub struct HandedOut {
    files: Vec<(PathBuf, Vec<u8>)>,
    bytes: usize,
}

impl HandedOut {
    /// Takes a file that `room` sent.
    ///
    /// # Errors
    /// `SITE_REFUSED` if there are more than any site has.
    pub fn add(&mut self, room: &str, path: String, content: Vec<u8>) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(content.len()).saturating_add(path.len());
        self.files.push((PathBuf::from(path), content));
        match self.bytes > BYTES || self.files.len() > FILES {
            true => Err(refused(room, "it has no end")),
            false => Ok(()),
        }
    }

    /// The site, verified from the pin.
    ///
    /// # Errors
    /// `SITE_REFUSED` if it does not verify.
    pub fn verified(self, room: &str, pin: &Digest) -> Result<Site, Failure> {
        Site::from_files(self.files, pin, now()).map_err(|error| {
            refused(room, &whole(&error))
                .hint("the box or the pin in your profile is not the one that you think")
        })
    }
}

fn refused(room: &str, why: &str) -> Failure {
    Failure::new("SITE_REFUSED", format!("what the {room} hands out does not verify: {why}"))
        .exit(Exit::Denied)
}
