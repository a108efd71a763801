//! The thread that owns the connection.

use std::sync::mpsc::{self, Receiver, Sender};

use daemon::Journal;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

/// Changes in one group at most. More would make the first wait for the last; the sync is shared by then.
const GROUP: usize = 256;

/// Exit code of a room whose disk does not hold what it wrote (`EX_IOERR` of sysexits).
const IO_ERROR: i32 = 74;

/// Why a change was not made, other than by its own error.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The transaction could not begin.
    #[error("the database takes no change")]
    NotBegun(#[source] rusqlite::Error),
    /// A change of the same group failed so badly that SQLite took back all of the group.
    #[error("the database took the change back, together with one beside it")]
    TakenBack,
    /// The thread has ended.
    #[error("the database has ended")]
    Ended,
}

/// A change with whom to tell. Given what kept the group from beginning, it makes nothing.
type Change = Box<dyn FnOnce(Result<&Transaction<'_>, Failed>) -> Made + Send>;

/// A read, which tells its caller itself.
type Read = Box<dyn FnOnce(&Connection) + Send>;

/// Told how the group ended.
type Answer = Box<dyn FnOnce(Result<(), Failed>) + Send>;

/// What a change leaves.
struct Made {
    keep: bool,
    answer: Answer,
}

enum Work {
    Change(Change),
    Read(Read),
}

/// Hands work to the thread that owns the connection. Clones speak to the same thread, which ends with the last.
#[derive(Debug, Clone)]
pub struct Writer {
    work: Sender<Work>,
}

impl Writer {
    /// Starts the thread. It calls `committed` after each commit and before anyone is told of it: what a database is
    /// compared with at the next start is made durable there. A commit that fails ends the process with code 74.
    pub fn start(
        connection: Connection,
        committed: impl FnMut(&Connection) + Send + 'static,
        journal: Journal,
    ) -> Result<Self, Failed> {
        let (work, received) = mpsc::channel();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let _ends = EndsWithRoom;
                Thread { committed, journal, received }.serve(connection);
            })
            .map_err(|_| Failed::Ended)?;
        Ok(Self { work })
    }

    /// Makes a change, or nothing of it if it returns an error. `answer` gets what it returned, once that is durable.
    /// Both run on the thread and must not wait for anything.
    pub fn change<R: Send + 'static, E: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<R, E> + Send + 'static,
        answer: impl FnOnce(Result<Result<R, E>, Failed>) + Send + 'static,
    ) -> Result<(), Failed> {
        let work: Change = Box::new(move |transaction| match transaction {
            Ok(transaction) => {
                let result = change(transaction);
                let answer: Answer = match result {
                    // What was not to be made is the same whatever became of the group.
                    Err(error) => {
                        return Made { keep: false, answer: Box::new(move |_| answer(Ok(Err(error)))) };
                    }
                    Ok(result) => Box::new(move |ended| answer(ended.map(|()| Ok(result)))),
                };
                Made { keep: true, answer }
            }
            Err(failed) => Made { keep: false, answer: Box::new(move |_| answer(Err(failed))) },
        });
        self.work.send(Work::Change(work)).map_err(|_| Failed::Ended)
    }

    /// Reads, after every change before it, what is durable and nothing else: whoever removes a file on what was read
    /// would else act on a change that a power cut takes back. `answer` gets what was read.
    pub fn read<R: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> R + Send + 'static,
        answer: impl FnOnce(R) + Send + 'static,
    ) -> Result<(), Failed> {
        let work: Read = Box::new(move |connection| answer(read(connection)));
        self.work.send(Work::Read(work)).map_err(|_| Failed::Ended)
    }
}

struct Thread<C> {
    committed: C,
    journal: Journal,
    received: Receiver<Work>,
}

impl<C: FnMut(&Connection)> Thread<C> {
    fn serve(mut self, mut connection: Connection) {
        while let Ok(work) = self.received.recv() {
            match work {
                Work::Read(read) => read(&connection),
                Work::Change(first) => {
                    let reads = self.group(&mut connection, first);
                    reads.into_iter().for_each(|read| read(&connection));
                }
            }
        }
    }

    /// Makes this change and what waits behind it, and tells nobody before one sync covers all of it. Gives back the
    /// reads that waited among them.
    fn group(&mut self, connection: &mut Connection, first: Change) -> Vec<Read> {
        let (mut answers, mut reads) = (Vec::new(), Vec::new());
        let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => transaction,
            Err(error) => {
                (first(Err(Failed::NotBegun(error))).answer)(Ok(()));
                return reads;
            }
        };
        let mut whole = make(&transaction, first, &mut answers);
        while whole && answers.len() + reads.len() < GROUP {
            match self.received.try_recv() {
                Ok(Work::Change(change)) => whole = make(&transaction, change, &mut answers),
                Ok(Work::Read(read)) => reads.push(read),
                Err(_) => break,
            }
        }
        if !whole {
            drop(transaction);
            answers.into_iter().for_each(|answer| answer(Err(Failed::TakenBack)));
            return reads;
        }
        // A crash before this line leaves the state before the group, a crash after it the state after it. An answer
        // that went out earlier could be taken back by a power cut.
        if let Err(error) = transaction.commit() {
            // On a full disk nothing of the group was written where it would count: it is as if it had never been.
            if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
                self.journal.error("changes were taken back: the disk is full").write();
                answers.into_iter().for_each(|answer| answer(Err(Failed::TakenBack)));
                return reads;
            }
            // A failed sync is never tried again: the pages may look clean although they never reached the disk. The
            // next start reads what is really there.
            self.journal.error("a change could not be made durable").own_error(&error).write();
            std::process::exit(IO_ERROR);
        }
        (self.committed)(connection);
        answers.into_iter().for_each(|answer| answer(Ok(())));
        reads
    }
}

/// Ends the process if the thread panics. A room whose database has ended could do nothing but fail.
struct EndsWithRoom;

impl Drop for EndsWithRoom {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::exit(IO_ERROR);
        }
    }
}

/// Makes one change behind a savepoint. False if SQLite gave up the whole transaction, as it may if the disk is full.
fn make(transaction: &Transaction<'_>, change: Change, answers: &mut Vec<Answer>) -> bool {
    if let Err(error) = transaction.execute_batch("SAVEPOINT one") {
        answers.push(change(Err(Failed::NotBegun(error))).answer);
        return !transaction.is_autocommit();
    }
    let made = change(Ok(transaction));
    answers.push(made.answer);
    let ended = if made.keep { "RELEASE one" } else { "ROLLBACK TO one; RELEASE one" };
    transaction.execute_batch(ended).is_ok() && !transaction.is_autocommit()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;

    type Told = Result<Result<i64, rusqlite::Error>, Failed>;

    /// A writer whose commits are counted, in a directory of its own.
    fn writer() -> (tempfile::TempDir, Writer, Arc<AtomicUsize>) {
        let directory = tempfile::tempdir().unwrap();
        let connection = Connection::open(directory.path().join("test.db")).unwrap();
        connection.execute_batch("CREATE TABLE rows (value INTEGER UNIQUE)").unwrap();
        let commits = Arc::new(AtomicUsize::new(0));
        let counted = commits.clone();
        let committed = move |_: &Connection| {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        (directory, Writer::start(connection, committed, Journal::new("test")).unwrap(), commits)
    }

    fn insert(value: i64) -> impl FnOnce(&Transaction<'_>) -> rusqlite::Result<i64> + Send + 'static {
        move |transaction| {
            transaction.execute("INSERT INTO rows VALUES (?1)", [value])?;
            Ok(value)
        }
    }

    fn sum(connection: &Connection) -> i64 {
        connection.query_row("SELECT coalesce(sum(value), 0) FROM rows", [], |row| row.get(0)).unwrap()
    }

    /// Holds the thread in a change until the returned sender is dropped, so that what follows waits together.
    fn hold(writer: &Writer) -> mpsc::Sender<()> {
        let (begun, has_begun) = mpsc::channel();
        let (go, waits) = mpsc::channel::<()>();
        let wait = move |_: &Transaction<'_>| -> rusqlite::Result<()> {
            begun.send(()).unwrap();
            let _ = waits.recv();
            Ok(())
        };
        writer.change(wait, |_| {}).unwrap();
        has_begun.recv().unwrap();
        go
    }

    #[test]
    fn changes_that_wait_together_become_durable_together_and_nobody_is_told_before() {
        let (_directory, writer, commits) = writer();
        let held = hold(&writer);
        let (told, tells) = mpsc::channel();
        for value in 1..=10 {
            let (told, commits) = (told.clone(), commits.clone());
            let answer = move |made: Told| {
                told.send((made.unwrap().unwrap(), commits.load(Ordering::SeqCst))).unwrap();
            };
            writer.change(insert(value), answer).unwrap();
        }
        let (read_after, reads) = (commits.clone(), told.clone());
        writer.read(sum, move |sum| reads.send((sum, read_after.load(Ordering::SeqCst))).unwrap()).unwrap();
        assert_eq!(commits.load(Ordering::SeqCst), 0);
        assert!(tells.try_recv().is_err());
        drop((held, told));
        let all: Vec<(i64, usize)> = tells.iter().collect();
        let mut expected: Vec<(i64, usize)> = (1..=10).map(|value| (value, 1)).collect();
        expected.push((55, 1));
        assert_eq!(all, expected);
    }

    #[test]
    fn a_change_that_fails_takes_back_itself_and_not_those_beside_it() {
        let (_directory, writer, commits) = writer();
        let held = hold(&writer);
        let (told, tells) = mpsc::channel();
        for value in [1, 2, 1, 3] {
            let told = told.clone();
            // Each writes a second row, so that the one that fails has something to take back.
            let change = move |transaction: &Transaction<'_>| {
                transaction.execute("INSERT INTO rows VALUES (?1)", [value + 100 * rows_of(transaction)])?;
                insert(value)(transaction)
            };
            writer.change(change, move |made: Told| told.send(made.unwrap().ok()).unwrap()).unwrap();
        }
        drop((held, told));
        assert_eq!(tells.iter().collect::<Vec<_>>(), [Some(1), Some(2), None, Some(3)]);
        let (sums, total) = mpsc::channel();
        writer.read(sum, move |sum| sums.send(sum).unwrap()).unwrap();
        // 1 + 101, 2 + 302, 3 + 503: rows there before each change, times a hundred, and its own value twice.
        assert_eq!(total.recv().unwrap(), 1 + 101 + 2 + 302 + 3 + 503);
        assert_eq!(commits.load(Ordering::SeqCst), 1);
    }

    /// How many rows there are, and one.
    fn rows_of(transaction: &Transaction<'_>) -> i64 {
        transaction.query_row("SELECT count(*) + 1 FROM rows", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn whoever_was_in_a_group_that_the_database_took_back_is_told_so() {
        let (_directory, writer, commits) = writer();
        let held = hold(&writer);
        let (told, tells) = mpsc::channel();
        let first = told.clone();
        writer.change(insert(1), move |made: Told| first.send(made.is_err()).unwrap()).unwrap();
        // As SQLite itself does if the disk is full.
        let fails = |transaction: &Transaction<'_>| -> rusqlite::Result<i64> {
            transaction.execute_batch("ROLLBACK")?;
            Err(rusqlite::Error::InvalidQuery)
        };
        let second = told.clone();
        writer.change(fails, move |made: Told| second.send(matches!(made, Ok(Err(_)))).unwrap()).unwrap();
        drop((held, told));
        assert_eq!(tells.iter().collect::<Vec<_>>(), [true, true]);
        assert_eq!(commits.load(Ordering::SeqCst), 0);
        let (after, later) = mpsc::channel();
        writer.change(insert(2), move |made: Told| after.send(made.unwrap().unwrap()).unwrap()).unwrap();
        assert_eq!(later.recv().unwrap(), 2);
        let (sums, total) = mpsc::channel();
        writer.read(sum, move |sum| sums.send(sum).unwrap()).unwrap();
        assert_eq!(total.recv().unwrap(), 2);
    }

    #[test]
    fn a_read_among_changes_sees_what_is_durable_and_nothing_of_a_group_that_was_taken_back() {
        let (_directory, writer, commits) = writer();
        let held = hold(&writer);
        writer.change(insert(1), |_: Told| {}).unwrap();
        let (sums, total) = mpsc::channel();
        let seen = commits.clone();
        let answer = move |sum: i64| sums.send((sum, seen.load(Ordering::SeqCst))).unwrap();
        writer.read(sum, answer).unwrap();
        let fails = |transaction: &Transaction<'_>| -> rusqlite::Result<i64> {
            transaction.execute_batch("ROLLBACK")?;
            Err(rusqlite::Error::InvalidQuery)
        };
        writer.change(fails, |_: Told| {}).unwrap();
        drop(held);
        assert_eq!(total.recv().unwrap(), (0, 0));
    }

    /// A full disk of one megabyte, in a mount namespace of its own, in which this test runs again.
    #[test]
    fn on_a_full_disk_a_change_is_refused_and_the_next_one_that_fits_is_made() {
        const DIRECTORY: &str = "DATABASE_TEST_FULL_DISK";
        if let Some(directory) = std::env::var_os(DIRECTORY) {
            return fill(std::path::Path::new(&directory));
        }
        let directory = tempfile::tempdir().unwrap();
        let name = "writer::tests::on_a_full_disk_a_change_is_refused_and_the_next_one_that_fits_is_made";
        let script = "mount -t tmpfs -o size=1m none \"$1\" && exec \"$2\" --exact \"$3\"";
        let ran = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .args([directory.path(), &std::env::current_exe().unwrap(), std::path::Path::new(name)])
            .env(DIRECTORY, directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }

    fn fill(directory: &std::path::Path) {
        let connection = Connection::open(directory.join("test.db")).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "synchronous", "FULL").unwrap();
        connection
            .execute_batch("CREATE TABLE rows (value INTEGER UNIQUE); CREATE TABLE blobs (bytes BLOB)")
            .unwrap();
        let writer = Writer::start(connection, |_| {}, Journal::new("test")).unwrap();
        let made = |bytes: usize| {
            let (told, tells) = mpsc::channel();
            let change = move |transaction: &Transaction<'_>| {
                transaction.execute("INSERT INTO blobs VALUES (zeroblob(?1))", [bytes as i64])
            };
            writer.change(change, move |made| told.send(matches!(made, Ok(Ok(1)))).unwrap()).unwrap();
            tells.recv().unwrap()
        };
        assert!(made(1000));
        assert!(!made(4 << 20), "more than the disk holds");
        assert!(made(1000), "the room goes on");
    }

    #[test]
    fn no_group_grows_without_end() {
        let (_directory, writer, commits) = writer();
        let held = hold(&writer);
        for value in 0..2 * GROUP as i64 {
            writer.change(insert(value), |_: Told| {}).unwrap();
        }
        drop(held);
        let (read, was_read) = mpsc::channel();
        writer.read(|_| {}, move |()| read.send(()).unwrap()).unwrap();
        was_read.recv().unwrap();
        assert_eq!(commits.load(Ordering::SeqCst), 3);
    }
}
