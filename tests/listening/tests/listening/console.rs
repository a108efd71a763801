//! The console listens by the same code as the gateway. A few of the attacks show that it really does.

use crate::bystander::Bystander;
use crate::connections::silence_is_cut;
use crate::floods::{floods, half_open_calls};
use crate::stage::{Room, Stage};

#[test]
fn floods_and_half_open_calls_at_the_console_are_cut_by_name_and_a_steward_is_served() {
    let stage = Stage::new(Room::Console);
    stage.run(async {
        let bystander = Bystander::of(&stage).await;
        for flood in floods().into_iter().step_by(3) {
            flood.is_cut(&stage, &bystander).await;
        }
        half_open_calls(&stage, "/databox.v1.ReviewService/ListReviews").await;
    });
}

#[test]
fn silent_connections_at_the_console_are_cut_and_a_steward_is_served() {
    let stage = Stage::new(Room::Console);
    stage.run(silence_is_cut(&stage));
}
