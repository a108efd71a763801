//! The system-call filter: the reviewed lists of `policies/sandbox`, compiled to the kernel's filter language when this
//! program was built.

use sandbox::filters::{JOB, JOB_NVIDIA, MACHINE, READER, Step};
use sandbox::{Calls, Commands, Specification};
use seccompiler::{BpfProgram, sock_filter};

/// The filter for a program.
pub fn filter(specification: &Specification) -> BpfProgram {
    let steps = match specification.calls {
        Calls::Job if specification.commands(Commands::Nvidia) => JOB_NVIDIA,
        Calls::Job => JOB,
        Calls::Reader => READER,
        Calls::Machine | Calls::EmulatedMachine => MACHINE,
    };
    program(steps)
}

fn program(steps: &[Step]) -> BpfProgram {
    steps.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect()
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
