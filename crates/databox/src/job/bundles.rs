//! Bundles on the researcher's own disk: one to start from, and what a bundle file holds.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::failure::{Exit, Failure, bundle_failure, file_failure, manifest_failure};

const NEW_MANIFEST: &str = r#"[job]
name = "first"
project = "PROJECT"              # the grant is this project's
runtime = "host-python"          # a runtime of the catalogue
command = ["python3", "job.py"]
purpose = "Say what you want to learn, in a sentence that a data steward understands"

[data.DATASET]                   # seen as /data/DATASET, read-only
snapshot = "latest"

[limits]
cpus = 1
memory = "1GiB"
time = "10min"

[[output]]                       # written to /out; names are declared, so that they carry nothing
path = "metrics.json"
kind = "metrics"
names = ["rows"]

# A table, its groups by a category of the signed catalogue (`databox data show DATASET` lists them), with the count of
# people in each; kind = "figure" and a path such as "chart.vl.json" declare a chart in the same way. docs/formats/bundle.md
# has every key.
# [[output]]
# path = "by_category.csv"
# kind = "table"
# count_column = "n"
# columns = [{ name = "category", type = "category:DATASET.CATEGORY" }, { name = "n", type = "integer" }]

# A question in the place of code: no command, no [[output]], no job.py, and a runtime that answers questions.
# docs/decisions/queries.md says what is answered.
# [query]
# sql = "SELECT category, COUNT(*), AVG(column) FROM DATASET GROUP BY category"

# With noise in the place of thresholds, where the dataset has a privacy budget (`databox data show DATASET`): counts and sums
# of whole numbers, a row for each public group. docs/decisions/differential-privacy.md says what it costs.
# [query.privacy]
# rho = "0.01"
# bounds = { column = [0, 20] }       # what one person may add; of each column that is summed up
# groups_per_unit = 1                 # in how many groups a person may count
"#;

const NEW_JOB: &str = r#"import json, pathlib

rows = 0
for file in pathlib.Path("/data").rglob("*.csv"):
    with open(file) as lines:
        rows += sum(1 for _ in lines) - 1
json.dump({"rows": rows}, open("/out/metrics.json", "w"))
"#;

/// Reads a bundle file as the box does and says what it holds, or by name why the box refuses it. A directory is packed
/// first, as `submit` does.
pub fn inspect(path: &Path) -> Result<Vec<String>, Failure> {
    let packed: Box<dyn io::Read> = match path.is_dir() {
        true => Box::new(io::Cursor::new(bundle::pack(path).map_err(bundle_failure(path))?)),
        false => Box::new(fs::File::open(path).map_err(file_failure(path))?),
    };
    let listing = bundle::read(packed, &bundle::Limits::default()).map_err(bundle_failure(path))?;
    let manifest = listing.parse_manifest().map_err(manifest_failure(path))?;
    let line = |entry: &bundle::Entry| match entry.contents {
        bundle::Contents::Directory => format!("{}/", entry.path),
        bundle::Contents::File { bytes, sha256, .. } => format!("{}  {bytes} bytes  {sha256}", entry.path),
    };
    let asked = manifest.query.iter().map(|question| format!("asks  {}", question.sql));
    Ok(listing.entries.iter().map(line).chain(asked).collect())
}

/// Writes a bundle to start from.
pub fn new(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let manifest = directory.join("databox.toml");
    if manifest.exists() {
        return Err(Failure::new("ALREADY_THERE", format!("{} is there already", manifest.display()))
            .hint("give a new directory; nothing was changed")
            .exit(Exit::Conflict));
    }
    fs::create_dir_all(directory).map_err(file_failure(directory))?;
    let mut made = Vec::new();
    for (name, text) in [("databox.toml", NEW_MANIFEST), ("job.py", NEW_JOB)] {
        let path = directory.join(name);
        blobs::write_new_file_durably(&path, text.as_bytes(), 0o644).map_err(file_failure(&path))?;
        made.push(path);
    }
    Ok(made)
}
