//! The init of a machine: loads what its devices need, shows the disks, tries the wall with a program of ours, tells the
//! host what stands, and only then runs the program behind the native wall and writes down what it left.
//!
//! It is process 1 of a machine that serves one program and is switched off at its end, however that comes about. It has
//! the machine's kernel to itself, and what it says after the program began may be the program's word.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::process::{chdir, chroot};
use rustix::system::{RebootCommand, finit_module, reboot, uname};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};
use sandbox::machine::command::RESULT_DISK;
use sandbox::machine::initramfs::{INIT, MODULES, ORDER, Order, SYSTEM};
use sandbox::machine::result::Writer;
use sandbox::machine::said::{self, End, Stands};
use sandbox::{
    Cancel, Ended, Evidence, Launcher, Outcome, Specification, Stdin, make_room_for_groups, probe,
};

/// How long a disk may take to appear.
const DISKS_TIME: Duration = Duration::from_secs(30);

/// Does it all, and switches the machine off.
pub fn run() {
    if std::process::id() != 1 {
        return;
    }
    if let Err(reason) = serve() {
        // Without a line there is nobody to tell.
        let _ = Line::open().and_then(|mut line| line.say(&said::failed(&reason)));
    }
    let _ = reboot(RebootCommand::Restart);
}

/// The serial line to the host.
struct Line(File);

impl Line {
    fn open() -> io::Result<Line> {
        let line = File::options().read(true).write(true).open("/dev/ttyS0")?;
        let mut settings = tcgetattr(&line)?;
        settings.make_raw();
        tcsetattr(&line, OptionalActions::Now, &settings)?;
        Ok(Line(line))
    }

    /// Returns when all of it is on its way out of the machine.
    fn say(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.write_all(message)?;
        Ok(tcdrain(&self.0)?)
    }
}

fn serve() -> Result<(), String> {
    let failed = |step: &'static str| move |error: io::Error| format!("{step}: {error}");
    take_root().map_err(failed("the root"))?;
    load_modules().map_err(failed("the modules"))?;
    let order = fs::read(ORDER).map_err(failed("the order"))?;
    let order: Order = serde_json::from_slice(&order).map_err(|error| format!("the order: {error}"))?;
    for name in &order.disks {
        let place = Path::new("/disks").join(name);
        show(name, &place).map_err(|error| format!("the disk {name}: {error}"))?;
    }
    let result = device(RESULT_DISK).and_then(|path| File::options().write(true).open(path));
    let result = result.map_err(failed("the disk for the result"))?;
    // Version 2 is the only one that is mounted here.
    if !make_room_for_groups() {
        return Err("this kernel has no control groups".into());
    }
    let launcher = Launcher::new(INIT[0]);
    let evidence = probe(&launcher).map_err(|error| whole(&error))?;
    let mut line = Line::open().map_err(failed("the line"))?;
    // An attacker who could start before this is said could say it, with layers as they please.
    line.say(&said::stands(&stands(&evidence))).map_err(failed("the line"))?;
    let end = run_program(&launcher, &order.specification, result);
    line.say(&said::ended(&end)).map_err(failed("the line"))
}

/// Makes what came with the machine the root, and mounts what the kernel has to show.
fn take_root() -> io::Result<()> {
    mount_bind(SYSTEM, SYSTEM)?;
    chdir(SYSTEM)?;
    mount_move(".", "/")?;
    chroot(".")?;
    chdir("/")?;
    for name in ["proc", "sys", "dev", "tmp", "disks"] {
        fs::create_dir(Path::new("/").join(name))?;
    }
    let none = MountFlags::empty();
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(kind, place, kind, none, None)?;
    }
    Ok(mount("cgroup2", "/sys/fs/cgroup", "cgroup2", none, None)?)
}

fn load_modules() -> io::Result<()> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(MODULES)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    files.sort();
    for file in files {
        finit_module(File::open(&file)?, c"", 0)?;
    }
    Ok(())
}

/// The device of a disk, by the name that its machine gave it; in which order they appear is nobody's promise.
fn device(name: &str) -> io::Result<PathBuf> {
    let begun = Instant::now();
    loop {
        for entry in fs::read_dir("/sys/block")? {
            let path = entry?.path();
            let device = Path::new("/dev").join(path.file_name().unwrap_or_default());
            let serial = fs::read_to_string(path.join("serial")).unwrap_or_default();
            if serial.trim_end() == name && device.exists() {
                return Ok(device);
            }
        }
        if begun.elapsed() > DISKS_TIME {
            return Err(io::ErrorKind::NotFound.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn show(name: &str, place: &Path) -> io::Result<()> {
    let device = device(name)?;
    fs::create_dir(place)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount(&device, place, "erofs", flags, None)?)
}

fn stands(evidence: &Evidence) -> Stands {
    let layers = evidence.layers.iter().map(|layer| layer.state).collect();
    Stands { layers, kernel: uname().release().to_string_lossy().into_owned() }
}

/// Whatever goes wrong from here on is told as the program's failure: its word may stand behind it.
fn run_program(launcher: &Launcher, specification: &Specification, result: File) -> End {
    let failed = End { outcome: Outcome::Failed, code: None, peak_bytes: None };
    let run = || launcher.run(specification, Stdin::Empty, &Cancel::new().ok()?).ok();
    let Some(Ended { outcome, code, peak_bytes, stdout, output, .. }) = run() else { return failed };
    let most = specification.output.as_ref().map_or(0, |output| output.bytes);
    match write_down(BufWriter::new(result), &stdout, output, most) {
        Ok(()) => End { outcome, code, peak_bytes },
        Err(_) => failed,
    }
}

fn write_down(disk: BufWriter<File>, printed: &[u8], space: Option<OwnedFd>, most: u64) -> io::Result<()> {
    let mut writer = Writer::new(disk, printed, most)?;
    if let Some(space) = space {
        // A program can take away the right to its own directory; this process may enter it all the same.
        for entry in Dir::read_from(&space)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                write_one(&mut writer, &space, entry.file_name())?;
            }
        }
    }
    let disk = writer.end()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    disk.sync_all()
}

fn write_one(writer: &mut Writer<BufWriter<File>>, space: &OwnedFd, name: &std::ffi::CStr) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let found = statat(space, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let text = OsStr::from_bytes(name.to_bytes());
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || found.st_nlink != 1 {
        return writer.other(text);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(openat(space, name, flags, Mode::empty())?);
    writer.file(text, found.st_size as u64, file)
}

fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
