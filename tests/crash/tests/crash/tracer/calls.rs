//! The unsafe calls of the tracer (ptrace(2), waitpid(2)), each behind a safe function. They act only on processes that
//! this thread started itself.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// A thread or process that is traced.
pub type Task = libc::pid_t;

/// Where a traced thread stands in a system call.
#[derive(Debug, Clone, Copy)]
pub enum Stand {
    /// Before it: nothing has happened yet.
    Entry { number: i64, arguments: [u64; 6] },
    /// After it, with what it returned.
    Exit { returned: i64 },
}

/// What a traced thread did.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// It stands before or after a system call.
    Call(Task),
    /// It stands for another reason; the signal, if one is to be passed on.
    Stopped(Task, i32),
    /// It is gone.
    Gone(Task),
}

/// Starts a program that is traced by this thread from its first instruction. It dies with this thread.
///
/// With `only`, it stops at these system calls alone (seccomp(2), `SECCOMP_RET_TRACE`) and runs at nearly its own speed.
/// Not for a program with children: without a tracer of their own those calls would fail in them.
#[allow(clippy::zombie_processes)] // `next` waits for it.
pub fn start(command: &mut Command, only: Option<&[i64]>) -> io::Result<Task> {
    let filter = only.map(filter);
    // SAFETY: between fork and exec only system calls are made, which allocate nothing and take no lock. The filter is
    // read during the call only.
    let traced = move || unsafe {
        check(libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0))?;
        let Some(filter) = &filter else { return Ok(()) };
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())?;
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0);
        check(set.into())
    };
    // SAFETY: as above.
    let child = unsafe { command.pre_exec(traced) }.spawn()?;
    let task = child.id() as Task;
    wait_for(task)?;
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_EXITKILL;
    // SAFETY: the task is a stopped child of this thread; the request takes an integer.
    check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, task, 0, options) })?;
    Ok(task)
}

/// Stops at these calls, and lets every other pass.
fn filter(only: &[i64]) -> Vec<libc::sock_filter> {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let number = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number, 0, 0)];
    for (at, call) in only.iter().enumerate() {
        let to_end = (only.len() - at) as u8;
        filter.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32, to_end, 0));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0));
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRACE, 0, 0));
    filter
}

fn check(returned: libc::c_long) -> io::Result<()> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn wait_for(task: Task) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: `status` outlives the call. Without other threads' children, whom std waits for itself.
    let found = unsafe { libc::waitpid(task, &mut status, libc::__WALL | libc::__WNOTHREAD) };
    if found == -1 { Err(io::Error::last_os_error()) } else { Ok(status) }
}

/// Waits for the next event of this thread's tasks. None once there is no task left.
pub fn next() -> io::Result<Option<Event>> {
    let mut status = 0;
    // SAFETY: as in `wait_for`.
    let task = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
    if task == -1 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ECHILD) { Ok(None) } else { Err(error) };
    }
    if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
        return Ok(Some(Event::Gone(task)));
    }
    let signal = libc::WSTOPSIG(status);
    Ok(Some(match signal {
        _ if signal == libc::SIGTRAP | 0x80 => Event::Call(task),
        libc::SIGTRAP if status >> 16 == libc::PTRACE_EVENT_SECCOMP => Event::Call(task),
        // A new thread, or the report of one.
        libc::SIGTRAP | libc::SIGSTOP => Event::Stopped(task, 0),
        signal => Event::Stopped(task, signal),
    }))
}

/// How far a stopped task goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the beginning or the end of any system call.
    AnyCall,
    /// To the next of those that it was started with.
    Filtered,
}

/// Lets a stopped task go on. One that was killed meanwhile is no error.
pub fn go_on(task: Task, signal: i32, until: Until) {
    let request = match until {
        Until::AnyCall => libc::PTRACE_SYSCALL,
        Until::Filtered => libc::PTRACE_CONT,
    };
    // SAFETY: the task is a tracee of this thread; both arguments are integers.
    unsafe { libc::ptrace(request, task, 0, signal) };
}

#[repr(C)]
#[derive(Default)]
struct Information {
    operation: u8,
    padding: [u8; 3],
    architecture: u32,
    instruction: u64,
    stack: u64,
    number_or_returned: i64,
    arguments: [u64; 6],
    more: [u64; 4],
}

const GET_SYSCALL_INFO: libc::c_uint = 0x420e;

/// Where a task that stopped at a system call stands. None if it was killed meanwhile.
pub fn stand(task: Task) -> Option<Stand> {
    let mut information = Information::default();
    let bytes = size_of::<Information>();
    // SAFETY: the kernel writes at most `bytes` bytes to `information`, which is plain numbers.
    let written = unsafe { libc::ptrace(GET_SYSCALL_INFO, task, bytes, &raw mut information) };
    match (written, information.operation) {
        (written, _) if written <= 0 => None,
        // At its entry, or at the filter, which comes right after it.
        (_, 1 | 3) => {
            Some(Stand::Entry { number: information.number_or_returned, arguments: information.arguments })
        }
        (_, 2) => Some(Stand::Exit { returned: information.number_or_returned }),
        _ => None,
    }
}

fn registers(task: Task) -> io::Result<libc::user_regs_struct> {
    let mut registers = std::mem::MaybeUninit::zeroed();
    // SAFETY: the kernel fills the structure, which is plain numbers and zeroed before.
    check(unsafe { libc::ptrace(libc::PTRACE_GETREGS, task, 0, registers.as_mut_ptr()) })?;
    // SAFETY: filled above.
    Ok(unsafe { registers.assume_init() })
}

fn set_registers(task: Task, registers: &libc::user_regs_struct) -> io::Result<()> {
    // SAFETY: the kernel reads the structure during the call.
    check(unsafe { libc::ptrace(libc::PTRACE_SETREGS, task, 0, &raw const *registers) })
}

/// At a system call's entry: it will not be made.
pub fn leave_out(task: Task) -> io::Result<()> {
    let mut changed = registers(task)?;
    changed.orig_rax = u64::MAX;
    set_registers(task, &changed)
}

/// At a system call's exit: the program is told this.
pub fn answer(task: Task, returned: i64) -> io::Result<()> {
    let mut changed = registers(task)?;
    changed.rax = returned as u64;
    set_registers(task, &changed)
}

/// Kills a process with all its threads, as the kernel does when memory runs out: nothing of it runs any more.
pub fn kill(process: Task) {
    // SAFETY: a signal to a process that this program started and has not waited for yet.
    unsafe { libc::kill(process, libc::SIGKILL) };
}
