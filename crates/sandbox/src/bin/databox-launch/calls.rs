//! The system-call filter: the reviewed lists of `policies/sandbox`, compiled to the kernel's filter language when this
//! program was built.

use sandbox::Calls;
use sandbox::filters::{JOB, MACHINE, READER};
use seccompiler::{BpfProgram, sock_filter};

/// The filter for a kind of program.
pub fn filter(calls: Calls) -> BpfProgram {
    let steps = match calls {
        Calls::Job => JOB,
        Calls::Reader => READER,
        Calls::Machine | Calls::EmulatedMachine => MACHINE,
    };
    steps.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect()
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
