//! Who may see what a job wrote: the stewards of its datasets and the supervisors whom its grant names.

use std::collections::BTreeSet;

use release::path::SignedRequest;
use release::site::Site;
use release::statement::{DatasetRole, ReviewRecipient};
use release::value::Name;

/// The people whom a packet about this request is sealed to, sorted. Neither the requester nor anyone revoked is among
/// them, nor who has no review key.
pub fn of_request(site: &Site, request: &SignedRequest) -> Vec<ReviewRecipient> {
    let asked = request.request();
    let stewards = asked
        .datasets
        .iter()
        .filter_map(|dataset| site.roles().datasets.get(&dataset.name))
        .flat_map(|role| &role.stewards);
    let supervisors = &request.grant().statement().approvals.supervisors;
    let people: BTreeSet<&Name> =
        stewards.chain(supervisors).filter(|person| **person != asked.requester.id).collect();
    with_keys(site, people)
}

/// The people whom a draft catalogue entry is sealed to.
pub fn of_dataset(site: &Site, role: &DatasetRole) -> Vec<ReviewRecipient> {
    with_keys(site, role.stewards.iter().collect())
}

fn with_keys(site: &Site, people: BTreeSet<&Name>) -> Vec<ReviewRecipient> {
    people
        .into_iter()
        .filter(|person| !site.revocation().people.contains(person))
        .filter_map(|person| {
            let review_key = site.roles().people.get(person)?.review_key?;
            Some(ReviewRecipient { steward: person.clone(), review_key })
        })
        .take(packet::RECIPIENT_LIMIT)
        .collect()
}

/// As packets name them.
pub fn recipients(reviewers: &[ReviewRecipient]) -> Vec<packet::Recipient> {
    reviewers
        .iter()
        .map(|reviewer| packet::Recipient { steward: reviewer.steward.clone(), key: reviewer.review_key.0 })
        .collect()
}
