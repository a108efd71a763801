//! Rooms as a service manager runs them: each says when it is ready and, as long as its work goes on, that it is alive.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use databox::home::{Home, ROOMS};
use databox::up::Rooms;
use harness::{PATIENCE, TestBox};
use rustix::process::{Pid, Signal, kill_process};

/// What a unit's `WatchdogSec` becomes, in microseconds.
const WITHIN: &str = "600000000";

/// A room, and what it says to its service manager.
struct Managed {
    child: Child,
    socket: UnixDatagram,
}

impl Managed {
    fn start(home: &Home, room: &str, watched: bool) -> Self {
        let path = home.join(format!("run/{room}.notify"));
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut command = Rooms::command(home, room).unwrap();
        command.env("NOTIFY_SOCKET", &path).stdout(Stdio::null()).stderr(Stdio::null());
        if watched {
            command.env("WATCHDOG_USEC", WITHIN);
        }
        Self { child: command.spawn().unwrap(), socket }
    }

    /// What it says next, within so long.
    fn says(&self, within: Duration) -> Option<String> {
        let until = Instant::now() + within;
        let mut bytes = [0; 256];
        while Instant::now() < until {
            if let Ok(read) = self.socket.recv(&mut bytes) {
                return Some(String::from_utf8_lossy(&bytes[..read]).trim().to_owned());
            }
        }
        None
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn each_room_says_when_it_is_ready_and_that_it_is_alive_until_it_stands_still() {
    let mut tested = TestBox::start();
    for room in ROOMS {
        tested.stage.rooms().kill(room);
        let managed = Managed::start(&tested.stage.home, room, true);
        assert_eq!(managed.says(PATIENCE).as_deref(), Some("READY=1"), "{room}");
        for _ in 0..3 {
            assert_eq!(managed.says(PATIENCE).as_deref(), Some("WATCHDOG=1"), "{room}");
        }
        managed.send(Signal::STOP);
        while managed.says(Duration::from_millis(100)).is_some() {}
        // Longer than any room's round.
        assert_eq!(managed.says(Duration::from_secs(7)), None, "{room} stands still");
        managed.send(Signal::CONT);
        assert_eq!(managed.says(PATIENCE).as_deref(), Some("WATCHDOG=1"), "{room}");
    }
}

#[test]
fn a_room_that_nobody_watches_says_only_that_it_is_ready_and_its_unit_asks_for_more() {
    let mut tested = TestBox::start();
    tested.stage.rooms().kill("signer");
    let managed = Managed::start(&tested.stage.home, "signer", false);
    assert_eq!(managed.says(PATIENCE).as_deref(), Some("READY=1"));
    assert_eq!(managed.says(Duration::from_secs(2)), None);
    for room in ROOMS {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../deploy/databox-{room}.service"));
        let unit = std::fs::read_to_string(unit).unwrap();
        for line in [
            "Type=notify",
            "NotifyAccess=main",
            "WatchdogSec=10min",
            "TimeoutStartSec=infinity",
            "Restart=on-failure",
        ] {
            assert!(unit.lines().any(|found| found == line), "{room}: {line}");
        }
    }
}
