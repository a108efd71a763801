//! The socket: one connection at a time, one message and one answer on each.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use daemon::{Journal, ServiceManager, StopFlag, check_peer};
use release::log::socket::{self, Answer, Message, SignerRefusal, SocketError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::append::LogError;
use crate::clock::{Clock, Reading};
use crate::disk::Disk;
use crate::room::Signer;

/// How long a message may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often the stop flag is looked at while nothing happens.
const IDLE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Answers until it is asked to stop, or until the log must not be continued.
pub fn serve<D: Disk>(
    signer: &mut Signer<D>,
    listener: &UnixListener,
    console_user: u32,
    stop: &StopFlag,
    journal: Journal,
) -> Result<(), LogError> {
    listener.set_nonblocking(true)?;
    let clock = Clock::started();
    let manager = ServiceManager::ready();
    while !stop.is_raised() {
        manager.alive();
        match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&IDLE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // The peer went away again, or descriptors are short: neither is a reason to end.
            Err(error) => {
                journal.warning("a connection was not taken").own_error(&error).write();
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        converse(signer, clock, stream, console_user, journal)?;
    }
    Ok(())
}

fn converse<D: Disk>(
    signer: &mut Signer<D>,
    clock: Clock,
    mut stream: UnixStream,
    console_user: u32,
    journal: Journal,
) -> Result<(), LogError> {
    if let Err(error) = check_peer(&stream, console_user) {
        journal.warning("someone else spoke on the socket").own_error(&error).write();
        return Ok(());
    }
    let answer = match receive(&mut stream) {
        Ok(message) => {
            let started = std::time::Instant::now();
            let answer = match clock.read() {
                Reading::Now(now) => signer.answer(&message, now)?,
                Reading::Ahead => Answer::Refused(SignerRefusal::ClockAhead),
            };
            report(journal, &message, &answer, started.elapsed(), signer.size());
            answer
        }
        Err(SocketError::Io(error)) => {
            journal.warning("a message did not arrive").own_error(&error).write();
            return Ok(());
        }
        Err(SocketError::TooLarge | SocketError::Form(_)) => {
            journal.warning("something else than a message arrived").write();
            Answer::Refused(SignerRefusal::MessageForm)
        }
    };
    // What was decided is durable; a console that does not hear it asks again.
    if let Err(error) = socket::write(&mut stream, &answer) {
        journal.warning("an answer was not taken").own_error(&error).write();
    }
    Ok(())
}

fn receive(stream: &mut UnixStream) -> Result<Message, SocketError> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    socket::read(stream)
}

fn report(journal: Journal, message: &Message, answer: &Answer, took: Duration, size: u64) {
    let (word, subject) = match message {
        Message::Submit(submit) => ("submit", Some(submit.verdict.payload_digest())),
        Message::DenyCode(deny) => ("deny-code", Some(deny.request.payload_digest())),
        Message::Cosign(cosign) => ("cosign", Some(cosign.verdict)),
        Message::Get(get) => ("get", Some(get.verdict)),
        Message::Together(_) => ("together", None),
        Message::Publish(_) => ("publish", None),
        Message::CosignHead(_) => ("cosign-head", None),
    };
    let event = match answer {
        Answer::Appended(_) => journal.info("appended"),
        Answer::Finished(_) => journal.info("finished"),
        Answer::Unwitnessed(_) => journal.info("unwitnessed"),
        Answer::Published(_) => journal.info("published"),
        Answer::Refused(refusal) => journal.warning("refused").word("refusal", refusal.name()),
    };
    let event = event.word("message", word);
    let event = match &subject {
        Some(verdict) => event.digest("verdict", verdict.as_bytes()),
        None => event,
    };
    event.number("size", size).number("microseconds", took.as_micros() as i64).write();
}
