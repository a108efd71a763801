//! What a measurement reads from the operating system.

use rustix::time::{ClockId, clock_gettime};

/// Seconds of processor time that this process has used so far, all its threads together. On a machine that others use
/// too, the clock on the wall counts their work as well.
pub fn processor_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 * 1e-9
}

/// The most memory that this process has held at once, in KiB (`VmHWM`, proc(5)).
pub fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
