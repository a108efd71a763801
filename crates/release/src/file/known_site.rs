//! What a site decided, as one verification found it, for the next release file that stands on the very same statements.

use blobs::Digest;

use super::ReleaseFile;
use super::verify::FoundSite;
use crate::envelope::Envelope;

/// The site of the file that was verified last. Whoever verifies many files of one site, as the signer does with those that
/// waited together, looks at the site's own signatures once.
///
/// It answers only for the same pin and the same bytes of every statement, signatures included, since whether these are
/// sound depends on nothing else. Whatever else could be left out of the comparison could be exchanged by whoever shapes
/// the second file.
#[derive(Debug, Default)]
pub struct KnownSite(Option<Known>);

#[derive(Debug)]
struct Known {
    pin: Digest,
    roles: Vec<Envelope>,
    revocation: Envelope,
    policy: Envelope,
    policy_file: Vec<u8>,
    catalogue: Vec<Envelope>,
    grant: Envelope,
    found: FoundSite,
}

impl KnownSite {
    pub(super) fn of(&self, file: &ReleaseFile, pin: &Digest) -> Option<FoundSite> {
        let known = self.0.as_ref()?;
        let same = known.pin == *pin
            && known.roles == file.roles
            && known.revocation == file.revocation
            && known.policy == file.policy
            && known.policy_file == file.policy_file
            && known.catalogue == file.catalogue
            && known.grant == file.grant;
        same.then(|| known.found.clone())
    }

    /// Remembers what was found sound.
    pub(super) fn keep(&mut self, file: &ReleaseFile, pin: Digest, found: &FoundSite) {
        self.0 = Some(Known {
            pin,
            roles: file.roles.clone(),
            revocation: file.revocation.clone(),
            policy: file.policy.clone(),
            policy_file: file.policy_file.clone(),
            catalogue: file.catalogue.clone(),
            grant: file.grant.clone(),
            found: found.clone(),
        });
    }
}
