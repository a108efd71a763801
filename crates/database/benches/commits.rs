//! Durable changes a second, with 64 clients and with one: the writer's groups over a sync for each change, in turn in
//! the same run, on the same disk.

use std::path::Path;
use std::sync::{Mutex, mpsc};
use std::time::Instant;

use daemon::Journal;
use database::Writer;
use rusqlite::{Connection, Transaction, TransactionBehavior};

const ROUNDS: usize = 5;

fn main() {
    println!("durable changes a second, in {ROUNDS} rounds; a change is a row of 100 bytes");
    for (clients, changes) in [(64, 100), (1, 500)] {
        let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| round(clients, changes)).collect();
        ratios.sort_by(f64::total_cmp);
        let (least, middle, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
        println!("{clients:>2} clients: in groups over one by one {middle:.2} ({least:.2} to {most:.2})");
    }
}

fn round(clients: usize, changes: usize) -> f64 {
    // Not where temporary files may be in memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let one_by_one = {
        let connection = Mutex::new(open(&directory.path().join("one-by-one.db")));
        rate(clients, changes, || {
            let mut connection = connection.lock().expect("no client panics");
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).expect("a transaction");
            insert(&transaction).expect("a row");
            transaction.commit().expect("a commit");
        })
    };
    let path = directory.path().join("in-groups.db");
    let writer = Writer::start(open(&path), |_| {}, Journal::new("bench")).expect("a thread");
    let in_groups = rate(clients, changes, || {
        let (answer, answered) = mpsc::sync_channel(1);
        writer.change(insert, move |made| drop(answer.send(made))).expect("a writer");
        answered.recv().expect("an answer").expect("a group").expect("a row");
    });
    println!("{clients:>2} clients: {in_groups:>8.0} in groups, {one_by_one:>8.0} one by one");
    in_groups / one_by_one
}

fn rate(clients: usize, changes: usize, change: impl Fn() + Sync) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| (0..changes).for_each(|_| change()));
        }
    });
    (clients * changes) as f64 / begun.elapsed().as_secs_f64()
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("WAL");
    connection.pragma_update(None, "synchronous", "FULL").expect("FULL");
    connection.execute_batch("CREATE TABLE rows (place INTEGER PRIMARY KEY, value BLOB)").expect("a table");
    connection
}

fn insert(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.prepare_cached("INSERT INTO rows (value) VALUES (?1)")?.execute([[7u8; 100]])?;
    Ok(())
}
