//! Sealed review packets and encrypted key files.
