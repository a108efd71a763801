//! The lies.

use std::io::{self, Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use egress::{InMemory, Judgement, Sink, Task};
use release::report::{EvaluationReport, OUTPUT_LIMIT, OutputReport, ScanReport};
use release::rule::Rule;
use release::statement::RuleResult;
use release::value::Name;

use crate::directory::Directory;
use crate::{CheckError, numbers, views, with_detail};

/// Where in the header of a model the job lays what the canonicaliser shall smuggle, as hexadecimal digits.
const ROWS: &[u8] = b"\"rows\": \"";

/// A child that lies, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// The canonicaliser puts the text of rows in the place of weights, and says that all is well.
    CanonicaliseSmuggle,
    /// It hands on what the job wrote, byte for byte, and says that it is the canonical form.
    CanonicaliseRaw,
    /// It writes more than any canonical file may have.
    CanonicaliseMore,
    /// It writes without end.
    CanonicaliseEndless,
    /// It lays a link, or if nobody lets it a directory, in the place of the file.
    CanonicaliseDirectory,
    /// It writes further files beside the declared ones.
    CanonicaliseBeside,
    /// Its report is a byte too short.
    CanonicaliseShort,
    /// It reaches for what it must not, and has no report if it got anything.
    CanonicaliseReach,
    /// The judge says that the files carry nothing.
    JudgeCheap,
    /// It leaves every rule out.
    JudgeSilent,
    /// It says that every rule was kept, and so does the canonicaliser.
    JudgeLenient,
    /// It sends a message of another kind.
    JudgeForeign,
    /// It never ends.
    JudgeAsleep,
    /// It reaches for what it must not, and has no report if it got anything.
    JudgeReach,
    /// The same, and it takes data for what it may see.
    JudgeMistaken,
    /// Whoever compares leaves the rule out.
    CompareSilent,
    /// It says that no table isolates anybody.
    CompareLenient,
    /// It sends a message of another kind.
    CompareForeign,
    /// It reaches for what it must not, and has no report if it got anything.
    CompareReach,
    /// Whoever compares evaluations says that a smaller precision does, whatever was measured.
    EvaluationLenient,
    /// It sends a message of another kind.
    EvaluationForeign,
    /// It reaches for what it must not, and has no report if it got anything.
    EvaluationReach,
    /// The views show nothing.
    ViewsEmpty,
    /// They are not there.
    ViewsMissing,
    /// They are links to the data, which only the next child sees.
    ViewsLink,
    /// It reaches for what it must not, and has no report if it got anything.
    ViewsReach,
    /// The scanner says that it found nothing.
    ScanHide,
    /// It sends rows in the place of its message.
    ScanLeak,
    /// It sends a message of another kind.
    ScanForeign,
    /// It reaches for what it must not, and has no report if it got anything.
    ScanReach,
}

impl Lie {
    const ALL: [(Self, &'static str); 30] = [
        (Self::CanonicaliseSmuggle, "canonicalise-smuggle"),
        (Self::CanonicaliseRaw, "canonicalise-raw"),
        (Self::CanonicaliseMore, "canonicalise-more"),
        (Self::CanonicaliseEndless, "canonicalise-endless"),
        (Self::CanonicaliseDirectory, "canonicalise-directory"),
        (Self::CanonicaliseBeside, "canonicalise-beside"),
        (Self::CanonicaliseShort, "canonicalise-short"),
        (Self::CanonicaliseReach, "canonicalise-reach"),
        (Self::JudgeCheap, "judge-cheap"),
        (Self::JudgeSilent, "judge-silent"),
        (Self::JudgeLenient, "judge-lenient"),
        (Self::JudgeForeign, "judge-foreign"),
        (Self::JudgeAsleep, "judge-asleep"),
        (Self::JudgeReach, "judge-reach"),
        (Self::JudgeMistaken, "judge-mistaken"),
        (Self::CompareSilent, "compare-silent"),
        (Self::CompareLenient, "compare-lenient"),
        (Self::CompareForeign, "compare-foreign"),
        (Self::CompareReach, "compare-reach"),
        (Self::EvaluationLenient, "evaluation-lenient"),
        (Self::EvaluationForeign, "evaluation-foreign"),
        (Self::EvaluationReach, "evaluation-reach"),
        (Self::ViewsEmpty, "views-empty"),
        (Self::ViewsMissing, "views-missing"),
        (Self::ViewsLink, "views-link"),
        (Self::ViewsReach, "views-reach"),
        (Self::ScanHide, "scan-hide"),
        (Self::ScanLeak, "scan-leak"),
        (Self::ScanForeign, "scan-foreign"),
        (Self::ScanReach, "scan-reach"),
    ];

    /// The lie that one of these names asks for.
    pub(crate) fn in_names(names: Vec<&Name>) -> Option<Self> {
        let asked = |word: &str| names.iter().any(|name| name.as_str().split('.').next() == Some(word));
        Self::ALL.into_iter().find(|(_, word)| asked(word)).map(|(lie, _)| lie)
    }
}

/// The canonical forms and the report, honest or not.
pub(crate) fn canonicalise(
    lie: Option<Lie>,
    task: &Task,
    out: &Path,
    canonical: &Path,
    counts: Option<&Path>,
) -> Result<Vec<u8>, CheckError> {
    let mut source = Directory::open(out)?.with_one_name_only();
    let mut honest = InMemory::default();
    let judgement = egress::canonicalise(task, &mut source, &mut honest)?;
    let mut sink = Directory::open(canonical)?;
    for (name, mut bytes) in honest.0 {
        match lie {
            Some(Lie::CanonicaliseSmuggle) => smuggle(&mut bytes, &written(&source, name.as_str())?),
            Some(Lie::CanonicaliseRaw) => bytes = written(&source, name.as_str())?,
            Some(Lie::CanonicaliseMore) => bytes = vec![b'1'; (1 << 20) + 1],
            Some(Lie::CanonicaliseEndless) => endless(&mut *sink.create(&name)?)?,
            Some(Lie::CanonicaliseDirectory) => {
                let place = canonical.join(name.as_str());
                symlink("/data/hie/hie.csv", &place).or_else(|_| std::fs::create_dir(&place))?;
                continue;
            }
            _ => {}
        }
        sink.create(&name)?.write_all(&bytes)?;
    }
    if let Some(counts) = counts {
        for (output, bytes) in &judgement.counts {
            std::fs::write(counts.join(egress::written_counts_file(*output)), bytes)?;
        }
    }
    if lie == Some(Lie::CanonicaliseBeside) {
        for name in ["rows.json", "rows"] {
            sink.create(&name.parse().expect("a name"))?.write_all(b"patient-")?;
        }
    }
    let mut report = with_detail(&judgement);
    if lie == Some(Lie::CanonicaliseShort) {
        report.truncate(OutputReport::BYTES - 1);
    }
    if matches!(lie, Some(Lie::CanonicaliseRaw | Lie::JudgeLenient)) {
        report = all_passed().to_bytes();
    }
    Ok(report)
}

fn smuggle(bytes: &mut [u8], written: &[u8]) {
    let place = written.windows(ROWS.len()).position(|window| window == ROWS).expect("rows in the header");
    let digits = written[place + ROWS.len()..].chunks_exact(2).take_while(|pair| pair[0].is_ascii_hexdigit());
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("hexadecimal") as u8;
    let rows = digits.map(|pair| 16 * digit(pair[0]) + digit(pair[1]));
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    bytes[8 + header..].iter_mut().zip(rows).for_each(|(byte, row)| *byte = row);
}

fn written(source: &Directory, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.file(name)?.0.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn endless(sink: &mut dyn Write) -> io::Result<()> {
    loop {
        sink.write_all(&[b'1'; 1 << 16])?;
    }
}

fn all_passed() -> OutputReport {
    OutputReport { rules: [RuleResult::Passed; Rule::ALL.len()], bits: [0; OUTPUT_LIMIT] }
}

/// The judge's report.
pub(crate) fn judge(lie: Option<Lie>, honest: &Judgement) -> Vec<u8> {
    match lie {
        Some(Lie::JudgeCheap) => OutputReport { bits: [0; OUTPUT_LIMIT], ..honest.report.clone() }.to_bytes(),
        Some(Lie::JudgeSilent) => OutputReport::unchecked().to_bytes(),
        Some(Lie::JudgeLenient) => OutputReport { bits: honest.report.bits, ..all_passed() }.to_bytes(),
        Some(Lie::JudgeForeign) => nothing_found().to_bytes(),
        Some(Lie::JudgeAsleep) => loop {
            std::thread::sleep(Duration::from_secs(3600));
        },
        _ => with_detail(honest),
    }
}

/// The report of whoever compares tables.
pub(crate) fn compare(lie: Option<Lie>, honest: &Judgement) -> Vec<u8> {
    match lie {
        Some(Lie::CompareSilent) => OutputReport::unchecked().to_bytes(),
        Some(Lie::CompareLenient) => all_passed().to_bytes(),
        Some(Lie::CompareForeign) => nothing_found().to_bytes(),
        _ => with_detail(honest),
    }
}

/// Whether what was measured of a smaller precision holds.
pub(crate) fn evaluation(lie: Option<Lie>, holds: bool) -> Vec<u8> {
    match lie {
        Some(Lie::EvaluationLenient) => EvaluationReport { holds: true }.to_bytes(),
        Some(Lie::EvaluationForeign) => nothing_found().to_bytes(),
        _ => EvaluationReport { holds }.to_bytes(),
    }
}

/// The views.
pub(crate) fn views(
    lie: Option<Lie>,
    task: &Task,
    canonical: &Path,
    directory: &Path,
) -> Result<OutputReport, CheckError> {
    let names = || {
        let outputs = task.outputs.iter().enumerate();
        outputs.flat_map(|(index, output)| {
            let views = views::of_kind(output.kind()).map(move |view| views::file_name(index, view));
            views.chain([numbers::file_name(index)])
        })
    };
    match lie {
        Some(Lie::ViewsMissing) => {}
        Some(Lie::ViewsEmpty) => {
            let directory = Directory::open(directory)?;
            names().try_for_each(|name| directory.new_file(&name).map(drop))?;
        }
        Some(Lie::ViewsLink) => {
            names().try_for_each(|name| symlink("/data/hie/hie.csv", directory.join(name)))?;
        }
        _ => {
            let (canonical, directory) = (Directory::open(canonical)?, Directory::open(directory)?);
            let made = views::write(&task.outputs, &canonical, &directory)?;
            numbers::write(&task.outputs, &canonical, &directory)?;
            return Ok(made);
        }
    }
    let mut made = OutputReport::unchecked();
    made.rules[Rule::CopyViews.index()] = RuleResult::Passed;
    Ok(made)
}

fn nothing_found() -> ScanReport {
    let mut rules = [RuleResult::NotChecked; Rule::ALL.len()];
    rules[Rule::CopyExact.index()] = RuleResult::Passed;
    rules[Rule::CopyNumeric.index()] = RuleResult::Passed;
    ScanReport { rules, exempt_millionths: 0, data_bytes: 1, runs: 0, places: vec![] }
}

/// The scanner's message. It alone has rows to send.
pub(crate) fn scan(lie: Option<Lie>, honest: &ScanReport, data: &Path) -> Result<Vec<u8>, CheckError> {
    Ok(match lie {
        Some(Lie::ScanHide) => nothing_found().to_bytes(),
        Some(Lie::ScanLeak) => std::fs::read(data.join("hie/hie.csv"))?[..ScanReport::BYTES].to_vec(),
        Some(Lie::ScanForeign) => OutputReport::unchecked().to_bytes(),
        _ => honest.to_bytes(),
    })
}
