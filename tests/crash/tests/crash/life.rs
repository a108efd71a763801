//! A job's life, played by people whose tools repeat what was not answered: what they were told counts from then on.

mod code_review;

use std::time::{Duration, Instant};

use databox::failure::Failure;
use databox::job::{Prepared, state};
use databox::review::{Desk, Opened};
use harness::{ONE_METRIC, manifest, write_metric};
use lifecycle::State;
use release::envelope::Envelope;
use release::statement::{DenialDecision, DenialReason};

use crate::plan::Mode;
use crate::site::Stated;
use crate::stage::TracedBox;

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Two stewards approve; it is released and fetched.
    Released,
    /// A steward says no.
    Denied,
    /// The policy says no.
    Blocked,
    /// The requester calls it off under review.
    Cancelled,
    /// As released, with a site statement that comes into force meanwhile.
    UnderNew(Stated),
    /// As released, under a grant that asks for a review of code: two stewards approve it before it runs.
    CodeApproved,
    /// Under the same grant, a steward refuses the code.
    CodeRefused,
}

impl End {
    /// What a recording of such a life is called.
    pub fn scene(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Denied => "denied",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
            Self::UnderNew(Stated::Revocation) => "under a new revocation",
            Self::UnderNew(Stated::Roles) => "under new roles",
            Self::UnderNew(Stated::Grant) => "under a new grant",
            Self::CodeApproved => "code approved",
            Self::CodeRefused => "code refused",
        }
    }

    /// True if the code is reviewed before it runs.
    fn has_code_review(self) -> bool {
        matches!(self, Self::CodeApproved | Self::CodeRefused)
    }

    /// True if the job comes to a review of its outputs.
    pub fn is_reviewed(self) -> bool {
        !matches!(self, Self::Blocked | Self::CodeRefused)
    }
}

/// Bundle, request, admission, run and verdict, up to the review, or to the end where the policy says no.
pub const RUN: &str = "run";
/// The first steward approves.
pub const FIRST_APPROVAL: &str = "first approval";
/// The second approves: sign, append, witness, publish, hand over, serve.
pub const RELEASE: &str = "sign, append, witness, publish";
/// A steward denies: append, witness, end.
pub const DENY: &str = "deny";
/// The requester calls the job off.
pub const CANCEL: &str = "cancel";
/// A revocation is installed, and the second steward approves.
pub const REVOCATION: &str = "revocation, and release";
/// The same with new roles.
pub const ROLES: &str = "roles, and release";
/// The same with a new version of the grant.
pub const GRANT: &str = "grant, and release";
/// Bundle, request and admission, up to the review of the code.
pub const CODE: &str = "submit, until the code is reviewed";
/// Two stewards approve the code; it runs, up to the review of its outputs.
pub const CODE_APPROVAL: &str = "code approved, run";
/// A steward refuses the code: append, witness, end.
pub const CODE_REFUSAL: &str = "code refused";
/// Between two lives.
const PREPARE: &str = "between lives";

/// How long one step may take, with every room killed once or twice meanwhile.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long a tool waits for an answer before it asks again, which has the console try at once; and longer each time,
/// up to eight times that, so that a loaded machine has time to answer.
const ANSWER: Duration = Duration::from_millis(1500);

/// Why a life did not end as it must.
pub type Stuck = String;

/// One job and what its people hold.
pub struct Life {
    end: End,
    prepared: Prepared,
    job: String,
    /// The review, once there is one: opened by Ana.
    opened: Option<Opened>,
    /// What people were told; none of it is asked for a second time.
    told: Told,
}

/// Answers that people got. They count from then on, whatever dies.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    submitted: bool,
    reviewed: bool,
    approved: bool,
    released: bool,
    denied: bool,
}

/// The power was cut: the step was not answered.
pub const CUT: &str = "the power was cut";

/// Repeats a step until it is answered.
pub async fn until<T, F: Future<Output = Result<T, Failure>>>(
    traced: &TracedBox,
    what: &str,
    mut step: impl FnMut() -> F,
) -> Result<T, Stuck> {
    let deadline = Instant::now() + PATIENCE;
    let mut answer = ANSWER;
    loop {
        // A room that died holds nobody up: the tool asks again.
        let dead = async {
            while !traced.situation.all_dead() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let failure = tokio::select! {
            () = dead => return Err(CUT.to_owned()),
            done = tokio::time::timeout(answer, step()) => match done {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => {
                    answer = (answer * 2).min(ANSWER * 8);
                    "no answer".to_owned()
                }
            },
        };
        let faults = traced.situation.faults();
        if Instant::now() > deadline || !faults.is_empty() {
            return Err(format!("{what}: {failure} {faults:?}"));
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

impl Life {
    /// Prepares a job that will end so.
    pub async fn prepare(traced: &TracedBox, end: End) -> Result<Self, Stuck> {
        let (outputs, code) = match end {
            End::Blocked => (BLOCKED_OUTPUT, BLOCKED_CODE.to_owned()),
            _ => (ONE_METRIC, write_metric("0.25")),
        };
        // A bundle of its own for each job: what the gateway has already is not uploaded a second time.
        static JOBS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = JOBS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let code = format!("# Job {number}\n{code}");
        let name = format!("{end:?}-{number}").to_lowercase();
        let mut text = manifest(outputs);
        if end.has_code_review() {
            text = text.replace("project = \"hie\"", "project = \"reviewed\"");
        }
        let bundle = traced.tested.bundle(&name, &[("databox.toml", &text), ("job.py", &code)]);
        enter(traced, PREPARE, Mode::Quiet);
        let prepared = until(traced, "prepare", async || bench(traced).await?.prepare(&bundle).await).await?;
        let job = prepared.job().to_string();
        Ok(Self { end, prepared, job, opened: None, told: Told::default() })
    }

    /// The same job, with stewards who decide otherwise.
    pub fn ending(self, end: End) -> Self {
        Self { end, ..self }
    }

    /// From the bundle to the verdict. Called again, it goes on after what people were told.
    pub async fn run(&mut self, traced: &TracedBox, mode: Mode) -> Result<(), Stuck> {
        if self.end.has_code_review() {
            self.review_code(traced, mode).await?;
        } else {
            enter(traced, RUN, mode);
            self.submit(traced).await?;
            let wanted = if self.end.is_reviewed() { State::InReview } else { State::Blocked };
            self.wait(traced, wanted).await?;
        }
        self.told.reviewed = true;
        enter(traced, PREPARE, Mode::Quiet);
        if self.end.is_reviewed() {
            self.opened = Some(self.open(traced, "ana").await?);
        }
        Ok(())
    }

    async fn submit(&mut self, traced: &TracedBox) -> Result<(), Stuck> {
        if !self.told.submitted {
            until(traced, "submit", async || bench(traced).await?.submit(&self.prepared).await).await?;
            self.told.submitted = true;
        }
        Ok(())
    }

    /// From the verdict to the end. Called again, it goes on after what people were told.
    pub async fn decide(&mut self, traced: &TracedBox, mode: Mode) -> Result<(), Stuck> {
        let states = [FIRST_APPROVAL, RELEASE, DENY, CANCEL, REVOCATION, ROLES, GRANT].into_iter();
        self.decide_in(traced, &mut states.map(|state| (state, mode.clone())).collect()).await
    }

    /// The same; each state's mode is taken out when the state is entered.
    pub async fn decide_in(&mut self, traced: &TracedBox, modes: &mut Modes) -> Result<(), Stuck> {
        enter(traced, PREPARE, Mode::Quiet);
        match self.end {
            End::Blocked | End::CodeRefused => {}
            End::Released | End::CodeApproved | End::UnderNew(_) => {
                self.approve(traced, modes).await?;
                self.fetch(traced).await?;
            }
            End::Denied => self.deny(traced, modes).await?,
            End::Cancelled => {
                enter(traced, CANCEL, taken(modes, CANCEL));
                until(traced, "cancel", async || traced.bench().await?.cancel(&self.job).await).await?;
                self.wait(traced, State::Cancelled).await?;
            }
        }
        enter(traced, PREPARE, Mode::Quiet);
        Ok(())
    }

    async fn wait(&self, traced: &TracedBox, wanted: State) -> Result<(), Stuck> {
        let waiting = || async {
            let found = traced.bench().await?.job(&self.job).await;
            match found {
                Ok(job) if state(&job) == wanted || state(&job).is_end() => Ok(Ok(state(&job))),
                Ok(job) => Err(Failure::new("NOT_YET", format!("the job is {}", state(&job)))),
                // Whoever was told that a job was taken in finds it for ever.
                Err(failure) if failure.reason == "NOT_FOUND" => Ok(Err(failure.to_string())),
                Err(failure) => Err(failure),
            }
        };
        let found = until(traced, "wait", waiting).await??;
        if found == wanted { Ok(()) } else { Err(format!("the job ended {found} instead of {wanted}")) }
    }

    /// Whoever was told that it is released finds it so, and gets it.
    pub async fn still_released(&self, traced: &TracedBox) -> Result<(), Stuck> {
        self.wait(traced, State::Released).await?;
        self.fetch(traced).await
    }

    async fn open(&self, traced: &TracedBox, steward: &str) -> Result<Opened, Stuck> {
        until(traced, "open the review", async || {
            let mut own = desk(traced, steward).await?;
            // The newest comes first. One that is decided has no packet any more.
            for review in own.list().await? {
                let Ok(opened) = own.open(&review.review).await else { continue };
                if opened.verdict.request.sha256.to_string() == self.job {
                    return Ok(opened);
                }
            }
            Err(Failure::new("NOT_YET", "no such review"))
        })
        .await
    }

    async fn approve(&mut self, traced: &TracedBox, modes: &mut Modes) -> Result<(), Stuck> {
        let opened = self.opened.as_ref().ok_or("there is no review")?;
        let mut approvals: Vec<(&str, Envelope)> = Vec::new();
        for steward in ["ana", "ben"] {
            let own = until(traced, "connect", || desk(traced, steward)).await?;
            approvals.push((steward, own.approval(opened).map_err(|failure| failure.to_string())?));
        }
        if !self.told.approved {
            enter(traced, FIRST_APPROVAL, taken(modes, FIRST_APPROVAL));
            let (steward, approval) = &approvals[0];
            until(traced, "approve", async || desk(traced, steward).await?.hand_in(approval).await).await?;
            self.told.approved = true;
        }
        if let End::UnderNew(stated) = self.end {
            enter(traced, stated.state(), taken(modes, stated.state()));
            let version = stated.install(traced)?;
            until(traced, "new site", async || {
                let site = traced.bench().await?.site().await?;
                let known = stated.version(&site) == version;
                known
                    .then_some(())
                    .ok_or_else(|| Failure::new("NOT_YET", "the gateway has the old statement"))
            })
            .await?;
        } else {
            enter(traced, RELEASE, taken(modes, RELEASE));
        }
        if !self.told.released {
            let (steward, approval) = &approvals[1];
            until(traced, "approve", async || {
                let answer = desk(traced, steward).await?.hand_in(approval).await?;
                if answer.release_file.is_empty() {
                    return Err(Failure::new("NOT_YET", "the release is not in the log"));
                }
                Ok(())
            })
            .await?;
            self.told.released = true;
        }
        self.wait(traced, State::Released).await
    }

    async fn fetch(&self, traced: &TracedBox) -> Result<(), Stuck> {
        let out = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut attempt = 0;
        let file = until(traced, "fetch", || {
            attempt += 1;
            let out = out.path().join(attempt.to_string());
            async move {
                let channel = bench(traced).await?.channel();
                let mut shelf =
                    databox::release_files::Shelf::new(traced.tested.stage.profile("kim"), channel);
                // It verifies before it writes.
                shelf.get(&self.job, &out).await
            }
        })
        .await?;
        if file.is_file() { Ok(()) } else { Err("nothing was fetched".to_owned()) }
    }

    async fn deny(&mut self, traced: &TracedBox, modes: &mut Modes) -> Result<(), Stuck> {
        let opened = self.opened.as_ref().ok_or("there is no review")?;
        let own = until(traced, "connect", || desk(traced, "ben")).await?;
        let denial = own.denial(opened, DenialDecision::Reject, vec![DenialReason::TooMuch]);
        let denial = denial.map_err(|failure| failure.to_string())?;
        enter(traced, DENY, taken(modes, DENY));
        if !self.told.denied {
            until(traced, "deny", async || {
                let mut own = desk(traced, "ben").await?;
                let answer = own.hand_in(&denial).await?;
                own.check_denied(opened, &answer)
            })
            .await?;
            self.told.denied = true;
        }
        self.wait(traced, State::Rejected).await
    }
}

/// What the tracers do in each state.
pub type Modes = std::collections::BTreeMap<&'static str, Mode>;

fn taken(modes: &mut Modes, state: &str) -> Mode {
    modes.remove(state).unwrap_or(Mode::Quiet)
}

pub fn enter(traced: &TracedBox, state: &'static str, mode: Mode) {
    // What the state before brought about belongs to it.
    traced.situation.settle();
    if !traced.situation.all_dead() {
        traced.situation.enter(state, mode);
    }
}

async fn desk(traced: &TracedBox, steward: &str) -> Result<Desk, Failure> {
    Desk::connect(traced.tested.stage.profile(steward)).await
}

async fn bench(traced: &TracedBox) -> Result<databox::job::Bench, Failure> {
    databox::job::Bench::connect(traced.tested.stage.profile("kim")).await
}

/// A table in which each value counts a single person.
const BLOCKED_OUTPUT: &str = r#"[[output]]
path = "counts.csv"
kind = "table"
count_column = "n"
columns = [{ name = "plan", type = "category:hie.plan" }, { name = "n", type = "integer" }]
"#;

const BLOCKED_CODE: &str = "open('/out/counts.csv', 'w').write('plan,n\\nfree,1\\n')\n";
