//! Launches one untrusted program behind a wall.
