//! The rooms: whether those that should run do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::Check;
use super::configurations::Configurations;

/// How long a room may take to say anything. The signer speaks to one at a time.
const PATIENCE: Duration = Duration::from_secs(5);

/// The beginning of no message on any of the sockets: whoever hears it cuts the connection off, or says that it is none.
const NOTHING: [u8; 8] = [0; 8];

/// Whether somebody at the other end reads and answers. A process that stands still lets others connect all the same.
fn answers(stream: io::Result<impl Read + Write>) -> bool {
    let said = stream.and_then(|mut stream| {
        stream.write_all(&NOTHING)?;
        stream.read(&mut [0])
    });
    // Cut off is an answer.
    said.is_ok()
        || said.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

fn at_address(address: &SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn at_socket(socket: &Path) -> io::Result<UnixStream> {
    // Whoever stands still does not take connections from the queue: with a full one a plain call would wait for ever.
    let end = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
    connect(&end, &SocketAddrUnix::new(socket)?)?;
    let stream = UnixStream::from(end);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub fn examine(configurations: &Configurations) -> Vec<Check> {
    let mut found: Vec<(&str, bool, String)> = configurations
        .listen
        .into_iter()
        .map(|(room, address)| (room, answers(at_address(&address)), address.to_string()))
        .collect();
    for (room, socket) in &configurations.sockets {
        found.push((room, answers(at_socket(socket)), socket.display().to_string()));
    }
    let up = found.iter().filter(|(_, answers, _)| *answers).count();
    if up == 0 {
        return vec![Check::warn(
            "rooms",
            "no room runs",
            format!(
                "`databox up --dir` starts them, or `systemctl start` the units; {} is where people come in",
                found[0].2
            ),
        )];
    }
    let silent: Vec<_> = found.iter().filter(|(_, answers, _)| !*answers).collect();
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
