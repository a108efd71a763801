//! The example with scikit-learn, inside over bare: the same interpreter, packages, data and numbers of threads on both sides.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{Access, Mount, Outcome, Specification};
use test_attacks::stage::{Stage, open_directory};

use crate::{Bars, PAIRS, Result, done, launched, of_the_host, ratio};

/// Inside and outside alike: one thread, and nothing of whoever measures.
const ENVIRONMENT: [(&str, &str); 4] =
    [("PATH", "/usr/bin"), ("LANG", "C.UTF-8"), ("OPENBLAS_NUM_THREADS", "1"), ("OMP_NUM_THREADS", "1")];

/// Measures it, or says why not: pip fetches the packages.
pub fn measure(stage: &Stage, bars: &mut Bars) -> Result<()> {
    const NAME: &str = "processor time of the scikit-learn example";
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sklearn");
    let example = example.canonicalize().map_err(|error| error.to_string())?;
    let directory = open_directory().map_err(|error| error.to_string())?;
    let at = |name: &str| directory.path().join(name);
    if let Err(why) = fetch(&at("pip"), &at("packages"), &example.join("requirements.txt")) {
        println!("{NAME:<46} not measured: {why}");
        return Ok(());
    }
    for name in ["data", "out", "job"] {
        fs::create_dir(at(name)).map_err(|error| error.to_string())?;
    }
    // Copies, since where these sources lie a job's user may not be able to enter.
    let laid = || {
        let packed = fs::File::open(example.join("../data/randhie.csv.zst"))?;
        fs::write(at("data/randhie.csv"), zstd::decode_all(packed)?)?;
        fs::copy(example.join("train.py"), at("job/train.py"))?;
        open_to_all(directory.path())
    };
    laid().map_err(|error| error.to_string())?;
    let inside = inside(stage, &at("packages"), &at("job"), &at("data"));
    let bare = text(&at("packages"), &at("job"), &[at("data"), at("out")]);
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let ended = launched(stage, &inside)?;
        if ended.outcome != Outcome::Succeeded {
            let said = String::from_utf8_lossy(&ended.stdout).into_owned();
            return Err(format!("the example ended {:?} inside: {said}", ended.outcome));
        }
        let outside = Command::new("/usr/bin/python3")
            .args(["-I", "-S", "-B", "-c", &bare])
            .env_clear()
            .envs(ENVIRONMENT)
            .output()
            .map_err(|error| error.to_string())?;
        pairs.push((seconds(&ended.stdout)?, seconds(&outside.stdout)?));
    }
    let (found, low, high) = ratio(&pairs);
    let value = format!("{found:.3} ({low:.3} to {high:.3}), {PAIRS} pairs");
    bars.told(NAME, &value, "<= 1.03", found <= 1.03);
    Ok(())
}

/// The packages of the example, each by its SHA-256; nothing is built.
fn fetch(environment: &Path, packages: &Path, requirements: &Path) -> Result<()> {
    done(Command::new("/usr/bin/python3").args(["-I", "-m", "venv"]).arg(environment))?;
    let mut pip = Command::new(environment.join("bin/python3"));
    pip.args(["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    pip.args(["--require-hashes", "--only-binary", ":all:", "--target"]).arg(packages);
    done(pip.arg("--requirement").arg(requirements))
}

/// The example, and what it used; its own words go nowhere.
fn text(packages: &Path, job: &Path, places: &[PathBuf]) -> String {
    format!(
        "import os, runpy, sys, time\n\
         sys.path.insert(0, {packages:?})\nsys.argv = ['train.py'] + {places:?}\n\
         sys.stderr = open(os.devnull, 'w')\n\
         begun = time.process_time()\n\
         runpy.run_path({:?}, run_name='__main__')\n\
         print(time.process_time() - begun)",
        job.join("train.py")
    )
}

fn inside(stage: &Stage, packages: &Path, job: &Path, data: &Path) -> Specification {
    let places = ["/data/hie", "/out"].map(PathBuf::from);
    let mut specification = stage.text(&text(Path::new("/packages"), Path::new("/job"), &places));
    let mount = |source: &Path, target: &str, access| Mount {
        source: source.to_owned(),
        target: target.into(),
        access,
    };
    specification.mounts = of_the_host();
    specification.mounts.extend([
        mount(packages, "/packages", Access::ReadOnlyExecutable),
        mount(job, "/job", Access::ReadOnly),
        mount(data, "/data/hie", Access::ReadOnly),
    ]);
    specification.environment = ENVIRONMENT.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    specification.limits.memory_bytes = 4 << 30;
    specification
}

fn seconds(said: &[u8]) -> Result<f64> {
    let text = String::from_utf8_lossy(said);
    text.trim().parse().map_err(|_| format!("the example said {text:?}"))
}

fn open_to_all(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            open_to_all(&entry.path())?;
        } else if kind.is_file() {
            let mode = entry.metadata()?.permissions().mode();
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode | 0o444))?;
        }
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}
