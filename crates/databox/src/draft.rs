//! Drafts that the enclave answers with when data or a runtime was laid into the drop directory, made into payloads
//! for people to sign.

use std::path::Path;

use packet::key::ReviewSecret;
use release::statement::{Catalogue, parse_payload, payload};
use release::value::Name;

use crate::failure::{Failure, file_failure, key_failure, whole};
use crate::key::{self, KeyFiles};

/// The label under which the draft lies in its packet.
pub const DRAFT_LABEL: &str = "catalogue";

/// The label under which it lies how much of the data stands in its public files.
const SHARE_LABEL: &str = "public-share";

/// A draft that was opened.
#[derive(Debug)]
pub struct Draft {
    /// The entry.
    pub catalogue: Catalogue,
    /// About how much of the data stands in its public files, in millionths, as the enclave says; None without such files.
    pub public_share: Option<u32>,
}

impl Draft {
    /// What a steward should know before they sign.
    pub fn words(&self) -> Option<String> {
        let share = self.public_share?;
        Some(format!(
            "about {}.{} % of this data stands in its public files: no search finds a copy of that part any more",
            share / 10_000,
            share / 1000 % 10
        ))
    }
}

/// Opens a sealed draft of a dataset's entry with a steward's review key and writes the payload to be signed.
pub fn from_packet(
    packet: &Path,
    steward: &Name,
    keys: &KeyFiles,
    passphrase_file: Option<&Path>,
    out: &Path,
) -> Result<Draft, Failure> {
    let passphrase = key::passphrase(passphrase_file, &format!("Passphrase of {steward}: "))?;
    let secret = packet::key::read_review(&keys.review(), &passphrase).map_err(key_failure)?;
    open(packet, steward, &secret, out)
}

/// The same with a key at hand.
pub fn open(packet: &Path, steward: &Name, secret: &ReviewSecret, out: &Path) -> Result<Draft, Failure> {
    let bytes = std::fs::read(packet).map_err(file_failure(packet))?;
    let binding = blobs::Digest::of(packet.file_stem().unwrap_or_default().as_encoded_bytes());
    let content = packet::open(&bytes, steward, secret, &binding).map_err(file_failure(packet))?;
    let detail = |of: &str| {
        content.details.iter().find(|(label, _)| label.as_str() == of).map(|(_, detail)| &detail[..])
    };
    let draft = detail(DRAFT_LABEL)
        .ok_or_else(|| Failure::new("DRAFT", format!("{} holds no draft", packet.display())))?;
    let share = detail(SHARE_LABEL).and_then(|share| std::str::from_utf8(share).ok()?.parse().ok());
    Ok(Draft { catalogue: write(draft, out)?, public_share: share })
}

/// Takes the plain draft of a runtime's entry and writes the payload to be signed.
pub fn from_plain(draft: &Path, out: &Path) -> Result<Catalogue, Failure> {
    let bytes = std::fs::read(draft).map_err(file_failure(draft))?;
    write(&bytes, out)
}

fn write(draft: &[u8], out: &Path) -> Result<Catalogue, Failure> {
    let catalogue: Catalogue = release::json::from_bytes(draft, release::statement::PAYLOAD_LIMIT)
        .map_err(|error| Failure::new("DRAFT", whole(&error)))?;
    let bytes = payload(&catalogue);
    parse_payload::<Catalogue>(&bytes).map_err(|error| Failure::new("DRAFT", whole(&error)))?;
    blobs::write_new_file_durably(out, &bytes, 0o644).map_err(file_failure(out))?;
    Ok(catalogue)
}
