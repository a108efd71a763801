//! A room whose clock is late takes what the site says now for a statement of tomorrow. Once the clock is right it must
//! not stay so.

use databox::job::Bench;
use harness::TestBox;
use lifecycle::State;

use crate::clocks::{Skewed, lasting};
use crate::site_changes::{approve, in_review, revoke, until};
use crate::wait;

/// Later than any difference of clocks that is passed over.
const LATE: i64 = -3600;

/// How a researcher is answered.
async fn answered(profile: &databox::profile::Profile) -> Result<(), String> {
    let bench = Bench::connect(profile.clone()).await.map_err(|failure| failure.reason)?;
    bench.jobs().await.map(drop).map_err(|failure| failure.reason)
}

#[test]
fn a_revocation_that_came_while_the_gateways_clock_was_late_is_in_force_once_it_is_right() {
    let mut tested = TestBox::start();
    let gateway = Skewed::start(&mut tested, "gateway");
    let [kim, lee] = ["kim", "lee"].map(|id| lasting(&tested, id, "researcher"));
    wait(async {
        assert_eq!((answered(&kim).await, answered(&lee).await), (Ok(()), Ok(())));
        gateway.set(LATE);
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        revoke(&tested, "ana", |revocation| revocation.people.push("lee".parse().unwrap()));
        let journal = tested.stage.home.journal("gateway");
        until("the refusal of a statement of tomorrow", async || {
            let told = std::fs::read_to_string(&journal).unwrap();
            told.contains("the site is not accepted").then_some(())
        })
        .await;
        gateway.set(0);
        until("the revocation at the gateway", async || {
            (answered(&lee).await == Err("REVOKED".to_owned())).then_some(())
        })
        .await;
        assert_eq!(answered(&kim).await, Ok(()), "the innocent twin");
    });
}

#[test]
fn a_room_that_is_started_with_a_late_clock_lets_nobody_in_and_works_once_the_clock_is_right() {
    let mut tested = TestBox::start();
    let [kim, lee] = ["kim", "lee"].map(|id| lasting(&tested, id, "researcher"));
    revoke(&tested, "ana", |revocation| revocation.people.push("lee".parse().unwrap()));
    let rooms = ["console", "gateway", "enclave"].map(|room| Skewed::start_at(&mut tested, room, LATE));
    wait(async {
        // Without a site nobody is known not to be revoked.
        for profile in [&kim, &lee] {
            assert_eq!(answered(profile).await, Err("SITE".to_owned()));
        }
        rooms.iter().for_each(|room| room.set(0));
        until("a site at the gateway", async || answered(&kim).await.ok()).await;
        assert_eq!(answered(&lee).await, Err("REVOKED".to_owned()));
        let job = in_review(&tested, "after", "1").await;
        approve(&tested, "ana", &job).await.unwrap();
        approve(&tested, "ben", &job).await.unwrap();
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
    });
}
