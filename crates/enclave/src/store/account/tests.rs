use release::value::Count;

use super::*;
use crate::store::testing;
use crate::store::{Store, jobs};

fn bits(release: u64, answer: u64) -> DatasetGrant {
    DatasetGrant { release_bits: Count(release), answer_bits: Count(answer) }
}

fn limits(grant: &str, datasets: &[&str], of_grant: DatasetGrant, of_dataset: DatasetGrant) -> Limits {
    let limit = DatasetLimits { grant: of_grant, dataset: of_dataset, privacy: 0 };
    Limits {
        grant: grant.parse().unwrap(),
        datasets: datasets.iter().map(|name| (name.parse().unwrap(), limit)).collect(),
        rho: None,
    }
}

fn occasion(number: u8) -> Occasion {
    let at = Timestamp::from_seconds(1_000_000).unwrap();
    Occasion { request: Digest::of(&[number]), run: 1, at }
}

fn with_jobs(count: u8) -> (tempfile::TempDir, Store) {
    let (directory, store) = testing::store();
    for number in 1..=count {
        store.change(move |transaction| jobs::testing::insert(transaction, &[number])).unwrap();
    }
    (directory, store)
}

fn sums_of(store: &Store, dataset: &str) -> Sums {
    let dataset = dataset.parse().unwrap();
    store.read(move |connection| sums(connection, &dataset, None)).unwrap()
}

#[test]
fn a_job_on_two_datasets_is_charged_in_full_to_both() {
    let (_directory, store) = with_jobs(1);
    let limits = limits("hie", &["a", "b"], bits(0, 64), bits(0, 64));
    store.change(move |transaction| charge_run(transaction, &limits, 32, occasion(1))).unwrap();
    assert_eq!(sums_of(&store, "a").answered, 32);
    assert_eq!(sums_of(&store, "b").answered, 32);
}

#[test]
fn noise_is_charged_to_the_dataset_whoever_asks_and_never_beyond_its_budget() {
    let (_directory, store) = with_jobs(4);
    let charge = |grant: &str, rho, number| {
        let mut limits = limits(grant, &["a"], bits(0, 1000), bits(0, 1000));
        limits.datasets.values_mut().for_each(|limit| limit.privacy = 25);
        limits.rho = rho;
        store.change(move |transaction| charge_run(transaction, &limits, 32, occasion(number)))
    };
    let spent = |dataset: &str| {
        let dataset = dataset.parse().unwrap();
        store.read(move |connection| privacy_spent(connection, &dataset)).unwrap()
    };
    charge("one", Some(10), 1).unwrap();
    charge("two", Some(10), 2).unwrap();
    assert!(matches!(charge("two", Some(6), 3), Err(AccountError::Privacy)));
    // What was refused cost nothing, and an exact answer costs none of it.
    assert_eq!((spent("a"), sums_of(&store, "a").answered), (20, 64));
    charge("one", None, 3).unwrap();
    charge("one", Some(5), 4).unwrap();
    assert_eq!((spent("a"), spent("b"), sums_of(&store, "a").answered), (25, 0, 128));
    assert!(matches!(charge("one", Some(1), 3), Err(AccountError::Privacy)));
}

#[test]
fn the_last_bits_can_be_spent_and_no_more_by_grant_or_by_dataset() {
    let (_directory, store) = with_jobs(3);
    let charge = |limits: Limits, number| {
        store.change(move |transaction| charge_run(transaction, &limits, 32, occasion(number)))
    };
    let one = || limits("one", &["a"], bits(0, 64), bits(0, 96));
    let two = || limits("two", &["a"], bits(0, 64), bits(0, 96));
    charge(one(), 1).unwrap();
    charge(one(), 2).unwrap();
    assert!(matches!(charge(one(), 3), Err(AccountError::AnswerBits)));
    charge(two(), 1).unwrap();
    // The second grant has bits left; the dataset has none.
    assert!(matches!(charge(two(), 2), Err(AccountError::AnswerBits)));
    assert_eq!(sums_of(&store, "a").answered, 96);
}

#[test]
fn a_charge_that_one_dataset_refuses_is_made_to_none() {
    let (_directory, store) = with_jobs(1);
    let mut limits = limits("hie", &["a", "b"], bits(0, 64), bits(0, 64));
    limits.datasets.get_mut(&"b".parse().unwrap()).unwrap().grant = bits(0, 31);
    let refused = store.change(move |transaction| charge_run(transaction, &limits, 32, occasion(1)));
    assert!(matches!(refused, Err(AccountError::AnswerBits)));
    assert_eq!(sums_of(&store, "a").answered, 0);
}

#[test]
fn a_reservation_is_spent_or_freed_once() {
    let (_directory, store) = with_jobs(2);
    let reserve = |number| {
        let limits = limits("hie", &["a"], bits(100, 0), bits(100, 0));
        store.change(move |transaction| reserve_release(transaction, &limits, 60, occasion(number)))
    };
    reserve(1).unwrap();
    assert!(matches!(reserve(2), Err(AccountError::ReleaseBits)));
    assert!(store.change(|transaction| free(transaction, occasion(1))).unwrap());
    assert!(!store.change(|transaction| free(transaction, occasion(1))).unwrap());
    reserve(2).unwrap();
    assert!(store.change(|transaction| spend(transaction, occasion(2))).unwrap());
    assert!(!store.change(|transaction| free(transaction, occasion(2))).unwrap());
    assert_eq!(sums_of(&store, "a"), Sums { answered: 0, reserved: 0, released: 60 });
}

#[test]
fn a_release_that_arrives_after_its_reservation_was_freed_is_spent() {
    let (_directory, store) = with_jobs(1);
    let limits = limits("hie", &["a"], bits(100, 0), bits(100, 0));
    store.change(move |transaction| reserve_release(transaction, &limits, 60, occasion(1))).unwrap();
    store.change(|transaction| free(transaction, occasion(1))).unwrap();
    store.change(|transaction| spend_late(transaction, occasion(1))).unwrap();
    assert_eq!(sums_of(&store, "a"), Sums { answered: 0, reserved: 0, released: 60 });
}

#[test]
fn an_older_account_does_not_start_and_the_newer_one_does() {
    let (directory, store) = with_jobs(1);
    let limits = || limits("hie", &["a"], bits(0, 1000), bits(0, 1000));
    let copy = directory.path().join("copy.db");
    store
        .read({
            let copy = copy.clone();
            move |connection| {
                connection.execute("VACUUM INTO ?1", [copy.to_str()])?;
                Ok(())
            }
        })
        .unwrap();
    let charged = limits();
    store.change(move |transaction| charge_run(transaction, &charged, 32, occasion(1))).unwrap();
    let newest = std::fs::read_to_string(directory.path().join("head")).unwrap();
    assert!(newest.starts_with("1 "));
    drop(store);
    assert!(testing::open(directory.path()).is_ok());
    let older = Store::open(&copy, &directory.path().join("head"), daemon::Journal::new("test"));
    assert!(matches!(
        older,
        Err(StoreError::Head(crate::store::HeadError::Older { entries: 0, head_entries: 1 }))
    ));
}

#[test]
fn an_account_that_is_ahead_of_its_head_starts_and_one_without_a_head_does_not() {
    let (directory, store) = with_jobs(1);
    let limits = limits("hie", &["a"], bits(0, 1000), bits(0, 1000));
    let head = directory.path().join("head");
    let before = std::fs::read(&head).unwrap();
    store.change(move |transaction| charge_run(transaction, &limits, 32, occasion(1))).unwrap();
    drop(store);
    let after = std::fs::read(&head).unwrap();
    std::fs::write(&head, before).unwrap();
    drop(testing::open(directory.path()).unwrap());
    assert_eq!(std::fs::read(&head).unwrap(), after);
    std::fs::remove_file(&head).unwrap();
    let missing = testing::open(directory.path());
    assert!(matches!(missing, Err(StoreError::Head(crate::store::HeadError::Missing { entries: 1, .. }))));
}

#[test]
fn an_account_whose_bits_were_changed_does_not_start() {
    let (directory, store) = with_jobs(1);
    let limits = limits("hie", &["a"], bits(0, 1000), bits(0, 1000));
    store.change(move |transaction| charge_run(transaction, &limits, 32, occasion(1))).unwrap();
    store
        .change(|transaction| -> Result<(), StoreError> {
            transaction.execute("UPDATE account SET bits = 1", [])?;
            Ok(())
        })
        .unwrap();
    drop(store);
    let broken = testing::open(directory.path());
    assert!(matches!(broken, Err(StoreError::Head(crate::store::HeadError::Broken { number: 1 }))));
}
