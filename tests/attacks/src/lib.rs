//! Suite `attacks`.
