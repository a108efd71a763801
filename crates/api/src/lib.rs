//! The wire: generated types and their conversion into the types of the path.
