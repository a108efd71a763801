//! `databox policy`: what an egress policy says, where it is weaker than the standard one, and what it lets out. It asks
//! no box and needs no key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use egress::rules;
use egress::{Policy, Weaker};
use release::rule::Rule;
use release::statement::RuleResult;
use serde::Serialize;

use crate::check::{STANDARD, policy_text};
use crate::failure::{Exit, Failure, whole};

/// What is asked about policies.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum PolicyCommand {
    /// Whether a policy is accepted, and each value that is weaker than the standard policy's.
    Lint {
        /// The policy's TOML file.
        file: PathBuf,
    },
    /// Runs each rule's examples under a policy. Ends with 10 if it lets out one that the standard policy blocks.
    Test {
        /// The policy's TOML file.
        file: PathBuf,
    },
    /// What each rule is for, its examples, and the limits that a policy gives it.
    Explain {
        /// One rule's id, such as `table.smallest-count`; without it all of them.
        rule: Option<String>,
        /// The policy; without it the standard one.
        #[arg(long)]
        policy: Option<PathBuf>,
    },
}

/// Answers, and prints the answer.
pub fn run(command: &PolicyCommand, json: bool) -> Result<ExitCode, Failure> {
    match command {
        PolicyCommand::Lint { file } => print(&lint(&policy_text(Some(file))?)?, Linted::words, json),
        PolicyCommand::Test { file } => {
            let tested = test(&policy_text(Some(file))?)?;
            print(&tested, Tested::words, json)?;
            return Ok(if tested.is_weaker() {
                ExitCode::from(Exit::CheckFailed as u8)
            } else {
                ExitCode::SUCCESS
            });
        }
        PolicyCommand::Explain { rule, policy } => {
            let explained = explain(rule.as_deref(), policy.as_deref())?;
            print(&explained, Explained::words, json)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

fn print<T: Serialize>(answer: &T, words: impl Fn(&T) -> String, json: bool) -> Result<(), Failure> {
    match json {
        true => println!(
            "{}",
            serde_json::to_string(answer).map_err(|error| Failure::new("JSON", whole(&error)))?
        ),
        false => print!("{}", words(answer)),
    }
    Ok(())
}

fn parsed(text: &str) -> Result<Policy, Failure> {
    Policy::parse(text).map_err(|error| {
        Failure::new("POLICY", whole(&error))
            .hint("policies/egress/standard.toml has every key, with its reason")
    })
}

/// What was found in a policy that is accepted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Linted {
    /// Values that are weaker than the standard policy's.
    pub weaker: Vec<Weaker>,
    /// Limits that another one always comes before: the limit, and the other.
    pub never_reached: Vec<(&'static str, &'static str)>,
}

/// Looks at a policy's values.
pub fn lint(text: &str) -> Result<Linted, Failure> {
    let (policy, standard) = (parsed(text)?, parsed(STANDARD)?);
    Ok(Linted { weaker: policy.weaker_than(&standard), never_reached: policy.never_reached() })
}

impl Linted {
    fn words(&self) -> String {
        let mut text = String::from("accepted\n");
        for Weaker { key, value, other } in &self.weaker {
            text += &format!("  weaker than standard: {key} = {value} (standard: {other})\n");
        }
        for (limit, other) in &self.never_reached {
            text += &format!("  never reached: {limit}, since {other} comes first\n");
        }
        text
    }
}

/// What became of each example under a policy.
#[derive(Debug, Clone, Serialize)]
pub struct Tested {
    /// The examples, by rule.
    pub examples: Vec<ExampleResult>,
}

/// What became of one example.
#[derive(Debug, Clone, Serialize)]
pub struct ExampleResult {
    /// The rule's id.
    pub rule: &'static str,
    /// What the example shows.
    pub shows: &'static str,
    /// What the rule says of it under the standard policy.
    pub standard: RuleResult,
    /// What it says under this policy; none for an example that is searched for copies, which no policy changes.
    pub result: Option<RuleResult>,
    /// Whether no rule of this policy blocks it.
    pub leaves: bool,
}

impl ExampleResult {
    /// True if it would leave under this policy, and not under the standard one.
    fn is_weaker(&self) -> bool {
        self.standard == RuleResult::Blocked && self.leaves
    }
}

/// Runs every rule's examples under a policy.
pub fn test(text: &str) -> Result<Tested, Failure> {
    parsed(text)?;
    let mut examples = Vec::new();
    for rule in Rule::ALL {
        for example in rules::explain(rule).examples {
            let outcome = example.run(rule, text).map_err(|error| Failure::new("EXAMPLE", whole(&error)))?;
            let (rule, shows, standard) = (rule.id(), example.shows, example.result);
            let (result, leaves) = (outcome.map(|one| one.result), outcome.is_some_and(|one| one.leaves));
            examples.push(ExampleResult { rule, shows, standard, result, leaves });
        }
    }
    Ok(Tested { examples })
}

impl Tested {
    /// True if something would leave under this policy that would not under the standard one.
    pub fn is_weaker(&self) -> bool {
        self.examples.iter().any(ExampleResult::is_weaker)
    }

    fn words(&self) -> String {
        let mut text = String::new();
        let (mut same, mut unchanged) = (0, 0);
        for example in &self.examples {
            let ExampleResult { rule, shows, standard, result, .. } = example;
            match result {
                None => unchanged += 1,
                Some(result) if result == standard => same += 1,
                Some(result) => {
                    let mark = if example.is_weaker() { "WEAKER" } else { "differs" };
                    let (result, standard) = (word(*result), word(*standard));
                    text += &format!("{mark:<8} {rule}: {shows}: {result} (standard: {standard})\n");
                }
            }
        }
        let run = self.examples.len() - unchanged;
        text + &format!(
            "{run} examples: {same} as under the standard policy; {unchanged} more are searched for copies, which no \
             policy changes\n"
        )
    }
}

fn word(result: RuleResult) -> &'static str {
    match result {
        RuleResult::Passed => "passes",
        RuleResult::Noted => "is changed, and passes",
        RuleResult::Blocked => "is blocked",
        RuleResult::NotApplicable => "does not apply",
        RuleResult::NotChecked => "is not checked",
    }
}

/// Rules, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// Each rule.
    pub rules: Vec<ExplainedRule>,
}

/// One rule, explained.
#[derive(Debug, Clone, Serialize)]
pub struct ExplainedRule {
    /// Its id.
    pub rule: &'static str,
    /// What would be lost without it.
    pub reason: &'static str,
    /// False for a rule that this version does not run: it reads `not-checked` in every verdict.
    pub built: bool,
    /// The lines of the policy's file that are about it.
    pub limits: Vec<String>,
    /// What examples show, and what the rule says of them under the standard policy.
    pub examples: Vec<(&'static str, RuleResult)>,
}

/// Explains one rule or all.
pub fn explain(rule: Option<&str>, policy: Option<&Path>) -> Result<Explained, Failure> {
    let text = policy_text(policy)?;
    parsed(&text)?;
    let asked = match rule {
        None => Rule::ALL.to_vec(),
        Some(id) => vec![Rule::from_id(id).ok_or_else(|| {
            Failure::new("NO_SUCH_RULE", format!("there is no rule {id}"))
                .hint("`databox policy explain` lists every rule")
                .exit(Exit::Usage)
        })?],
    };
    let explained = |rule: Rule| {
        let explanation = rules::explain(rule);
        ExplainedRule {
            rule: rule.id(),
            reason: explanation.reason,
            built: explanation.built,
            limits: limits_of(rule, &text),
            examples: explanation.examples.iter().map(|example| (example.shows, example.result)).collect(),
        }
    };
    Ok(Explained { rules: asked.into_iter().map(explained).collect() })
}

/// The values below a comment that begins with the rule's id, as the policy's file has them.
fn limits_of(rule: Rule, policy: &str) -> Vec<String> {
    let begin = format!("# {}:", rule.id());
    let mut limits = Vec::new();
    for block in policy.split("\n\n") {
        if block.lines().any(|line| line.starts_with(&begin)) {
            let is_value = |line: &&str| !line.starts_with('#') && line.contains(" = ");
            limits.extend(block.lines().filter(is_value).map(str::to_owned));
        }
    }
    limits
}

impl Explained {
    fn words(&self) -> String {
        self.rules.iter().map(ExplainedRule::words).collect::<Vec<_>>().join("\n")
    }
}

impl ExplainedRule {
    fn words(&self) -> String {
        let not_built = if self.built { "" } else { "  (not built: no verdict says that it was checked)" };
        let mut text = format!("{}{not_built}\n  {}\n", self.rule, self.reason);
        for limit in &self.limits {
            text += &format!("  limit: {limit}\n");
        }
        for (shows, result) in &self.examples {
            text += &format!("  example: {shows}: {}\n", word(*result));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(from: &str, to: &str) -> String {
        assert!(STANDARD.contains(from), "{from}");
        STANDARD.replace(from, to)
    }

    #[test]
    fn the_standard_policy_is_not_weaker_than_itself_and_its_examples_come_out_as_they_say() {
        let linted = lint(STANDARD).unwrap();
        assert!(linted.weaker.is_empty() && linted.never_reached.is_empty(), "{linted:?}");
        let tested = test(STANDARD).unwrap();
        assert!(!tested.is_weaker());
        let differs: Vec<_> =
            tested.examples.iter().filter(|one| one.result.is_some_and(|got| got != one.standard)).collect();
        assert!(differs.is_empty(), "{differs:?}");
    }

    #[test]
    fn a_weaker_value_is_named_and_what_it_lets_out_is_shown() {
        let weak = changed("smallest_count = 10", "smallest_count = 3");
        assert_eq!(
            lint(&weak).unwrap().words(),
            "accepted\n  weaker than standard: table.smallest_count = 3 (standard: 10)\n"
        );
        let tested = test(&weak).unwrap();
        assert!(tested.is_weaker());
        assert!(
            tested.words().starts_with("WEAKER   table.smallest-count: nine people"),
            "{}",
            tested.words()
        );
        let strong = test(&changed("smallest_count = 10", "smallest_count = 20")).unwrap();
        assert!(!strong.is_weaker());
        assert!(
            strong.words().contains("differs  table.smallest-count: ten people: is blocked"),
            "{}",
            strong.words()
        );
    }

    #[test]
    fn no_policy_that_is_shipped_lets_out_an_example_that_the_standard_one_blocks() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/egress");
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let tested = test(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let weaker: Vec<_> = tested.examples.iter().filter(|one| one.is_weaker()).collect();
            assert!(weaker.is_empty(), "{}: {weaker:?}", path.display());
        }
    }

    #[test]
    fn a_rule_is_explained_with_the_limits_that_the_policy_gives_it() {
        let explained = explain(Some("table.smallest-count"), None).unwrap();
        assert_eq!(explained.rules[0].limits, ["smallest_count = 10"]);
        assert_eq!(explain(None, None).unwrap().rules.len(), Rule::ALL.len());
        assert_eq!(explain(Some("table.smallest"), None).unwrap_err().reason, "NO_SUCH_RULE");
    }

    #[test]
    fn a_policy_that_is_not_accepted_is_refused_by_every_command() {
        let wrong = changed("rounding_base = 5", "rounding_base = 0");
        for failure in [lint(&wrong).unwrap_err(), test(&wrong).unwrap_err()] {
            assert_eq!(failure.reason, "POLICY");
            assert!(failure.text.contains("table.rounding_base must be from 1"), "{failure}");
        }
    }
}
