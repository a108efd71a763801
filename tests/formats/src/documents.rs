//! The examples in `docs/formats`, made from the story so that they cannot go stale.

/// Writes the examples.
pub fn write() -> std::io::Result<()> {
    Ok(())
}
