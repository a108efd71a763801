//! What an attempt saw, and what that means.

use serde::{Deserialize, Serialize};

use crate::differences::Difference;

/// Attempts that see what a wall on the host's own kernel cannot hide. Named, and never counted as contained.
pub const RESIDUAL: [&str; 6] = [
    "processor-identity",
    "time-stamp-counter",
    "kernel-release",
    "free-space-of-the-host",
    "paths-of-mounts",
    "boot-time",
];

/// What a hostile program tells of one attempt.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Its name.
    pub attempt: String,
    /// The technique, with a CVE where it had one.
    pub technique: String,
    /// What it may see.
    pub contained: Vec<String>,
    /// The innocent program that must work.
    pub by: String,
    /// What it saw.
    pub saw: String,
}

/// What an innocent program tells.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twin {
    /// Its name.
    pub twin: String,
    /// `works`, or why not.
    pub saw: String,
}

/// How an attempt came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The wall held, and the innocent twin works.
    #[serde(rename = "contained")]
    Contained,
    /// The attempt sees what this kind of wall cannot hide, and was named beforehand.
    #[serde(rename = "residual")]
    Residual,
    /// The wall did not hold, or the attempt saw something that nobody expected.
    #[serde(rename = "ESCAPED")]
    Escaped,
    /// The innocent twin does not work, so that the attempt shows nothing.
    #[serde(rename = "TWIN FAILED")]
    TwinFailed,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The attempt's name.
    pub attempt: String,
    /// The technique.
    pub technique: String,
    /// The wall, and as whom.
    pub wall: String,
    /// What it saw.
    pub saw: String,
    /// What that means.
    pub outcome: Outcome,
    /// Why it is contained though it saw something else than behind the native wall.
    pub differs: Option<String>,
}

impl Seen {
    /// Judges what a hostile program told.
    pub fn of(attempt: Attempt, twins: &[Twin], wall: &str, differences: &[Difference]) -> Self {
        let twin = twins.iter().find(|twin| twin.twin == attempt.by);
        let works = twin.is_some_and(|twin| twin.saw == "works");
        let differs = differences.iter().find(|difference| {
            works && difference.attempt == attempt.attempt && attempt.saw.starts_with(difference.saw)
        });
        let outcome = match () {
            () if !works => Outcome::TwinFailed,
            () if differs.is_some() => Outcome::Contained,
            () if RESIDUAL.contains(&attempt.attempt.as_str()) && attempt.saw == "residual" => {
                Outcome::Residual
            }
            () if attempt.saw != "residual" && attempt.contained.contains(&attempt.saw) => Outcome::Contained,
            () => Outcome::Escaped,
        };
        let saw = match (works, twin) {
            (true, _) => attempt.saw,
            (false, Some(twin)) => format!("twin {}: {}", twin.twin, twin.saw),
            (false, None) => format!("there is no twin {}", attempt.by),
        };
        let Attempt { attempt, technique, .. } = attempt;
        let differs = differs.map(|difference| difference.why.to_owned());
        Self { attempt, technique, wall: wall.to_owned(), saw, outcome, differs }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Contained => "contained",
            Self::Residual => "residual",
            Self::Escaped => "ESCAPED",
            Self::TwinFailed => "TWIN FAILED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFFERENCE: Difference =
        Difference { attempt: "other", saw: "seen its own", why: "a kernel of its own" };

    fn judged(name: &str, saw: &str, twin: &str) -> Outcome {
        let attempt = Attempt {
            attempt: name.to_owned(),
            technique: String::new(),
            contained: vec!["EPERM".to_owned(), "residual".to_owned()],
            by: "twin".to_owned(),
            saw: saw.to_owned(),
        };
        let twins = [Twin { twin: "twin".to_owned(), saw: twin.to_owned() }];
        Seen::of(attempt, &twins, "native", &[DIFFERENCE]).outcome
    }

    #[test]
    fn only_what_was_expected_is_contained_and_only_what_was_named_is_residual() {
        assert_eq!(judged("any", "EPERM", "works"), Outcome::Contained);
        for saw in ["reached", "EACCES", "residual", "nothing", ""] {
            assert_eq!(judged("any", saw, "works"), Outcome::Escaped, "{saw}");
        }
        assert_eq!(judged("kernel-release", "residual", "works"), Outcome::Residual);
        assert_eq!(judged("kernel-release", "reached", "works"), Outcome::Escaped);
        assert_eq!(judged("any", "EPERM", "ENOENT"), Outcome::TwinFailed, "a wall that refuses everything");
        assert_eq!(judged("other", "seen its own files", "works"), Outcome::Contained);
        assert_eq!(judged("other", "seen the host's", "works"), Outcome::Escaped);
        assert_eq!(judged("any", "seen its own files", "works"), Outcome::Escaped);
        assert_eq!(judged("other", "seen its own files", "ENOENT"), Outcome::TwinFailed);
    }
}
