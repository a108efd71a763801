//! The command of researchers, stewards and operators, as functions. The binary only reads the command line.

pub mod certificate;
pub mod check;
pub mod client;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod draft;
pub mod failure;
pub mod fsck;
pub mod home;
pub mod init;
pub mod interrupt;
pub mod job;
pub mod key;
pub mod listed;
pub mod local;
pub mod place;
pub mod profile;
pub mod programs;
pub mod release_files;
pub mod review;
pub mod site;
pub mod throwaway;
pub mod up;
pub mod wall;
pub mod witness;
