//! `databox data add`: data enters by the drop directory, which the enclave reads. The enclave copies and digests it and
//! answers with a draft catalogue entry, for the dataset's stewards to sign. Commands never open a room's store.

use std::fs;
use std::path::{Path, PathBuf};

use release::statement::{PUBLIC_BYTES_LIMIT, PUBLIC_FILES_LIMIT, PrivacyBudget, read_rho};
use release::value::{Count, Name};

use crate::failure::{Exit, Failure, file_failure};

/// What `data add` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct DataArguments {
    /// The dataset's name; roles must name its stewards.
    pub name: Name,
    /// A directory with its files (CSV with a header).
    pub directory: PathBuf,
    /// The home of the box.
    #[arg(long)]
    pub home: PathBuf,
    /// The column that names the unit that the data is about, such as the person. Thresholds count units.
    #[arg(long)]
    pub unit_column: Name,
    /// Columns whose values may be public, if each is held by enough units.
    #[arg(long = "category")]
    pub categories: Vec<Name>,
    /// Bits that all grants together may release.
    #[arg(long)]
    pub release_bits: u64,
    /// Bits that all grants together may answer.
    #[arg(long)]
    pub answer_bits: u64,
    /// What answers with noise may spend of the units' privacy in all, over all snapshots and askers: ρ of zCDP, such as
    /// 0.5. Without it nothing is answered with noise.
    #[arg(long, requires = "privacy_rho_per_answer")]
    pub privacy_rho: Option<String>,
    /// The most of it that one answer may cost, such as 0.05. It is charged before anybody looks: no more than you would stand
    /// for at once.
    #[arg(long, requires = "privacy_rho")]
    pub privacy_rho_per_answer: Option<String>,
    /// The δ at which that is told as ε is 10 to the minus so many; one over it should be far above the number of units.
    #[arg(long, default_value_t = 6)]
    pub privacy_delta_exponent: u32,
    /// A directory with files that anybody may read, such as the text of a licence that the data quotes: what stands in them
    /// is no copy of the data. At most 64 files, of 64 MiB together. Given anew with each state of the data: without it the entry has
    /// none any more.
    #[arg(long)]
    pub public: Option<PathBuf>,
    /// Licence or terms, in words.
    #[arg(long)]
    pub licence: String,
    /// Where it comes from, in words.
    #[arg(long)]
    pub source: String,
}

/// What to do about a name that was laid down before.
pub(crate) const ALREADY_THERE: &str = "if the enclave refused it, its answer file in the drafts directory of the home says why: remove that directory and add it again. \
     Remove it too to lay down a newer state of what was taken";

/// Lays data into the drop directory. The description comes last, so that the enclave never takes half of it.
pub fn add_dataset(arguments: &DataArguments) -> Result<PathBuf, Failure> {
    let home = crate::home::Home::at(&arguments.home);
    let target = home.join("drop/datasets").join(arguments.name.as_str());
    let mut description = toml::Table::new();
    description.insert("unit_column".into(), arguments.unit_column.to_string().into());
    let categories: Vec<toml::Value> =
        arguments.categories.iter().map(|name| name.to_string().into()).collect();
    description.insert("categories".into(), categories.into());
    description.insert("release_bits".into(), bits(arguments.release_bits)?.into());
    description.insert("answer_bits".into(), bits(arguments.answer_bits)?.into());
    if let (Some(rho), Some(answer_rho)) = (&arguments.privacy_rho, &arguments.privacy_rho_per_answer) {
        budget(rho, answer_rho, arguments.privacy_delta_exponent)?;
        description.insert("privacy_rho".into(), rho.clone().into());
        description.insert("privacy_rho_per_answer".into(), answer_rho.clone().into());
        description
            .insert("privacy_delta_exponent".into(), i64::from(arguments.privacy_delta_exponent).into());
    }
    description.insert("licence".into(), arguments.licence.clone().into());
    description.insert("source".into(), arguments.source.clone().into());
    check_columns(arguments)?;
    if arguments.public.is_some() {
        description.insert("public".into(), PUBLIC.into());
    }
    lay(&arguments.directory, arguments.public.as_deref(), &target, &description)
}

/// What comes next, for whoever laid something down.
pub fn next_steps(home: &crate::home::Home, draft: &str, name: &Name) -> Vec<String> {
    let draft = home.drafts().join(draft);
    let open = if draft.extension().is_some_and(|end| end == "packet") { " --as STEWARD" } else { "" };
    vec![
        format!("while the box is up, the enclave takes it and writes {}", draft.display()),
        format!(
            "databox site draft {}{open} --out {name}.json, then `site sign` and `site install`",
            draft.display()
        ),
        format!("if none appears: {} says why", draft.with_extension("answer.json").display()),
    ]
}

/// The names of columns in each CSV file at the top of a directory.
pub(crate) fn headings(directory: &Path) -> Result<Vec<Vec<String>>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(file_failure(directory))? {
        let path = entry.map_err(file_failure(directory))?.path();
        if path.is_file() && path.extension().is_some_and(|end| end == "csv") {
            let mut reader = csv::Reader::from_path(&path).map_err(file_failure(&path))?;
            let header = reader.headers().map_err(file_failure(&path))?;
            found.push(header.iter().map(str::to_owned).collect());
        }
    }
    Ok(found)
}

/// Whether the columns that are named stand in the headers of the files. The enclave says it, too, once all was copied.
fn check_columns(arguments: &DataArguments) -> Result<(), Failure> {
    let found = headings(&arguments.directory)?.concat();
    let named = arguments.categories.iter().map(|category| (category, "--category"));
    let named = [(&arguments.unit_column, "--unit-column")].into_iter().chain(named);
    match named.into_iter().find(|(column, _)| !found.iter().any(|one| one == column.as_str())) {
        None => Ok(()),
        Some((column, option)) => {
            let directory = arguments.directory.display();
            Err(Failure::new("COLUMN", format!("no CSV file in {directory} has the column {column}"))
                .hint(format!("{option} names a column of the header; there are: {}", found.join(", ")))
                .exit(Exit::Usage))
        }
    }
}

fn bits(bits: u64) -> Result<i64, Failure> {
    i64::try_from(bits).map_err(|_| Failure::new("BITS", "more bits than can be counted"))
}

/// The enclave would refuse it too, once all was copied.
fn budget(rho: &str, answer_rho: &str, delta_exponent: u32) -> Result<PrivacyBudget, Failure> {
    let read = read_rho(rho).ok().zip(read_rho(answer_rho).ok());
    let budget = read.map(|(rho, answer_rho)| PrivacyBudget {
        rho_millionths: Count(rho),
        answer_rho_millionths: Count(answer_rho),
        delta_exponent: Count(delta_exponent.into()),
    });
    budget.filter(PrivacyBudget::is_sound).ok_or_else(|| {
        Failure::new("PRIVACY", format!("{rho}, {answer_rho} and {delta_exponent} are no privacy budget"))
            .hint("--privacy-rho is at most 4 and has up to six digits after the point, --privacy-rho-per-answer is no more than \
                   that; --privacy-delta-exponent is 5 to 12")
            .exit(Exit::Usage)
    })
}

/// Where files that anybody may read lie beside the data. No data file has this name.
const PUBLIC: &str = "dataset.public";

fn lay(
    source: &Path,
    public: Option<&Path>,
    target: &Path,
    description: &toml::Table,
) -> Result<PathBuf, Failure> {
    if target.exists() {
        return Err(Failure::new("ALREADY_THERE", format!("{} is there already", target.display()))
            .hint(ALREADY_THERE));
    }
    // Looked at before anything is made, so that a wrong path leaves nothing behind.
    let data = plain_files(source, "give a directory that holds nothing but the dataset's CSV files")?;
    if let Some(reserved) = data.iter().find(|file| file.file_name().is_some_and(|name| name == PUBLIC)) {
        return Err(Failure::new("DATA", format!("{} has a name that is reserved", reserved.display())));
    }
    let public = public.map(public_files).transpose()?;
    no_data_is_public(&data, public.as_deref().unwrap_or_default())?;
    let copy = |files: &[PathBuf], target: &Path| {
        fs::create_dir(target).map_err(file_failure(target))?;
        files.iter().try_for_each(|from| {
            let to = target.join(from.file_name().unwrap_or_default());
            fs::copy(from, to).map(drop).map_err(file_failure(from))
        })
    };
    copy(&data, target)?;
    if let Some(public) = public {
        copy(&public, &target.join(PUBLIC))?;
    }
    describe(&target.join("dataset.toml"), description)?;
    Ok(target.to_owned())
}

/// The files of a directory that anybody may read, as the enclave takes them.
pub(crate) fn public_files(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let refused = |text: String| {
        let hint = "give a directory of 1 to 64 plain files, of 64 MiB together, whose names are letters, digits, '.', '-' and '_'";
        Failure::new("PUBLIC_FILES", text).hint(hint).exit(Exit::Usage)
    };
    let (mut files, mut bytes) = (Vec::new(), 0);
    for entry in fs::read_dir(directory).map_err(file_failure(directory))? {
        let entry = entry.map_err(file_failure(directory))?;
        let path = entry.path();
        // A link could show what whoever gave the directory never looked at; a pipe would be waited for.
        let metadata = fs::symlink_metadata(&path).map_err(file_failure(&path))?;
        if !metadata.is_file() {
            return Err(refused(format!("{} is not a plain file", path.display())));
        }
        if entry.file_name().to_str().is_none_or(|name| name.parse::<Name>().is_err()) {
            return Err(refused(format!("{} has a name that the box does not take", path.display())));
        }
        bytes += metadata.len();
        files.push(path);
    }
    files.sort();
    if !(1..=PUBLIC_FILES_LIMIT).contains(&files.len()) || bytes > PUBLIC_BYTES_LIMIT {
        return Err(refused(format!("{} has {} files of {bytes} bytes", directory.display(), files.len())));
    }
    Ok(files)
}

/// Whether no file of the data is given as one that anybody may read: no row of it would be a copy any more.
fn no_data_is_public(data: &[PathBuf], public: &[PathBuf]) -> Result<(), Failure> {
    let read = |files: &[PathBuf]| -> Result<Vec<(u64, PathBuf)>, Failure> {
        let sizes = files.iter().map(|file| {
            let bytes = fs::metadata(file).map_err(file_failure(file))?.len();
            Ok((bytes, file.clone()))
        });
        sizes.collect()
    };
    let digest = |file: &Path| {
        let opened = fs::File::open(file).map_err(file_failure(file))?;
        blobs::Digest::of_reader(opened).map(|(digest, _)| digest).map_err(file_failure(file))
    };
    let data = read(data)?;
    for (bytes, file) in read(public)? {
        for (_, same) in data.iter().filter(|(other, _)| *other == bytes) {
            if digest(&file)? == digest(same)? {
                let text = format!("{} is the data's own {}", file.display(), same.display());
                return Err(Failure::new("PUBLIC_FILES", text)
                    .hint("--public takes texts that the data quotes, such as a licence; no row of a file given so would be a copy")
                    .exit(Exit::Usage));
            }
        }
    }
    Ok(())
}

fn plain_files(directory: &Path, hint: &'static str) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(file_failure(directory))? {
        let file = entry.map_err(file_failure(directory))?.path();
        if !file.is_file() {
            return Err(Failure::new("DATA", format!("{} is not a plain file", file.display())).hint(hint));
        }
        files.push(file);
    }
    Ok(files)
}

pub(crate) fn describe(path: &Path, description: &toml::Table) -> Result<(), Failure> {
    blobs::write_new_file_durably(path, description.to_string().as_bytes(), 0o644).map_err(file_failure(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn public_files_are_plain_few_and_named_as_the_box_takes_them() {
        let made = |fill: &dyn Fn(&Path)| {
            let directory = tempfile::tempdir().unwrap();
            fill(directory.path());
            public_files(directory.path()).map(|files| files.len()).map_err(|failure| failure.reason)
        };
        let write = |directory: &Path, name: &str| fs::write(directory.join(name), "text").unwrap();
        let many =
            |count: u32| made(&|directory| (0..count).for_each(|at| write(directory, &format!("{at}.txt"))));
        let large = |bytes: u64| {
            made(&|directory| fs::File::create(directory.join("model")).unwrap().set_len(bytes).unwrap())
        };
        let refused = || Err("PUBLIC_FILES".to_owned());
        assert_eq!([many(0), many(1), many(64), many(65)], [refused(), Ok(1), Ok(64), refused()]);
        assert_eq!([large(PUBLIC_BYTES_LIMIT), large(PUBLIC_BYTES_LIMIT + 1)], [Ok(1), refused()]);
        assert_eq!(made(&|directory| write(directory, "a name with spaces")), refused());
        assert_eq!(made(&|directory| fs::create_dir(directory.join("within")).unwrap()), refused());
        assert_eq!(made(&|directory| symlink("/etc/hostname", directory.join("link")).unwrap()), refused());
    }

    #[test]
    fn the_data_itself_is_no_public_file_and_one_of_the_same_length_is() {
        let directory = tempfile::tempdir().unwrap();
        let written = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let data = written("visits.csv", "person,visits\n1,2\n");
        let (copy, other) = (written("copy", "person,visits\n1,2\n"), written("terms", "anybody may use it"));
        let refused = no_data_is_public(std::slice::from_ref(&data), &[other.clone(), copy]).unwrap_err();
        assert!(refused.reason == "PUBLIC_FILES" && refused.text.contains("visits.csv"), "{refused}");
        no_data_is_public(&[data], &[other]).unwrap();
    }
}
