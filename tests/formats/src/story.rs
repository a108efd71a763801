//! How an honest release comes about, with a place to change every statement before it is signed.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use blobs::Digest;
use egress::{InMemory, Task};
use release::account::VERDICT_BITS;
use release::differencing::ComparedSet;
use release::envelope::Envelope;
use release::file::ReleaseFile;
use release::key::{SecretKey, Sign, key_id};
use release::report::OutputReport;
use release::rule::Rule;
use release::statement::*;
use release::value::{Bytes, Count, Name, Timestamp};

use crate::log_story::LogStory;
use crate::ssh_story::StoryKey;

type Change<T> = dyn Fn(&mut T);

/// Changes to one part of the story, one after the other; nothing by default.
pub struct Edit<T>(Vec<Box<Change<T>>>);

impl<T> Default for Edit<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Edit<T> {
    fn apply(&self, part: &mut T) {
        self.0.iter().for_each(|edit| edit(part));
    }

    fn applied(&self, mut part: T) -> T {
        self.apply(&mut part);
        part
    }
}

macro_rules! story {
    ($($(#[$doc:meta])* $part:ident: $type:ty,)*) => {
        /// The changes to one telling of the story.
        #[derive(Default)]
        pub struct Story {
            $(/// Changes this part.
            pub(crate) $part: Edit<$type>,)*
            signers: BTreeMap<&'static str, Vec<&'static str>>,
        }

        impl Story {
            $($(#[$doc])* pub fn $part(mut self, edit: impl Fn(&mut $type) + 'static) -> Self {
                self.$part.0.push(Box::new(edit));
                self
            })*
        }
    };
}

story! {
    /// Changes version 1 of the roles.
    first_roles: Roles,
    /// Changes version 2 of the roles.
    second_roles: Roles,
    /// Changes the revocation.
    revocation: Revocation,
    /// Changes the policy's statement.
    policy: Policy,
    /// Changes the dataset's catalogue entry.
    dataset: Catalogue,
    /// Changes the runtime's catalogue entry.
    runtime: Catalogue,
    /// Changes the grant.
    grant: Grant,
    /// Changes the request.
    request: Request,
    /// Changes the approvals of the code; there are some if the grant demands them.
    code_approvals: Vec<CodeApproval>,
    /// Changes the verdict.
    verdict: Verdict,
    /// Changes the approvals.
    approvals: Vec<Approval>,
    /// Changes the manifest.
    manifest: Manifest,
    /// Changes what the log and its witnesses do.
    log: LogStory,
    /// Changes the release file once all is signed.
    release: ReleaseFile,
    /// Changes the release file's bytes.
    bytes: Vec<u8>,
    /// Changes the released files.
    files: BTreeMap<Name, Vec<u8>>,
}

impl Story {
    /// Has one statement signed by these keys, and by no others. Approvals are `approval-0` and so on, those of code
    /// `code-0` and so on.
    pub fn signed_by(mut self, statement: &'static str, keys: &[&'static str]) -> Self {
        self.signers.insert(statement, keys.to_vec());
        self
    }

    /// The job declares no table, so that nothing is compared: several of its runs can be released one after the other.
    pub fn without_tables(self) -> Self {
        self.request(|request| request.outputs.retain(|output| output.kind() != OutputKind::Table))
            .verdict(|verdict| {
                verdict.files.retain(|file| file.name != name("by_plan.csv"));
                let released = verdict.files.iter().map(|file| file.released_bits.0).sum();
                verdict.released_bits = Count(released);
                verdict.charges[0].release_bits = Count(released + VERDICT_BITS);
                verdict.table_place = Count(0);
            })
            .files(|files| drop(files.remove(&name("by_plan.csv"))))
    }

    /// The verdict about this run has this place and was compared with these, of which the manifest names those that were
    /// released.
    pub fn compared(self, run: u64, place: u64, with: &[Digest], released: &[Digest]) -> Self {
        let set = |verdicts: &[Digest]| Evidence::Digest(ComparedSet::new(verdicts.iter().copied()).digest());
        let (with, released) = (set(with), set(released));
        self.verdict(move |verdict| {
            verdict.run = Count(run);
            (verdict.table_place, verdict.differenced_against) = (Count(place), with);
        })
        .manifest(move |manifest| manifest.differenced_against = released)
    }

    fn sign<P: Predicate>(&self, statement: &str, predicate: &P, usual: &[&'static str]) -> Envelope {
        signed(predicate, self.signers.get(statement).map_or(usual, Vec::as_slice))
    }
}

/// A statement with a signature by each of these keys, whoever else has signed with the same one.
fn signed<P: Predicate>(predicate: &P, keys: &[&str]) -> Envelope {
    let mut envelope = Envelope::unsigned(predicate).expect("an envelope");
    for name in keys {
        let mut alone = Envelope::unsigned(predicate).expect("an envelope");
        alone.add_signature(&StoryKey::named(name)).expect("a signature");
        envelope.add_signatures_of(&alone).expect("the same payload");
    }
    envelope
}

/// What a story leaves behind.
pub struct Told {
    /// The pin: payload digest of version 1 of the roles, as an honest site has it.
    pub pin: Digest,
    /// The release file.
    pub release: ReleaseFile,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The released files.
    pub files: BTreeMap<Name, Vec<u8>>,
}

/// The key with this name. Its seed is SHA-256 of `databox-example-key <name>`: everyone has it.
pub fn key(name: &str) -> SecretKey {
    SecretKey::from_seed(*Digest::of(format!("databox-example-key {name}").as_bytes()).as_bytes())
}

/// A name.
pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// A moment.
pub fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The moment at which vectors are verified.
pub fn verified_at() -> Timestamp {
    time("2026-03-02T12:00:00Z")
}

/// The policy's file: small limits, so that the example stays readable.
pub const POLICY_FILE: &str = include_str!("../policy.toml");

fn person(name: &str, organisation: &str) -> (Name, Person) {
    let keys = vec![key(name).public()];
    (self::name(name), Person { organisation: self::name(organisation), keys, review_key: None })
}

fn steward(name: &str, organisation: &str) -> (Name, Person) {
    let (id, person) = person(name, organisation);
    let review_key =
        Some(Bytes(*Digest::of(format!("databox-example-review-key {name}").as_bytes()).as_bytes()));
    (id, Person { review_key, ..person })
}

fn role(people: &[&str], threshold: u64) -> Role {
    Role { people: people.iter().map(|person| name(person)).collect(), threshold: Count(threshold) }
}

/// A witness on the school's machine, or on the box's own.
pub fn witness(name: &str, on_box_machine: bool) -> Witness {
    Witness { name: name.to_owned(), public: key(name).public().public, on_box_machine }
}

/// The witness that counts.
pub const WITNESS: &str = "witness.school.example/one";
/// The witness on the box's own machine.
pub const BOX_WITNESS: &str = "witness.hospital.example/on-box";
/// The log's origin.
pub const LOG: &str = "hospital.example/databox/log";

fn first_roles() -> Roles {
    Roles {
        site: name("example-hospital"),
        version: Count(1),
        issued_at: time("2026-01-05T09:00:00Z"),
        expires: time("2027-01-05T09:00:00Z"),
        people: BTreeMap::from([
            person("root-rita", "hospital"),
            person("root-rolf", "university"),
            steward("steward-ana", "hospital"),
            steward("steward-ben", "university"),
        ]),
        root: role(&["root-rita", "root-rolf"], 2),
        policy: role(&["root-rita"], 1),
        runtime: role(&["root-rita"], 1),
        revocation: role(&["root-rita", "root-rolf"], 1),
        datasets: BTreeMap::from([(
            name("hie"),
            DatasetRole {
                stewards: vec![name("steward-ana"), name("steward-ben")],
                grant_threshold: Count(2),
                catalogue_threshold: Count(1),
                approval_threshold: Count(2),
            },
        )]),
        box_keys: BoxKeys { enclave: key("enclave").public(), signer: key("signer").public() },
        log: LogKey { origin: LOG.to_owned(), public: key("log").public().public },
        witnesses: vec![witness(WITNESS, false)],
        witness_quorum: Count(1),
    }
}

fn second_roles() -> Roles {
    let mut roles = first_roles();
    roles.version = Count(2);
    roles.issued_at = time("2026-02-02T09:00:00Z");
    roles.people.extend([steward("supervisor-sue", "university")]);
    roles.witnesses.push(witness(BOX_WITNESS, true));
    roles
}

fn policy() -> Policy {
    Policy {
        site: name("example-hospital"),
        name: name("standard"),
        version: Count(3),
        file: Digest::of(POLICY_FILE.as_bytes()).into(),
        issued_at: time("2026-02-03T09:00:00Z"),
        expires: time("2026-12-31T00:00:00Z"),
    }
}

fn column(name: &str, value_type: ValueType, categories: &[&str]) -> Column {
    let categories = categories.iter().map(|value| (*value).to_owned()).collect();
    Column { name: self::name(name), value_type, categories }
}

fn dataset() -> Catalogue {
    let columns = vec![
        column("person", ValueType::Integer, &[]),
        column("plan", ValueType::Category, &["deductible", "free"]),
        column("visits", ValueType::Integer, &[]),
    ];
    Catalogue {
        site: name("example-hospital"),
        name: name("hie"),
        version: Count(1),
        entry: CatalogueEntry::Dataset {
            snapshots: vec![Snapshot {
                tree: Digest::of(b"example snapshot").into(),
                registered_at: time("2026-02-01T09:00:00Z"),
                bytes: Count(81_920),
                units: Count(1_200),
            }],
            unit_column: name("person"),
            tables: vec![Table { file: name("visits.csv"), columns }],
            limits: DatasetGrant { release_bits: Count(1_000_000), answer_bits: Count(100_000) },
            licence: "Public domain".to_owned(),
            source: "Made up for this example".to_owned(),
            privacy: None,
            public: Vec::new(),
        },
        issued_at: time("2026-02-03T09:00:00Z"),
    }
}

fn runtime() -> Catalogue {
    Catalogue {
        site: name("example-hospital"),
        name: name("host-python"),
        version: Count(1),
        entry: CatalogueEntry::Runtime {
            tree: Digest::of(b"example runtime").into(),
            description: "Python 3.11 and its standard library".to_owned(),
            answers_queries: false,
        },
        issued_at: time("2026-02-03T09:00:00Z"),
    }
}

/// What the site has revoked.
pub(crate) fn revocation() -> Revocation {
    Revocation {
        site: name("example-hospital"),
        version: Count(9),
        issued_at: time("2026-03-01T09:00:00Z"),
        expires: time("2026-03-08T09:00:00Z"),
        people: vec![],
        keys: vec![key_id(&key("lost").public())],
        certificates: vec!["3f9a".to_owned()],
        grants: vec![name("older-study")],
        releases: vec![],
        interests: vec![Interest { person: name("steward-ben"), project: name("wards") }],
    }
}

fn policy_id(policy: &Policy) -> PolicyId {
    PolicyId { name: policy.name.clone(), version: policy.version, file: policy.file }
}

fn grant(policy: &Policy) -> Grant {
    let member = Member { organisation: name("university"), keys: vec![key("researcher-mia").public()] };
    Grant {
        site: name("example-hospital"),
        id: name("visits-study"),
        version: Count(2),
        project: name("visits"),
        members: BTreeMap::from([(name("researcher-mia"), member)]),
        datasets: BTreeMap::from([(
            name("hie"),
            DatasetGrant { release_bits: Count(40_000), answer_bits: Count(1_000) },
        )]),
        policy: policy_id(policy),
        least_wall: WallName::Native,
        approvals: GrantApprovals { threshold: Count(1), organisations: Count(2), supervisors: vec![] },
        code_review: CodeReview::None,
        issued_at: time("2026-02-04T09:00:00Z"),
        expires: time("2026-09-30T00:00:00Z"),
        devices: BTreeMap::new(),
    }
}

/// The declared outputs.
pub(crate) fn outputs() -> Vec<DeclaredOutput> {
    let column = |name: &str, column_type: &str| DeclaredColumn {
        name: self::name(name),
        column_type: column_type.parse().expect("a column type"),
    };
    vec![
        DeclaredOutput::Weights {
            path: name("model.safetensors"),
            tensors: vec![DeclaredTensor { name: name("w"), shape: vec![Count(3)], sha256: None }],
            evaluation: None,
        },
        DeclaredOutput::Metrics {
            path: name("metrics.json"),
            names: vec![name("log_loss")],
            degrees_of_freedom: None,
        },
        DeclaredOutput::Table {
            path: name("by_plan.csv"),
            columns: vec![
                column("plan", "category:hie.plan"),
                column("n", "integer"),
                column("mean_visits", "decimal:2"),
            ],
            count_column: Some(name("n")),
            largest_column: None,
            two_largest_column: None,
            structural_zeros: Vec::new(),
            noised: false,
        },
    ]
}

fn grant_id(grant: &Grant, envelope: &Envelope) -> GrantId {
    GrantId { id: grant.id.clone(), version: grant.version, payload: envelope.payload_digest().into() }
}

fn request(grant: &Grant, grant_envelope: &Envelope) -> Request {
    Request {
        site: name("example-hospital"),
        project: grant.project.clone(),
        job: name("any-visit"),
        grant: grant_id(grant, grant_envelope),
        requester: Requester { id: name("researcher-mia"), key_id: key_id(&key("researcher-mia").public()) },
        bundle: Digest::of(b"example bundle").into(),
        datasets: vec![DatasetSnapshot { name: name("hie"), tree: Digest::of(b"example snapshot").into() }],
        runtime: RuntimeId { name: name("host-python"), tree: Digest::of(b"example runtime").into() },
        command: vec!["python3".to_owned(), "train.py".to_owned()],
        limits: Limits { cpus: Count(1), memory_bytes: Count(2 << 30), seconds: Count(1_200) },
        outputs: outputs(),
        query: None,
        purpose: SaltedPurpose::of(&[7; 32], "Visits by plan, for the example"),
        nonce: Bytes(*Digest::of(b"example nonce").as_bytes()),
        issued_at: time("2026-03-02T09:00:00Z"),
        expires: time("2026-03-02T21:00:00Z"),
        devices: BTreeMap::new(),
    }
}

/// What the job wrote, before canonicalisation.
pub(crate) fn written() -> InMemory {
    let header = r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#;
    let values = [0.25f32, -1.5, 3.0].map(f32::to_le_bytes).concat();
    let weights = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &values].concat();
    InMemory::new([
        (name("model.safetensors"), weights),
        (name("metrics.json"), br#"{"log_loss": 0.61234}"#.to_vec()),
        (name("by_plan.csv"), b"plan,n,mean_visits\nfree,600,4.55\ndeductible,600,3.1\n".to_vec()),
    ])
}

/// The canonical files and what the checker says about them.
fn judged(dataset: &Catalogue) -> (BTreeMap<Name, Vec<u8>>, OutputReport) {
    let catalogue = vec![dataset.clone()];
    let task = Task {
        policy: POLICY_FILE.to_owned(),
        outputs: outputs(),
        catalogue,
        query: None,
        precisions: BTreeMap::new(),
        as_written: false,
    };
    let mut canonical = InMemory::default();
    let formed = egress::canonicalise(&task, &mut written(), &mut canonical).expect("canonical files");
    let judged = egress::judge(&task, &mut canonical).expect("a judgement");
    let mut rules = egress::merge(&formed.report, &judged.report);
    // What the makers of views and the scanner say in an honest box.
    rules.rules[Rule::CopyExact.index()] = RuleResult::Passed;
    rules.rules[Rule::CopyViews.index()] = RuleResult::Passed;
    // And whoever compares, of the first table.
    rules.rules[Rule::TableDifferencing.index()] = RuleResult::Passed;
    (canonical.0, rules)
}

/// The first devices of each kind that was asked for.
fn held(request: &Request) -> Vec<WallDevice> {
    let kinds = request.devices.iter();
    let devices = kinds.flat_map(|(kind, count)| {
        (1..=count.0).map(|number| WallDevice { kind: kind.clone(), number: Count(number) })
    });
    devices.collect()
}

fn verdict(
    request: &Request,
    request_envelope: &Envelope,
    grant: &Grant,
    roles: RolesId,
    told: &Checked,
) -> Verdict {
    let bits_of = |path: &Name| {
        let place = request.outputs.iter().position(|output| output.path() == path);
        Count(place.map_or(0, |place| told.report.bits[place]))
    };
    let kind_of = |path: &Name| {
        let output = request.outputs.iter().find(|output| output.path() == path);
        output.map_or(OutputKind::Metrics, DeclaredOutput::kind)
    };
    let files: Vec<_> = told
        .files
        .iter()
        .map(|(path, bytes)| VerdictFile {
            name: path.clone(),
            kind: kind_of(path),
            bytes: Count(bytes.len() as u64),
            sha256: Digest::of(bytes),
            released_bits: bits_of(path),
            declared_counts: kind_of(path) == OutputKind::Table,
            precision: None,
        })
        .collect();
    let released: u64 = files.iter().map(|file| file.released_bits.0).sum();
    let rules =
        Rule::ALL.map(|rule| RuleOutcome { id: rule.name(), result: told.report.rules[rule.index()] });
    let layer = |name: &str, state| Layer { name: self::name(name), state };
    Verdict {
        site: request.site.clone(),
        request: request_envelope.payload_digest().into(),
        run: Count(1),
        grant: request.grant.clone(),
        requester: request.requester.clone(),
        datasets: request.datasets.clone(),
        runtime: request.runtime.clone(),
        wall: Wall {
            name: WallName::Native,
            runtime: None,
            privileged: false,
            layers: vec![
                layer("namespaces", LayerState::On),
                layer("seccomp", LayerState::On),
                layer("landlock", LayerState::Absent),
            ],
            devices: held(request),
        },
        policy: grant.policy.clone(),
        roles,
        build: BoxBuild { version: "0.1.0".to_owned(), checker: Digest::of(b"example checker").into() },
        result: VerdictResult::Pass,
        files,
        rules: rules.to_vec(),
        guarantee: Guarantee {
            copied_run_bytes: Count(31),
            plain_run_bytes: Count(127),
            views: vec![name("raw"), name("tensor-f32")],
            exempt_millionths: Count(12),
            public: Vec::new(),
        },
        released_bits: Count(released),
        verdict_bits: Count(VERDICT_BITS),
        table_place: Count(1),
        charges: vec![DatasetCharge {
            dataset: name("hie"),
            answer_bits: Count(12),
            release_bits: Count(released + VERDICT_BITS),
            privacy: None,
        }],
        differenced_against: Evidence::Digest(ComparedSet::default().digest()),
        account_head: Evidence::NotChecked,
        code_review: Evidence::NotChecked,
        attestation: Evidence::NotChecked,
        warnings: vec![Warning::SharedKernel],
        reviewers: ["steward-ana", "steward-ben"].map(reviewer).to_vec(),
        packet: Digest::of(b"example packet").into(),
        challenge: Bytes(*Digest::of(b"example challenge").as_bytes()),
        issued_at: time("2026-03-02T09:20:00Z"),
        expires: time("2026-03-09T09:20:00Z"),
    }
}

/// A steward as a reviewer.
pub fn reviewer(who: &str) -> ReviewRecipient {
    let (steward, person) = steward(who, "any");
    ReviewRecipient { steward, review_key: person.review_key.expect("a review key") }
}

/// An approval by someone.
pub fn approval(who: &str, verdict: &Verdict, digest: Digest, roles: RolesId, at: &str) -> Approval {
    Approval {
        site: verdict.site.clone(),
        verdict: digest.into(),
        challenge: verdict.challenge,
        steward: name(who),
        grant: verdict.grant.clone(),
        policy: verdict.policy.clone(),
        roles,
        judged_again: Judgement::Same,
        issued_at: time(at),
        expires: time("2026-03-05T10:00:00Z"),
    }
}

/// An approval of code by someone.
pub fn code_approval(
    who: &str,
    request: &Request,
    envelope: &Envelope,
    grant: &Grant,
    roles: &RolesId,
    at: &str,
) -> CodeApproval {
    CodeApproval {
        site: request.site.clone(),
        request: envelope.payload_digest().into(),
        bundle: request.bundle,
        steward: name(who),
        grant: request.grant.clone(),
        policy: grant.policy.clone(),
        roles: roles.clone(),
        issued_at: time(at),
        expires: time("2026-03-09T09:00:00Z"),
    }
}

/// What a verdict says of these approvals of code, put together by hand as the specification says.
fn evidence(request: &Envelope, grant: &Grant, approvals: &[(Name, Envelope)]) -> Evidence {
    if grant.code_review == CodeReview::None {
        return Evidence::NotChecked;
    }
    let mut lines: Vec<_> = approvals
        .iter()
        .map(|(steward, envelope)| format!("{steward} {}\n", envelope.payload_digest()))
        .collect();
    lines.sort();
    let text = format!("databox-code-review/v1\n{}\n{}", request.payload_digest(), lines.concat());
    Evidence::Digest(Digest::of(text.as_bytes()))
}

struct Checked {
    files: BTreeMap<Name, Vec<u8>>,
    report: OutputReport,
}

/// The statements up to the grant.
pub struct Decided {
    /// Roles, version 1 and 2.
    pub roles: [Envelope; 2],
    /// The revocation.
    pub revocation: Envelope,
    /// The policy's statement.
    pub policy: Envelope,
    /// The dataset's and the runtime's entry.
    pub catalogue: [Envelope; 2],
    /// The grant.
    pub grant: Envelope,
    grant_statement: Grant,
}

impl Story {
    /// What the site decides.
    pub fn decide(&self) -> Decided {
        let roots = ["root-rita", "root-rolf"];
        let first = self.first_roles.applied(first_roles());
        let second = self.second_roles.applied(second_roles());
        let policy = self.policy.applied(policy());
        let dataset = self.dataset.applied(dataset());
        let grant = self.grant.applied(grant(&policy));
        Decided {
            roles: [self.sign("first-roles", &first, &roots), self.sign("second-roles", &second, &roots)],
            revocation: self.sign("revocation", &self.revocation.applied(revocation()), &["root-rita"]),
            policy: self.sign("policy", &policy, &["root-rita"]),
            catalogue: [
                self.sign("dataset", &dataset, &["steward-ana"]),
                self.sign("runtime", &self.runtime.applied(runtime()), &["root-rita"]),
            ],
            grant: self.sign("grant", &grant, &["steward-ana", "steward-ben"]),
            grant_statement: grant,
        }
    }

    /// Tells the whole story.
    pub fn tell(&self) -> Told {
        let decided = self.decide();
        let second: Roles = decided.roles[1].unverified().expect("roles");
        let roles = RolesId { version: second.version, payload: decided.roles[1].payload_digest().into() };
        let request = self.request.applied(request(&decided.grant_statement, &decided.grant));
        let request_envelope = self.sign("request", &request, &["researcher-mia"]);
        // Changes to the catalogue must not change what the checker said, or a vector would show two defects.
        static JUDGED: OnceLock<(BTreeMap<Name, Vec<u8>>, OutputReport)> = OnceLock::new();
        let (files, report) = JUDGED.get_or_init(|| judged(&dataset())).clone();
        let checked = Checked { files, report };
        let verdict = verdict(&request, &request_envelope, &decided.grant_statement, roles.clone(), &checked);
        let code_approvals = self.approve_code(&request, &request_envelope, &decided.grant_statement, &roles);
        let code_review = evidence(&request_envelope, &decided.grant_statement, &code_approvals);
        let verdict = self.verdict.applied(Verdict { code_review, ..verdict });
        let verdict_envelope = self.sign("verdict", &verdict, &["enclave"]);
        let approvals = self.approve(&verdict, &verdict_envelope, &roles);
        let manifest = manifest(&decided, &request_envelope, &verdict, &verdict_envelope, &approvals, roles);
        let manifest = self.manifest.applied(manifest);
        let manifest = self.sign("manifest", &manifest, &["signer"]);
        let log = self.log.applied(LogStory::of(&decided, &manifest));
        let catalogue = decided.catalogue.to_vec();
        let mut release = ReleaseFile {
            manifest,
            verdict: verdict_envelope,
            approvals: approvals.into_iter().map(|(_, envelope)| envelope).collect(),
            code_approvals: code_approvals.into_iter().map(|(_, envelope)| envelope).collect(),
            request: request_envelope,
            grant: decided.grant,
            policy: decided.policy,
            policy_file: POLICY_FILE.as_bytes().to_vec(),
            catalogue,
            revocation: decided.revocation,
            roles: decided.roles.to_vec(),
            log_proof: log.proof(),
        };
        self.release.apply(&mut release);
        let bytes = self.bytes.applied(release.to_bytes());
        let pin = Digest::of(&payload(&first_roles()));
        Told { pin, release, bytes, files: self.files.applied(checked.files) }
    }

    fn approve_code(
        &self,
        request: &Request,
        envelope: &Envelope,
        grant: &Grant,
        roles: &RolesId,
    ) -> Vec<(Name, Envelope)> {
        let usual = match grant.code_review {
            CodeReview::BeforeRun => vec![
                code_approval("steward-ana", request, envelope, grant, roles, "2026-03-02T09:05:00Z"),
                code_approval("steward-ben", request, envelope, grant, roles, "2026-03-02T09:10:00Z"),
            ],
            CodeReview::None => Vec::new(),
        };
        let approvals = self.code_approvals.applied(usual);
        let places = ["code-0", "code-1", "code-2"];
        let sign = |(number, approval): (usize, &CodeApproval)| {
            (approval.steward.clone(), self.sign_as(places[number], approval, &approval.steward))
        };
        approvals.iter().enumerate().map(sign).collect()
    }

    /// Signed by the person in whose name it is, or by whom the story says.
    fn sign_as<P: Predicate>(&self, place: &str, statement: &P, usual: &Name) -> Envelope {
        let usual = [usual.as_str()];
        signed(statement, self.signers.get(place).map_or(&usual[..], Vec::as_slice))
    }

    fn approve(&self, verdict: &Verdict, envelope: &Envelope, roles: &RolesId) -> Vec<(Name, Envelope)> {
        let digest = envelope.payload_digest();
        let approvals = self.approvals.applied(vec![
            approval("steward-ana", verdict, digest, roles.clone(), "2026-03-02T10:00:00Z"),
            approval("steward-ben", verdict, digest, roles.clone(), "2026-03-02T10:30:00Z"),
        ]);
        let sign = |(number, approval): (usize, &Approval)| {
            let places = ["approval-0", "approval-1", "approval-2"];
            (approval.steward.clone(), self.sign_as(places[number], approval, &approval.steward))
        };
        approvals.iter().enumerate().map(sign).collect()
    }
}

fn manifest(
    decided: &Decided,
    request: &Envelope,
    verdict: &Verdict,
    verdict_envelope: &Envelope,
    approvals: &[(Name, Envelope)],
    roles: RolesId,
) -> Manifest {
    let approvals = approvals.iter().map(|(steward, envelope)| ApprovalDigest {
        steward: steward.clone(),
        payload: envelope.payload_digest().into(),
    });
    let files = verdict.files.iter().map(|file| ReleasedFile {
        name: file.name.clone(),
        bytes: file.bytes,
        sha256: file.sha256,
    });
    let grant = &decided.grant_statement;
    Manifest {
        site: verdict.site.clone(),
        request: request.payload_digest().into(),
        verdict: verdict_envelope.payload_digest().into(),
        approvals: approvals.collect(),
        grant: grant_id(grant, &decided.grant),
        policy: grant.policy.clone(),
        roles,
        revocation: decided.revocation.payload_digest().into(),
        recipient: verdict.requester.id.clone(),
        files: files.collect(),
        released_bits: Count(verdict.released_bits.0.saturating_add(VERDICT_BITS)),
        accounts: verdict
            .datasets
            .iter()
            .map(|dataset| GrantAccount {
                dataset: dataset.name.clone(),
                released_before: Count(2_048),
                limit: grant.datasets.get(&dataset.name).map_or(Count(0), |bits| bits.release_bits),
            })
            .collect(),
        differenced_against: Evidence::Digest(ComparedSet::default().digest()),
        issued_at: time("2026-03-02T11:00:00Z"),
    }
}
