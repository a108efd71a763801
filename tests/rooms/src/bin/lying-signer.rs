//! A signer that was taken over: it listens on the signer's socket and answers every message with the file
//! `<ANSWERS>/<VERDICT>`, or `<ANSWERS>/site` if it is about no verdict, read anew each time, or with `<ANSWERS>/any`; without either it closes the connection and says
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
        let (word, subject) = match &message {
            Message::Submit(submit) => ("submit", submit.verdict.payload_digest().to_string()),
            Message::DenyCode(deny) => ("deny-code", deny.request.payload_digest().to_string()),
            Message::Cosign(cosign) => ("cosign", cosign.verdict.to_string()),
            Message::Get(get) => ("get", get.verdict.to_string()),
            Message::Together(_) => ("together", "site".to_owned()),
            Message::Publish(_) => ("publish", "site".to_owned()),
            Message::CosignHead(_) => ("cosign-head", "site".to_owned()),
        };
        println!("{word} {subject}");
        let answer = std::fs::read(answers.join(subject)).or_else(|_| std::fs::read(answers.join("any")));
        let Ok(answer) = answer else { continue };
        let answer: Answer = json::from_bytes(&answer, MESSAGE_LIMIT)?;
        // The console may have gone away.
        let _ = socket::write(&mut stream, &answer);
    }
}
