//! Which layers the wall has: all of them, always. Nothing that this program is given can switch one off.
//!
//! The tests have a launcher of their own, made of these very modules and another one in the place of this one, to show
//! for each layer which attack succeeds without it. It is another package, and is never installed.

use landlock::ABI;
use sandbox::LayerName;
use sandbox::groups::Places;

/// True if this layer is built.
pub const fn are_built(_layer: LayerName) -> bool {
    true
}

/// Where control groups can be made.
pub fn places() -> Places {
    Places::find()
}

/// The rules of Landlock that are asked for: files (ABI 1 to 5), TCP (4), signals and abstract sockets (6, Linux 6.12).
pub const fn landlock_rules() -> ABI {
    ABI::V6
}
