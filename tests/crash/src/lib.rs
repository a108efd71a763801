//! Kills every room at every durable call, and cuts the power. The tests are in `tests/`.
