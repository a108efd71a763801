//! Whether a grant can lead to a release: rooms take one that cannot, since roles may change again, and its jobs would
//! wait for approvals that nobody can give.

use std::collections::BTreeSet;

use release::key::key_id;
use release::site::Site;
use release::statement::Grant;
use release::value::Name;

/// What keeps every release under a grant from coming about, in words; none if nothing does by now.
pub fn unmet(site: &Site, grant: &Grant) -> Option<String> {
    if site.policy(&grant.policy).is_none() {
        let policy = &grant.policy;
        return Some(format!(
            "it names version {} of policy {} with digest {}, which is not here",
            policy.version.0, policy.name, policy.file.sha256
        ));
    }
    let asked = &grant.approvals;
    let may = |person: &&Name| may_consent(site, grant, person);
    if let Some(supervisor) = asked.supervisors.iter().find(|supervisor| !may(supervisor)) {
        return Some(format!("{supervisor} must approve, and may not"));
    }
    let mut people: BTreeSet<&Name> = asked.supervisors.iter().collect();
    for dataset in grant.datasets.keys() {
        let role = site.roles().datasets.get(dataset)?;
        let stewards: BTreeSet<&Name> = role.stewards.iter().filter(may).collect();
        let needed = role.approval_threshold.max(asked.threshold).0;
        if (stewards.len() as u64) < needed {
            return Some(format!("{needed} stewards of {dataset} must approve, and {} may", stewards.len()));
        }
        people.extend(stewards);
    }
    let known = people.iter().filter_map(|person| site.roles().people.get(*person));
    let organisations: BTreeSet<&Name> = known.map(|person| &person.organisation).collect();
    let needed = asked.organisations.0;
    ((organisations.len() as u64) < needed).then(|| {
        format!(
            "people of {needed} organisations must approve, and those who may are of {}",
            organisations.len()
        )
    })
}

/// True if this person holds a key that counts, and has no interest in the project.
fn may_consent(site: &Site, grant: &Grant, person: &Name) -> bool {
    let keys = site.roles().people.get(person).map(|person| &person.keys[..]).unwrap_or_default();
    keys.iter().any(|key| !site.is_revoked(person, &key_id(key)))
        && !site.has_interest(person, &grant.project)
}
