//! The site: whether rooms accept it, and for how long.

use release::refusal::Refusal;
use release::site::{Site, SiteError};
use release::value::Timestamp;

use super::Check;
use super::configurations::Configurations;
use crate::failure::whole;

const DAY: i64 = 24 * 3600;

/// Returns the site if it can be read at all.
pub fn examine(configurations: &Configurations, checks: &mut Vec<Check>) -> Option<Site> {
    let now = Timestamp::from_seconds(daemon::now_seconds()).ok()?;
    let site = match Site::load(&configurations.site, &configurations.pin, now) {
        Ok(site) => site,
        Err(error) => {
            let found = match error {
                SiteError::Missing(_) => {
                    format!("{}: nothing is admitted, approved or signed", whole(&error))
                }
                _ => whole(&error),
            };
            checks.push(Check::fail("site", found, remedy(&error, configurations)));
            return None;
        }
    };
    checks.push(Check::ok(
        "site",
        format!("{} with roles {}, verified from the pin", site.name(), site.roles().version.0),
    ));
    let (roles, revocation) = (site.roles(), site.revocation());
    checks.push(expiry(
        "site-expiry",
        "the roles",
        roles.expires,
        30,
        now,
        "`databox site new roles`, signed by the root threshold, then `databox site install`",
    ));
    // Re-signed at least weekly; past its expiry every room stops.
    checks.push(expiry(
        "site-expiry",
        "the revocations",
        revocation.expires.min(revocation.issued_at.plus(release::site::REVOCATION_SECONDS)),
        2,
        now,
        "`databox site new revocation`, signed by who may revoke, then `databox site install`; do it every week",
    ));
    for grant in site.grants().map(|grant| grant.statement()) {
        checks.push(expiry(
            "site-expiry",
            &format!("grant {}", grant.id),
            grant.expires,
            7,
            now,
            "`databox site new grant` with a later end, if the project goes on",
        ));
    }
    for grant in site.grants().map(|grant| grant.statement()) {
        checks.extend(crate::grant::unmet(&site, grant).map(|why| {
            Check::fail(
                "grant",
                format!("nothing can be released under grant {}: {why}", grant.id),
                "`databox site new grant` with `approvals` that its people can give, or new roles; jobs under it wait in vain",
            )
        }));
    }
    for policy in site.policies().map(|policy| policy.statement().statement()) {
        checks.push(expiry(
            "site-expiry",
            &format!("policy {}", policy.name),
            policy.expires,
            7,
            now,
            "`databox site new policy`, signed by the policy role",
        ));
    }
    for aside in site.set_aside() {
        checks.push(Check::warn(
            "site-set-aside",
            format!("{}: {}", aside.path.display(), aside.refusal),
            "it is as if it were not there: have it signed by whom the newest roles name, or take it out",
        ));
    }
    Some(site)
}

fn remedy(error: &SiteError, configurations: &Configurations) -> String {
    let site = configurations.site.display();
    let words = match error {
        SiteError::Io { .. } => "bring the site directory back; every room reads it",
        SiteError::Stray(_) => "take the file out: `databox site install` is the one way in",
        SiteError::Missing("roles") => {
            return format!(
                "install a site: `databox site new roles --from roles.toml --out roles.json --site-directory {site}`, \
                 `databox site sign roles.json --as ID`, `databox site install roles.json --site-directory {site}`, \
                 `databox site pin`, and start the rooms anew; then in the same manner a revocation, a policy and a grant"
            );
        }
        SiteError::Missing(what) => {
            return format!(
                "`databox site new {what} --from {what}.toml --out {what}.json --site-directory {site}`, then \
                 `databox site sign` and `databox site install`; do it every week"
            );
        }
        SiteError::Refused { refusal: Refusal::RolesPin, .. } => {
            "site_pin in the rooms' configurations and version 1 of the roles belong to different sites"
        }
        SiteError::Refused { .. } => "take the statement out, or have it signed as the newest roles say",
    };
    words.to_owned()
}

fn expiry(
    name: &'static str,
    what: &str,
    expires: Timestamp,
    warned_days: i64,
    now: Timestamp,
    remedy: &str,
) -> Check {
    let left = expires.seconds() - now.seconds();
    match left {
        left if left <= 0 => Check::fail(name, format!("{what} expired at {expires}"), remedy),
        left if left < warned_days * DAY => {
            Check::warn(name, format!("{what} expire{} in {} hours", plural(what), left / 3600), remedy)
        }
        left => Check::ok(name, format!("{what}: {} days left", left / DAY)),
    }
}

fn plural(what: &str) -> &'static str {
    if what.starts_with("the ") { "" } else { "s" }
}
