//! A verdict is not believed: the files of the packet are those that it names, and the judge, run once more on the
//! steward's own machine, gives the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use blobs::Digest;
use release::report::OutputReport;
use release::site::Site;
use release::statement::{Catalogue, Judgement, Request, RuleResult, Verdict};

use crate::failure::{Exit, Failure, whole};
use crate::wall::{self, Shown};

/// The packet holds exactly the files that the verdict names.
pub(super) fn compare_files(verdict: &Verdict, content: &packet::Content) -> Result<(), Failure> {
    let refused = |text: String| Failure::new("PACKET_REFUSED", text).exit(Exit::Denied);
    if verdict.files.len() != content.canonical.len() {
        return Err(refused("the packet holds other files than the verdict names".to_owned()));
    }
    for file in &verdict.files {
        let held = content.canonical.iter().find(|(name, _)| name == &file.name);
        let same = held
            .is_some_and(|(_, bytes)| file.sha256 == Digest::of(bytes) && file.bytes.0 == bytes.len() as u64);
        if !same {
            return Err(refused(format!(
                "{} in the packet is not the file that the verdict names",
                file.name
            )));
        }
    }
    Ok(())
}

/// Runs the judge on the canonical files once more, behind a wall, and compares every rule that needs no data.
pub(super) fn judge_again(
    site: &Site,
    request: &Request,
    verdict: &Verdict,
    content: &packet::Content,
) -> Result<Judgement, Failure> {
    let scratch = tempfile::tempdir().map_err(|error| Failure::new("FILE", whole(&error)))?;
    let canonical = scratch.path().join("canonical");
    fs::create_dir(&canonical).map_err(|error| Failure::new("FILE", whole(&error)))?;
    for (name, bytes) in &content.canonical {
        fs::write(canonical.join(name.as_str()), bytes)
            .map_err(|error| Failure::new("FILE", whole(&error)))?;
    }
    let open = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o755));
    open(scratch.path())
        .and_then(|()| open(&canonical))
        .map_err(|error| Failure::new("FILE", whole(&error)))?;
    let policy = site.policy(&verdict.policy).ok_or_else(|| {
        Failure::new("SITE_REFUSED", "the verdict's policy is not among the site's").exit(Exit::Denied)
    })?;
    let catalogue: Vec<Catalogue> = request
        .datasets
        .iter()
        .filter_map(|dataset| Some(site.dataset(&dataset.name)?.statement().clone()))
        .collect();
    let task = egress::Task {
        policy: String::from_utf8_lossy(policy.file()).into_owned(),
        outputs: request.outputs.clone(),
        catalogue,
        query: request.query.clone(),
        precisions: verdict.precisions(),
        as_written: false,
    };
    let input = task.to_json();
    let shown = [Shown { source: canonical, target: "/canonical".to_owned(), writable: false }];
    let stdout = wall::check("judge", input, &shown, 1 << 20)?;
    let report = stdout.get(..OutputReport::BYTES).map(OutputReport::from_bytes);
    let Some(Ok(report)) = report else {
        return Err(Failure::new("CHECKER_FAILED", "the judge's answer is not of the fixed form"));
    };
    let policy = std::str::from_utf8(policy.file()).ok().and_then(|text| egress::Policy::parse(text).ok());
    let policy = policy.ok_or_else(|| {
        Failure::new("SITE_REFUSED", "the verdict's policy is not one that this tool can read")
            .exit(Exit::Denied)
    })?;
    let report = with_what_was_fixed(report, &policy, request, verdict, content);
    Ok(if same(report, &policy, request, verdict) { Judgement::Same } else { Judgement::NotChecked })
}

/// The judge read what a job wrote, so it is not believed that what the request fixed stands in the files: it is compared
/// here, too. What does not blocks, as it does in the box.
fn with_what_was_fixed(
    mut report: OutputReport,
    policy: &egress::Policy,
    request: &Request,
    verdict: &Verdict,
    content: &packet::Content,
) -> OutputReport {
    let precisions = verdict.precisions();
    for (name, bytes) in &content.canonical {
        let Some(output) = request.outputs.iter().find(|output| output.path() == name) else { continue };
        let holds = policy.stated(output, precisions.get(name).copied()).is_some_and(|policy| {
            let holds = egress::holds_what_was_fixed(&policy, output, &mut std::io::Cursor::new(bytes));
            holds.unwrap_or(false)
        });
        if !holds {
            report.rules[output.kind().form_rule().index()] = RuleResult::Blocked;
        }
    }
    report
}

fn same(mut report: OutputReport, policy: &egress::Policy, request: &Request, verdict: &Verdict) -> bool {
    // The judge read what a job wrote, so it is not believed below what length and declaration alone make it.
    for file in &verdict.files {
        let Some(index) = request.outputs.iter().position(|output| output.path() == &file.name) else {
            return false;
        };
        let output = &request.outputs[index];
        // A precision that the policy does not allow has no price.
        let Some(policy) = policy.stated(output, file.precision) else { return false };
        let floor = egress::floor_bits(&policy, output, file.bytes.0);
        report.bits[index] = report.bits[index].max(floor);
    }
    release::file::compare(&report, &request.outputs, verdict).is_ok()
}
