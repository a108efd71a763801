//! So many decisions at once that their files are made durable together, and a crash in the middle of that.

use super::together::{head_cosigned, run, together};
use super::*;
use crate::disk::MANY;

/// What a power cut leaves of files that were being made durable together. None was acknowledged, so any of them may be
/// there, under either name.
#[derive(Debug, Clone, Copy)]
enum Left {
    /// Some are begun, some of those only in part, and none has its name.
    Begun,
    /// Every third has its name, the rest are begun.
    SomeNamed,
    /// All have their names, and the answer was not given.
    AllNamed,
}

/// A disk that dies in one of the steps that make many files durable.
struct DyingDisk {
    inner: FileSystem,
    steps: usize,
    death: Option<(usize, Left)>,
}

impl DyingDisk {
    fn new(death: Option<(usize, Left)>) -> Self {
        Self { inner: FileSystem::new(0o644), steps: 0, death }
    }

    fn leave(&mut self, files: &[(PathBuf, Vec<u8>)], left: Left) -> io::Result<()> {
        for (number, (path, bytes)) in files.iter().enumerate() {
            fs::create_dir_all(path.parent().unwrap())?;
            let begun = PathBuf::from(format!("{}.writing", path.display()));
            match left {
                Left::Begun if number % 2 == 0 => fs::write(begun, &bytes[..bytes.len() / (1 + number % 3)])?,
                Left::Begun => {}
                Left::SomeNamed if number % 3 != 0 => fs::write(begun, bytes)?,
                Left::SomeNamed | Left::AllNamed => fs::write(path, bytes)?,
            }
        }
        Ok(())
    }
}

impl Disk for DyingDisk {
    fn keep(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.inner.keep(path, bytes)
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.inner.replace(path, bytes)
    }

    fn keep_all(&mut self, files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
        if files.len() < MANY {
            return self.inner.keep_all(files);
        }
        self.steps += 1;
        match self.death {
            Some((step, left)) if step == self.steps => {
                self.leave(files, left)?;
                Err(io::Error::other("injected"))
            }
            _ => self.inner.keep_all(files),
        }
    }
}

/// One life. `None` when the disk died; else in how many steps many files were made durable.
fn live(site: &Site, decisions: &[Message], disk: DyingDisk) -> Option<usize> {
    let mut signer = site.open_on(disk, now()).ok()?;
    let mut answer = signer.answer(&together(decisions.to_vec()), now()).ok()?;
    if matches!(answer, Answer::Unwitnessed(_)) {
        answer = signer.answer(&head_cosigned(answer), now()).ok()?;
    }
    assert!(matches!(answer, Answer::Published(_)), "{answer:?}");
    Some(signer.disk().steps)
}

#[test]
fn a_crash_while_many_files_are_made_durable_loses_forks_and_doubles_nothing() {
    let told: Vec<_> = (1..=MANY as u64 + 1).map(run).collect();
    let decisions: Vec<_> =
        told.iter().map(|told| submit(told, Decision::Denial(denial(told, "steward-ana")))).collect();
    let undisturbed = Site::of(&told[0]);
    let steps = live(&undisturbed, &decisions, DyingDisk::new(None)).unwrap();
    // What stands beside the leaves, and the finished files.
    assert_eq!(steps, 2);
    let expected = undisturbed.files();
    for step in 1..=steps {
        for left in [Left::Begun, Left::SomeNamed, Left::AllNamed] {
            let site = Site::of(&told[0]);
            assert_eq!(live(&site, &decisions, DyingDisk::new(Some((step, left)))), None, "{step} {left:?}");
            assert!(live(&site, &decisions, DyingDisk::new(None)).is_some(), "{step} {left:?}");
            assert_eq!(site.published(Event::Denial), decisions.len(), "{step} {left:?}");
            assert!(site.files() == expected, "step {step} {left:?} left other files");
        }
    }
}
