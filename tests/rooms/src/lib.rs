//! Suite `rooms`.
