//! Whose tables are compared now: of each dataset one run's at a time.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use release::value::Name;

/// A lock for each dataset, held from comparing a run's tables until its verdict is stored. Were the tables of two runs on one
/// dataset compared at a time, neither would be compared with the other, and both could leave. Runs without a dataset in common
/// are never compared, and do not wait for each other.
#[derive(Debug, Default)]
pub struct TableOrder {
    held: Mutex<BTreeSet<Name>>,
    freed: Condvar,
}

/// Holds the datasets of a run until it is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    order: &'a TableOrder,
    datasets: BTreeSet<Name>,
}

impl TableOrder {
    /// Waits until nobody holds any of these datasets, and then holds them all. None is held before all are: of two runs on the
    /// same two datasets neither waits for what the other has.
    pub fn hold(&self, datasets: impl IntoIterator<Item = Name>) -> Held<'_> {
        let datasets: BTreeSet<Name> = datasets.into_iter().collect();
        let waits = |held: &mut BTreeSet<Name>| !held.is_disjoint(&datasets);
        let mut held = self.freed.wait_while(self.held(), waits).unwrap_or_else(PoisonError::into_inner);
        held.extend(datasets.iter().cloned());
        drop(held);
        Held { order: self, datasets }
    }

    fn held(&self) -> MutexGuard<'_, BTreeSet<Name>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.order.held().retain(|dataset| !self.datasets.contains(dataset));
        self.order.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    fn names(of: &[&str]) -> Vec<Name> {
        of.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn runs_without_a_dataset_in_common_do_not_wait_for_each_other() {
        let order = TableOrder::default();
        let _one = order.hold(names(&["a", "b"]));
        // Did it wait, this would never end.
        let _other = order.hold(names(&["c"]));
        assert_eq!(order.held().len(), 3);
    }

    #[test]
    fn of_runs_with_a_dataset_in_common_one_is_compared_at_a_time() {
        let (order, at_once) = (TableOrder::default(), AtomicUsize::new(0));
        let held = order.hold(names(&["a"]));
        let (told, came) = mpsc::channel();
        thread::scope(|scope| {
            for datasets in [["a", "b"], ["b", "a"], ["a", "c"], ["c", "a"]] {
                let (order, at_once, told) = (&order, &at_once, told.clone());
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _held = order.hold(names(&datasets));
                        assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        at_once.fetch_sub(1, Ordering::SeqCst);
                    }
                    told.send(()).unwrap();
                });
            }
            assert!(came.try_recv().is_err(), "all of them wait");
            drop(held);
        });
        assert!(order.held().is_empty());
    }

    #[test]
    fn a_run_that_panics_holds_nothing_any_more() {
        let order = TableOrder::default();
        let panicked = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _held = order.hold(names(&["a"]));
                    panic!("as a defect would");
                })
                .join()
        });
        assert!(panicked.is_err());
        drop(order.hold(names(&["a"])));
    }
}
