//! Starts a whole throw-away box for tests.
