//! In the place of the true module of this name: which layers are left out.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use landlock::ABI;
use sandbox::LayerName;
use sandbox::groups::Places;

static LEFT_OUT: OnceLock<BTreeSet<String>> = OnceLock::new();

/// Reads which layers are left out, while this program's name can still be seen.
pub fn read_own_name() {
    let name = std::env::current_exe().unwrap_or_default();
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let _ = LEFT_OUT.set(name.split('+').skip(1).map(str::to_owned).collect());
}

fn left_out() -> &'static BTreeSet<String> {
    LEFT_OUT.get_or_init(BTreeSet::new)
}

/// True if this layer is built.
pub fn are_built(layer: LayerName) -> bool {
    !left_out().contains(layer.as_str())
}

/// Where control groups can be made: nowhere if the name says `cgroup`.
pub fn places() -> Places {
    if left_out().contains("cgroup") { Places::default() } else { Places::find() }
}

/// The rules of Landlock that are asked for: those of a kernel before 6.12 (no signals, no abstract sockets) or before
/// 6.2 (no truncation, no TCP) if the name says so.
pub fn landlock_rules() -> ABI {
    match (left_out().contains("landlock-1"), left_out().contains("landlock-5")) {
        (true, _) => ABI::V1,
        (_, true) => ABI::V5,
        _ => ABI::V6,
    }
}
