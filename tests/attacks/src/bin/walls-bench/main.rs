//! `cargo xtask bench walls`: what the native wall costs, as ratios within one run, and what it leaves behind.
//!
//!     walls-bench --helper DATABOX-LAUNCH [PART…]
//!
//! Parts are launches, compute, packages, read, endings, residue and many; without one all are measured.
//!
//! Every pair is measured one beside the other, in turn, so that what else the machine does falls on both. Intervals are
//! 95 %, by resampling pairs (Efron 1979). The helper must be built with optimisation: a debug build compiles its list of
//! system calls many times slower.

mod packages;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use sandbox::{Access, Cancel, Launcher, Mount, Outcome, OutputSpace, Specification, Stdin};
use test_attacks::held::Held;
use test_attacks::stage::{Stage, is_root, open_directory};

const LAUNCHES: usize = 200;
const PAIRS: usize = 15;

type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let helper = match (words.next().as_deref(), words.next()) {
        (Some("--helper"), Some(helper)) => PathBuf::from(helper),
        _ => {
            eprintln!("walls-bench --helper DATABOX-LAUNCH [PART…]");
            return ExitCode::from(2);
        }
    };
    let parts: Vec<String> = words.collect();
    if let Some(unknown) = parts.iter().find(|part| PARTS.iter().all(|(name, _)| name != part)) {
        let names = PARTS.map(|(name, _)| name).join(" ");
        eprintln!("walls-bench: there is no part {unknown}; there are {names}");
        return ExitCode::from(2);
    }
    match run(&helper, &parts) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(10),
        Err(text) => {
            eprintln!("walls-bench: {text}");
            ExitCode::FAILURE
        }
    }
}

/// What was measured, and whether all bars were met.
struct Bars {
    met: bool,
}

impl Bars {
    fn told(&mut self, name: &str, value: &str, bar: &str, met: bool) {
        self.met &= met;
        println!("{name:<46} {value:<44} bar {bar:<9} {}", if met { "met" } else { "NOT MET" });
    }
}

/// Takes one measurement or some that belong together.
type Part = fn(&Stage, &mut Bars) -> Result<()>;

const PARTS: [(&str, Part); 7] = [
    ("launches", launches),
    ("compute", compute),
    ("packages", packages::measure),
    ("read", read),
    ("endings", endings),
    ("residue", residue),
    ("many", many),
];

fn run(helper: &Path, parts: &[String]) -> Result<bool> {
    let directory = open_directory().map_err(|error| error.to_string())?;
    let runtime = directory.path().join("runtime");
    sandbox::host_python(Path::new("/usr/bin/python3"), &runtime).map_err(|error| error.to_string())?;
    let stage = Stage::new(helper, &runtime).map_err(|error| error.to_string())?;
    let mut bars = Bars { met: true };
    println!("walls, as {}", if is_root() { "root" } else { "a normal user" });
    for (name, part) in PARTS {
        if parts.is_empty() || parts.iter().any(|wanted| wanted == name) {
            part(&stage, &mut bars)?;
        }
    }
    Ok(bars.met)
}

fn launched(stage: &Stage, specification: &Specification) -> Result<sandbox::Ended> {
    stage.launch(specification).map_err(|error| test_attacks::told(&error))
}

/// The host's own programs and libraries.
fn of_the_host() -> Vec<Mount> {
    let mount = |place: &str| Mount {
        source: fs::canonicalize(place).unwrap_or_else(|_| place.into()),
        target: place.into(),
        access: Access::ReadOnlyExecutable,
    };
    ["/usr", "/lib", "/lib64"].map(mount).into()
}

/// `/usr/bin/true` of the host with the libraries it links.
fn host_true(stage: &Stage) -> Specification {
    let mut specification = stage.job(&["/usr/bin/true"]);
    specification.mounts = of_the_host();
    specification.working_directory = "/".into();
    specification
}

fn launches(stage: &Stage, bars: &mut Bars) -> Result<()> {
    let helper = stage.helper();
    let specification = host_true(stage);
    let unshare = [
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--net",
        "--ipc",
        "--uts",
        "--cgroup",
        "--time",
        "/usr/bin/true",
    ];
    let bubblewrap = [
        "--unshare-all",
        "--cap-drop",
        "ALL",
        "--new-session",
        "--die-with-parent",
        "--ro-bind",
        "/usr",
        "/usr",
        "--symlink",
        "usr/lib",
        "/lib",
        "--symlink",
        "usr/lib64",
        "/lib64",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
        "/usr/bin/true",
    ];
    let ours = || {
        let begun = Instant::now();
        let cancel = Cancel::new().map_err(|error| error.to_string())?;
        let ended = Launcher::new(helper)
            .run(&specification, Stdin::Empty, &cancel)
            .map_err(|error| test_attacks::told(&error))?;
        match ended.outcome {
            Outcome::Succeeded => Ok(begun.elapsed()),
            other => Err(format!("/usr/bin/true ended {other:?}")),
        }
    };
    let other = |program: &str, arguments: &[&str]| {
        let begun = Instant::now();
        let status = Command::new(program).args(arguments).env_clear().stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(begun.elapsed()),
            status => Err(format!("{program}: {status:?}")),
        }
    };
    for (name, program, arguments, bar) in [
        ("/bin/true: wall over unshare", "/usr/bin/unshare", &unshare[..], 2.0),
        ("/bin/true: wall over bwrap", "/usr/bin/bwrap", &bubblewrap[..], 1.0),
    ] {
        if let Err(why) = other(program, arguments) {
            println!("{name:<46} not measured: {why}; `apt-get install bubblewrap util-linux`");
            continue;
        }
        ours()?;
        let mut pairs = Vec::new();
        for _ in 0..LAUNCHES {
            pairs.push((ours()?.as_secs_f64(), other(program, arguments)?.as_secs_f64()));
        }
        let (ratio, low, high) = ratio(&pairs);
        let (a, b) =
            (1e3 * median(pairs.iter().map(|pair| pair.0)), 1e3 * median(pairs.iter().map(|pair| pair.1)));
        let used = |run: &dyn Fn() -> Result<Duration>| {
            let before = children_processor_time();
            for _ in 0..LAUNCHES {
                run()?;
            }
            Ok::<f64, String>(1e3 * (children_processor_time() - before) / LAUNCHES as f64)
        };
        let (c, d) = (used(&ours)?, used(&|| other(program, arguments))?);
        let value = format!(
            "{ratio:.2} ({low:.2} to {high:.2}); {a:.2} ms over {b:.2} ms; processor {c:.2} ms over {d:.2} ms"
        );
        bars.told(name, &value, &format!("<= {bar:.1}"), ratio <= bar);
    }
    Ok(())
}

/// What all children that ended have used, in seconds: it grows the same on a busy machine.
fn children_processor_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    // Fields 16 and 17 of proc(5), in hundredths of a second; the third is the first here.
    let ticks = after_name.split(' ').skip(13).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// A program that tells what it used, inside and outside. Its environment is the same.
fn pairs(stage: &Stage, text: &str, mount: Option<&Path>) -> Result<Vec<(f64, f64)>> {
    let mut specification = stage.text(text);
    if let Some(file) = mount {
        specification.mounts.push(Mount {
            source: file.to_owned(),
            target: file.display().to_string(),
            access: Access::ReadOnly,
        });
        // Where the wall puts its own files, nothing else is shown.
        specification.limits.tmp_bytes = 0;
    }
    let number = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.trim().parse::<f64>().map_err(|_| format!("the program said {text}"))
    };
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let inside = number(&launched(stage, &specification)?.stdout)?;
        let outside = Command::new("/usr/bin/python3")
            .args(["-I", "-S", "-B", "-c", text])
            .env_clear()
            .env("PATH", "/usr/bin")
            .env("LANG", "C.UTF-8")
            .output()
            .map_err(|error| error.to_string())?;
        pairs.push((inside, number(&outside.stdout)?));
    }
    Ok(pairs)
}

fn compute(stage: &Stage, bars: &mut Bars) -> Result<()> {
    let text = "import time, hashlib, math\n\
        begun = time.process_time()\n\
        total = 0.0\n\
        for n in range(1, 1500000): total += math.sqrt(n) * math.sin(n)\n\
        rows = sorted((n * 7919) % 100003 for n in range(300000))\n\
        data = bytes(8 << 20)\n\
        for _ in range(8): data = hashlib.sha256(data).digest() * (1 << 18)\n\
        print(time.process_time() - begun)";
    let pairs = pairs(stage, text, None)?;
    let (ratio, low, high) = ratio(&pairs);
    let value = format!("{ratio:.3} ({low:.3} to {high:.3}), {PAIRS} pairs");
    bars.told("processor time of a compute program over bare", &value, "<= 1.03", ratio <= 1.03);
    Ok(())
}

fn read(stage: &Stage, bars: &mut Bars) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("walls-bench-").tempdir_in("/var/tmp");
    let directory = directory.map_err(|error| error.to_string())?;
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    let file = directory.path().join("rows");
    let written = Command::new("/bin/dd")
        .args(["if=/dev/zero", "bs=1M", "count=2048", "status=none"])
        .arg(format!("of={}", file.display()))
        .status();
    if !written.is_ok_and(|status| status.success()) {
        return Err("2 GB cannot be written to /var/tmp".to_owned());
    }
    let text = format!(
        "import os, time\n\
        held = os.open({:?}, os.O_RDONLY)\nblock = memoryview(bytearray(1 << 20))\n\
        def whole():\n    os.lseek(held, 0, 0)\n    while os.readv(held, [block]): pass\n\
        whole()\n\
        begun = time.perf_counter()\n\
        for _ in range(3): whole()\n\
        print(time.perf_counter() - begun)",
        file.display().to_string()
    );
    let pairs = pairs(stage, &text, Some(&file))?;
    let (ratio, low, high) = ratio(&pairs);
    let speed = 3.0 * 2.147_483_648 / median(pairs.iter().map(|pair| pair.0));
    let value = format!("{ratio:.3} ({low:.3} to {high:.3}); {speed:.1} GB/s inside");
    bars.told("read of a 2 GB file over bare", &value, "<= 1.03", ratio <= 1.03);
    Ok(())
}

/// From the cancel until the run returns, which is after the last process is dead.
fn cancelled(helper: &Path, specification: &Specification) -> Result<Duration> {
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let mut at = None;
    let ended = Launcher::new(helper).run_told(specification, Stdin::Empty, &cancel, &mut |_| {
        at.get_or_insert_with(Instant::now);
        cancel.cancel();
    });
    let ended = ended.map_err(|error| test_attacks::told(&error))?;
    let at: Instant = at.ok_or("the program never was ready")?;
    match ended.outcome {
        Outcome::Cancelled => Ok(at.elapsed()),
        other => Err(format!("the run ended {other:?}")),
    }
}

fn endings(stage: &Stage, bars: &mut Bars) -> Result<()> {
    let helper = stage.helper();
    let mut sleepers = stage.text(
        "import os, signal, time\nfor n in range(299):\n if not os.fork(): time.sleep(600)\nprint('ready', flush=True)\ntime.sleep(600)",
    );
    sleepers.limits.processes = 320;
    let times = (0..5).map(|_| cancelled(helper, &sleepers)).collect::<Result<Vec<_>>>()?;
    let most = times.iter().max().copied().unwrap_or_default();
    let value = format!("{:.1} ms, the longest of {}", 1e3 * most.as_secs_f64(), times.len());
    bars.told("cancel until 300 processes are dead", &value, "<= 100 ms", most <= Duration::from_millis(100));

    let mut bomb = stage.text(
        "import os, time\ndef bomb():\n while True:\n  try: os.fork()\n  except OSError: pass\nif not os.fork(): bomb()\ntime.sleep(1)\nprint('ready', flush=True)\nbomb()",
    );
    bomb.limits.processes = 128;
    // So that it ends at the limit for processes, and not before at the one for memory.
    bomb.limits.memory_bytes = 16 << 30;
    let times = (0..3).map(|_| cancelled(helper, &bomb)).collect::<Result<Vec<_>>>()?;
    let most = times.iter().max().copied().unwrap_or_default();
    let value = format!("{:.1} ms, the longest of {}", 1e3 * most.as_secs_f64(), times.len());
    bars.told("cancel of a fork bomb at its limit", &value, "<= 2 s", most <= Duration::from_secs(2));
    Ok(())
}

/// 64 bytes that stand nowhere else; its parts are joined only in the job.
const CANARY: [&str; 2] = ["canary-of-one-job-that-no-other-may-find-", "0123456789abcdefghijklm"];

fn residue(stage: &Stage, bars: &mut Bars) -> Result<()> {
    let (helper, runtime) = (stage.helper(), stage.runtime());
    let image = is_root().then(Image::new).transpose()?;
    let below = image.as_ref().map_or_else(std::env::temp_dir, |image| image.mounted.clone());
    let made = Stage::new_below(&below, helper, runtime);
    let stage = made.map_err(|error| format!("no stage below {}: {error}", below.display()))?;
    let [begin, end] = CANARY;
    let mut leaves = stage.text(&format!(
        "canary = ({begin:?} + {end:?}).encode()\nblock = canary * (1024 * 1024 // 64)\nheld = bytearray(block * 64)\n\
         for place in ('/tmp', '/dev/shm', '/out'):\n for n in range(21): open(f'{{place}}/{{n}}', 'wb').write(block)\nprint(len(canary))"
    ));
    leaves.limits.tmp_bytes = 64 << 20;
    let mut searches = stage.text(&format!(
        "import mmap, os\ncanary = ({begin:?} + {end:?}).encode()\nfound = 0\n\
         for top in ('/tmp', '/dev/shm', '/out', '/job', '/data'):\n for place, _, files in os.walk(top):\n  for name in files:\n   \
         try: found += open(os.path.join(place, name), 'rb').read().count(canary)\n   except OSError: pass\n\
         pages = mmap.mmap(-1, 256 << 20)\nfound += pages[:].count(canary[8:])\n\
         for place in ('/tmp/fresh', '/dev/shm/fresh', '/out/fresh'):\n \
         held = os.open(place, os.O_RDWR | os.O_CREAT)\n os.posix_fallocate(held, 0, 32 << 20)\n found += os.pread(held, 32 << 20, 0).count(canary[8:])\nprint(found)"
    ));
    searches.limits.tmp_bytes = 64 << 20;
    let said = launched(&stage, &leaves)?;
    if said.outcome != Outcome::Succeeded {
        return Err(format!("canaries: {:?} {}", said.outcome, String::from_utf8_lossy(&said.stdout)));
    }
    drop(said);
    let said = launched(&stage, &searches)?;
    let found = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let in_the_image = match image {
        Some(image) => {
            drop(stage);
            Some(image.count(CANARY.concat().as_bytes())?)
        }
        None => None,
    };
    let told = match in_the_image {
        Some(found) => format!("; in the image of the file system {found}"),
        None => "; no image, which only root can mount".to_owned(),
    };
    let none = found == "0" && in_the_image.is_none_or(|found| found == 0);
    bars.told("canaries of a job that the next one finds", &format!("{found}{told}"), "0", none);
    Ok(())
}

/// A file system of its own in a file, on which a stage lies.
struct Image {
    directory: tempfile::TempDir,
    mounted: PathBuf,
}

fn done(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

impl Image {
    fn new() -> Result<Self> {
        let directory = open_directory().map_err(|error| error.to_string())?;
        let (file, mounted) = (directory.path().join("image"), directory.path().join("mounted"));
        fs::create_dir(&mounted).map_err(|error| error.to_string())?;
        done(Command::new("/usr/bin/truncate").args(["--size", "512M"]).arg(&file))?;
        done(Command::new("/sbin/mkfs.ext4").args(["-q", "-F"]).arg(&file))?;
        done(Command::new("/bin/mount").args(["-o", "loop"]).arg(&file).arg(&mounted))?;
        Ok(Self { directory, mounted })
    }

    /// Unmounts, and counts in what is left on the disk.
    fn count(self, wanted: &[u8]) -> Result<usize> {
        done(Command::new("/bin/umount").arg(&self.mounted))?;
        let bytes = fs::read(self.directory.path().join("image")).map_err(|error| error.to_string())?;
        Ok(bytes.windows(wanted.len()).filter(|window| window == &wanted).count())
    }
}

fn many(stage: &Stage, bars: &mut Bars) -> Result<()> {
    let helper = stage.helper();
    let mut specification = host_true(stage);
    specification.output = Some(OutputSpace { target: "/out".into(), bytes: 1 << 20, entries: 10 });
    let files = |stage: &Stage| fs::read_dir(stage.path(".")).map_or(0, Iterator::count);
    let launcher = Launcher::new(helper);
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let (before, files_before) = (Held::now(), files(stage));
    let begun = Instant::now();
    for _ in 0..1000 {
        launcher.run(&specification, Stdin::Empty, &cancel).map_err(|error| test_attacks::told(&error))?;
    }
    let each = 1e3 * begun.elapsed().as_secs_f64() / 1000.0;
    let (after, files_after) = (Held::now(), files(stage));
    let same = before == after && files_before == files_after;
    let value = match same {
        true => format!("nothing; {each:.2} ms each"),
        false => format!("{before:?} became {after:?}, {files_before} files became {files_after}"),
    };
    bars.told("left behind by 1,000 jobs in a row", &value, "nothing", same);
    Ok(())
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// The median of the pairs' ratios, and its interval.
fn ratio(pairs: &[(f64, f64)]) -> (f64, f64, f64) {
    let ratios: Vec<f64> = pairs.iter().map(|(a, b)| a / b).collect();
    let mut state = 1u64;
    let mut drawn: Vec<f64> = (0..2000)
        .map(|_| {
            median((0..ratios.len()).map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ratios[(state >> 33) as usize % ratios.len()]
            }))
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    (median(ratios.iter().copied()), drawn[50], drawn[1949])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_ratio_and_is_narrow_for_equal_pairs() {
        let pairs: Vec<(f64, f64)> = (1..=15).map(|n| (2.0 * f64::from(n), f64::from(n))).collect();
        assert_eq!(ratio(&pairs), (2.0, 2.0, 2.0));
        let spread: Vec<(f64, f64)> = (1..=15).map(|n| (f64::from(n), 8.0)).collect();
        let (ratio, low, high) = ratio(&spread);
        assert!(ratio == 1.0 && low < 0.9 && high > 1.1);
    }
}
