//! `databox check`: what would leave, and at what price, found out at the researcher's desk by the code that the box
//! runs. Rules that need the box's data do not run here.

mod declared;
mod searched;
pub(crate) mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use egress::{Detail, Finding, JudgedFile, Policy, Task};
use release::report::{DETAIL_LIMIT, NUMBERS_VIEW, OutputReport, Place, ScanReport, view_name};
use release::rule::Rule;
use release::statement::{
    Catalogue, ColumnType, DeclaredOutput, DeclaredTensor, Precision, Query, RuleResult,
};
use release::value::{Count, Name};
use serde::Serialize;

use crate::failure::{Exit, Failure, file_failure, whole};
use crate::local::data;
use crate::question::{self, Alone, Asked};
use crate::wall::{self, Shown};

/// The policy that is used if none is given.
pub const STANDARD: &str = include_str!("../../../policies/egress/standard.toml");

/// A report, and what it says to people.
const REPORT_BYTES: u64 = (OutputReport::BYTES + DETAIL_LIMIT) as u64;

/// What `databox check` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArguments {
    /// The bundle's manifest, databox.toml. An output without tensors, names or columns is judged as if what was
    /// written had been declared, and its names are charged too.
    #[arg(long)]
    pub manifest: PathBuf,
    /// The directory that the job wrote to. A question is checked without one, too: what it asks, and whether it is answered.
    #[arg(long)]
    pub outputs: Option<PathBuf>,
    /// The catalogue entry of a question's dataset, from the site directory. Without it the box is asked, as your profile
    /// says. Of code's outputs none is needed.
    #[arg(long, value_name = "FILE")]
    pub catalogue: Vec<PathBuf>,
    /// Data to search for copies in. The headings of its CSV files are no copy, as those that the box's catalogue lists.
    #[arg(long)]
    pub private: Option<PathBuf>,
    /// Files that anybody may read, as the dataset's catalogue entry names them: what stands in them is no copy.
    #[arg(long, requires = "private")]
    pub public: Option<PathBuf>,
    /// The egress policy; without it the standard one.
    #[arg(long)]
    pub policy: Option<PathBuf>,
    /// A new or empty directory that receives the bytes that would leave; nothing if the check fails.
    #[arg(long)]
    pub canonical: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// `PASS` or `FAIL`.
    pub result: Answer,
    /// Upper bound of what all files together can carry, in bits.
    pub released_bits: Count,
    /// The declared outputs, then what was not declared.
    pub files: Vec<JudgedFile>,
    /// The precision that the job's own evaluation chose, by file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub precisions: BTreeMap<Name, Precision>,
    /// Files whose evaluation was not run, so that the box may find a smaller precision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_evaluated: Vec<Name>,
    /// What was asked, in a sentence, if a question was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The deviation of the noise that weights leave with, in hundredths of each tensor's own; 0 for none.
    pub noise_percent: u64,
    /// Datasets whose categories were compared with nothing, since their catalogue is not known here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub categories_not_compared: BTreeSet<Name>,
    /// Rules of which nothing can be said here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<&'static str>,
    /// What was searched for copies; nothing if no data was given to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searched: Option<Searched>,
    /// What came of each rule.
    #[serde(skip)]
    pub report: OutputReport,
}

/// What a search for copies was of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Searched {
    /// The outputs that have a canonical form.
    pub files: Vec<String>,
    /// The others. Nobody looked for copies in them.
    pub not_searched: Vec<String>,
    /// How many files of data they were compared with.
    pub data_files: u64,
    /// Bytes of these.
    pub data_bytes: Count,
}

/// Whether the outputs would reach the stewards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Answer {
    /// They would.
    Pass,
    /// They would be blocked.
    Fail,
}

/// Checks, prints what was found, and ends with 0 for PASS and 10 for FAIL.
pub fn run(arguments: &CheckArguments, profile: &str, json: bool) -> Result<ExitCode, Failure> {
    let checked = match question_of(arguments, profile)? {
        Some((asked, _)) if arguments.outputs.is_none() => {
            Alone::new(asked).print(json)?;
            return Ok(ExitCode::SUCCESS);
        }
        question => check(arguments, question)?,
    };
    match json {
        true => println!(
            "{}",
            serde_json::to_string(&checked).map_err(|error| Failure::new("JSON", whole(&error)))?
        ),
        false => print!("{}", words(&checked)),
    }
    Ok(match checked.result {
        Answer::Pass => ExitCode::SUCCESS,
        Answer::Fail => ExitCode::from(Exit::CheckFailed as u8),
    })
}

/// The manifest's question and the entry of its dataset, if it has one: refused for what the box would refuse.
fn question_of(arguments: &CheckArguments, profile: &str) -> Result<Option<(Asked, Catalogue)>, Failure> {
    let text = fs::read_to_string(&arguments.manifest).map_err(file_failure(&arguments.manifest))?;
    // What is no manifest as a whole is read for its outputs, below.
    let Ok(manifest) = bundle::Manifest::parse(&text) else { return Ok(None) };
    let Some(asked) = &manifest.query else { return Ok(None) };
    let policy = Policy::parse(&policy_text(arguments.policy.as_deref())?)
        .map_err(|error| Failure::new("POLICY", whole(&error)))?;
    let entry = data::entry_of(question::dataset(&manifest)?, &arguments.catalogue, profile)?;
    Ok(Some((question::read(&manifest, asked, &entry, &policy)?, entry)))
}

/// Checks without printing: what code wrote, or the answer to this question.
pub fn check(arguments: &CheckArguments, question: Option<(Asked, Catalogue)>) -> Result<Checked, Failure> {
    let (question, catalogue) = question.unzip();
    let outputs = match &question {
        Some(asked) => vec![asked.output.clone()],
        None => declared::outputs(&arguments.manifest)?,
    };
    let Some(written) = &arguments.outputs else {
        return Err(Failure::new("OUTPUTS", "--outputs is missing: the directory that the job wrote to")
            .hint("only a question, `[query]` in databox.toml, is checked without it")
            .exit(Exit::Usage));
    };
    // The scanner reads whatever lies below `/data`; one directory needs no name of its own there.
    let data = arguments.private.iter().map(|directory| (String::new(), directory.clone())).collect();
    look(&Looked {
        outputs,
        policy: policy_text(arguments.policy.as_deref())?,
        catalogue: catalogue.into_iter().collect(),
        query: question.map(|asked| asked.query),
        written,
        data,
        public: arguments.public.as_deref(),
        canonical: arguments.canonical.as_deref(),
        precisions: None,
    })
}

/// The text of a policy's file, or of the standard one.
pub fn policy_text(file: Option<&Path>) -> Result<String, Failure> {
    match file {
        Some(file) => fs::read_to_string(file).map_err(file_failure(file)),
        None => Ok(STANDARD.to_owned()),
    }
}

/// What is looked at, and by what.
#[derive(Debug)]
pub struct Looked<'a> {
    /// The declared outputs.
    pub outputs: Vec<DeclaredOutput>,
    /// The policy's TOML.
    pub policy: String,
    /// What the catalogue says of the datasets, as far as it is known.
    pub catalogue: Vec<Catalogue>,
    /// The question that was asked in place of code, if one was.
    pub query: Option<Query>,
    /// The directory that the job wrote to.
    pub written: &'a Path,
    /// Each dataset's name and directory, to search for copies in.
    pub data: Vec<(String, PathBuf)>,
    /// A directory of files that anybody may read.
    pub public: Option<&'a Path>,
    /// A new or empty directory that receives the bytes that would leave.
    pub canonical: Option<&'a Path>,
    /// The precision of each output that ships an evaluation; None if none was run.
    pub precisions: Option<BTreeMap<Name, Precision>>,
}

/// Brings outputs into their canonical forms, judges them and searches them for copies of the data.
pub fn look(looked: &Looked<'_>) -> Result<Checked, Failure> {
    let limits = Policy::parse(&looked.policy).map_err(|error| Failure::new("POLICY", whole(&error)))?;
    egress::check_declarations(&limits, &looked.outputs)
        .map_err(|error| Failure::new("DECLARED", whole(&error)).exit(Exit::Usage))?;
    let largest =
        limits.weights.max_file_bytes.max(limits.table.max_file_bytes).max(limits.metrics.max_file_bytes);
    let canonical = Scratch::new("canonical")?;
    let task = Task {
        policy: looked.policy.clone(),
        outputs: looked.outputs.clone(),
        catalogue: looked.catalogue.clone(),
        query: looked.query.clone(),
        precisions: looked.precisions.clone().unwrap_or_default(),
        as_written: true,
    };
    let staged = stage::outputs(looked.written, largest)?;
    let mut checked = judged(&task, staged.path(), &canonical)?;
    checked.precisions = task.precisions.clone();
    checked.question = task.query.as_ref().map(Query::words);
    let not_evaluated = looked.outputs.iter().filter(|_| looked.precisions.is_none());
    let not_evaluated = not_evaluated.filter(|output| output.evaluation().is_some());
    checked.not_evaluated = not_evaluated.map(|output| output.path().clone()).collect();
    let has_weights = looked.outputs.iter().any(|output| matches!(output, DeclaredOutput::Weights { .. }));
    checked.noise_percent = if has_weights { limits.weights.dither_percent } else { 0 };
    checked.categories_not_compared = not_compared(looked);
    if !looked.data.is_empty() {
        let data_files = searched::data_files(&looked.data)?;
        let (views, scan) = searched::search(&task, &limits, &canonical, (&looked.data, looked.public))?;
        add_views(&mut checked, &views);
        add_scan(&mut checked, &task.outputs, &scan);
        let has_form =
            |name: &&str| canonical.directory.join(name).symlink_metadata().is_ok_and(|form| form.is_file());
        let declared = task.outputs.iter().map(|output| output.path().as_str());
        let files: Vec<String> = declared.filter(has_form).map(str::to_owned).collect();
        let names = checked.files.iter().map(|file| file.name.clone());
        let not_searched = names.filter(|name| !files.contains(name)).collect();
        let data_bytes = Count(scan.data_bytes);
        checked.searched = Some(Searched { files, not_searched, data_files, data_bytes });
    }
    let not_checked = |rule: &Rule| checked.report.rules[rule.index()] == RuleResult::NotChecked;
    checked.not_checked = Rule::ALL.into_iter().filter(not_checked).map(Rule::id).collect();
    if checked.report.rules.contains(&RuleResult::Blocked) {
        checked.result = Answer::Fail;
    }
    if let (Some(target), Answer::Pass) = (looked.canonical, checked.result) {
        copy_canonical(&canonical, target, &limits, &task)?;
    }
    Ok(checked)
}

/// Datasets of which a column holds a category, and whose catalogue is not known.
fn not_compared(looked: &Looked<'_>) -> BTreeSet<Name> {
    let columns = looked.outputs.iter().flat_map(|output| match output {
        DeclaredOutput::Table { columns, .. } | DeclaredOutput::Figure { columns, .. } => &columns[..],
        DeclaredOutput::Weights { .. } | DeclaredOutput::Metrics { .. } => &[],
    });
    let datasets = columns.filter_map(|column| match &column.column_type {
        ColumnType::Category { dataset, .. } => Some(dataset),
        _ => None,
    });
    let is_known = |dataset: &Name| looked.catalogue.iter().any(|entry| entry.name == *dataset);
    datasets.filter(|dataset| !is_known(dataset)).cloned().collect()
}

/// The tensors of a weights file as they would leave, each with the digest of its canonical data. The file is read
/// behind a wall; here only the form that was written anew is.
pub fn tensors(file: &Path, policy: &str) -> Result<Vec<DeclaredTensor>, Failure> {
    let limits = Policy::parse(policy).map_err(|error| Failure::new("POLICY", whole(&error)))?;
    let path: Name = "weights.safetensors".parse().expect("it is a name");
    let staged = stage::file(file, path.as_str(), limits.weights.max_file_bytes)?;
    let canonical = Scratch::new("canonical")?;
    let outputs = vec![DeclaredOutput::Weights { path: path.clone(), tensors: Vec::new(), evaluation: None }];
    let task = Task {
        policy: policy.to_owned(),
        outputs,
        catalogue: Vec::new(),
        query: None,
        precisions: BTreeMap::new(),
        as_written: true,
    };
    let checked = judged(&task, staged.path(), &canonical)?;
    // What a model may carry is asked of what a job releases, not of a model that is public.
    let blocks = |rule: Rule| checked.report.rules[rule.index()] == RuleResult::Blocked;
    if blocks(Rule::WeightsForm) || blocks(Rule::OutputDeclared) {
        let found = checked.files.iter().flat_map(|file| &file.findings);
        let why =
            found.filter(|finding| finding.result == RuleResult::Blocked).map(|finding| &finding.detail[..]);
        let why = why.collect::<Vec<_>>().join("; ");
        return Err(Failure::new("WEIGHTS", format!("{}: {why}", file.display()))
            .hint("it takes a safetensors file, no larger than the policy lets a job write")
            .exit(Exit::Usage));
    }
    let canonical = canonical.directory.join(path.as_str());
    // Whoever wrote it read a file of strangers, and could have left a link to one of ours.
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut form =
        fs::File::options().read(true).custom_flags(flags).open(&canonical).map_err(file_failure(file))?;
    let bytes = form.metadata().map_err(file_failure(file))?.len();
    egress::tensors_of_form(&limits, &mut form, bytes).map_err(file_failure(file))
}

/// The canonical forms of what was written, in a directory of their own; none of an output that has no form.
pub(crate) fn formed(task: &Task, written: &Path) -> Result<Scratch, Failure> {
    let canonical = Scratch::new("canonical")?;
    form(task, written, &canonical)?;
    Ok(canonical)
}

fn form(task: &Task, written: &Path, canonical: &Scratch) -> Result<Vec<u8>, Failure> {
    let out = Shown { source: written.to_owned(), target: "/out".to_owned(), writable: false };
    wall::check("canonicalise", task.to_json(), &[out, canonical.shown("/canonical", true)], REPORT_BYTES)
}

/// A directory of our own that a walled program can be shown.
pub(crate) struct Scratch {
    _root: tempfile::TempDir,
    directory: PathBuf,
}

impl Scratch {
    fn new(name: &str) -> Result<Self, Failure> {
        let root = stage::temporary()?;
        let directory = root.path().join(name);
        fs::create_dir(&directory).map_err(file_failure(&directory))?;
        stage::open_to_all(&directory)?;
        Ok(Self { _root: root, directory })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    fn shown(&self, target: &str, writable: bool) -> Shown {
        Shown { source: self.directory.clone(), target: target.to_owned(), writable }
    }
}

fn judged(task: &Task, outputs: &Path, canonical: &Scratch) -> Result<Checked, Failure> {
    let formed = form(task, outputs, canonical)?;
    let judged = wall::check("judge", task.to_json(), &[canonical.shown("/canonical", false)], REPORT_BYTES)?;
    let (formed_report, formed) = answer(&formed)?;
    let (judged_report, judged) = answer(&judged)?;
    let files = together(formed.files, judged.files);
    let bits = files.iter().map(|file| file.released_bits.0).fold(0, u64::saturating_add);
    let report = egress::merge(&formed_report, &judged_report);
    let (precisions, not_evaluated) = (BTreeMap::new(), Vec::new());
    Ok(Checked {
        result: Answer::Pass,
        released_bits: Count(bits),
        files,
        precisions,
        not_evaluated,
        question: None,
        noise_percent: 0,
        categories_not_compared: BTreeSet::new(),
        not_checked: Vec::new(),
        searched: None,
        report,
    })
}

fn answer(bytes: &[u8]) -> Result<(OutputReport, Detail), Failure> {
    let strange = || Failure::new("CHECKER_FAILED", "the checker's answer is not of the fixed form");
    let (report, detail) = bytes.split_at_checked(OutputReport::BYTES).ok_or_else(strange)?;
    let report = OutputReport::from_bytes(report).map_err(|_| strange())?;
    Ok((report, serde_json::from_slice(detail).map_err(|_| strange())?))
}

/// The findings of the canonicaliser, who saw what was written, and of the judge, who saw what would leave. An output
/// without a canonical form is not missing a second time.
fn together(formed: Vec<JudgedFile>, judged: Vec<JudgedFile>) -> Vec<JudgedFile> {
    let mut files = Vec::new();
    for mut file in formed {
        let again = judged.iter().find(|judged| judged.name == file.name && judged.kind == file.kind);
        if let (Some(again), 1..) = (again, file.bytes.0) {
            file.released_bits = again.released_bits;
            let known: BTreeSet<_> = file.findings.iter().map(|finding| finding.detail.clone()).collect();
            let new = again.findings.iter().filter(|finding| !known.contains(&finding.detail));
            file.findings.extend(new.cloned());
        }
        files.push(file);
    }
    files
}

/// What the making of views came to. It is told of every file, since the limits are those of all files together.
fn add_views(checked: &mut Checked, views: &OutputReport) {
    checked.report = egress::merge(&checked.report, views);
    if views.rules[Rule::CopyViews.index()] != RuleResult::Blocked {
        return;
    }
    for file in &mut checked.files {
        let detail = "it expands to more than can be searched, as a decompression bomb does".to_owned();
        file.findings.push(Finding { rule: Rule::CopyViews.name(), result: RuleResult::Blocked, detail });
    }
}

fn add_scan(checked: &mut Checked, outputs: &[DeclaredOutput], scan: &ScanReport) {
    let rules = OutputReport { rules: scan.rules, ..OutputReport::unchecked() };
    checked.report = egress::merge(&checked.report, &rules);
    for place in &scan.places {
        let Some(output) = outputs.get(usize::from(place.output)) else { continue };
        let name = output.path().as_str();
        if let Some(file) = checked.files.iter_mut().find(|file| file.name == name) {
            file.findings.push(copy_found(place));
        }
    }
}

fn copy_found(place: &Place) -> Finding {
    if place.view == NUMBERS_VIEW {
        let detail = format!("{} values of the data stand here from value {}", place.length, place.offset);
        return Finding { rule: Rule::CopyNumeric.name(), result: RuleResult::Blocked, detail };
    }
    let view = view_name(place.view).unwrap_or("?");
    let detail =
        format!("{} bytes of the data stand in view {view} from byte {}", place.length, place.offset);
    Finding { rule: Rule::CopyExact.name(), result: RuleResult::Blocked, detail }
}

/// Copies what would leave: weights with the noise that the policy asks for, as the box adds it once it has searched them.
fn copy_canonical(canonical: &Scratch, target: &Path, policy: &Policy, task: &Task) -> Result<(), Failure> {
    fs::create_dir_all(target).map_err(file_failure(target))?;
    for output in &task.outputs {
        let (from, to) =
            (canonical.directory.join(output.path().as_str()), target.join(output.path().as_str()));
        let mut form = fs::File::open(&from).map_err(file_failure(&from))?;
        let mut file = fs::File::create_new(&to).map_err(file_failure(&to))?;
        match output {
            DeclaredOutput::Weights { tensors, .. }
                if policy.weights.dither_percent > 0 && !tensors.is_empty() =>
            {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(|error| Failure::new("RANDOM", error.to_string()))?;
                let chosen = task.precisions.get(output.path()).copied();
                let policy = policy.at(chosen.unwrap_or(policy.weights.precision));
                egress::dither(&policy, output, &mut form, &mut file, &seed)
            }
            _ => std::io::copy(&mut form, &mut file).map(drop),
        }
        .map_err(file_failure(&to))?;
    }
    Ok(())
}

/// What was found, in words.
pub fn words(checked: &Checked) -> String {
    let mut text = checked.question.as_ref().map_or(String::new(), |words| format!("asks   {words}\n"));
    for file in &checked.files {
        let kind = file.kind.map_or("not declared".to_owned(), |kind| format!("{kind:?}").to_lowercase());
        let (name, bytes, bits) = (&file.name, file.bytes, file.released_bits);
        text += &format!("{name}  {kind}, {bytes} bytes, at most {bits} bits\n");
        if let Some((_, precision)) = checked.precisions.iter().find(|(name, _)| name.as_str() == file.name) {
            text += &format!("  in {}, which the job's own evaluation chose\n", precision.word());
        }
        if checked.not_evaluated.iter().any(|name| name.as_str() == file.name) {
            text += "  its evaluation was not run; the box may find a smaller precision, as `databox job run --local` does\n";
        }
        for finding in &file.findings {
            let mark = if finding.result == RuleResult::Blocked { "BLOCKED" } else { "noted  " };
            text += &format!("  {mark} {}: {}\n", finding.rule, finding.detail);
        }
    }
    if !checked.not_checked.is_empty() {
        text += &format!("not checked: {}\n", checked.not_checked.join(", "));
    }
    text += &searched_words(checked.searched.as_ref());
    for dataset in &checked.categories_not_compared {
        text += &format!(
            "categories of {dataset} were not compared with its catalogue, as the box does; `databox data show {dataset}` \
             lists them\n"
        );
    }
    if checked.noise_percent > 0 {
        text += &format!(
            "noise of {} % of each tensor's deviation is added where weights leave, as the policy asks\n",
            checked.noise_percent
        );
    }
    let result = if checked.result == Answer::Pass { "PASS" } else { "FAIL" };
    text + &format!("{result}  at most {} bits\n", checked.released_bits)
}

/// What was looked at for copies of what, so that nobody takes what was not looked at for clean.
fn searched_words(searched: Option<&Searched>) -> String {
    let Some(Searched { files, not_searched, data_files, data_bytes }) = searched else {
        return "no copies were looked for: no data was given to compare with (`--private`, or `--data` of `databox job \
                run --local`)\n"
            .to_owned();
    };
    let mut text = match &files[..] {
        [] => "no output was searched for copies\n".to_owned(),
        files => format!(
            "searched for copies of {data_files} file(s) of data, {data_bytes} bytes: {}\n",
            files.join(", ")
        ),
    };
    if !not_searched.is_empty() {
        text +=
            &format!("not searched, not written or without a canonical form: {}\n", not_searched.join(", "));
    }
    text
}
