//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// What to do, and where. The wall shows each directory at its default place; at a desk a flag names another.
pub(crate) struct Arguments {
    pub(crate) subcommand: Subcommand,
    pub(crate) out: PathBuf,
    pub(crate) canonical: PathBuf,
    pub(crate) views: PathBuf,
    pub(crate) data: PathBuf,
}

/// What to do.
pub(crate) enum Subcommand {
    Canonicalise,
    Judge,
    Views,
    Scan,
}

impl Arguments {
    /// Reads the arguments behind the program's name.
    pub(crate) fn parse(mut given: impl Iterator<Item = OsString>) -> Option<Self> {
        let subcommand = match given.next()?.to_str()? {
            "canonicalise" => Subcommand::Canonicalise,
            "judge" => Subcommand::Judge,
            "views" => Subcommand::Views,
            "scan" => Subcommand::Scan,
            _ => return None,
        };
        let mut arguments = Self {
            subcommand,
            out: "/out".into(),
            canonical: "/canonical".into(),
            views: "/views".into(),
            data: "/data".into(),
        };
        while let Some(flag) = given.next() {
            let place = match flag.to_str()? {
                "--out" => &mut arguments.out,
                "--canonical" => &mut arguments.canonical,
                "--views" => &mut arguments.views,
                "--data" => &mut arguments.data,
                _ => return None,
            };
            *place = given.next()?.into();
        }
        Some(arguments)
    }
}
