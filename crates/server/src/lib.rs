//! The listening side of the rooms that people or other rooms call over gRPC: TLS, principals, limits, health, errors.
//!
//! ```text
//! TCP accept ─▶ limits ─▶ TLS 1.3 with a client certificate ─▶ Principal ─▶ frames counted ─▶ HTTP/2 ─▶ gate ─▶ service
//! ```
//!
//! A handler finds out who calls with [`principal`], and says no with [`Refused`], the one place where an error of a
//! room becomes a word of the wire.

mod asked;
mod calls;
mod calm;
mod connection;
mod error;
mod frames;
mod held;
mod limits;
mod listener;
mod paging;
mod principal;
mod rates;
mod reflection;
mod serve;
mod site_files;
mod tls;
mod turned_away;
pub mod unix;

pub use error::Refused;
pub use limits::{Connections, Limits};
pub use listener::{BindError, Listener};
pub use paging::{Listing, Page};
pub use principal::{Principal, PrincipalError, Role, principal};
pub use serve::{Gate, ServeError, serve, stopped};
pub use site_files::site_files;
pub use tls::{Tls, TlsError};
