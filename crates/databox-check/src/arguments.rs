//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::scan_data::Beside;

/// What to do, and where. The wall shows each directory at its default place; at a desk a flag names another.
pub(crate) struct Arguments {
    pub(crate) subcommand: Subcommand,
    pub(crate) out: PathBuf,
    pub(crate) canonical: PathBuf,
    pub(crate) views: PathBuf,
    pub(crate) data: PathBuf,
    /// An index for each directory of the data, under its name; at a desk there is none.
    pub(crate) index: PathBuf,
    /// Files that anybody may read; there need be none.
    pub(crate) public: PathBuf,
    /// Earlier tables and exact counts, for `compare`.
    pub(crate) compared: PathBuf,
    /// What an evaluation wrote of weights in the policy's precision, for `evaluation`.
    pub(crate) reference: PathBuf,
    /// The same of weights in a smaller one.
    pub(crate) smaller: PathBuf,
    /// Where `canonicalise` writes counts before rounding; at a desk nowhere.
    pub(crate) counts: Option<PathBuf>,
}

/// What to do.
pub(crate) enum Subcommand {
    Canonicalise,
    Judge,
    Compare,
    Views,
    Scan,
    Findings,
    Evaluation,
}

impl Arguments {
    /// Reads the arguments behind the program's name.
    pub(crate) fn parse(mut given: impl Iterator<Item = OsString>) -> Option<Self> {
        let subcommand = match given.next()?.to_str()? {
            "canonicalise" => Subcommand::Canonicalise,
            "judge" => Subcommand::Judge,
            "compare" => Subcommand::Compare,
            "views" => Subcommand::Views,
            "scan" => Subcommand::Scan,
            "findings" => Subcommand::Findings,
            "evaluation" => Subcommand::Evaluation,
            _ => return None,
        };
        let mut arguments = Self {
            subcommand,
            out: "/out".into(),
            canonical: "/canonical".into(),
            views: "/views".into(),
            data: "/data".into(),
            index: "/index".into(),
            public: "/public".into(),
            compared: "/compared".into(),
            reference: "/reference".into(),
            smaller: "/smaller".into(),
            counts: None,
        };
        while let Some(flag) = given.next() {
            let place = match flag.to_str()? {
                "--out" => &mut arguments.out,
                "--canonical" => &mut arguments.canonical,
                "--views" => &mut arguments.views,
                "--data" => &mut arguments.data,
                "--index" => &mut arguments.index,
                "--public" => &mut arguments.public,
                "--compared" => &mut arguments.compared,
                "--reference" => &mut arguments.reference,
                "--smaller" => &mut arguments.smaller,
                "--counts" => arguments.counts.insert(PathBuf::new()),
                _ => return None,
            };
            *place = given.next()?.into();
        }
        Some(arguments)
    }

    /// What `scan` compares outputs with.
    pub(crate) fn beside(&self) -> Beside<'_> {
        Beside { data: &self.data, index: &self.index, public: &self.public }
    }
}
