//! The rooms: whether those that should run do.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Check;
use super::configurations::Configurations;

const PATIENCE: Duration = Duration::from_secs(2);

pub fn examine(configurations: &Configurations) -> Vec<Check> {
    let listens = |address| TcpStream::connect_timeout(&address, PATIENCE).is_ok();
    let mut answers: Vec<(&str, bool, String)> = configurations
        .listen
        .into_iter()
        .map(|(room, address)| (room, listens(address), address.to_string()))
        .collect();
    for (room, socket) in &configurations.sockets {
        answers.push((room, UnixStream::connect(socket).is_ok(), socket.display().to_string()));
    }
    let up = answers.iter().filter(|(_, answers, _)| *answers).count();
    if up == 0 {
        return vec![Check::warn(
            "rooms",
            "no room runs",
            format!(
                "`databox up --dir` starts them, or `systemctl start` the units; {} is where people come in",
                answers[0].2
            ),
        )];
    }
    let silent: Vec<_> = answers.iter().filter(|(_, answers, _)| !*answers).collect();
    if silent.is_empty() {
        return vec![Check::ok("rooms", "gateway, console and signer answer on every socket")];
    }
    let down = |(room, _, place): &&(&str, bool, String)| {
        Check::fail(
            "rooms",
            format!("the {room} does not answer at {place}"),
            format!("its journal says why: run/{room}.log, or `journalctl -u databox-{room}`"),
        )
    };
    silent.iter().map(down).collect()
}
