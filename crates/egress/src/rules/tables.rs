//! The rules of tables: reasons and examples.

use super::RuleResult::{Blocked, NotApplicable, NotChecked, Noted, Passed};
use super::Written::{After, Answer, Beside, Rows, Text};
use super::{Example, example};

const TABLE: &str = r#"{"kind":"table","path":"by_plan.csv","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"},{"name":"mean","type":"decimal:2"}],
    "countColumn":"n"}"#;
const BY_DAY: &str = r#"{"kind":"table","path":"by_day.csv","columns":[
    {"name":"day","type":"integer"},{"name":"n","type":"integer"}],"countColumn":"n"}"#;
const UNCOUNTED: &str = r#"{"kind":"table","path":"by_plan.csv","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"mean","type":"decimal:2"}]}"#;
const SHARED: &str = r#"{"kind":"table","path":"by_plan.csv","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"},{"name":"mean","type":"decimal:2"},
    {"name":"one","type":"decimal:3"},{"name":"two","type":"decimal:3"}],
    "countColumn":"n","largestColumn":"one","twoLargestColumn":"two"}"#;
const NOBODY: &str = r#"{"kind":"table","path":"by_plan.csv","columns":[
    {"name":"plan","type":"category:hie.plan"},{"name":"n","type":"integer"},{"name":"mean","type":"decimal:2"}],
    "countColumn":"n","structuralZeros":[["individual"]]}"#;

const NOISY: &str = r#"{"dataset":"hie","table":"hie.csv","groups":["plan"],
    "values":[{"column":"visits","function":"sum"}],
    "privacy":{"rhoMillionths":"10000","groupsPerUnit":"1","bounds":{"visits":{"least":"0","most":"20"}}}}"#;

pub(super) const TABLE_CELLS: &str = "A table with a cell for each person is the data.";
pub(super) const TABLE_CELLS_EXAMPLES: &[Example] = &[
    example("a small table", TABLE, Text("plan,n,mean\nfree,50,1.25\n"), Passed),
    example("ten thousand days", BY_DAY, Rows { heading: "day,n\n", row: "#,50\n", count: 10_000 }, Blocked),
];

pub(super) const TABLE_DIFFERENCING: &str = "Two tables, each harmless, can differ by one person. Tables of a dataset must be compared with each other.";
pub(super) const TABLE_DIFFERENCING_EXAMPLES: &[Example] = &[
    example(
        "one person fewer than in another job's table, which rounding hides and the mean tells",
        TABLE,
        After { text: "plan,n,mean\nfree,49,1.25\n", earlier: "plan,n,mean\nfree,50,1.30\n" },
        Blocked,
    ),
    example(
        "the same table again",
        TABLE,
        After { text: "plan,n,mean\nfree,50,1.30\n", earlier: "plan,n,mean\nfree,50,1.30\n" },
        Passed,
    ),
    example(
        "twenty people fewer",
        TABLE,
        After { text: "plan,n,mean\nfree,50,1.25\n", earlier: "plan,n,mean\nfree,70,1.30\n" },
        Passed,
    ),
];

pub(super) const TABLE_DOMINANCE: &str = "A total of which one or two people have nearly all tells their values, however many people \
    stand behind it. The shares are judged and never released: with the total they would tell the largest value.";
pub(super) const TABLE_DOMINANCE_EXAMPLES: &[Example] = &[
    example(
        "many people with small shares",
        SHARED,
        Text("plan,n,mean,one,two\nfree,50,1.25,0.100,0.180\n"),
        Passed,
    ),
    example(
        "two people with nine tenths",
        SHARED,
        Text("plan,n,mean,one,two\nfree,50,1.25,0.500,0.900\n"),
        Blocked,
    ),
    example(
        "nine tenths before rounding",
        SHARED,
        Text("plan,n,mean,one,two\nfree,50,1.25,0.500,0.8999\n"),
        Blocked,
    ),
    example(
        "no share that fifty people can have",
        SHARED,
        Text("plan,n,mean,one,two\nfree,50,1.25,0.000,0.000\n"),
        Blocked,
    ),
    example("no columns of shares", TABLE, Text("plan,n,mean\nfree,50,1.25\n"), NotChecked),
];

pub(super) const TABLE_FORM: &str = "Free text in cells, the order of rows, and ways to write the same number can carry something. \
    Cells are numbers of declared digits or categories of the signed catalogue; rows are sorted.";
pub(super) const TABLE_FORM_EXAMPLES: &[Example] = &[
    example("a table", TABLE, Text("plan,n,mean\nfree,50,1.25\nindividual,40,2.50\n"), Passed),
    example("surplus digits", TABLE, Text("plan,n,mean\nfree,50,1.256\n"), Noted),
    example("a value that is no category", TABLE, Text("plan,n,mean\nJane Roe,50,1.25\n"), Blocked),
    example("a column that is not declared", TABLE, Text("plan,n,mean,note\nfree,50,1.25,x\n"), Blocked),
    example("two rows of one group", TABLE, Text("plan,n,mean\nfree,50,1.25\nfree,50,1.26\n"), Blocked),
    example("a number that is none", TABLE, Text("plan,n,mean\nfree,50,nan\n"), Blocked),
];

pub(super) const TABLE_ROUNDING: &str =
    "Exact counts of two tables that differ by one person tell what that person is.";
pub(super) const TABLE_ROUNDING_EXAMPLES: &[Example] = &[
    example("a multiple of 5", TABLE, Text("plan,n,mean\nfree,50,1.25\n"), Passed),
    example("another count, which is rounded", TABLE, Text("plan,n,mean\nfree,52,1.25\n"), Noted),
];

pub(super) const TABLE_SMALLEST_COUNT: &str = "Behind a row of few people a neighbour or an employer knows who they are. It is checked before rounding.";
pub(super) const TABLE_SMALLEST_COUNT_EXAMPLES: &[Example] = &[
    example("ten people", TABLE, Text("plan,n,mean\nfree,10,1.25\n"), Passed),
    example(
        "fifty people, with their shares",
        SHARED,
        Text("plan,n,mean,one,two\nfree,50,1.25,0.100,0.180\n"),
        Passed,
    ),
    example(
        "nine people, though rounding makes them ten",
        TABLE,
        Text("plan,n,mean\nfree,9,1.25\n"),
        Blocked,
    ),
    example(
        "three people in an answer with noise, which is what protects them",
        NOISY,
        Answer("plan,noisy.units,noisy.sum.visits\nfree,3,11\nindividual,-2,4\n"),
        NotApplicable,
    ),
    example("no column that counts", UNCOUNTED, Text("plan,mean\nfree,1.25\n"), Blocked),
];

pub(super) const TABLE_P_PERCENT: &str = "Whoever is the second largest in a total subtracts their own value and learns the \
    largest one's, up to what all the others have. That must be a good part of it.";
pub(super) const TABLE_P_PERCENT_EXAMPLES: &[Example] = &[
    example("the others have much", SHARED, Text("plan,n,mean,one,two\nfree,50,1.25,0.100,0.180\n"), Passed),
    example(
        "the others have a twentieth of the largest",
        SHARED,
        Text("plan,n,mean,one,two\nfree,50,1.25,0.760,0.960\n"),
        Blocked,
    ),
];

const MEDIAN: &str = r#"{"dataset":"hie","table":"hie.csv","groups":["plan"],
    "values":[{"column":"visits","function":"quantile:50"}]}"#;
const TWENTIETH: &str = r#"{"dataset":"hie","table":"hie.csv","groups":["plan"],
    "values":[{"column":"visits","function":"quantile:5"}]}"#;
const BETWEEN: &str = r#"{"dataset":"hie","table":"hie.csv","groups":["plan"],
    "values":[{"column":"visits","function":"quantile:50"},{"column":"visits","function":"quantile:51"}]}"#;
const MEAN: &str = r#"{"dataset":"hie","table":"hie.csv","groups":["plan"],
    "values":[{"column":"visits","function":"mean"}]}"#;
pub(super) const TABLE_QUANTILES: &str = "A value at a rank is one person's, and many ranks next to each other trace a group's values \
    one after the other. So the box tells the mean of the rows around a rank, of enough people on each side, and only at levels \
    that the policy lists. Whoever has request and policy sees whether it did. Quantiles that code wrote cannot be told from other \
    numbers, and no rule looks at their levels.";
pub(super) const TABLE_QUANTILES_EXAMPLES: &[Example] = &[
    example(
        "the median of each group, asked of the box",
        MEDIAN,
        Answer(
            "plan,units,quantile-50.visits,share.largest,share.two-largest\nfree,50,2.000,0.060000,0.110000\n",
        ),
        Passed,
    ),
    example(
        "what is around the rank above 5 %, which few people have",
        TWENTIETH,
        Answer(
            "plan,units,quantile-5.visits,share.largest,share.two-largest\nfree,500,0.400,0.060000,0.110000\n",
        ),
        Blocked,
    ),
    example(
        "the rank next to the median",
        BETWEEN,
        Answer(
            "plan,units,quantile-50.visits,quantile-51.visits,share.largest,share.two-largest\n\
             free,50,2.000,2.050,0.060000,0.110000\n",
        ),
        Blocked,
    ),
    example(
        "a mean, which is no quantile",
        MEAN,
        Answer("plan,units,mean.visits,share.largest,share.two-largest\nfree,50,2.300,0.060000,0.110000\n"),
        NotApplicable,
    ),
];

pub(super) const TABLE_SUPPRESSION: &str = "A row that was left out since few stand in it comes back when another table of the job \
    adds over it. So for each row left out the bounds are computed that all tables together give.";
pub(super) const TABLE_SUPPRESSION_EXAMPLES: &[Example] = &[
    example("every row is there", TABLE, Text("plan,n,mean\nfree,50,1.25\nindividual,40,2.50\n"), Passed),
    example(
        "a total tells how many stand in the row that was left out",
        TABLE,
        Beside {
            text: "plan,n,mean\nfree,50,1.25\n",
            declared: r#"{"kind":"table","path":"all.csv","columns":[{"name":"n","type":"integer"}],"countColumn":"n"}"#,
            other: "n\n55\n",
        },
        Blocked,
    ),
    example(
        "a total tells that hundreds stand in it, so it needs no protection",
        TABLE,
        Beside {
            text: "plan,n,mean\nfree,50,1.25\n",
            declared: r#"{"kind":"table","path":"all.csv","columns":[{"name":"n","type":"integer"}],"countColumn":"n"}"#,
            other: "n\n500\n",
        },
        Passed,
    ),
];

pub(super) const TABLE_ZERO_CELLS: &str = "That nobody of a group is healthy tells of each of them that they are not. A row of nobody \
    may leave only where nobody can stand, as the signed request says.";
pub(super) const TABLE_ZERO_CELLS_EXAMPLES: &[Example] = &[
    example("rows of somebody", TABLE, Text("plan,n,mean\nfree,50,1.25\n"), Passed),
    example(
        "nobody, which tells something",
        TABLE,
        Text("plan,n,mean\nfree,50,1.25\nindividual,0,0\n"),
        Blocked,
    ),
    example(
        "nobody where nobody can stand",
        NOBODY,
        Text("plan,n,mean\nfree,50,1.25\nindividual,0,0\n"),
        Passed,
    ),
    example(
        "somebody where nobody can stand",
        NOBODY,
        Text("plan,n,mean\nfree,50,1.25\nindividual,20,1\n"),
        Blocked,
    ),
];
