//! Whether the witnesses that count can ever be as many as must cosign. Where they cannot, approvals are taken and no
//! release leaves, held up by `log-witnesses`.

use egress::Policy;
use release::log::VerifierKey;
use release::site::{Site, VerifiedPolicy};

use super::Check;
use super::configurations::Configurations;

const NAME: &str = "witness-quorum";

const REMEDY: &str = "have another organisation run `databox witness` on a machine of its own, name it in new roles \
    without `onBoxMachine`, and put its address into console.toml";

/// Looks at the addresses, at each room that counts witnesses, and at each policy.
pub fn examine(configurations: &Configurations, site: &Site) -> Vec<Check> {
    let needed = site.roles().witness_quorum.0;
    let mut checks = Vec::new();
    let addresses = configurations.witnesses.len() as u64;
    if addresses > 0 && addresses < needed {
        checks.push(Check::fail(
            NAME,
            format!(
                "{needed} witnesses must cosign and console.toml has the address of {addresses}; {HELD_UP}"
            ),
            "put the addresses of the others into `witnesses` of console.toml",
        ));
    }
    let too_few =
        |on_box_counts: bool| (counted(site, on_box_counts) < needed).then(|| counts(site, on_box_counts));
    for (room, accepts) in configurations.accept_on_box_witness {
        if let Some(counts) = too_few(accepts) {
            let alone = match too_few(true) {
                Some(_) => String::new(),
                None => format!("; or, for a demonstration, `accept_on_box_witness = true` in {room}.toml"),
            };
            let text = format!("by {room}.toml {counts}; {HELD_UP}");
            checks.push(Check::fail(NAME, text, format!("{REMEDY}{alone}")));
        }
    }
    checks.extend(site.policies().filter_map(|policy| under(policy, site, too_few)));
    if checks.is_empty() {
        checks.push(Check::ok(NAME, format!("as many as must cosign can: {needed}")));
    }
    checks
}

const HELD_UP: &str = "no release can leave, held up by log-witnesses";

/// Where this policy and its grants stand in the way.
fn under(policy: &VerifiedPolicy, site: &Site, too_few: impl Fn(bool) -> Option<String>) -> Option<Check> {
    let file = std::str::from_utf8(policy.file()).ok()?;
    let counts = too_few(Policy::parse(file).ok()?.on_box_witness)?;
    let name = &policy.statement().statement().name;
    let alone = match too_few(true) {
        Some(_) => String::new(),
        None => {
            "; or, for a demonstration, grant under a policy that says `on_box_witness = true`".to_owned()
        }
    };
    let remedy = format!("{REMEDY}{alone}");
    let grants = site.grants().map(|grant| grant.statement()).filter(|grant| grant.policy == policy.id());
    let grants: Vec<_> = grants.map(|grant| grant.id.as_str()).collect();
    let text = format!("by policy {name} {counts}");
    Some(match grants.is_empty() {
        true => Check::warn(
            NAME,
            format!("{text}; no release under it could leave, and no grant names it yet"),
            remedy,
        ),
        false => Check::fail(NAME, format!("{text}; grant {}: {HELD_UP}", grants.join(", ")), remedy),
    })
}

/// Witnesses that count: each key once, the log's own never.
fn counted(site: &Site, on_box_counts: bool) -> u64 {
    let roles = site.roles();
    let Ok(log) = VerifierKey::of_log(&roles.log) else { return 0 };
    let counted = roles.witnesses.iter().filter(|witness| on_box_counts || !witness.on_box_machine);
    let mut keys: Vec<_> = counted
        .filter_map(|witness| VerifierKey::of_witness(witness).ok())
        .map(|key| *key.public())
        .filter(|key| key != log.public())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.len() as u64
}

fn counts(site: &Site, on_box_counts: bool) -> String {
    let roles = site.roles();
    let which = if on_box_counts { "" } else { ", those on this machine left out" };
    format!(
        "{} of {} witnesses count{which}, and {} must cosign",
        counted(site, on_box_counts),
        roles.witnesses.len(),
        roles.witness_quorum.0
    )
}
