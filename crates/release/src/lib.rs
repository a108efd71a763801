//! Statements, roles, account arithmetic, the log and the release file: builds and verifies them.
