//! The filters of system calls, compiled from `policies/sandbox` when this crate is built (`build.rs`).

/// One instruction of the kernel's filter language: code, jumps where it holds and where not, constant.
pub type Step = (u16, u8, u8, u32);

include!(concat!(env!("OUT_DIR"), "/filters.rs"));
