//! Work that several threads share.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does each piece of work, on up to so many threads, and returns what came of them in their order. After an error no
/// piece is begun any more, and the first one in the order of the work is returned. Where the system gives no more
/// threads, those that there are do all of it.
pub(crate) fn in_order<W: Send, D: Send, E: Send>(
    threads: usize,
    work: Vec<W>,
    run: impl Fn(W) -> Result<D, E> + Sync,
) -> Result<Vec<D>, E> {
    let mut done: Vec<Option<Result<D, E>>> = work.iter().map(|_| None).collect();
    let more = threads.min(work.len()).saturating_sub(1);
    let queue = Mutex::new(work.into_iter().zip(&mut done));
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        loop {
            let next = lock().next();
            let Some((piece, place)) = next else { break };
            let result = run(piece);
            if result.is_err() {
                lock().by_ref().for_each(drop);
            }
            *place = Some(result);
        }
    };
    thread::scope(|scope| {
        let started = (0..more).map_while(|_| thread::Builder::new().spawn_scoped(scope, worker).ok());
        let _started: Vec<_> = started.collect();
        worker();
    });
    drop(queue);
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn results_come_in_the_order_of_the_work_and_an_error_ends_it() {
        for threads in [0, 1, 2, 8] {
            let doubled = in_order(threads, Vec::from_iter(0..100), |at| Ok::<_, ()>(2 * at));
            assert_eq!(doubled.unwrap(), Vec::from_iter((0..200).step_by(2)));
            let failed =
                in_order(threads, Vec::from_iter(0..100), |at| if at < 7 { Ok(at) } else { Err(at) });
            assert_eq!(failed.unwrap_err(), 7);
        }
    }
}
