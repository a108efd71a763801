//! No secret key and no row of private data lies where it must not: not in a file of any room, not in a journal or an
//! answer, not in what a room that has no data holds in memory.
//!
//! A box is led through a whole life with a thousand rows and a dozen keys that the test knows, each written in every
//! form that an accident would give it. Then everything is searched: whatever is found where the table of [`places`]
//! does not allow it fails the test.

mod canaries;
mod life;
mod places;
mod twins;

use canaries::Canaries;
use places::{Kept, memory, rooms_memory};

#[test]
fn no_key_and_no_row_lies_where_it_must_not_after_a_whole_life() {
    let mut lived = life::live();
    let canaries = Canaries::new(&lived.secrets);
    let places = places::files(lived.tested.directory());
    assert!(places.len() > 100, "a whole life leaves more than {} files", places.len());
    let mut found = Vec::new();
    let mut kept = std::collections::BTreeSet::new();
    let mut remembered = std::collections::BTreeSet::new();
    let mut search = |place: &str, bytes: &[u8], may: &[Kept]| {
        for (secret, form) in canaries.within(bytes) {
            match may.iter().any(|may| may.covers(secret)) {
                true => {
                    remembered.insert(format!("{place}: {secret}"));
                    kept.insert(secret.to_owned());
                }
                false => found.push(format!("{place}: {secret} as {form}")),
            }
        }
    };
    for path in &places {
        let name = path.strip_prefix(lived.tested.directory()).expect("below it").display().to_string();
        search(&name, &std::fs::read(path).unwrap_or_default(), places::may_keep(&name));
    }
    for (what, said) in &lived.said {
        search(what, said.as_bytes(), &[]);
    }
    for (room, process) in rooms_memory(&mut lived.tested) {
        for part in memory(process) {
            search(&format!("memory of {room}"), &part, places::may_remember(room));
        }
    }
    // A room holds its own signing key while it runs, so that a search which looked past it would be noticed.
    for own in ["signer: key signer", "signer: key log", "enclave: key enclave"] {
        let own = format!("memory of {own}");
        assert!(remembered.contains(&own), "{own} was not found; found: {remembered:?}");
    }
    assert!(found.is_empty(), "{} hits:\n{}", found.len(), found.join("\n"));
    // Where a secret belongs it was found, so the search does find, in the very files and memory of a box.
    for secret in
        lived.secrets.iter().map(|secret| secret.name.as_str()).filter(|name| canaries::lies_plainly(name))
    {
        assert!(kept.contains(secret), "{secret} was not even found where it is kept; found: {kept:?}");
    }
}
