//! The system calls that have no safe wrapper elsewhere: the only unsafe code of the box.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::mount::MountAttrFlags;
use rustix::process::Pid;

/// Where the C library begins. Rust's own beginning reads the list of the process's memory, line by line, to find where the
/// stack ends, at each launch. What is left out: a word on standard error when the
/// stack overflows, a look whether the first three descriptors are open, and a last flush of standard output; the kernel
/// still ends a process whose stack is full, and who starts this program gives it the three.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(_: std::ffi::c_int, _: *const *const c_char) -> std::ffi::c_int {
    // SAFETY: no handler is installed. A caller that died is told by an error, not by the end of this process.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    crate::main()
}

/// Which of the two processes after a fork this is.
pub enum Forked<T> {
    Parent(T),
    Child,
}

/// How a child ended, and what it and its own waited-for children used.
pub struct Reaped {
    pub pid: Pid,
    pub status: i32,
    pub cpu_seconds: u64,
    pub peak_bytes: u64,
}

fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// No descriptor has a higher number. gVisor takes one that is no `int` for a mistake.
const LAST: u32 = i32::MAX as u32;

/// Closes every descriptor from `first` on. Only for the start of `main`, when none of them has an owner.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: no pointers; the caller holds no descriptor from `first` on.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, LAST, 0) }).map(drop)
}

/// Marks every descriptor from `first` on to be closed when a program is executed.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: no pointers, and no descriptor is closed in this process.
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, LAST, flags) }).map(drop)
}

/// Duplicates a descriptor onto `number`, closed when a program is executed.
pub fn duplicate_to(descriptor: impl AsFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers. `number` is far above what this process opens, so nothing else owns it.
    unsafe {
        checked(libc::dup3(descriptor.as_fd().as_raw_fd(), number, libc::O_CLOEXEC).into())?;
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// include/uapi/linux/sched.h; wider than the type that `libc` gives its flags.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks the first process of new namespaces, given by their flags of clone(2), and if a directory of version 2 is given
/// in that control group; the parent gets its id and pidfd. Moving it there later would make each launch wait until every
/// processor has passed a point of rest.
pub fn clone_into_namespaces(namespaces: i32, group: Option<&File>) -> io::Result<Forked<(Pid, OwnedFd)>> {
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain data for which zero means "unused". Without CLONE_VM the child runs on a copy of
    // this memory as after fork, and this process has one thread, so no lock is held by a thread that vanished.
    let pid = unsafe {
        let mut arguments: libc::clone_args = std::mem::zeroed();
        arguments.flags = (namespaces | libc::CLONE_PIDFD) as u64;
        if let Some(group) = group {
            arguments.flags |= CLONE_INTO_CGROUP;
            arguments.cgroup = group.as_raw_fd() as u64;
        }
        arguments.pidfd = &raw mut pidfd as u64;
        arguments.exit_signal = libc::SIGCHLD as u64;
        checked(libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()))?
    };
    match Pid::from_raw(pid as i32) {
        None => Ok(Forked::Child),
        // SAFETY: the kernel just opened it for this process.
        Some(pid) => Ok(Forked::Parent((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))),
    }
}

/// Leaves a namespace for a new one: of control groups this process itself, of time those that it forks from now on.
pub fn unshare(namespace: i32) -> io::Result<()> {
    // SAFETY: no pointers; this process's memory and descriptors stay as they are.
    checked(unsafe { libc::unshare(namespace) }.into()).map(drop)
}

/// Makes this process the first of a session. gVisor answers 0, which is no process id, so the answer is not looked at.
pub fn begin_session() -> io::Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { libc::setsid() }.into()).map(drop)
}

/// Forks this process.
pub fn fork() -> io::Result<Forked<Pid>> {
    // SAFETY: this process has one thread, so the child may do all that the parent may.
    let pid = checked(unsafe { libc::fork() }.into())?;
    Ok(Pid::from_raw(pid as i32).map_or(Forked::Child, Forked::Parent))
}

/// Waits for the next child to end.
pub fn reap() -> io::Result<Reaped> {
    let mut status = 0;
    // SAFETY: `rusage` is plain data; both pointers are to live values of the right type.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let pid = checked(libc::wait4(-1, &raw mut status, 0, &raw mut usage).into())?;
        (pid, usage)
    };
    let pid = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidData)?;
    let seconds = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1_000_000;
    Ok(Reaped { pid, status, cpu_seconds: seconds as u64, peak_bytes: usage.ru_maxrss as u64 * 1024 })
}

/// Adds attributes to one mount (not to those below it) and makes it private. mount_setattr(2).
pub fn restrict_mount(mount: impl AsFd, attributes: MountAttrFlags) -> io::Result<()> {
    let change = libc::mount_attr {
        attr_set: attributes.bits().into(),
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is an empty C string and `change` has the size that is passed with it.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Gives every signal its default action and unblocks all: what the caller ignored must not be ignored inside.
pub fn reset_signals() {
    // SAFETY: no handler is installed, only defaults; the set is initialised by sigemptyset. Numbers that cannot be
    // changed are refused by the call, which is what is wanted.
    unsafe {
        for number in 1..=64 {
            libc::signal(number, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// What execve(2) takes, prepared while memory can still be had.
pub struct Program {
    pub path: CString,
    pub arguments: Vec<CString>,
    pub environment: Vec<CString>,
}

impl Program {
    /// Replaces this process by the program; returns only the reason why not. With `opened`, the program is that
    /// descriptor and no path is looked up.
    pub fn execute(&self, opened: Option<&OwnedFd>) -> io::Error {
        let arguments = pointers(&self.arguments);
        let environment = pointers(&self.environment);
        // SAFETY: both lists hold pointers to live C strings and end with a null pointer.
        unsafe {
            match opened {
                None => {
                    libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
                }
                Some(opened) => {
                    libc::syscall(
                        libc::SYS_execveat,
                        opened.as_raw_fd(),
                        c"".as_ptr(),
                        arguments.as_ptr(),
                        environment.as_ptr(),
                        libc::AT_EMPTY_PATH,
                    );
                }
            }
        }
        io::Error::last_os_error()
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Ends this process at once, without running anything that a copied parent set up.
pub fn exit(code: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}
