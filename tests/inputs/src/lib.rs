//! Whatever arrives may be bad. The tests are under `tests/`.
