//! A console that was taken over: it puts messages of its choice to the signer. `lying-console SOCKET FILE…`: each file
//! holds one message. Prints one line for each answer: `appended`, `finished`, or the name of the refusal.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use release::json;
use release::log::socket::{self, Answer, MESSAGE_LIMIT, Message};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let path = arguments.next().ok_or("no socket")?;
    for file in arguments {
        let message: Message = json::from_bytes(&std::fs::read(file)?, MESSAGE_LIMIT)?;
        match socket::ask(&mut UnixStream::connect(&path)?, &message)? {
            Answer::Appended(_) => println!("appended"),
            Answer::Finished(_) => println!("finished"),
            Answer::Refused(refusal) => println!("{refusal}"),
        }
    }
    Ok(())
}
