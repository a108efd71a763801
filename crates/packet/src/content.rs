//! What stewards see.

use std::collections::BTreeSet;
use std::fmt;

use blobs::Digest;
use release::report::{DETAIL_LIMIT, OUTPUT_LIMIT, PLACE_LIMIT, Place};
use release::value::Name;

use crate::PacketError;
use crate::wire::{Reader, put_count, put_long, put_name, put_short};

/// Most bytes of a purpose.
pub const PURPOSE_LIMIT: usize = 2000;

/// Most details; each comes from one child of the enclave.
pub const DETAILS_LIMIT: usize = 8;

/// Most bytes of all details together: as much as three children may write.
const DETAIL_BYTES: usize = 3 * DETAIL_LIMIT;

/// The content of a review packet. Its `Debug` form shows sizes only, since logs are no place for results.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// The purpose, as the researcher wrote it.
    pub purpose: String,
    /// The salt with which the request's digest of the purpose was made.
    pub salt: [u8; 32],
    /// Digest of the bundle that ran.
    pub bundle: Digest,
    /// The canonical files by name, in the order of the request: what would leave.
    pub canonical: Vec<(Name, Vec<u8>)>,
    /// Details that children wrote for people, by a label such as `judge`. Opaque here, and still untrusted: who
    /// shows them escapes them.
    pub details: Vec<(Name, Vec<u8>)>,
    /// Where the scanner found copies.
    pub places: Vec<Place>,
}

impl fmt::Debug for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Content")
            .field("canonical_bytes", &self.canonical_bytes())
            .field("files", &self.canonical.len())
            .field("details", &self.details.len())
            .field("places", &self.places.len())
            .finish_non_exhaustive()
    }
}

impl Content {
    /// Bytes of all canonical files together.
    pub fn canonical_bytes(&self) -> u64 {
        self.canonical.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    fn check(&self) -> Result<(), PacketError> {
        let detail_bytes: usize = self.details.iter().map(|(_, bytes)| bytes.len()).sum();
        let too_large = [
            ("purpose", self.purpose.len() > PURPOSE_LIMIT),
            ("canonical files", self.canonical.len() > OUTPUT_LIMIT),
            ("details", self.details.len() > DETAILS_LIMIT || detail_bytes > DETAIL_BYTES),
            ("places", self.places.len() > PLACE_LIMIT),
        ];
        if let Some((part, _)) = too_large.iter().find(|(_, exceeded)| *exceeded) {
            return Err(PacketError::ContentTooLarge { part });
        }
        check_each_once(&self.canonical)?;
        check_each_once(&self.details)
    }

    /// Appends the content in its one form, filled up with zeros to `size` bytes.
    pub(crate) fn put_padded(&self, bytes: &mut Vec<u8>, size: usize) -> Result<(), PacketError> {
        self.check()?;
        let end = bytes.len().saturating_add(size);
        bytes.reserve_exact(size);
        put_short(bytes, self.purpose.as_bytes());
        bytes.extend(self.salt);
        bytes.extend(self.bundle.as_bytes());
        put_count(bytes, self.canonical.len());
        for (name, file) in &self.canonical {
            put_name(bytes, name);
            put_long(bytes, file);
        }
        put_count(bytes, self.details.len());
        for (label, detail) in &self.details {
            put_name(bytes, label);
            put_short(bytes, detail);
        }
        put_count(bytes, self.places.len());
        for place in &self.places {
            bytes.extend(place.output.to_be_bytes());
            bytes.extend(place.view.to_be_bytes());
            bytes.extend(place.offset.to_be_bytes());
            bytes.extend(place.length.to_be_bytes());
        }
        if bytes.len() > end {
            return Err(PacketError::ContentTooLarge { part: "packet" });
        }
        bytes.resize(end, 0);
        Ok(())
    }

    /// Reads a content in its one form.
    pub(crate) fn from_padded(bytes: &[u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(bytes);
        let purpose = reader.short(PURPOSE_LIMIT, "purpose")?;
        let content = Self {
            purpose: String::from_utf8(purpose.to_vec())
                .map_err(|_| PacketError::Form { part: "purpose" })?,
            salt: reader.array("salt")?,
            bundle: Digest::from_bytes(reader.array("bundle")?),
            canonical: read_canonical(&mut reader)?,
            details: read_details(&mut reader)?,
            places: read_places(&mut reader)?,
        };
        if reader.rest().iter().any(|byte| *byte != 0) {
            return Err(PacketError::Form { part: "padding" });
        }
        content.check().map_err(|_| PacketError::Form { part: "content" })?;
        Ok(content)
    }
}

fn check_each_once(list: &[(Name, Vec<u8>)]) -> Result<(), PacketError> {
    let mut seen = BTreeSet::new();
    match list.iter().find(|(name, _)| !seen.insert(name)) {
        Some((name, _)) => Err(PacketError::NameTwice { name: name.clone() }),
        None => Ok(()),
    }
}

fn read_canonical(reader: &mut Reader<'_>) -> Result<Vec<(Name, Vec<u8>)>, PacketError> {
    let count = reader.count(OUTPUT_LIMIT, "canonical files")?;
    (0..count).map(|_| Ok((reader.name("file name")?, reader.long("canonical file")?.to_vec()))).collect()
}

fn read_details(reader: &mut Reader<'_>) -> Result<Vec<(Name, Vec<u8>)>, PacketError> {
    let count = reader.count(DETAILS_LIMIT, "details")?;
    (0..count).map(|_| Ok((reader.name("label")?, reader.short(DETAIL_BYTES, "detail")?.to_vec()))).collect()
}

fn read_places(reader: &mut Reader<'_>) -> Result<Vec<Place>, PacketError> {
    let count = reader.count(PLACE_LIMIT, "places")?;
    (0..count)
        .map(|_| {
            Ok(Place {
                output: u16::from_be_bytes(reader.array("place")?),
                view: u16::from_be_bytes(reader.array("place")?),
                offset: u64::from_be_bytes(reader.array("place")?),
                length: u64::from_be_bytes(reader.array("place")?),
            })
        })
        .collect()
}
