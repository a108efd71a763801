//! `databox runtime add`: what jobs run in. A runtime comes from this machine's Python, alone or with packages, from a
//! directory, or from an OCI image, and becomes a tree of plain files that the enclave copies, digests and answers with a draft catalogue entry for.

mod image;
mod layer;
mod python;
mod requirements;
mod tree;
mod wheel;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use release::statement::QUERY_PROGRAM;
use release::value::Name;
use sandbox::job::RESERVED;

use crate::data::{ALREADY_THERE, describe};
use crate::failure::{Exit, Failure, file_failure, whole};
use tree::Tree;

/// What `runtime add` needs to know.
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["from_host_python", "from_requirements", "from_directory", "from_oci", "for_queries"])))]
pub struct RuntimeArguments {
    /// The runtime's name.
    pub name: Name,
    /// The home of the box.
    #[arg(long)]
    pub home: PathBuf,
    /// Copy this machine's own Python: interpreter, standard library and the libraries they link.
    #[arg(long)]
    pub from_host_python: bool,
    /// Copy this machine's Python, and the packages of a requirements file beside it. Each must be pinned and have a
    /// SHA-256, as `pip-compile --generate-hashes` writes them; wheels only, so that nothing of a package is run.
    #[arg(long, value_name = "FILE")]
    pub from_requirements: Option<PathBuf>,
    /// Where the wheels of the requirements lie already; else pip fetches them.
    #[arg(long, value_name = "DIR", requires = "from_requirements")]
    pub wheels: Option<PathBuf>,
    /// The interpreter to copy.
    #[arg(long, default_value = "/usr/bin/python3")]
    pub interpreter: PathBuf,
    /// Copy a directory that holds usr, lib and so on, as jobs are to see them.
    #[arg(long, value_name = "DIR")]
    pub from_directory: Option<PathBuf>,
    /// Unpack an OCI image: an image layout, or an archive of one as `skopeo copy … oci-archive:FILE` writes it.
    #[arg(long, value_name = "LAYOUT")]
    pub from_oci: Option<PathBuf>,
    /// Copy the box's own program that answers questions. Whoever signs its draft says that it counts, and nobody need take
    /// a job's word for counts of its answers.
    #[arg(long)]
    pub for_queries: bool,
    /// Leave files with set-user-id bits or capabilities out of an image, instead of refusing it. Most distributions
    /// have a few, such as /usr/bin/su; in a job they would do nothing.
    #[arg(long)]
    pub leave_out_set_user_id: bool,
}

/// What becomes of files that act as their owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Refused,
    LeftOut,
}

/// Why no runtime was made.
#[derive(Debug, thiserror::Error)]
enum RuntimeFailure {
    #[error("it is not an image layout of one image: {0}")]
    Layout(String),
    #[error("the blob {0} is not there")]
    BlobMissing(String),
    #[error("the blob {0} holds other bytes than those that name it")]
    BlobDiffers(String),
    #[error("the name {0:?} leaves the tree, goes round in circles, or cannot be listed")]
    Path(String),
    #[error("{path:?} is a further name of {of:?}, which is no file of the image")]
    HardLink { path: String, of: String },
    #[error("{0:?} is a device, a pipe or of another kind that no runtime has")]
    Kind(String),
    #[error("{0:?} has a set-user-id bit or capabilities")]
    SetUserId(String),
    #[error("{0:?} is where the wall or a job puts its own files, and is no empty directory")]
    MountPoint(String),
    #[error("{0:?} is not `NAME==VERSION --hash=sha256:…`")]
    Requirement(String),
    #[error("{0} is not what the requirements name by its SHA-256")]
    WheelDiffers(String),
    #[error("{0} is a second wheel of its package")]
    WheelTwice(String),
    #[error("no wheel of {0} is there")]
    WheelMissing(String),
    #[error("{0} is for another interpreter or another kind of machine")]
    WheelTags(String),
    #[error("{0:?} of a wheel would take the place of something of the interpreter's")]
    WheelReplaces(String),
    #[error("{0:?} is no wheel, or not a sound one")]
    Wheel(String),
    #[error("pip did not fetch the packages: {0}")]
    Pip(String),
    #[error("{0}, which a package links, is not on this machine")]
    LibraryMissing(String),
    #[error("the interpreter cannot be copied")]
    HostPython(#[source] sandbox::RuntimeError),
    #[error("it holds no directory that a job could see")]
    Nothing,
    #[error("it is larger than a runtime may be")]
    TooLarge,
    #[error("it cannot be read")]
    NotRead(#[source] io::Error),
    #[error("it cannot be written")]
    NotWritten(#[source] io::Error),
}

impl RuntimeFailure {
    fn name(&self) -> &'static str {
        match self {
            Self::Layout(_) => "IMAGE_LAYOUT",
            Self::BlobMissing(_) => "IMAGE_BLOB_MISSING",
            Self::BlobDiffers(_) => "IMAGE_BLOB_DIFFERS",
            Self::Path(_) => "IMAGE_PATH",
            Self::HardLink { .. } => "IMAGE_HARD_LINK",
            Self::Kind(_) => "IMAGE_DEVICE",
            Self::SetUserId(_) => "IMAGE_SET_USER_ID",
            Self::MountPoint(_) => "IMAGE_MOUNT_POINT",
            Self::Requirement(_) => "REQUIREMENT",
            Self::WheelDiffers(_) => "WHEEL_DIFFERS",
            Self::WheelTwice(_) => "WHEEL_TWICE",
            Self::WheelMissing(_) => "WHEEL_MISSING",
            Self::WheelTags(_) => "WHEEL_TAGS",
            Self::WheelReplaces(_) => "WHEEL_REPLACES",
            Self::Wheel(_) => "WHEEL",
            Self::Pip(_) => "PIP",
            Self::LibraryMissing(_) => "LIBRARY_MISSING",
            Self::HostPython(_) => "HOST_PYTHON",
            Self::Nothing => "IMAGE_EMPTY",
            Self::TooLarge => "IMAGE_TOO_LARGE",
            Self::NotRead(_) | Self::NotWritten(_) => "FILE",
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Layout(_) | Self::BlobMissing(_) => {
                "`skopeo copy docker://IMAGE@DIGEST oci-archive:FILE` writes one; give FILE"
            }
            Self::BlobDiffers(_) => "fetch the image again",
            Self::Requirement(_) => {
                "`pip-compile --generate-hashes` or `uv export` writes such a file, all that packages need included"
            }
            Self::WheelTwice(_) => "take one of them out of the directory",
            Self::WheelDiffers(_) => "nothing was added; fetch it again, or find out who changed it",
            Self::WheelMissing(_) | Self::WheelTags(_) => {
                "`pip download --require-hashes --only-binary :all: -r FILE -d DIR`, by the interpreter that jobs run in, \
                 fetches what fits"
            }
            Self::Wheel(_) => "fetch it again",
            Self::Pip(_) => {
                "the interpreter needs pip (apt-get install python3-venv); or fetch the wheels elsewhere and give --wheels"
            }
            Self::LibraryMissing(_) => "install what brings it: libstdc++6 and libgomp1 are the usual ones",
            Self::HostPython(_) => "apt-get install python3 brings Debian's interpreter",
            Self::SetUserId(_) => "add --leave-out-set-user-id to leave such files out",
            _ => "nothing was added; choose another image, or make a directory and give --from-directory",
        }
    }
}

/// Lays a runtime into the drop directory. The description comes last, so that the enclave never takes half of it.
pub fn add(arguments: &RuntimeArguments) -> Result<PathBuf, Failure> {
    let home = crate::home::Home::at(&arguments.home);
    let target = home.join("drop/runtimes").join(arguments.name.as_str());
    if target.exists() {
        return Err(Failure::new("ALREADY_THERE", format!("{} is there already", target.display()))
            .hint(ALREADY_THERE)
            .exit(Exit::Conflict));
    }
    fs::create_dir(&target).map_err(file_failure(&target))?;
    match fill(arguments, &target) {
        Ok(words) => {
            let mut description = toml::Table::new();
            description.insert("description".into(), words.into());
            if arguments.for_queries {
                description.insert("answers_queries".into(), true.into());
            }
            describe(&target.join("runtime.toml"), &description)?;
            Ok(target)
        }
        Err(failure) => {
            // Otherwise a second attempt would find half of the first.
            fs::remove_dir_all(&target).map_err(file_failure(&target))?;
            Err(failure)
        }
    }
}

/// Makes the tree, and says what it is.
fn fill(arguments: &RuntimeArguments, target: &Path) -> Result<String, Failure> {
    let tree = target.join("tree");
    let choice = if arguments.leave_out_set_user_id { Choice::LeftOut } else { Choice::Refused };
    if arguments.for_queries {
        return for_queries(&tree);
    }
    if let Some(directory) = &arguments.from_directory {
        from_directory(directory, &tree, choice).map_err(failure(directory))?;
        return Ok(format!("a copy of {}", directory.display()));
    }
    if let Some(layout) = &arguments.from_oci {
        let digest = from_image(layout, target, choice).map_err(failure(layout))?;
        return Ok(format!("OCI image {digest}"));
    }
    if let Some(requirements) = &arguments.from_requirements {
        return python::with_packages(arguments, requirements, &tree).map_err(failure(requirements));
    }
    let interpreter = &arguments.interpreter;
    sandbox::host_python(interpreter, &tree)
        .map_err(|error| failure(interpreter)(RuntimeFailure::HostPython(error)))?;
    Ok(format!("{} of the host, with its standard library", interpreter.display()))
}

fn failure(path: &Path) -> impl FnOnce(RuntimeFailure) -> Failure + '_ {
    move |error| {
        Failure::new(error.name(), format!("{}: {}", path.display(), whole(&error))).hint(error.hint())
    }
}

/// One static program, at the place that every question names.
pub(crate) fn for_queries(tree: &Path) -> Result<String, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let program = crate::programs::find("databox-query")?;
    let place = tree.join(QUERY_PROGRAM.trim_start_matches('/'));
    let directory = place.parent().unwrap_or(tree);
    fs::create_dir_all(directory).map_err(file_failure(directory))?;
    fs::copy(&program, &place).map_err(file_failure(&place))?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).map_err(file_failure(&place))?;
    Ok(format!("databox-query {}, which answers questions", env!("CARGO_PKG_VERSION")))
}

fn from_image(layout: &Path, target: &Path, choice: Choice) -> Result<String, RuntimeFailure> {
    let mut tree = Tree::new(target).map_err(RuntimeFailure::NotWritten)?;
    let digest = image::read(layout, &mut tree, choice)?;
    keep_what_jobs_see(&mut tree)?;
    tree.write(&target.join("tree"))?;
    Ok(digest)
}

fn from_directory(directory: &Path, into: &Path, choice: Choice) -> Result<(), RuntimeFailure> {
    let beside = into.parent().unwrap_or(into);
    let mut tree = Tree::new(beside).map_err(RuntimeFailure::NotWritten)?;
    take(directory, "", &mut tree, choice)?;
    keep_what_jobs_see(&mut tree)?;
    tree.write(into)
}

fn take(from: &Path, below: &str, tree: &mut Tree, choice: Choice) -> Result<(), RuntimeFailure> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    for entry in fs::read_dir(from).map_err(RuntimeFailure::NotRead)? {
        let entry = entry.map_err(RuntimeFailure::NotRead)?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|name| RuntimeFailure::Path(name.to_string_lossy().into_owned()))?;
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        let metadata = fs::symlink_metadata(entry.path()).map_err(RuntimeFailure::NotRead)?;
        if metadata.is_dir() {
            tree.directory(&path)?;
            take(&entry.path(), &path, tree, choice)?;
        } else if metadata.is_symlink() {
            let link = fs::read_link(entry.path()).map_err(RuntimeFailure::NotRead)?;
            let link = link.to_str().ok_or_else(|| RuntimeFailure::Path(path.clone()))?;
            tree.link(&path, link)?;
        } else if metadata.is_file() {
            let mode = metadata.permissions().mode();
            match (mode & 0o6000 != 0, choice) {
                (true, Choice::Refused) => return Err(RuntimeFailure::SetUserId(path)),
                (true, Choice::LeftOut) => continue,
                (false, _) => {}
            }
            let no_link = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
            let mut options = fs::OpenOptions::new();
            let opened = options.read(true).custom_flags(no_link).open(entry.path());
            tree.file(&path, mode & 0o111 != 0, &mut opened.map_err(RuntimeFailure::NotRead)?)?;
        } else {
            return Err(RuntimeFailure::Kind(path));
        }
    }
    Ok(())
}

/// Leaves at the top what a job is shown: directories, and links to directories of the tree. Where the wall or a job puts
/// its own files an image has an empty directory at most; anything else there was meant to be seen and would not be, or
/// is a link that was meant to lead a mount elsewhere (CVE-2026-87766).
fn keep_what_jobs_see(tree: &mut Tree) -> Result<(), RuntimeFailure> {
    // What a distribution's image has there is what a running machine would put there, and a job has its own.
    const EMPTIED: [&str; 4] = ["dev", "proc", "sys", "tmp"];
    for (name, is_directory) in tree.top() {
        if RESERVED.contains(&name.as_str()) {
            let ours = EMPTIED.contains(&name.as_str()) || !tree.holds_something(&name);
            if !(is_directory && ours) {
                return Err(RuntimeFailure::MountPoint(name));
            }
            tree.leave_out(&name);
        } else if !is_directory && tree.top_link(&name).is_none() {
            // Such as /.dockerenv, or a link to what only a running machine has.
            tree.leave_out(&name);
        }
    }
    if tree.top().is_empty() { Err(RuntimeFailure::Nothing) } else { Ok(()) }
}
