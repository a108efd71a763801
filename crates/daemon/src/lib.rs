//! What every room is as a process: configuration, log lines, peer check, orderly stop.
