//! Sizes of registered trees, found out once: a tree under its digest stays as it is.

use blobs::Digest;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::StoreError;

fn name(tree: &Digest) -> String {
    format!("image/{tree}")
}

/// Keeps how large the image of a tree can become.
pub fn set_image_bytes(transaction: &Transaction<'_>, tree: &Digest, bytes: u64) -> Result<(), StoreError> {
    transaction.execute(
        "INSERT INTO kept (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        (name(tree), bytes.to_le_bytes()),
    )?;
    Ok(())
}

/// How large the image of a tree can become; None for a tree that was never registered here.
pub fn image_bytes(connection: &Connection, tree: &Digest) -> Result<Option<u64>, StoreError> {
    let mut query = connection.prepare_cached("SELECT value FROM kept WHERE name = ?1")?;
    let value: Option<[u8; 8]> = query.query_row([name(tree)], |row| row.get(0)).optional()?;
    Ok(value.map(u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema;

    #[test]
    fn the_size_of_a_tree_is_found_again_and_another_tree_has_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut connection = schema::open(&directory.path().join("account.db")).unwrap();
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let transaction = connection.transaction().unwrap();
        for bytes in [7, u64::MAX] {
            set_image_bytes(&transaction, &one, bytes).unwrap();
            assert_eq!(image_bytes(&transaction, &one).unwrap(), Some(bytes));
        }
        assert_eq!(image_bytes(&transaction, &other).unwrap(), None);
    }
}
