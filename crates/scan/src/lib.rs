//! Views of canonical bytes and the search for copies in private data.
