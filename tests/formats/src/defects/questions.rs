//! Questions that the box answers itself: one that verifies, and what is refused of such releases.

use blobs::Digest;
use release::account::VERDICT_BITS;
use release::refusal::Refusal;
use release::rule::Rule;
use release::statement::{
    Bounds, CatalogueEntry, Condition, DeclaredOutput, OutputKind, PrivacyBudget, PrivacyCharge,
    QUERY_PROGRAM, Query, QueryFunction, QueryPrivacy, QueryValue, Request, RuleResult, VerdictFile,
};
use release::value::{Count, Whole};

use super::{Defect, story};
use crate::story::{Story, name};

const ANSWER: &str = "plan,units,mean.visits\ndeductible,600,3.100\nfree,600,4.550\n";

/// Bits of the answer, as a judge counts them: what the request does not fix.
const BITS: u64 = 288;

fn query() -> Query {
    Query {
        dataset: name("hie"),
        table: name("visits.csv"),
        groups: vec![name("plan")],
        values: vec![QueryValue { column: name("visits"), function: QueryFunction::Mean }],
        filter: Some(Condition::Among {
            column: name("plan"),
            values: vec!["deductible".to_owned(), "free".to_owned()],
        }),
        privacy: None,
    }
}

/// A release of the answer to a question.
fn question() -> Story {
    answered(query(), ANSWER)
}

/// The same of a quantile: its column's name is all that differs.
fn quantile() -> Story {
    quantile_above(75, "plan,units,quantile-75.visits\ndeductible,600,3.100\nfree,600,4.550\n")
}

fn quantile_above(percent: u8, answer: &'static str) -> Story {
    let mut query = query();
    query.values[0].function = QueryFunction::Quantile(percent);
    answered(query, answer)
}

fn answered(query: Query, answer: &'static str) -> Story {
    let has_quantiles = query.quantiles().next().is_some();
    story()
        .runtime(|entry| {
            if let CatalogueEntry::Runtime { answers_queries, .. } = &mut entry.entry {
                *answers_queries = true;
            }
        })
        .request(move |request| {
            request.command = vec![QUERY_PROGRAM.to_owned()];
            request.outputs = vec![query.output().expect("its columns have different names")];
            request.query = Some(query.clone());
        })
        .verdict(move |verdict| {
            verdict.files = vec![VerdictFile {
                name: name("answer.csv"),
                kind: OutputKind::Table,
                bytes: Count(answer.len() as u64),
                sha256: Digest::of(answer.as_bytes()),
                released_bits: Count(BITS),
                declared_counts: false,
                precision: None,
            }];
            if has_quantiles {
                verdict.rules[Rule::TableQuantiles.index()].result = RuleResult::Passed;
            }
            verdict.released_bits = Count(BITS);
            verdict.charges[0].release_bits = Count(BITS + VERDICT_BITS);
        })
        .files(move |files| {
            files.clear();
            files.insert(name("answer.csv"), answer.as_bytes().to_vec());
        })
}

fn asked(edit: impl Fn(&mut Query) + 'static) -> Story {
    changed(move |request| {
        let mut query = query();
        edit(&mut query);
        if let Ok(output) = query.output() {
            request.outputs = vec![output];
        }
        request.query = Some(query);
    })
}

fn changed(edit: impl Fn(&mut Request) + 'static) -> Story {
    question().request(edit)
}

/// A question that asks for noise, about a dataset whose owner gives a budget.
fn noisy_query() -> Query {
    let bounds = Bounds { least: Whole(0), most: Whole(20) };
    Query {
        values: vec![QueryValue { column: name("visits"), function: QueryFunction::Sum }],
        filter: None,
        privacy: Some(QueryPrivacy {
            rho_millionths: Count(10_000),
            groups_per_unit: Count(1),
            bounds: [(name("visits"), bounds)].into(),
        }),
        ..query()
    }
}

/// A release of its answer: below zero, too, and nothing looks at its counts.
fn noisy() -> Story {
    noised(|_| ())
}

fn noised(edit: impl Fn(&mut Query) + 'static) -> Story {
    let mut query = noisy_query();
    edit(&mut query);
    let answer = "plan,noisy.units,noisy.sum.visits\ndeductible,-7,1180\nfree,611,2744\n";
    with_budget(answered(query, answer), Some((500_000, 10_000))).verdict(|verdict| {
        let charge = PrivacyCharge { rho_millionths: Count(10_000), spent_millionths: Count(30_000) };
        verdict.charges[0].privacy = Some(charge);
        for rule in [
            Rule::TableDominance,
            Rule::TablePPercent,
            Rule::TableRounding,
            Rule::TableSmallestCount,
            Rule::TableSuppression,
            Rule::TableZeroCells,
        ] {
            verdict.rules[rule.index()].result = RuleResult::NotApplicable;
        }
        verdict.rules[Rule::TableDifferencing.index()].result = RuleResult::Noted;
    })
}

fn with_budget(story: Story, rho: Option<(u64, u64)>) -> Story {
    story.dataset(move |entry| {
        if let CatalogueEntry::Dataset { privacy, .. } = &mut entry.entry {
            *privacy = rho.map(|(rho, answer_rho)| PrivacyBudget {
                rho_millionths: Count(rho),
                answer_rho_millionths: Count(answer_rho),
                delta_exponent: Count(6),
            });
        }
    })
}

fn charged(edit: impl Fn(&mut Option<PrivacyCharge>) + 'static) -> Story {
    noisy().verdict(move |verdict| edit(&mut verdict.charges[0].privacy))
}

fn about_noise() -> Vec<Defect> {
    let content = |which, about, story| Defect::new(Refusal::RequestContent, which, about, story);
    let bits = |which, about, story| Defect::new(Refusal::VerdictBits, which, about, story);
    let privacy = |edit: fn(&mut QueryPrivacy)| {
        noised(move |query| {
            if let Some(privacy) = &mut query.privacy {
                edit(privacy);
            }
        })
    };
    vec![
        Defect::innocent("question-with-noise", "The box answered a question with noise.", noisy()),
        content(
            "noise-without-budget",
            "A question with noise about a dataset whose owner gives none of its units' privacy.",
            with_budget(noisy(), None),
        ),
        content(
            "noise-beyond-the-price",
            "A question with noise that costs more than the owner lets one answer cost.",
            with_budget(noisy(), Some((500_000, 9_999))),
        ),
        content(
            "noise-without-bounds",
            "A sum with noise of what one person may add without a limit.",
            privacy(|privacy| privacy.bounds.clear()),
        ),
        content(
            "noise-in-no-group",
            "A question with noise in which nobody may count.",
            privacy(|privacy| privacy.groups_per_unit = Count(0)),
        ),
        content(
            "noise-on-a-mean",
            "A mean with noise, which no bound of a sum makes safe.",
            noised(|query| query.values[0].function = QueryFunction::Mean),
        ),
        content(
            "noise-of-code",
            "Code calls its own table one with noise, at which no rule about counts looks.",
            story().request(|request| {
                for output in &mut request.outputs {
                    if let DeclaredOutput::Table { noised, .. } = output {
                        *noised = true;
                    }
                }
            }),
        ),
        Defect::new(
            Refusal::CatalogueContent,
            "privacy-budget",
            "A privacy budget of ρ = 5, which protects nobody.",
            with_budget(story(), Some((5_000_000, 10_000))),
        ),
        Defect::new(
            Refusal::CatalogueContent,
            "privacy-of-an-answer",
            "A privacy budget of which one answer may cost more than all of it.",
            with_budget(story(), Some((10_000, 10_001))),
        ),
        bits(
            "noise-for-nothing",
            "The verdict charges nothing for noise that was asked for.",
            charged(|charge| *charge = None),
        ),
        bits(
            "noise-for-less",
            "The verdict charges less for noise than the request asks for.",
            charged(|charge| {
                charge.iter_mut().for_each(|charge| charge.rho_millionths = Count(9_999));
            }),
        ),
        bits(
            "noise-that-was-not-added-up",
            "Less is charged in all than by this job's own runs.",
            charged(|charge| {
                charge.iter_mut().for_each(|charge| charge.spent_millionths = Count(9_999));
            }),
        ),
        bits(
            "noise-after-the-budget",
            "More is charged in all than the owner gives.",
            charged(|charge| {
                charge.iter_mut().for_each(|charge| charge.spent_millionths = Count(500_001));
            }),
        ),
        bits(
            "noise-of-an-exact-answer",
            "The verdict charges for noise that nobody asked for.",
            question().verdict(|verdict| {
                let charge = PrivacyCharge { rho_millionths: Count(1), spent_millionths: Count(1) };
                verdict.charges[0].privacy = Some(charge);
            }),
        ),
    ]
}

pub(super) fn all() -> Vec<Defect> {
    about_questions().into_iter().chain(about_noise()).collect()
}

fn about_questions() -> Vec<Defect> {
    let content = |which, about, story| Defect::new(Refusal::RequestContent, which, about, story);
    let runtime = |which, about, story| Defect::new(Refusal::RequestRuntime, which, about, story);
    vec![
        Defect::innocent("question", "The box answered a question and counted itself.", question()),
        Defect::innocent("question-of-a-quantile", "The box told what is around a rank.", quantile()),
        runtime(
            "question-to-code",
            "A question in a runtime that does not answer any.",
            question().runtime(|entry| {
                if let CatalogueEntry::Runtime { answers_queries, .. } = &mut entry.entry {
                    *answers_queries = false;
                }
            }),
        ),
        runtime(
            "code-for-questions",
            "Code in the runtime that answers questions: it could pass its counts off as the box's own.",
            story().runtime(|entry| {
                if let CatalogueEntry::Runtime { answers_queries, .. } = &mut entry.entry {
                    *answers_queries = true;
                }
            }),
        ),
        content(
            "question-by-another-command",
            "The program of questions with an argument of the researcher's.",
            changed(|request| request.command.push("compare".to_owned())),
        ),
        content(
            "question-without-shares",
            "The answer is declared without the shares by which it is judged.",
            changed(|request| {
                if let DeclaredOutput::Table { columns, largest_column, two_largest_column, .. } =
                    &mut request.outputs[0]
                {
                    columns.truncate(3);
                    (*largest_column, *two_largest_column) = (None, None);
                }
            }),
        ),
        content(
            "question-of-no-category",
            "Groups by a column that is no category of the catalogue.",
            asked(|query| query.groups = vec![name("visits")]),
        ),
        content(
            "question-of-no-public-value",
            "A filter names a value that the catalogue does not list.",
            asked(|query| {
                query.filter =
                    Some(Condition::Among { column: name("plan"), values: vec!["secret".to_owned()] });
            }),
        ),
        content(
            "question-twice-of-a-column",
            "A sum and a mean of one column tell how many rows there are.",
            asked(|query| {
                query.values.push(QueryValue { column: name("visits"), function: QueryFunction::Sum });
            }),
        ),
        content(
            "question-of-the-greatest",
            "The rank above all rows: the greatest value.",
            asked(|query| query.values[0].function = QueryFunction::Quantile(100)),
        ),
        content(
            "question-of-units",
            "A sum of the column that names the unit.",
            asked(|query| query.values[0].column = name("person")),
        ),
        Defect::new(
            Refusal::JudgedDifferently,
            "question-of-another-quantile",
            "A quantile at a level that the policy does not list, and a verdict that calls it allowed.",
            quantile_above(74, "plan,units,quantile-74.visits\ndeductible,600,3.100\nfree,600,4.550\n"),
        ),
        Defect::new(
            Refusal::JudgedDifferently,
            "question-of-a-quantile-unlooked",
            "A quantile that the verdict says no rule looked at.",
            quantile().verdict(|verdict| {
                verdict.rules[Rule::TableQuantiles.index()].result = RuleResult::NotApplicable;
            }),
        ),
        Defect::new(
            Refusal::VerdictFiles,
            "counts-of-a-question",
            "The verdict calls the box's own counts the job's word.",
            question().verdict(|verdict| verdict.files[0].declared_counts = true),
        ),
        Defect::new(
            Refusal::VerdictFiles,
            "counts-of-code",
            "The verdict calls counts that are the job's word the box's own.",
            story().verdict(|verdict| {
                verdict.files.iter_mut().for_each(|file| file.declared_counts = false);
            }),
        ),
    ]
}
