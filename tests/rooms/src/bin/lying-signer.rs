//! A signer that was taken over: it listens on the signer's socket and answers every message with the file
//! `<ANSWERS>/<VERDICT>`, read anew each time, or with `<ANSWERS>/any`; without either it closes the connection and says
//! nothing. `lying-signer SOCKET ANSWERS` prints a line for each message: its word and the verdict that it is about.

use std::error::Error;
use std::path::PathBuf;

use release::json;
use release::log::socket::{self, Answer, MESSAGE_LIMIT, Message};

fn main() -> Result<(), Box<dyn Error>> {
    daemon::die_with_parent()?;
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let socket = arguments.next().ok_or("no socket")?;
    let answers = arguments.next().ok_or("no answers")?;
    let listener = daemon::listen(&socket, 0o660)?;
    loop {
        let (mut stream, _) = listener.accept()?;
        let Ok(message) = socket::read::<Message>(&mut stream) else { continue };
        let (word, verdict) = match &message {
            Message::Submit(submit) => ("submit", submit.verdict.payload_digest()),
            Message::DenyCode(deny) => ("deny-code", deny.request.payload_digest()),
            Message::Cosign(cosign) => ("cosign", cosign.verdict),
            Message::Get(get) => ("get", get.verdict),
        };
        println!("{word} {verdict}");
        let answer =
            std::fs::read(answers.join(verdict.to_string())).or_else(|_| std::fs::read(answers.join("any")));
        let Ok(answer) = answer else { continue };
        let answer: Answer = json::from_bytes(&answer, MESSAGE_LIMIT)?;
        // The console may have gone away.
        let _ = socket::write(&mut stream, &answer);
    }
}
