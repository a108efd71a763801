//! The table of bad inputs, filled while the cases run and printed at the end.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Instant;

/// Past the capture of the test harness: the table is what the suite is for.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Rows, and what went otherwise than it should.
pub struct Table {
    rows: Vec<(&'static str, String, String)>,
    twins: usize,
    wrong: Vec<String>,
    since: Instant,
}

impl Table {
    /// An empty table.
    pub fn new() -> Self {
        Self { rows: Vec::new(), twins: 0, wrong: Vec::new(), since: Instant::now() }
    }
}

impl Table {
    /// A bad input was answered with the error of this name.
    pub fn refused(&mut self, group: &'static str, case: &str, expected: &str, found: &str) {
        if expected != found {
            self.wrong.push(format!("{group}: {case}: {found}, not {expected}"));
        }
        self.rows.push((group, case.to_owned(), found.to_owned()));
    }

    /// An innocent twin was taken, or it was not and this is what was said.
    pub fn taken<T>(&mut self, group: &'static str, case: &str, found: Result<T, String>) {
        self.twins += 1;
        if let Err(said) = found {
            self.wrong.push(format!("{group}: the innocent {case} is refused: {said}"));
        }
    }

    /// Prints how long a group took.
    pub fn time(&mut self, group: &str) {
        tell(&format!("{group}: {:.1} s", self.since.elapsed().as_secs_f64()));
        self.since = Instant::now();
    }

    /// Prints the table and fails if it is too short or anything in it was wrong.
    pub fn finish(self, (cases, names): (usize, usize)) {
        for (group, case, error) in &self.rows {
            tell(&format!("{group:<12} {case:<58} {error}"));
        }
        let found: BTreeSet<_> = self.rows.iter().map(|(_, _, error)| error).collect();
        tell(&format!(
            "{} bad inputs, {} different errors, {} innocent twins",
            self.rows.len(),
            found.len(),
            self.twins
        ));
        assert!(self.wrong.is_empty(), "\n{}", self.wrong.join("\n"));
        assert!(self.rows.len() >= cases && found.len() >= names, "the table has become shorter");
    }
}
