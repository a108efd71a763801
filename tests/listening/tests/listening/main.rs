//! Floods, silence and half-open calls against the listening rooms. Each attacker is cut by name, what it took is given
//! back, and a bystander is served all the while.
//!
//! How long the bystander waits is printed beside how long they wait in peace, and nothing is asserted about it: a
//! machine that is busy with other things would fail the test. `cargo xtask bench listening` prints it for one attack
//! after the other, with nothing beside it.

mod bystander;
mod connections;
mod console;
mod floods;
mod messages;
mod stage;
mod uploads;
mod wire;
