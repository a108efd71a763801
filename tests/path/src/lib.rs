//! The whole path over real processes and sockets. The tests are in `tests/`.
