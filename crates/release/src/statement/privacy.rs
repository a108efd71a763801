//! Differential privacy of answers: what a question asks for, what the owner of a dataset gives, and what a verdict charges.
//! It is counted in zero-concentrated differential privacy (zCDP), whose ρ adds up over answers, in whole millionths. Nothing
//! here that decides is computed in floating point. `docs/decisions/differential-privacy.md` says what it promises.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::QueryError;
use crate::value::{Count, Name, ValueError, Whole};

/// Most of ρ that a dataset can be given, in millionths: with 4, δ = 10⁻⁶ gives an ε of 19, which protects nobody.
pub const RHO_LIMIT: u64 = 4_000_000;

/// The exponents of δ that are accepted: 10⁻⁵ to 10⁻¹².
pub const DELTA_EXPONENTS: std::ops::RangeInclusive<u64> = 5..=12;

/// Most groups of an answer with noise.
pub const NOISY_GROUPS_LIMIT: u64 = 10_000;

/// The largest bound of what one unit may add to a sum.
pub const BOUND_LIMIT: i64 = 1_000_000_000;

/// The noise that a question asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryPrivacy {
    /// What the whole answer costs of each unit's privacy: ρ of zCDP, in millionths.
    pub rho_millionths: Count,
    /// In how many groups one unit may count. Of those in which it stands so many are kept, the same ones whatever others do.
    pub groups_per_unit: Count,
    /// For each column that is summed up: what one unit may add to a group. What lies outside is moved to the nearer bound.
    pub bounds: BTreeMap<Name, Bounds>,
}

/// The least and the most that one unit may add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounds {
    /// The least.
    pub least: Whole,
    /// The most; greater than the least.
    pub most: Whole,
}

/// What may be spent of the privacy of a dataset's units, over all its snapshots, grants and requesters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrivacyBudget {
    /// ρ of zCDP of all answers together, in millionths.
    pub rho_millionths: Count,
    /// The most that one answer may cost, in millionths: without it the first one could spend everything, and tell everything.
    pub answer_rho_millionths: Count,
    /// The δ at which ε is told is 10 to the minus so many.
    pub delta_exponent: Count,
}

/// What a run's noise cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrivacyCharge {
    /// Charged for this run, before it began: what its request asks for.
    pub rho_millionths: Count,
    /// Charged to the dataset by all runs up to the moment of the verdict, this one among them.
    pub spent_millionths: Count,
}

impl Bounds {
    /// How far one unit can move a sum: it may be there or not, and one without a number adds nothing.
    pub fn reach(&self) -> u64 {
        self.least.0.unsigned_abs().max(self.most.0.unsigned_abs())
    }

    /// The nearest whole number between the bounds.
    pub fn clip(&self, number: i128) -> i128 {
        number.clamp(self.least.0.into(), self.most.0.into())
    }
}

impl QueryPrivacy {
    /// Checks the numbers by themselves: `groups` is how many groups the answer has.
    pub(super) fn check(&self, groups: u64) -> Result<(), QueryError> {
        if !(1..=RHO_LIMIT).contains(&self.rho_millionths.0) {
            return Err(QueryError::Rho);
        }
        if groups > NOISY_GROUPS_LIMIT {
            return Err(QueryError::NoisyGroups { groups });
        }
        // More than there are would be more noise for nothing.
        if !(1..=groups).contains(&self.groups_per_unit.0) {
            return Err(QueryError::GroupsPerUnit { groups });
        }
        let within = |number: Whole| (-BOUND_LIMIT..=BOUND_LIMIT).contains(&number.0);
        let sound =
            |bounds: &Bounds| bounds.least < bounds.most && within(bounds.least) && within(bounds.most);
        match self.bounds.iter().find(|(_, bounds)| !sound(bounds)) {
            Some((column, _)) => Err(QueryError::Bounds { column: column.clone() }),
            None => Ok(()),
        }
    }

    /// The numbers that are told of each group: how many units it has, and a sum for each column with bounds. Each has an
    /// equal part of ρ.
    fn parts(&self) -> u64 {
        self.bounds.len() as u64 + 1
    }

    /// The standard deviation of the noise on a number that one unit moves by at most `reach` in a group, in thousandths: the
    /// smallest whole number of them that is enough.
    ///
    /// A unit that is added or removed moves the numbers of at most `groups_per_unit` groups by at most `reach` each: that is an
    /// l2 sensitivity of Δ = reach · √groups_per_unit. Discrete Gaussian noise of deviation σ on each then costs
    /// ρ = Δ² / 2σ² (Canonne, Kamath and Steinke 2020, theorem 4), and the numbers' parts add up.
    pub fn deviation_thousandths(&self, reach: u64) -> u128 {
        let [reach, groups, parts] = [reach, self.groups_per_unit.0, self.parts()].map(u128::from);
        // In range: 10^9 squared, times 10^4 groups, 17 parts and 10^12, is below 2^128.
        let squared = reach * reach * groups * parts * 1_000_000_000_000;
        let least = squared.div_ceil(2 * u128::from(self.rho_millionths.0));
        let root = least.isqrt();
        if root * root == least { root } else { root + 1 }
    }

    /// The deviation for a sum of this column; for how many units there are, without one.
    pub fn deviation_of(&self, column: Option<&Name>) -> u128 {
        let reach = column.map_or(1, |column| self.bounds.get(column).map_or(0, Bounds::reach));
        self.deviation_thousandths(reach)
    }

    /// What is asked, for people.
    pub(super) fn words(&self) -> String {
        let mut text = format!(
            "with noise at the price of ρ = {}, each person counted in at most {}: counts are off by {} (one standard deviation)",
            rho_text(self.rho_millionths.0),
            if self.groups_per_unit.0 == 1 {
                "1 group".to_owned()
            } else {
                format!("{} groups", self.groups_per_unit)
            },
            tenths(self.deviation_of(None)),
        );
        for (column, bounds) in &self.bounds {
            let _ = write!(
                text,
                ", sums of {column}, {} to {} a person, by {}",
                bounds.least,
                bounds.most,
                tenths(self.deviation_of(Some(column)))
            );
        }
        text
    }
}

impl PrivacyBudget {
    /// Whether the numbers are ones that a dataset can be given.
    pub fn is_sound(&self) -> bool {
        (1..=RHO_LIMIT).contains(&self.rho_millionths.0)
            && (1..=self.rho_millionths.0).contains(&self.answer_rho_millionths.0)
            && DELTA_EXPONENTS.contains(&self.delta_exponent.0)
    }

    /// What so much of ρ means at the dataset's δ: `(ε, δ) = (0.75, 10^-6)`.
    pub fn words(&self, rho_millionths: u64) -> String {
        format!(
            "(ε, δ) = ({:.2}, 10^-{})",
            epsilon(rho_millionths, self.delta_exponent.0),
            self.delta_exponent
        )
    }
}

impl PrivacyCharge {
    /// What this run's noise cost, and what was left after it, for whoever answers for the dataset or verifies.
    pub fn words(&self, budget: &PrivacyBudget) -> String {
        let [own, spent, most] = [self.rho_millionths, self.spent_millionths, budget.rho_millionths]
            .map(|rho| format!("ρ = {}, {}", rho_text(rho.0), budget.words(rho.0)));
        let left = budget.rho_millionths.0.saturating_sub(self.spent_millionths.0);
        format!(
            "this run's noise cost {own}; all up to it {spent}; the owner gives {most}; ρ = {} was left then",
            rho_text(left)
        )
    }
}

/// ε at δ = 10 to the minus `delta_exponent`, in hundredths rounded up: ρ + 2·√(ρ·ln(1/δ)) (Bun and Steinke 2016, proposition
/// 1.3). It is shown to people, and nothing decides by it.
pub fn epsilon(rho_millionths: u64, delta_exponent: u64) -> f64 {
    let rho = rho_millionths as f64 / 1e6;
    let epsilon = rho + 2.0 * (rho * delta_exponent as f64 * std::f64::consts::LN_10).sqrt();
    (epsilon * 100.0).ceil() / 100.0
}

/// Millionths as people write ρ, such as `0.01`.
pub fn rho_text(millionths: u64) -> String {
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads ρ as people write it: a decimal number of at most six digits after the point, above 0.
///
/// # Errors
/// It is none, or larger than a dataset can be given.
pub fn read_rho(text: &str) -> Result<u64, ValueError> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_plain(whole) || !is_plain(digits) || whole.is_empty() || digits.len() > 6 || text.ends_with('.') {
        return Err(ValueError::Count);
    }
    let whole: u64 = whole.parse().map_err(|_| ValueError::Count)?;
    let part: u64 = format!("{digits:0<6}").parse().map_err(|_| ValueError::Count)?;
    let millionths = whole.checked_mul(1_000_000).and_then(|whole| whole.checked_add(part));
    millionths.filter(|rho| (1..=RHO_LIMIT).contains(rho)).ok_or(ValueError::Count)
}

/// Thousandths with one digit after the point, rounded up.
fn tenths(thousandths: u128) -> String {
    let tenths = thousandths.div_ceil(100);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(rho: u64, groups: u64, bounds: &[(&str, i64, i64)]) -> QueryPrivacy {
        let bounds = bounds.iter().map(|(column, least, most)| {
            (column.parse().unwrap(), Bounds { least: Whole(*least), most: Whole(*most) })
        });
        QueryPrivacy { rho_millionths: Count(rho), groups_per_unit: Count(groups), bounds: bounds.collect() }
    }

    #[test]
    fn noise_is_as_strong_as_rho_asks_for_and_not_a_thousandth_weaker() {
        for rho in [1, 2, 7, 10_000, 123_456, RHO_LIMIT] {
            for (groups, bounds) in
                [(1, vec![]), (3, vec![("x", -7, 20)]), (10_000, vec![("x", 0, BOUND_LIMIT)])]
            {
                let privacy = asked(rho, groups, &bounds);
                let reach = privacy.bounds.values().next().map_or(1, Bounds::reach);
                let deviation = privacy.deviation_thousandths(reach);
                // 2·σ²·ρ against Δ²·parts, both times 10^12.
                let needed = u128::from(reach).pow(2) * u128::from(groups) * u128::from(privacy.parts());
                let costs = |deviation: u128| {
                    2 * deviation * deviation * u128::from(rho) >= needed * 1_000_000_000_000
                };
                assert!(costs(deviation) && !costs(deviation - 1), "{rho} {groups} {bounds:?}");
            }
        }
    }

    #[test]
    fn a_bound_reaches_as_far_as_its_farther_end_and_clips_what_lies_outside() {
        let bounds = Bounds { least: Whole(-7), most: Whole(3) };
        assert_eq!(bounds.reach(), 7);
        assert_eq!([-100, -7, 0, 3, 100].map(|number| bounds.clip(number)), [-7, -7, 0, 3, 3]);
    }

    #[test]
    fn a_budget_bounds_each_answer_and_none_may_cost_more_than_all_of_it() {
        let budget = |rho, answer, exponent| PrivacyBudget {
            rho_millionths: Count(rho),
            answer_rho_millionths: Count(answer),
            delta_exponent: Count(exponent),
        };
        for sound in [budget(1, 1, 6), budget(500_000, 50_000, 5), budget(RHO_LIMIT, RHO_LIMIT, 12)] {
            assert!(sound.is_sound(), "{sound:?}");
        }
        for wrong in [
            budget(0, 0, 6),
            budget(10, 0, 6),
            budget(10, 11, 6),
            budget(RHO_LIMIT + 1, 1, 6),
            budget(10, 1, 4),
        ] {
            assert!(!wrong.is_sound(), "{wrong:?}");
        }
    }

    #[test]
    fn rho_has_one_text_and_epsilon_is_the_closed_form_rounded_up() {
        for (text, millionths) in [("0.01", 10_000), ("0.000001", 1), ("4", 4_000_000), ("1.5", 1_500_000)] {
            assert_eq!((read_rho(text), rho_text(millionths)), (Ok(millionths), text.to_owned()));
        }
        for wrong in [
            "",
            "0",
            "0.0",
            ".5",
            "1.",
            "-1",
            "+1",
            "1e-3",
            "0.0000001",
            "4.000001",
            "1,5",
            " 1",
            "99999999999999999999",
        ] {
            assert!(read_rho(wrong).is_err(), "{wrong}");
        }
        // ρ = 0.01 at 10^-6: 0.01 + 2·√(0.01 · 13.8155) = 0.7534; ρ = 0.5: 5.7565.
        assert_eq!(epsilon(10_000, 6), 0.76);
        assert_eq!(epsilon(500_000, 6), 5.76);
        let budget = PrivacyBudget {
            rho_millionths: Count(500_000),
            answer_rho_millionths: Count(50_000),
            delta_exponent: Count(6),
        };
        assert_eq!(budget.words(10_000), "(ε, δ) = (0.76, 10^-6)");
        let charge = PrivacyCharge { rho_millionths: Count(10_000), spent_millionths: Count(490_000) };
        assert!(charge.words(&budget).ends_with("; ρ = 0.01 was left then"), "{}", charge.words(&budget));
    }
}
