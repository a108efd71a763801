//! The listening side: TLS, principals, limits, health, errors.
