//! Attacks run as jobs through the real path, each with an innocent twin. The tests are in `tests/`.
