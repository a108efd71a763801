//! The ids of the egress rules. Reasons, examples and the rules themselves are in `egress`.

use crate::value::Name;

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident = $id:literal,)*) => {
        /// A rule about what may leave. Verdicts name every one of them, run or not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[$doc])* $rule,)* }

        impl Rule {
            /// Every rule, sorted by id.
            pub const ALL: [Self; [$($id),*].len()] = [$(Self::$rule),*];

            /// Its id, as verdicts write it.
            pub fn id(self) -> &'static str {
                match self { $(Self::$rule => $id,)* }
            }
        }
    };
}

rules! {
    /// A run of the bundle's own bytes that stands in the data and the output too.
    CopyBundle = "copy.bundle",
    /// A run of the data's bytes in a view of an output.
    CopyExact = "copy.exact",
    /// Rows or columns of the data as numbers in an output.
    CopyNumeric = "copy.numeric",
    /// The views of an output could be made within their limits.
    CopyViews = "copy.views",
    /// A chart in its canonical form.
    FigureForm = "figure.form",
    /// The count of metrics.
    MetricsCount = "metrics.count",
    /// The residual degrees of freedom of a model behind metrics.
    MetricsDegreesOfFreedom = "metrics.degrees-of-freedom",
    /// Metrics in their canonical form.
    MetricsForm = "metrics.form",
    /// What was declared, and nothing else, was written.
    OutputDeclared = "output.declared",
    /// The sum of bits of one release.
    ReleaseBits = "release.bits",
    /// The count of a table's cells.
    TableCells = "table.cells",
    /// What tables of the same data together tell.
    TableDifferencing = "table.differencing",
    /// The share of the largest units in a row.
    TableDominance = "table.dominance",
    /// A table in its canonical form.
    TableForm = "table.form",
    /// How closely the second largest unit of a row can tell the largest one's value.
    TablePPercent = "table.p-percent",
    /// The levels of the quantiles that a question asks for.
    TableQuantiles = "table.quantiles",
    /// The rounding of counts.
    TableRounding = "table.rounding",
    /// The smallest count of units behind a row.
    TableSmallestCount = "table.smallest-count",
    /// How closely a row that was left out is told by the other tables.
    TableSuppression = "table.suppression",
    /// Rows of nobody.
    TableZeroCells = "table.zero-cells",
    /// The bits that weights can carry.
    WeightsCapacity = "weights.capacity",
    /// Weights in their canonical form.
    WeightsForm = "weights.form",
}

impl Rule {
    /// The rule with this id.
    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.id() == id)
    }

    /// Its place in [`Rule::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// True if only the box can tell: it needs the private data, the bundle, what was released before, decoders, or columns
    /// that are never released. A second judgement of the canonical files is silent on these, and on no other that the
    /// verdict says was looked at.
    pub fn needs_the_box(self) -> bool {
        matches!(
            self,
            Self::CopyBundle
                | Self::CopyExact
                | Self::CopyNumeric
                | Self::CopyViews
                | Self::TableDifferencing
                | Self::TableDominance
                | Self::TablePPercent
        )
    }

    /// Its id as a name.
    pub fn name(self) -> Name {
        self.id().parse().expect("rule ids are names")
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn rules_are_sorted_by_id_and_found_by_it() {
        assert!(Rule::ALL.is_sorted_by_key(|rule| rule.id()));
        for rule in Rule::ALL {
            assert_eq!(Rule::from_id(rule.name().as_str()), Some(rule));
            assert_eq!(Rule::ALL[rule.index()], rule);
        }
    }
}
