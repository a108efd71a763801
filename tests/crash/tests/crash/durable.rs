//! Which system calls change what is on the disk, and the names of files without what is different each time.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A call that changes the disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DurableCall {
    /// Its name.
    pub name: &'static str,
    /// The file, with digests, random suffixes and counters taken out.
    pub path: String,
    /// True if it is a directory.
    pub is_of_directory: bool,
}

impl DurableCall {
    /// True if this call right after that one is the same step: a further write to the same file, or a further name of
    /// a workspace that is removed and that each start empties.
    pub fn continues(&self, before: &Self) -> bool {
        let is_write = matches!(self.name, "write" | "writev" | "pwrite" | "pwritev" | "copy_file_range");
        let clears = |call: &Self| call.name == "unlink" && call.path.contains("/work/");
        (is_write && self == before) || (clears(self) && clears(before))
    }

    /// True if it only makes durable what was written before.
    pub fn is_sync(&self) -> bool {
        matches!(self.name, "fsync" | "fdatasync" | "sync_file_range")
    }
}

/// Every call that is looked at. A test keeps it and [`kind`] together.
pub const TRACED: [i64; 31] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_truncate,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_link,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_unlinkat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_openat,
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_symlink,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_listen,
];

/// Which of its arguments names the file.
enum Names {
    File,
    Path(usize),
    PathAt(usize),
    CreatedAt(usize, usize),
    Created(usize),
}

fn kind(number: i64) -> Option<(&'static str, Names)> {
    Some(match number {
        libc::SYS_fsync => ("fsync", Names::File),
        libc::SYS_fdatasync => ("fdatasync", Names::File),
        libc::SYS_sync_file_range => ("sync_file_range", Names::File),
        libc::SYS_write => ("write", Names::File),
        libc::SYS_writev => ("writev", Names::File),
        libc::SYS_pwrite64 => ("pwrite", Names::File),
        libc::SYS_pwritev | libc::SYS_pwritev2 => ("pwritev", Names::File),
        libc::SYS_ftruncate => ("ftruncate", Names::File),
        libc::SYS_fallocate => ("fallocate", Names::File),
        // The file that is written to comes third there.
        libc::SYS_copy_file_range => ("copy_file_range", Names::File),
        libc::SYS_truncate => ("truncate", Names::Path(0)),
        libc::SYS_rename => ("rename", Names::Path(1)),
        libc::SYS_renameat | libc::SYS_renameat2 => ("rename", Names::PathAt(2)),
        libc::SYS_link => ("link", Names::Path(1)),
        libc::SYS_linkat => ("link", Names::PathAt(2)),
        libc::SYS_symlinkat => ("symlink", Names::PathAt(1)),
        libc::SYS_unlink => ("unlink", Names::Path(0)),
        libc::SYS_rmdir => ("rmdir", Names::Path(0)),
        libc::SYS_unlinkat => ("unlink", Names::PathAt(0)),
        libc::SYS_mkdir => ("mkdir", Names::Path(0)),
        libc::SYS_mkdirat => ("mkdir", Names::PathAt(0)),
        libc::SYS_openat => ("create", Names::CreatedAt(0, 2)),
        libc::SYS_open => ("create", Names::Created(1)),
        libc::SYS_creat => ("create", Names::Path(0)),
        libc::SYS_symlink => ("symlink", Names::Path(1)),
        _ => return None,
    })
}

/// What a call, seen before it is made, is about.
pub enum Seen {
    /// It changes a file of the box.
    Durable(DurableCall),
    /// It sends something to somebody.
    Told,
    /// Neither.
    Other,
}

/// Looks at a call of a process.
pub fn look(process: i32, number: i64, arguments: [u64; 6], home: &Path) -> Seen {
    if matches!(number, libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg) {
        return Seen::Told;
    }
    let Some((name, names)) = kind(number) else { return Seen::Other };
    let path = match names {
        Names::File => {
            let file = if number == libc::SYS_copy_file_range { arguments[2] } else { arguments[0] };
            match fs::read_link(format!("/proc/{process}/fd/{file}")) {
                Ok(path) if path.starts_with("/") => Some(path),
                Ok(path) if path.to_string_lossy().starts_with("socket:") => return Seen::Told,
                _ => None,
            }
        }
        Names::Path(at) => text(process, arguments[at]).map(PathBuf::from),
        Names::PathAt(at) => path_at(process, arguments[at], arguments[at + 1]),
        Names::Created(flags) => {
            let creates = arguments[flags] as i32 & libc::O_CREAT != 0;
            let path = if creates { text(process, arguments[0]).map(PathBuf::from) } else { None };
            path.filter(|path| fs::symlink_metadata(path).is_err())
        }
        Names::CreatedAt(at, flags) => {
            let creates = arguments[flags] as i32 & libc::O_CREAT != 0;
            let path = if creates { path_at(process, arguments[at], arguments[at + 1]) } else { None };
            path.filter(|path| fs::symlink_metadata(path).is_err())
        }
    };
    let is_of_directory = path.as_ref().is_some_and(|path| path.is_dir());
    match path.as_deref().and_then(|path| path.strip_prefix(home).ok()).map(plain_name) {
        Some(Some(path)) => Seen::Durable(DurableCall { name, path, is_of_directory }),
        _ => Seen::Other,
    }
}

fn path_at(process: i32, directory: u64, address: u64) -> Option<PathBuf> {
    let path = PathBuf::from(text(process, address)?);
    if path.is_absolute() || directory as i32 == libc::AT_FDCWD {
        return Some(path);
    }
    Some(fs::read_link(format!("/proc/{process}/fd/{}", directory as i32)).ok()?.join(path))
}

fn text(process: i32, address: u64) -> Option<String> {
    let memory = fs::File::open(format!("/proc/{process}/mem")).ok()?;
    let mut text = Vec::new();
    while text.len() < 4096 {
        // Never over the end of a page, which could be the last one that is mapped.
        let at = address + text.len() as u64;
        let mut part = vec![0; (4096 - at % 4096) as usize];
        memory.read_exact_at(&mut part, at).ok()?;
        if let Some(end) = part.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&part[..end]);
            return String::from_utf8(text).ok();
        }
        text.extend(part);
    }
    None
}

/// The first bytes that a call would write.
pub fn written(process: i32, address: u64, bytes: u64) -> Vec<u8> {
    let mut found = vec![0; bytes.min(512) as usize];
    let memory = fs::File::open(format!("/proc/{process}/mem"));
    match memory.and_then(|memory| memory.read_exact_at(&mut found, address)) {
        Ok(()) => found,
        Err(_) => Vec::new(),
    }
}

/// A file's name without what is different each time. None for what is not kept: journals, sockets, and the shared
/// memory of SQLite, which the next start makes anew.
fn plain_name(path: &Path) -> Option<String> {
    let text = path.to_string_lossy();
    let text = text.trim_end_matches(" (deleted)");
    if text.starts_with("box/run") || text.ends_with("-shm") || text == "witness.log" {
        return None;
    }
    let parts: Vec<String> = text.split('/').map(plain_part).collect();
    Some(parts.join("/"))
}

/// What comes before a name, or a number, that is another one each time.
const TEMPORARY: [&str; 3] = [".writing-", "copy-", "runtime-tools-"];

fn plain_part(part: &str) -> String {
    let mut plain = String::new();
    let mut rest = part;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits >= 64 {
            plain += "<digest>";
            rest = &rest[64..];
        } else if let Some((prefix, after)) =
            TEMPORARY.iter().find_map(|prefix| Some((prefix, rest.strip_prefix(prefix)?)))
        {
            plain += prefix;
            plain += "<random>";
            rest = after.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        } else {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            plain += &rest[..next];
            rest = &rest[next..];
        }
    }
    if matches!(part, "metrics.json" | "counts.csv") {
        return "<output>".to_owned();
    }
    // Tiles of the log and runs of a job are counted.
    let (counted, writing) = plain.strip_suffix(".writing").map_or((&*plain, ""), |name| (name, ".writing"));
    if !counted.is_empty() && counted.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("<number>{writing}");
    }
    plain.split_once("<digest>-").map_or(plain.clone(), |(before, _)| format!("{before}<digest>-<run>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_that_changes_the_disk_is_traced() {
        let known: Vec<i64> = (0..600).filter(|number| kind(*number).is_some()).collect();
        assert_eq!(known.iter().filter(|number| !TRACED.contains(number)).count(), 0);
        assert_eq!(known.len() + 4, TRACED.len());
    }

    #[test]
    fn names_are_the_same_each_time() {
        let digest = "ab".repeat(32);
        let plain = |text: &str| plain_name(Path::new(text));
        assert_eq!(plain("box/run/signer.log"), None);
        assert_eq!(plain("box/enclave/account.db-shm"), None);
        assert_eq!(plain("box/enclave/account.db-wal").unwrap(), "box/enclave/account.db-wal");
        assert_eq!(plain(&format!("box/q/{digest}-2/x")).unwrap(), "box/q/<digest>-<run>/x");
        assert_eq!(plain("box/heads/.writing-aB3").unwrap(), "box/heads/.writing-<random>");
        assert_eq!(plain("box/incoming/copy-aB3xYz/tree").unwrap(), "box/incoming/copy-<random>/tree");
        let answer = "box/drafts/runtime-tools-3.answer.json";
        assert_eq!(plain(answer).unwrap(), "box/drafts/runtime-tools-<random>.answer.json");
        assert_eq!(plain("public/log/tile/0/000.p/17").unwrap(), "public/log/tile/<number>/000.p/<number>");
        assert_eq!(plain("log/entries/000.p/7.writing").unwrap(), "log/entries/000.p/<number>.writing");
    }
}
