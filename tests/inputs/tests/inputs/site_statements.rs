//! What an operator could lay into the site directory, and what `databox site` says instead.

use std::fs;
use std::path::{Path, PathBuf};

use harness::TestBox;
use release::envelope::Envelope;
use release::key::{SecretKey, Sign};
use release::site::{Site, read_files};
use release::statement::{Grant, Policy, Predicate, Revocation, Roles};
use release::value::Count;

use crate::command;
use crate::table::Table;
use crate::wire::key;

const GROUP: &str = "site";

struct Clerk<'a> {
    tested: &'a TestBox,
    site: Site,
    keys: [SecretKey; 2],
}

impl<'a> Clerk<'a> {
    fn new(tested: &'a TestBox) -> Self {
        let files = read_files(&tested.stage.home.site()).unwrap();
        let site = Site::from_files(files, &tested.stage.pin, databox::site::now()).unwrap();
        Self { tested, site, keys: [key(tested, "ana"), key(tested, "ben")] }
    }

    fn both(&self) -> [&dyn Sign; 2] {
        [&self.keys[0], &self.keys[1]]
    }

    fn written(&self, bytes: &[u8]) -> PathBuf {
        let path = self.tested.directory().join("statement.json");
        fs::write(&path, bytes).unwrap();
        path
    }

    fn install(&self, statement: &Path) -> std::process::Output {
        let (site, pin) = (self.tested.stage.home.site(), self.tested.stage.pin.to_string());
        let words =
            ["site", "install", statement.to_str().unwrap(), "--site-directory", site.to_str().unwrap()];
        command::run(&[&words[..], &["--pin", &pin]].concat())
    }

    fn refused<P: Predicate>(
        &self,
        table: &mut Table,
        case: &str,
        expected: &str,
        made: &P,
        keys: &[&dyn Sign],
    ) {
        let envelope = Envelope::sign(made, keys).unwrap();
        let found = command::name(&self.install(&self.written(&envelope.to_bytes())));
        table.refused(GROUP, case, expected, &found);
    }

    fn roles(&self) -> Roles {
        let mut roles = self.site.roles().clone();
        roles.version.0 += 1;
        roles
    }

    fn revocation(&self) -> Revocation {
        let mut revocation = self.site.revocation().clone();
        revocation.version.0 += 1;
        revocation
    }

    fn grant(&self) -> Grant {
        let mut grant = self.site.grants().next().unwrap().statement().clone();
        grant.version.0 += 1;
        grant
    }
}

pub fn cases(tested: &TestBox, table: &mut Table) {
    let clerk = Clerk::new(tested);
    let stranger = SecretKey::generate().unwrap();
    let [ana, ben] = &clerk.keys;
    clerk.refused(
        table,
        "roles that lack one signature",
        "SITE_REFUSED/roles-signatures",
        &clerk.roles(),
        &[ana],
    );
    clerk.refused(
        table,
        "a grant signed by a key that nobody knows",
        "SITE_REFUSED/grant-signatures",
        &clerk.grant(),
        &[ana, &stranger],
    );
    let old = Roles { version: Count(1), ..clerk.roles() };
    clerk.refused(table, "roles of a version that is there", "ALREADY_INSTALLED", &old, &clerk.both());
    let gap = Roles { version: Count(9), ..clerk.roles() };
    clerk.refused(
        table,
        "roles of a version with a gap before",
        "SITE_REFUSED/roles-order",
        &gap,
        &clerk.both(),
    );
    let mut unreachable = clerk.roles();
    unreachable.root.threshold = Count(5);
    clerk.refused(
        table,
        "a threshold that nobody can meet",
        "SITE_REFUSED/roles-content",
        &unreachable,
        &clerk.both(),
    );
    let dropped = Revocation { people: Vec::new(), certificates: Vec::new(), ..clerk.revocation() };
    clerk.refused(table, "a revocation that forgets", "SITE_REFUSED/revocation-dropped", &dropped, &[ana]);
    let by_stranger = clerk.revocation();
    clerk.refused(
        table,
        "a revocation of nobody's",
        "SITE_REFUSED/revocation-signatures",
        &by_stranger,
        &[&stranger],
    );
    let mut foreign = clerk.grant();
    foreign.site = "other.example".parse().unwrap();
    clerk.refused(table, "a grant of another site", "SITE_REFUSED/other-site", &foreign, &[ana, ben]);
    let mut policy: Policy =
        clerk.site.policy(&clerk.grant().policy).unwrap().statement().statement().clone();
    policy.version.0 += 1;
    clerk.refused(table, "a policy without its file", "SITE_REFUSED/policy-file", &policy, &clerk.both());
    let request = crate::wire::any_request(tested);
    clerk.refused(table, "a statement that no site makes", "STATEMENT/statement-kind", &request, &[ana]);
    let found = command::name(&clerk.install(&clerk.written(b"{}\n")));
    table.refused(GROUP, "a file that is no statement", "STATEMENT/json-form", &found);
    drafts(&clerk, table);
    rolled_back(&clerk, table);
    let renewed = Envelope::sign(&clerk.revocation(), &[ana]).unwrap();
    let installed = clerk.install(&clerk.written(&renewed.to_bytes()));
    table.taken(GROUP, "revocation, signed anew", command::said(&installed));
}

/// `site new` names the field.
fn drafts(clerk: &Clerk<'_>, table: &mut Table) {
    let directory = clerk.tested.directory();
    let draft = |kind: &str, text: &str, out: &str| {
        let from = directory.join("draft.toml");
        fs::write(&from, text).unwrap();
        let (out, site) = (directory.join(out), clerk.tested.stage.home.site());
        let words = ["site", "new", kind, "--from", from.to_str().unwrap(), "--out", out.to_str().unwrap()];
        command::run(&[&words[..], &["--site-directory", site.to_str().unwrap()]].concat())
    };
    let cases = [
        ("a draft with an unknown field", "revocation", "site = \"a.example\"\nfriends = []\n", "friends"),
        ("a draft that lacks a field", "policy", "name = \"demo\"\n", "file"),
        ("a draft with a field of another type", "grant", "id = \"g\"\nmembers = 3\n", "members"),
    ];
    for (case, kind, text, field) in cases {
        let output = draft(kind, text, "none.json");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let named = if said.contains(&format!("`{field}`")) { field } else { &said };
        let found = format!("{}: {named}", command::name(&output));
        table.refused(GROUP, case, &format!("STATEMENT_FIELD: {field}"), &found);
    }
    let found = command::name(&draft("revocation", "site = \n", "none.json"));
    table.refused(GROUP, "a draft that is no TOML", "NOT_TOML", &found);
    table.taken(
        GROUP,
        "draft",
        command::said(&draft("revocation", "site = \"demo.databox.example\"\n", "draft.json")),
    );
    let found = command::name(&clerk.install(&directory.join("draft.json")));
    table.refused(GROUP, "a draft that nobody signed", "UNSIGNED", &found);
}

/// An operator who takes the newest revocation away frees nobody: every room remembers what it has seen.
fn rolled_back(clerk: &Clerk<'_>, table: &mut Table) {
    let home = &clerk.tested.stage.home;
    let newest = home.site().join(format!("revocations/{}.json", clerk.site.revocation().version));
    let aside = clerk.tested.directory().join("aside.json");
    fs::rename(&newest, &aside).unwrap();
    for room in ["gateway", "console", "enclave"] {
        let told = || fs::read_to_string(home.journal(room)).unwrap().contains("older than");
        let deadline = std::time::Instant::now() + harness::PATIENCE;
        while !told() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let found = if told() { "rollback, in its journal" } else { "nothing" };
        table.refused(GROUP, &format!("a lower version, at the {room}"), "rollback, in its journal", found);
    }
    fs::rename(&aside, &newest).unwrap();
}
