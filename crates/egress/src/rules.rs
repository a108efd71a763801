//! Every rule with its reason and examples, accepted and refused. The tests run each example.

mod run;

pub use run::ExampleOutcome;
mod tables;

use release::rule::Rule;
use release::statement::RuleResult;
use tables::*;

/// Why a rule is there, and what it does.
#[derive(Debug, Clone, Copy)]
pub struct Explanation {
    /// The rule.
    pub rule: Rule,
    /// What would be lost without it.
    pub reason: &'static str,
    /// Whether this version runs it. A rule that is not built reads `not-checked` in every verdict.
    pub built: bool,
    /// Examples under the standard policy, the dataset `hie` having the categories `free` and `individual` in the column
    /// `plan`.
    pub examples: &'static [Example],
}

/// An output and what a rule says of it.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// What it shows.
    pub shows: &'static str,
    /// The declared output, or the question, as JSON.
    pub declared: &'static str,
    /// What was written there.
    pub written: Written,
    /// What comes of the rule.
    pub result: RuleResult,
}

/// What was written in an example.
#[derive(Debug, Clone, Copy)]
pub enum Written {
    /// A text file.
    Text(&'static str),
    /// A text file of this heading and so many times this row, with its number in the place of `#`.
    Rows {
        /// The heading.
        heading: &'static str,
        /// The row.
        row: &'static str,
        /// How many.
        count: usize,
    },
    /// So many metrics, declared and written, in the place of those in the declaration.
    Metrics(usize),
    /// A safetensors file of tensors in binary32: name, shape, values.
    Tensors(&'static [(&'static str, &'static [u64], &'static [f32])]),
    /// A safetensors file of so many tensors in binary32 that the declaration names, all of them zero.
    Zeros,
    /// A symbolic link.
    SymbolicLink,
    /// Nothing.
    Nothing,
    /// A text file, and another declared output beside it.
    Beside {
        /// The text file.
        text: &'static str,
        /// The other output, as JSON.
        declared: &'static str,
        /// What was written there.
        other: &'static str,
    },
    /// A table, compared with what another job wrote to the same declaration.
    After {
        /// The table.
        text: &'static str,
        /// The other job's.
        earlier: &'static str,
    },
    /// The answer to a question that was asked in place of code. What is declared in the example is the question, as JSON; the
    /// output follows from it.
    Answer(&'static str),
    /// A text file, searched for copies of this data.
    Searched {
        /// The private data.
        data: &'static str,
        /// The text.
        text: &'static str,
    },
}

/// The explanation of a rule.
pub fn explain(rule: Rule) -> Explanation {
    let (built, reason, examples) = match rule {
        Rule::CopyBundle => (false, COPY_BUNDLE, &[][..]),
        Rule::CopyExact => (true, COPY_EXACT, COPY_EXACT_EXAMPLES),
        Rule::CopyNumeric => (true, COPY_NUMERIC, COPY_NUMERIC_EXAMPLES),
        Rule::CopyViews => (true, COPY_VIEWS, COPY_VIEWS_EXAMPLES),
        Rule::FigureForm => (true, FIGURE_FORM, FIGURE_FORM_EXAMPLES),
        Rule::MetricsCount => (true, METRICS_COUNT, METRICS_COUNT_EXAMPLES),
        Rule::MetricsDegreesOfFreedom => (true, METRICS_DEGREES, METRICS_DEGREES_EXAMPLES),
        Rule::MetricsForm => (true, METRICS_FORM, METRICS_FORM_EXAMPLES),
        Rule::OutputDeclared => (true, OUTPUT_DECLARED, OUTPUT_DECLARED_EXAMPLES),
        Rule::ReleaseBits => (true, RELEASE_BITS, RELEASE_BITS_EXAMPLES),
        Rule::TableCells => (true, TABLE_CELLS, TABLE_CELLS_EXAMPLES),
        Rule::TableDifferencing => (true, TABLE_DIFFERENCING, TABLE_DIFFERENCING_EXAMPLES),
        Rule::TableDominance => (true, TABLE_DOMINANCE, TABLE_DOMINANCE_EXAMPLES),
        Rule::TableForm => (true, TABLE_FORM, TABLE_FORM_EXAMPLES),
        Rule::TablePPercent => (true, TABLE_P_PERCENT, TABLE_P_PERCENT_EXAMPLES),
        Rule::TableQuantiles => (true, TABLE_QUANTILES, TABLE_QUANTILES_EXAMPLES),
        Rule::TableRounding => (true, TABLE_ROUNDING, TABLE_ROUNDING_EXAMPLES),
        Rule::TableSmallestCount => (true, TABLE_SMALLEST_COUNT, TABLE_SMALLEST_COUNT_EXAMPLES),
        Rule::TableSuppression => (true, TABLE_SUPPRESSION, TABLE_SUPPRESSION_EXAMPLES),
        Rule::TableZeroCells => (true, TABLE_ZERO_CELLS, TABLE_ZERO_CELLS_EXAMPLES),
        Rule::WeightsCapacity => (true, WEIGHTS_CAPACITY, WEIGHTS_CAPACITY_EXAMPLES),
        Rule::WeightsForm => (true, WEIGHTS_FORM, WEIGHTS_FORM_EXAMPLES),
    };
    Explanation { rule, reason, built, examples }
}

const METRICS: &str = r#"{"kind":"metrics","path":"metrics.json","names":["loss"]}"#;
const WEIGHTS: &str =
    r#"{"kind":"weights","path":"model.safetensors","tensors":[{"name":"w","shape":["2"]}]}"#;
const TOO_LARGE: &str =
    r#"{"kind":"weights","path":"model.safetensors","tensors":[{"name":"w","shape":["8192","1025"]}]}"#;
const fn example(
    shows: &'static str,
    declared: &'static str,
    written: Written,
    result: RuleResult,
) -> Example {
    Example { shows, declared, written, result }
}

use RuleResult::{Blocked, NotChecked, Noted, Passed};
use Written::{Metrics, Nothing, Searched, SymbolicLink, Tensors, Text, Zeros};

const COPY_BUNDLE: &str = "A bundle can bring guesses of the data and have the job say which were right. So a run that \
    stands in bundle, data and output is shown to the stewards instead of being excused.";

const COPY_EXACT: &str = "A job that copies rows into an output, by accident or lazily, is found: no run of 31 bytes \
    of the data stands in any view of it. A job that encrypts what it copies is not found; the bits bound it.";
const COPY_EXACT_EXAMPLES: &[Example] = &[
    example(
        "a row of the data in a cell of text",
        METRICS,
        Searched {
            data: "zper,plan,visits,note\n125024,free,3,patient-00f1-record-of-1974\n",
            text: "{\"loss\":\"125024,free,3,patient-00f1-record-of-1974\"}\n",
        },
        Blocked,
    ),
    example(
        "a number of its own",
        METRICS,
        Searched {
            data: "zper,plan,visits,note\n125024,free,3,patient-00f1-record-of-1974\n",
            text: "{\"loss\":0.1235}\n",
        },
        Passed,
    ),
];

const COPY_NUMERIC: &str = "Rows of the data can be written as numbers, rounded, in other units or in another order, which \
    no comparison of bytes finds. They are found where they agree with the data by far more than chance does.";
const VISITS: &str = "person,systolic,weight,creatinine,cost\n10482993,131,77.3,84.6,412.55\n58820177,118,64.9,71.2,96.18\n\
    33910254,144,91.4,102.7,1530.4\n91205531,127,70.2,66.8,233.71\n47718826,139,83.5,95.3,707.92\n\
    28841905,122,58.7,78.4,181.36\n66193340,151,99.1,88.9,2240.07\n73350418,116,62.8,69.5,330.64\n";
const COPY_NUMERIC_EXAMPLES: &[Example] = &[
    example(
        "the numbers of four people, though each row says that fifty stand behind it",
        r#"{"kind":"table","path":"people.csv","columns":[
            {"name":"person","type":"integer"},{"name":"n","type":"integer"}],"countColumn":"n"}"#,
        Searched { data: VISITS, text: "person,n\n10482993,50\n33910254,50\n47718826,50\n66193340,50\n" },
        Blocked,
    ),
    example(
        "sums of money by group",
        r#"{"kind":"table","path":"sums.csv","columns":[
            {"name":"total","type":"integer"},{"name":"n","type":"integer"}],"countColumn":"n"}"#,
        Searched { data: VISITS, text: "total,n\n10482000,50\n33910251,50\n47718829,50\n66193347,50\n" },
        Passed,
    ),
];

const COPY_VIEWS: &str = "A file that expands without end, or is packed deeper than is unpacked, cannot be searched as a \
    whole. It is blocked, since \"no copy was found\" would say more than was looked at.";
const COPY_VIEWS_EXAMPLES: &[Example] = &[
    example(
        "85 bytes of zlib in base64, of bzip2, which is 512 MiB of zeros",
        METRICS,
        Searched {
            data: "zper,plan,visits,note\n125024,free,3,patient-00f1-record-of-1974\n",
            text: "{\"loss\":\"eNpzisqwNHSMVAuO5ON8dJ8xvs+B4QADA4cCg0GDr5vTAtWVXA3TR+WpIc8kcXw3w5cPD0DyLGAVZzhXZU519MgNWrDEJvakyEMnJ/7TQRYAFrx7dA==\"}\n",
        },
        Blocked,
    ),
    example(
        "a number of its own",
        METRICS,
        Searched {
            data: "zper,plan,visits,note\n125024,free,3,patient-00f1-record-of-1974\n",
            text: "{\"loss\":0.1235}\n",
        },
        Passed,
    ),
];

const CHART: &str = r#"{"kind":"figure","path":"chart.json","columns":[{"name":"plan","type":"category:hie.plan"},
    {"name":"n","type":"integer"}],"countColumn":"n"}"#;
const FIGURE_FORM: &str = "A picture holds whatever its pixels hold. A chart is released as its values, under the rules \
    for tables, and as what is drawn from which column; whoever looks draws it. Titles, notes, colours and links are refused.";
const FIGURE_FORM_EXAMPLES: &[Example] = &[
    example(
        "a bar for each group",
        CHART,
        Text(
            r#"{"mark":"bar","data":{"values":[{"plan":"free","n":50},{"plan":"individual","n":40}]},
            "encoding":{"x":{"field":"plan","type":"nominal"},"y":{"field":"n","type":"quantitative"}}}"#,
        ),
        Passed,
    ),
    example(
        "a title, which can say anything",
        CHART,
        Text(
            r#"{"title":"125024","mark":"bar","data":{"values":[{"plan":"free","n":50}]},
            "encoding":{"x":{"field":"plan","type":"nominal"}}}"#,
        ),
        Blocked,
    ),
    example("no chart", CHART, Text("{}"), Blocked),
];

const METRICS_COUNT: &str = "A long list of metrics is a table of data by another name.";
const METRICS_COUNT_EXAMPLES: &[Example] = &[
    example("one metric", METRICS, Text("{\"loss\":0.5}"), Passed),
    example("a thousand metrics", METRICS, Metrics(1000), Blocked),
];

const MODEL: &str =
    r#"{"kind":"metrics","path":"metrics.json","names":["loss","df"],"degreesOfFreedom":"df"}"#;
const METRICS_DEGREES: &str = "A model with as many parameters as people repeats their values. What is left of the \
    observations once each parameter is estimated must be enough; a model that does not say how many reads not-checked.";
const METRICS_DEGREES_EXAMPLES: &[Example] = &[
    example("a model of few parameters", MODEL, Text("{\"loss\":0.5,\"df\":490}"), Passed),
    example("nearly a parameter for each person", MODEL, Text("{\"loss\":0.5,\"df\":9}"), Blocked),
    example("a model that does not say", METRICS, Text("{\"loss\":0.5}"), NotChecked),
];

const METRICS_FORM: &str = "Digits that no metric needs can carry text; so can names, notes and the order of keys. Only \
    the declared names leave, each with a number of at most 4 significant digits.";
const METRICS_FORM_EXAMPLES: &[Example] = &[
    example("a metric", METRICS, Text("{\"loss\":0.5}"), Passed),
    example("surplus digits", METRICS, Text("{\"loss\":0.123456789}"), Noted),
    example("a name that is not declared", METRICS, Text("{\"loss\":0.5,\"more\":1}"), Blocked),
    example("a declared name that is missing", METRICS, Text("{}"), Blocked),
    example("the same name twice", METRICS, Text("{\"loss\":0.5,\"loss\":0.6}"), Blocked),
    example("text in place of a number", METRICS, Text("{\"loss\":\"0.5\"}"), Blocked),
    example("a number that is none", METRICS, Text("{\"loss\":NaN}"), Blocked),
];

const OUTPUT_DECLARED: &str = "Names, links and the mere presence of a file can carry something. What the signed \
    request declared is written, each as a file with one name, and nothing else.";
const OUTPUT_DECLARED_EXAMPLES: &[Example] = &[
    example("a declared file", METRICS, Text("{\"loss\":0.5}"), Passed),
    example("a declared file that is missing", METRICS, Nothing, Blocked),
    example("a link, which could lead into the data", METRICS, SymbolicLink, Blocked),
];

const RELEASE_BITS: &str = "Whatever a hostile job hides, it cannot hide more than the files can carry.";
const RELEASE_BITS_EXAMPLES: &[Example] = &[
    example("a small model", WEIGHTS, Tensors(&[("w", &[2], &[0.5, 0.25])]), Passed),
    example("more parameters than the policy has bits for", TOO_LARGE, Zeros, Blocked),
];

const WEIGHTS_CAPACITY: &str = "Honest training itself can store some bits of the data in each parameter, and a hostile \
    job as many as it has. So the sum over all parameters is bounded.";
const WEIGHTS_CAPACITY_EXAMPLES: &[Example] = &[
    example("a small model", WEIGHTS, Tensors(&[("w", &[2], &[0.5, 0.25])]), Passed),
    example("more parameters than the policy has bits for", TOO_LARGE, Zeros, Blocked),
];

const WEIGHTS_FORM: &str = "A weights file has room for text in its header, between its tensors, in the payload of a \
    NaN and in fraction bits that no model needs. It is written anew from its values, in fewer bits: in those of the policy's \
    precision, or of a smaller one that the policy lists and in which the job's own evaluation measures nearly as well.";
const WEIGHTS_FORM_EXAMPLES: &[Example] = &[
    example("values that need no rounding", WEIGHTS, Tensors(&[("w", &[2], &[0.5, 0.25])]), Passed),
    example("values that are rounded", WEIGHTS, Tensors(&[("w", &[2], &[0.1, 0.2])]), Noted),
    example("minus zero, set to zero", WEIGHTS, Tensors(&[("w", &[2], &[-0.0, 0.25])]), Noted),
    example("a NaN", WEIGHTS, Tensors(&[("w", &[2], &[f32::NAN, 0.25])]), Blocked),
    example("another shape than declared", WEIGHTS, Tensors(&[("w", &[1, 2], &[0.5, 0.25])]), Blocked),
    example(
        "a tensor that is not declared",
        WEIGHTS,
        Tensors(&[("w", &[2], &[0.5, 0.25]), ("x", &[1], &[0.0])]),
        Blocked,
    ),
    example("a file of another kind", WEIGHTS, Text("PK\u{3}\u{4} not weights"), Blocked),
];
