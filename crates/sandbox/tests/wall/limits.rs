//! What a job may use.

use std::time::Duration;

use sandbox::{Outcome, Stdin};

use crate::stand::Stand;

#[test]
fn a_fork_bomb_ends_at_the_limit() {
    let stand = Stand::new();
    let mut specification = stand.python(
        r#"
import os, time
children = 0
try:
    # Not for ever: where the limit fails, this must not take the machine along.
    while children < 200:
        if os.fork() == 0: time.sleep(60); os._exit(0)
        children += 1
    print('no limit')
except BlockingIOError: print(children)
"#,
    );
    specification.limits.processes = 20;
    assert_eq!(stand.holds_with(&specification), "19\n");
}

#[test]
fn threads_count_as_processes() {
    let stand = Stand::new();
    let code = |count: u32| {
        format!(
            "import threading\nstop = threading.Event()\nthreads = [threading.Thread(target=stop.wait) for _ in range({count})]\n\
             try:\n  for thread in threads: thread.start()\n  print('all')\nexcept RuntimeError: print('refused')\nstop.set()"
        )
    };
    for (count, expected) in [(10, "all\n"), (40, "refused\n")] {
        let mut specification = stand.python(&code(count));
        specification.limits.processes = 20;
        assert_eq!(stand.holds_with(&specification), expected);
    }
}

#[test]
fn memory_beyond_the_limit_is_not_given() {
    let stand = Stand::new();
    let fill = |mebibytes: u32| {
        format!(
            "held = []\nfor _ in range({mebibytes} // 16): held.append(bytearray(b'x' * (16 << 20)))\nprint('had it')"
        )
    };
    let run = |mebibytes| {
        let mut specification = stand.python(&fill(mebibytes));
        specification.limits.memory_bytes = 256 << 20;
        stand.run(&specification)
    };
    assert_eq!(run(64).outcome, Outcome::Succeeded);
    let greedy = run(1024);
    assert!(matches!(greedy.outcome, Outcome::MemoryLimit | Outcome::Failed), "{:?}", greedy.outcome);
    assert!(!greedy.stdout.starts_with(b"had it"));
}

#[test]
fn temporary_files_are_bounded_in_bytes_and_number() {
    Stand::new().holds(
        r#"
import errno
for place in ('/tmp', '/dev/shm'):
    file = open(place + '/big', 'wb', buffering=0)
    written = 0
    try:
        while True: written += file.write(bytes(1 << 20))
    except OSError as error: assert error.errno == errno.ENOSPC
    assert 15 << 20 <= written <= 16 << 20, written
    open(place + '/big', 'w').close()
    try:
        for number in range(2000): open(f'{place}/{number}', 'w').close()
        raise SystemExit(3)
    except OSError as error: assert error.errno == errno.ENOSPC and number <= 1000
"#,
    );
}

#[test]
fn a_file_beyond_the_limit_is_not_written() {
    let stand = Stand::new();
    let write = |signal: &str| {
        format!(
            "import signal\nsignal.signal(signal.SIGXFSZ, signal.{signal})\nopen('/out/big', 'wb').write(bytes(2 << 20))"
        )
    };
    for (signal, expected) in [("SIG_DFL", Outcome::FileLimit), ("SIG_IGN", Outcome::Failed)] {
        let mut specification = stand.python(&write(signal));
        specification.limits.file_bytes = 1 << 20;
        assert_eq!(stand.run(&specification).outcome, expected);
        let size = std::fs::metadata(stand.out().join("big")).expect("the file").len();
        assert_eq!(size, 1 << 20);
    }
    assert_eq!(stand.run(&stand.python(&write("SIG_DFL"))).outcome, Outcome::Succeeded);
}

#[test]
fn processor_time_ends() {
    let stand = Stand::new();
    for ignore in ["", "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"] {
        let mut specification = stand.python(&format!("{ignore}while True: pass"));
        specification.limits.cpu_seconds = 1;
        assert_eq!(stand.run(&specification).outcome, Outcome::CpuLimit);
    }
}

#[test]
fn open_files_end() {
    let stand = Stand::new();
    let mut specification = stand.python(
        "held = []\ntry:\n  while True: held.append(open('/dev/null'))\nexcept OSError: print(len(held))",
    );
    specification.limits.open_files = 40;
    assert_eq!(stand.holds_with(&specification), "37\n");
}

#[test]
fn output_is_kept_to_the_limit_and_no_further() {
    let stand = Stand::new();
    let print = |bytes: u64| {
        let mut specification = stand.python(&format!("import sys; sys.stdout.write('x' * {bytes})"));
        specification.limits.stdout_bytes = 300_000;
        stand.run(&specification)
    };
    for bytes in [0, 1, 299_999, 300_000] {
        let ended = print(bytes);
        assert_eq!((ended.outcome, ended.stdout.len() as u64), (Outcome::Succeeded, bytes));
    }
    for bytes in [300_001, 50_000_000] {
        let ended = print(bytes);
        assert_eq!((ended.outcome, ended.stdout.len()), (Outcome::OutputLimit, 300_000));
    }
    let mut silent = stand.python("print('to nobody')");
    silent.limits.stdout_bytes = 0;
    assert_eq!(stand.run(&silent).stdout, b"");
}

#[test]
fn standard_error_reaches_nobody_unless_the_caller_wants_it_with_the_output() {
    let stand = Stand::new();
    let mut specification = stand.python("import sys; print('row', file=sys.stderr); print('said')");
    assert_eq!(stand.run(&specification).stdout, b"said\n");
    specification.standard_error = sandbox::StandardError::AsOutput;
    assert_eq!(stand.run(&specification).stdout, b"row\nsaid\n");
    specification.limits.stdout_bytes = 0;
    assert_eq!(stand.run(&specification).stdout, b"");
}

#[test]
fn input_reaches_the_program_and_nothing_waits_for_one_that_does_not_read() {
    use std::io::{Seek, Write};
    let stand = Stand::new();
    let launcher = sandbox::Launcher::new(&stand.helper);
    let cancel = sandbox::Cancel::new().expect("a cancel");
    let count = stand.python("import sys; print(len(sys.stdin.buffer.read()))");
    let bytes = vec![7; 3 << 20];
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&bytes).and_then(|()| file.rewind()).expect("its content");
    for stdin in [Stdin::Bytes(bytes.clone()), Stdin::File(file)] {
        let ended = launcher.run(&count, stdin, &cancel).expect("a run");
        assert_eq!(ended.stdout, format!("{}\n", bytes.len()).as_bytes());
    }
    let deaf = stand.python("print('did not listen')");
    let ended = launcher.run(&deaf, Stdin::Bytes(bytes), &cancel).expect("a run");
    assert_eq!(ended.outcome, Outcome::Succeeded);
    assert!(ended.wall < Duration::from_secs(20));
}
