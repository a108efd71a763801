//! The people of a throw-away box: keys under one passphrase, and certificates of the box.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use packet::key::PersonKeys;

use super::{PEOPLE, SITE, Throwaway, name};
use crate::certificate::{self, CertificateRole};
use crate::failure::{Failure, file_failure};
use crate::home::Home;
use crate::key::{self, KeyArguments};

impl Throwaway {
    pub(super) fn make_people(&mut self) -> Result<(), Failure> {
        let people = self.people();
        fs::create_dir_all(&people).map_err(file_failure(&people))?;
        let passphrase = self.passphrase_file();
        blobs::write_new_file_durably(&passphrase, b"demonstration\n", 0o600)
            .map_err(file_failure(&passphrase))?;
        let made: Result<BTreeMap<_, _>, _> = std::thread::scope(|scope| {
            let threads = PEOPLE.map(|(id, organisation, role)| {
                let people = &people;
                let passphrase = &passphrase;
                let home = &self.home;
                scope.spawn(move || Ok((id, make_person(home, people, passphrase, id, organisation, role)?)))
            });
            let joined =
                threads.map(|thread| thread.join().expect("a thread that makes keys does not panic"));
            joined.into_iter().collect()
        });
        self.keys = made?;
        Ok(())
    }
}

fn make_person(
    home: &Home,
    people: &Path,
    passphrase: &Path,
    id: &str,
    organisation: &str,
    role: CertificateRole,
) -> Result<PersonKeys, Failure> {
    let (files, keys) = key::new(&KeyArguments {
        id: name(id),
        directory: people.to_owned(),
        organisation: name(organisation),
        passphrase_file: Some(passphrase.to_owned()),
        ssh_key: None,
        require_pin: false,
    })?;
    let request = fs::read_to_string(files.tls_request()).map_err(file_failure(&files.tls_request()))?;
    let certificate = certificate::issue(home, &name(SITE), &request, role, &name(id), 24)?;
    let path = files.tls_certificate();
    blobs::write_new_file_durably(&path, certificate.as_bytes(), 0o644).map_err(file_failure(&path))?;
    Ok(keys)
}
