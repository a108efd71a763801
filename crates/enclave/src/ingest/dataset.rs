//! Registers data: copies it, reads its tables' headers and columns, and drafts its catalogue entry.
//!
//! The data is the owner's, not a job's, so the enclave may parse it. The draft is sealed to the dataset's stewards
//! all the same: which values a category has is theirs to publish.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use packet::Content;
use release::json;
use release::site::Site;
use release::statement::{
    Catalogue, CatalogueEntry, DatasetGrant, PAYLOAD_LIMIT, PUBLIC_BYTES_LIMIT, PUBLIC_FILES_LIMIT,
    PublicFile, Snapshot, Table,
};
use release::value::{Count, Name, Timestamp};

use super::answer::Awaited;
use super::copy::Copied;
use super::description::DatasetDescription;
use super::table::{self, TableError};
use super::{DATASETS, IngestError, Look, copy, draft_name, index, write_draft};
use crate::files;
use crate::reviewers;
use crate::room::Room;

/// The label of the draft in its packet.
const DRAFT_LABEL: &str = "catalogue";

/// The label of how much of the data stands in its public files, in millionths.
const SHARE_LABEL: &str = "public-share";

/// Copies a dataset and writes its sealed draft, once roles name its stewards.
pub fn register(room: &Room, name: &Name, path: &Path) -> Result<Look, IngestError> {
    let Some(site) = room.site.current() else { return Ok(Look::Waiting(Awaited::Site)) };
    let Some(role) = site.roles().datasets.get(name) else { return Ok(Look::Waiting(Awaited::Roles)) };
    let stewards = reviewers::recipients(&reviewers::of_dataset(&site, role));
    if stewards.is_empty() {
        return Ok(Look::Waiting(Awaited::ReviewKeys));
    }
    let description: DatasetDescription = toml::from_str(&fs::read_to_string(path.join("dataset.toml"))?)?;
    let store = room.places.datasets.join(name.as_str());
    let public = public_files(room, path, &description)?;
    let no_data: Vec<&str> =
        ["dataset.toml"].into_iter().chain(description.public.as_ref().map(Name::as_str)).collect();
    let copied = copy::into_store(room, path, &no_data, copy::Links::Refused, &store)?;
    index::make(room, &copied);
    let smallest = room.configuration.category_smallest_count;
    let share = public_share(room, &copied, &public)?;
    let entry = entry(&site, name, &description, (&copied, public), smallest, room.now())?;
    let bytes = json::to_bytes(&entry);
    if bytes.len() > PAYLOAD_LIMIT {
        return Err(IngestError::DraftTooLarge);
    }
    let sealed = seal(&stewards, name, bytes, share)?;
    write_draft(room, &draft_name(DATASETS, name), &sealed, &copied.tree)?;
    room.journal.info("dataset registered").digest("tree", copied.tree.as_bytes()).write();
    Ok(Look::Taken)
}

/// The packet is bound to the dataset's name, by which it is looked for.
fn seal(
    stewards: &[packet::Recipient],
    name: &Name,
    draft: Vec<u8>,
    share: Option<u32>,
) -> Result<Vec<u8>, IngestError> {
    let label = |label: &str| label.parse().expect("the label is a name");
    let share = share.map(|millionths| (label(SHARE_LABEL), millionths.to_string().into_bytes()));
    let content = Content {
        purpose: "draft of a catalogue entry".to_owned(),
        salt: [0; 32],
        bundle: blobs::Digest::of(b""),
        canonical: Vec::new(),
        details: [(label(DRAFT_LABEL), draft)].into_iter().chain(share).collect(),
        places: Vec::new(),
    };
    packet::seal(stewards, &content, &blobs::Digest::of(name.as_str().as_bytes())).map_err(
        |error| match error {
            packet::PacketError::ContentTooLarge { .. } => IngestError::DraftTooLarge,
            error => error.into(),
        },
    )
}

/// The next version of the entry: the snapshots before, and this one as the newest.
fn entry(
    site: &Site,
    name: &Name,
    description: &DatasetDescription,
    (copied, public): (&Copied, Vec<PublicFile>),
    smallest: u64,
    now: Timestamp,
) -> Result<Catalogue, IngestError> {
    let before = site.dataset(name).map(|entry| entry.statement());
    let mut snapshots = match before.map(|entry| &entry.entry) {
        Some(CatalogueEntry::Dataset { snapshots, .. }) => snapshots.clone(),
        Some(CatalogueEntry::Runtime { .. }) | None => Vec::new(),
    };
    let (tables, units) = read_tables(&copied.path, description, smallest)?;
    snapshots.retain(|snapshot| snapshot.tree.sha256 != copied.tree);
    snapshots.push(Snapshot {
        tree: copied.tree.into(),
        registered_at: now,
        bytes: Count(copied.bytes),
        units: Count(units),
    });
    Ok(Catalogue {
        site: site.name().clone(),
        name: name.clone(),
        version: Count(before.map_or(0, |entry| entry.version.0) + 1),
        entry: CatalogueEntry::Dataset {
            snapshots,
            unit_column: description.unit_column.clone(),
            tables,
            limits: DatasetGrant {
                release_bits: Count(description.release_bits),
                answer_bits: Count(description.answer_bits),
            },
            licence: description.licence.clone(),
            source: description.source.clone(),
            privacy: description.privacy()?,
            public,
        },
        issued_at: now,
    })
}

/// Copies the files that anybody may read.
fn public_files(
    room: &Room,
    path: &Path,
    description: &DatasetDescription,
) -> Result<Vec<PublicFile>, IngestError> {
    let Some(directory) = &description.public else { return Ok(Vec::new()) };
    let directory = path.join(directory.as_str());
    // A link would have the enclave copy what the operator cannot read, and tell its digest.
    if !fs::symlink_metadata(&directory)?.is_dir() {
        return Err(IngestError::PublicFiles);
    }
    let mut opened = Vec::new();
    for entry in fs::read_dir(&directory)? {
        let name = entry?.file_name().into_string().ok().and_then(|name| name.parse::<Name>().ok());
        let name = name.ok_or(IngestError::PublicFiles)?;
        let file = files::open_plain(&directory, name.as_str()).map_err(|_| IngestError::PublicFiles)?;
        opened.push((name, file.ok_or(IngestError::PublicFiles)?));
    }
    let lengths = opened.iter().map(|(_, file)| Ok(file.metadata()?.len()));
    let bytes = lengths.collect::<std::io::Result<Vec<u64>>>()?.into_iter().fold(0, u64::saturating_add);
    if opened.len() > PUBLIC_FILES_LIMIT || bytes > PUBLIC_BYTES_LIMIT {
        return Err(IngestError::PublicFiles);
    }
    opened.sort_by(|(left, _), (right, _)| left.cmp(right));
    let kept = opened.into_iter().map(|(name, file)| {
        let (digest, bytes) = room.places.public.copy_in(file, None, PUBLIC_BYTES_LIMIT)?;
        Ok(PublicFile { name, file: digest.into(), bytes: Count(bytes) })
    });
    kept.collect()
}

/// How much of the data stands in its public files: no search finds that any more. Their stewards are told before they sign.
fn public_share(room: &Room, copied: &Copied, public: &[PublicFile]) -> Result<Option<u32>, IngestError> {
    if public.is_empty() {
        return Ok(None);
    }
    let files: Vec<PathBuf> = public.iter().map(|file| room.places.public.path(file.file.sha256)).collect();
    Ok(scan::public_share(&scan::files_below(&copied.path)?, &files)?)
}

/// Every CSV file at the top of the snapshot, and how many different units they name.
fn read_tables(
    snapshot: &Path,
    description: &DatasetDescription,
    smallest: u64,
) -> Result<(Vec<Table>, u64), IngestError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(snapshot)? {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if name.ends_with(".csv") {
            files.push((name.parse::<Name>().map_err(|_| TableError::FileName)?, entry.path()));
        }
    }
    files.sort();
    let mut units = HashSet::new();
    let mut tables = Vec::new();
    for (file, path) in files {
        let columns = table::read(
            fs::File::open(path)?,
            &description.unit_column,
            &description.categories,
            smallest,
            &mut units,
        )?;
        tables.push(Table { file, columns });
    }
    if units.is_empty() {
        return Err(TableError::NoUnits.into());
    }
    let known = |category: &Name| {
        tables.iter().any(|table| table.columns.iter().any(|column| column.name == *category))
    };
    if !description.categories.iter().all(known) {
        return Err(TableError::NoSuchColumn.into());
    }
    Ok((tables, units.len() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(categories: &[&str]) -> DatasetDescription {
        DatasetDescription {
            unit_column: "person".parse().unwrap(),
            categories: categories.iter().map(|name| name.parse().unwrap()).collect(),
            release_bits: 1,
            answer_bits: 1,
            public: None,
            licence: String::new(),
            source: String::new(),
            privacy_rho: None,
            privacy_rho_per_answer: None,
            privacy_delta_exponent: 6,
        }
    }

    #[test]
    fn units_are_counted_once_over_all_tables() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.csv"), "person,x\n1,2\n2,3\n1,4\n").unwrap();
        fs::write(directory.path().join("b.csv"), "person,y\n2,0.5\n3,1.5\n").unwrap();
        fs::write(directory.path().join("notes.txt"), "not a table").unwrap();
        let (tables, units) = read_tables(directory.path(), &description(&[]), 10).unwrap();
        assert_eq!((tables.len(), units), (2, 3));
        let missing = read_tables(directory.path(), &description(&["plan"]), 10);
        assert!(matches!(missing, Err(IngestError::Table(TableError::NoSuchColumn))));
    }

    #[test]
    fn a_draft_is_opened_by_a_steward_and_by_nobody_else() {
        let secret = packet::key::ReviewSecret::from_bytes([7; 32]);
        let steward: Name = "ana".parse().unwrap();
        let recipients = [packet::Recipient { steward: steward.clone(), key: secret.public() }];
        let name: Name = "hie".parse().unwrap();
        let sealed = seal(&recipients, &name, b"draft".to_vec(), Some(250_000)).unwrap();
        let binding = blobs::Digest::of(b"hie");
        let content = packet::open(&sealed, &steward, &secret, &binding).unwrap();
        let details: Vec<&[u8]> = content.details.iter().map(|(_, detail)| &detail[..]).collect();
        assert_eq!(details, [&b"draft"[..], b"250000"]);
        let other = packet::key::ReviewSecret::from_bytes([8; 32]);
        assert!(packet::open(&sealed, &steward, &other, &binding).is_err());
    }
}
