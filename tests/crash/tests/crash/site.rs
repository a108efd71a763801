//! Statements of the site that come into force while a job is under review.

use databox::site::{InstallArguments, now};
use release::envelope::Envelope;
use release::key::Sign;
use release::site::Site;
use release::value::Count;

use crate::life::{GRANT, REVOCATION, ROLES, Stuck};
use crate::stage::TracedBox;

/// Which statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// The weekly re-signing of the revocation.
    Revocation,
    /// The roles, for another year.
    Roles,
    /// The grant, as it was.
    Grant,
}

impl Stated {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Revocation, Self::Roles, Self::Grant];

    /// The state in which it is installed.
    pub fn state(self) -> &'static str {
        match self {
            Self::Revocation => REVOCATION,
            Self::Roles => ROLES,
            Self::Grant => GRANT,
        }
    }

    /// Its version in this site.
    pub fn version(self, site: &Site) -> Count {
        match self {
            Self::Revocation => site.revocation().version,
            Self::Roles => site.roles().version,
            Self::Grant => site.grants().next().map_or(Count(0), |grant| grant.statement().version),
        }
    }

    /// Installs the next version, signed by both stewards, and gives its number.
    pub fn install(self, traced: &TracedBox) -> Result<Count, Stuck> {
        let stage = &traced.tested.stage;
        let site_directory = stage.home.site();
        let site = Site::load(&site_directory, &stage.pin, now()).map_err(|error| format!("{error:?}"))?;
        let next = Count(self.version(&site).0 + 1);
        let [ana, ben] = ["ana", "ben"].map(|steward| traced.tested.signing_key(steward));
        let signers: [&dyn Sign; 2] = [&ana, &ben];
        let envelope = match self {
            Self::Revocation => {
                let mut revocation = site.revocation().clone();
                (revocation.version, revocation.issued_at) = (next, now());
                Envelope::sign(&revocation, &signers[..1])
            }
            Self::Roles => {
                let mut roles = site.roles().clone();
                (roles.version, roles.issued_at) = (next, now());
                Envelope::sign(&roles, &signers)
            }
            Self::Grant => {
                let mut grant = site.grants().next().ok_or("no grant")?.statement().clone();
                (grant.version, grant.issued_at) = (next, now());
                Envelope::sign(&grant, &signers)
            }
        };
        let bytes = envelope.map_err(|error| format!("{error:?}"))?.to_bytes();
        let file = traced.tested.directory().join(format!("{}-{}.json", self.state().len(), next.0));
        std::fs::write(&file, bytes).map_err(|error| error.to_string())?;
        let arguments = InstallArguments { file, site_directory, policy_file: None, pin: Some(stage.pin) };
        databox::site::install(&arguments).map_err(|failure| failure.to_string())?;
        Ok(next)
    }
}
