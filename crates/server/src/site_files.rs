//! The signed statements of a site, for clients that verify them from their own pin.

use std::path::PathBuf;

use release::envelope::Envelope;
use release::refusal::Refusal;
use release::site::{Site, Verified, file_name};

/// Every statement that is in force as the room sees it, as files of a site directory: every version of roles,
/// grants and policies, and the newest of everything else. Only what was verified is in it, never a stray file of the directory.
pub fn site_files(site: &Site) -> Result<Vec<(PathBuf, Vec<u8>)>, Refusal> {
    let mut files = Vec::new();
    let mut add = |envelope: &Envelope| {
        let path = file_name(envelope)?;
        files.push((path.clone(), envelope.to_bytes()));
        Ok::<_, Refusal>(path)
    };
    site.roles_envelopes().try_for_each(|envelope| add(envelope).map(drop))?;
    add(site.verified_revocation().envelope())?;
    let grants = site.earlier_grants().chain(site.grants());
    grants.map(Verified::envelope).try_for_each(|envelope| add(envelope).map(drop))?;
    site.datasets().map(Verified::envelope).try_for_each(|envelope| add(envelope).map(drop))?;
    site.runtimes().map(Verified::envelope).try_for_each(|envelope| add(envelope).map(drop))?;
    let mut policies = Vec::new();
    for policy in site.earlier_policies().chain(site.policies()) {
        let path = add(policy.statement().envelope())?;
        policies.push((path.with_extension("toml"), policy.file().to_vec()));
    }
    files.extend(policies);
    Ok(files)
}
