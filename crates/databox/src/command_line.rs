//! What can be typed: the commands, noun first.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use databox::certificate::CertificateRole;
use databox::data::DataArguments;
use databox::failure::{Exit, Failure};
use databox::policy::PolicyCommand;
use databox::review::ReviewArguments;
use databox::runtime::RuntimeArguments;
use databox::{check, demo, doctor, fsck, init, key, local, site, tensors, walls, witness};
use release::statement::DenialReason;
use release::value::Name;

/// A command line that is not understood, as an error like any other.
pub fn not_understood(error: &clap::Error) -> Failure {
    let told = error.to_string();
    let mut parts = told.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let text = parts.next().unwrap_or_default();
    let text = text.strip_prefix("error: ").unwrap_or(&text).to_owned();
    Failure::new("USAGE", text).hint(parts.collect::<Vec<_>>().join("; ")).exit(Exit::Usage)
}

/// Runs code beside private data and lets only checked, approved, signed results out.
#[derive(Debug, Parser)]
#[command(name = "databox", version)]
pub struct CommandLine {
    /// Your profile: a file, or a name under ~/.config/databox.
    #[arg(long, global = true, default_value = "default")]
    pub profile: String,
    /// One JSON object on standard output, or for an error on standard error; of `job watch` one a line.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// A throw-away box that plays all roles on real data and attacks itself.
    Demo(demo::DemoArguments),
    /// Operator: a new home for a box.
    Init(init::InitArguments),
    /// Operator: the four rooms on this machine, until Ctrl-C.
    Up {
        /// The home.
        #[arg(long = "dir")]
        directory: PathBuf,
    },
    /// Operator: whether what a stopped box has on disk keeps its promises. It changes nothing.
    Fsck(fsck::FsckArguments),
    /// Operator: whether a box can do its work, and what to do if not. It changes nothing.
    Doctor(doctor::DoctorArguments),
    /// For `init` and `doctor`: tries the wall that standard input names, as whoever runs it.
    #[command(name = walls::PROBE, hide = true)]
    ProbeWall,
    /// Anyone: your own keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Operator: transport certificates.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Owner and stewards: roles, policies, grants, catalogue, revocations.
    #[command(subcommand)]
    Site(SiteCommand),
    /// Operator: data enters. Researcher: what there is.
    #[command(subcommand)]
    Data(DataCommand),
    /// Operator: runtimes.
    #[command(subcommand)]
    Runtime(RuntimeCommand),
    /// Researcher: jobs.
    #[command(subcommand)]
    Job(JobCommand),
    /// Researcher: what would leave, and at what price, checked at your desk.
    Check(check::CheckArguments),
    /// Prints the tensors of a weights file for a bundle's manifest, each with the digest that fixes it: a tensor of a
    /// public model that the job does not train is released for 0 bits.
    Tensors(tensors::TensorsArguments),
    /// Owner and anyone else: what an egress policy says and lets out.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Researcher: released files.
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Steward: reviews.
    #[command(subcommand)]
    Review(ReviewCommand),
    /// A witness of a box's log (C2SP tlog-witness).
    Witness(witness::WitnessArguments),
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Makes a signing key, a review key and a transport key, on your own machine.
    New(key::KeyArguments),
}

#[derive(Debug, Subcommand)]
pub enum CertCommand {
    /// Issues a person's certificate from the request that `key new` wrote.
    Issue {
        /// The home.
        #[arg(long)]
        home: PathBuf,
        /// The request, NAME.tls.csr.
        #[arg(long)]
        request: PathBuf,
        /// What it is for.
        #[arg(long)]
        role: CertificateRole,
        /// The person's id, as roles or a grant name it.
        #[arg(long)]
        id: Name,
        /// Where the certificate goes, NAME.tls.pem.
        #[arg(long)]
        out: PathBuf,
        /// How long it is valid.
        #[arg(long, default_value_t = 24)]
        hours: i64,
    },
    /// Makes the draft of the next revocation with a certificate more. It counts once it is signed and installed.
    Revoke {
        /// The home.
        #[arg(long)]
        home: PathBuf,
        /// The certificate, NAME.tls.pem.
        #[arg(long)]
        certificate: PathBuf,
        /// The draft to write.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Makes a draft from a few lines of TOML.
    New(site::NewArguments),
    /// Makes the draft of a catalogue entry from the enclave's answer.
    Draft {
        /// The answer: NAME.packet of a dataset, or runtime-NAME.json.
        answer: PathBuf,
        /// Your id, if the answer is sealed.
        #[arg(long = "as")]
        id: Option<Name>,
        /// Where your key files are.
        #[arg(long, default_value = ".")]
        keys: PathBuf,
        /// A file whose first line is the passphrase; without it you are asked.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// The draft to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Shows a draft, then signs it.
    Sign(site::SignArguments),
    /// Puts a signed statement where the rooms find it, if the site then still verifies.
    Install(site::InstallArguments),
    /// Pins the first roles in the configuration of every room.
    Pin {
        /// The home.
        #[arg(long)]
        home: PathBuf,
        /// Payload digest of the first roles.
        roles: blobs::Digest,
    },
    /// What stands in a site directory.
    Ls {
        /// The site directory.
        site_directory: PathBuf,
        /// Payload digest of the first roles, to verify from.
        #[arg(long)]
        pin: Option<blobs::Digest>,
    },
}

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Lays data into the drop directory; the enclave answers with a draft catalogue entry.
    Add(Box<DataArguments>),
    /// Researcher: the datasets that your grants cover.
    Ls,
    /// Researcher: the columns of a dataset and the values that its categories have, as the signed catalogue publishes them,
    /// and the box's runtimes.
    Show {
        /// The dataset.
        dataset: Name,
    },
}

#[derive(Debug, Subcommand)]
pub enum RuntimeCommand {
    /// Lays a runtime into the drop directory.
    Add(RuntimeArguments),
}

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Writes a bundle to start from.
    New {
        /// A new directory.
        directory: PathBuf,
    },
    /// Reads a bundle as the box does: what it holds, or by name why the box refuses it.
    Inspect {
        /// A bundle's directory, or a bundle file: one tar archive in one zstd frame.
        file: PathBuf,
    },
    /// Runs a bundle at your desk behind the box's wall, on made-up rows or your own, and checks what it wrote. Ends with
    /// 0 for PASS, 10 for FAIL, and 20 if the program failed.
    Run(local::LocalArguments),
    /// Packs a bundle, signs a request for it and hands both in.
    Submit {
        /// The bundle's directory.
        directory: PathBuf,
        /// Wait until the job is in review, or with `--wait=released` until it is released. A policy may tell of it at
        /// multiples of some minutes only. A job that ended otherwise gives an exit code of its own: 20 FAILED,
        /// 21 BLOCKED, 22 REFUSED, 23 REJECTED or RETURNED, 24 CANCELLED, 25 EXPIRED, 26 LOST.
        #[arg(long, value_name = "FOR", num_args = 0..=1, require_equals = true, default_missing_value = "in-review")]
        wait: Option<WaitFor>,
    },
    /// Your jobs, the newest first.
    Ls,
    /// One job: its state, why, what to do, and its place in the queue while it waits.
    Show {
        /// The job, or its first characters.
        job: String,
    },
    /// Every event of a job, each once, until it has ended. With --json a line for each.
    Watch {
        /// The job, or its first characters.
        job: String,
        /// Only events with a higher number.
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// Calls a job off. It has no effect on what was approved; a repeat does nothing more.
    Cancel {
        /// The job, or its first characters.
        job: String,
    },
}

/// How far a command waits for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// Until stewards decide.
    InReview,
    /// Until its files can be fetched.
    Released,
}

impl From<WaitFor> for lifecycle::State {
    fn from(wait: WaitFor) -> Self {
        match wait {
            WaitFor::InReview => Self::InReview,
            WaitFor::Released => Self::Released,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Your releases, the newest first.
    Ls,
    /// Fetches a release, verifies it, and only then writes it.
    Get {
        /// The release, or the job that it came from.
        release: String,
        /// A new directory.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum ReviewCommand {
    /// Reviews that are sealed to you.
    Ls,
    /// Verifies, opens and judges again, and says what it is. Of code: verifies, opens and unpacks.
    Show(ReviewArguments),
    /// Shows, asks, signs an approval.
    Approve {
        #[command(flatten)]
        review: ReviewArguments,
        /// Instead of being asked: the review's whole id, typed out.
        #[arg(long)]
        confirm: Option<String>,
    },
    /// Shows, signs a denial, and waits until it is a witnessed leaf of the log.
    Reject {
        #[command(flatten)]
        review: ReviewArguments,
        /// Ask for changes instead of saying no.
        #[arg(long)]
        r#return: bool,
        /// Why; may be given several times.
        #[arg(long = "reason", required = true)]
        reasons: Vec<ReasonWord>,
        /// Keep the signed denial here too. If the console ignores it, `databox site install` it.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// Why a steward refuses.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ReasonWord {
    OutsidePurpose,
    SmallCounts,
    TooMuch,
    Identifying,
    Unexplained,
    Code,
    Other,
}

impl From<ReasonWord> for DenialReason {
    fn from(word: ReasonWord) -> Self {
        match word {
            ReasonWord::OutsidePurpose => Self::OutsidePurpose,
            ReasonWord::SmallCounts => Self::SmallCounts,
            ReasonWord::TooMuch => Self::TooMuch,
            ReasonWord::Identifying => Self::Identifying,
            ReasonWord::Unexplained => Self::Unexplained,
            ReasonWord::Code => Self::Code,
            ReasonWord::Other => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    #[test]
    fn a_runtime_comes_from_one_source_and_no_more() {
        let typed = |sources: &[&str]| {
            let words = ["databox", "runtime", "add", "tools", "--home", "BOX"];
            CommandLine::try_parse_from(words.iter().chain(sources)).map(drop).map_err(|error| error.kind())
        };
        assert_eq!(typed(&[]), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(typed(&["--from-host-python"]), Ok(()));
        assert_eq!(typed(&["--from-oci", "LAYOUT"]), Ok(()));
        let two = typed(&["--from-host-python", "--from-directory", "DIR"]);
        assert_eq!(two, Err(ErrorKind::ArgumentConflict));
    }
}
