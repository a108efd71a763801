//! Signing through an ssh-agent (draft-miller-ssh-agent): the private key stays where it is, in the agent, on a smart card
//! behind it, or on another machine.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use release::key::{self, SignError, SignStatement};
use release::signature::Signature;
use release::sshsig::{self, SshKey};
use release::statement::PublicKey;

use crate::failure::{Exit, Failure, file_failure, whole};

/// How long an agent may take: it may ask its owner.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
/// Largest answer of an agent in bytes. A signature has some 100.
const ANSWER_BYTES: u32 = 64 * 1024;

const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// A key that an agent holds, or a security key that it speaks to.
pub struct AgentKey {
    socket: PathBuf,
    public: PublicKey,
    ssh: SshKey,
}

impl AgentKey {
    /// This key of OpenSSH's in the agent at `SSH_AUTH_SOCK`. The agent is not asked yet.
    ///
    /// # Errors
    /// If no agent is named, or the key's suite is none of OpenSSH's.
    pub fn find(public: PublicKey) -> Result<Self, Failure> {
        let socket = std::env::var_os("SSH_AUTH_SOCK").ok_or_else(|| {
            Failure::new("NO_SSH_AGENT", "SSH_AUTH_SOCK names no agent")
                .hint("start one with `eval $(ssh-agent)`, and add the key with `ssh-add`")
                .exit(Exit::Usage)
        })?;
        Self::at(socket.into(), public)
    }

    fn at(socket: PathBuf, public: PublicKey) -> Result<Self, Failure> {
        let ssh = SshKey::of(&public).ok_or_else(|| {
            Failure::new("SSH_KEY", "the public keys name no key of OpenSSH's").exit(Exit::Usage)
        })?;
        Ok(Self { socket, public, ssh })
    }

    fn ask(&self, message: &[u8]) -> Result<Signature, SignError> {
        let failed = |_| SignError::Unreachable;
        let mut agent = UnixStream::connect(&self.socket).map_err(failed)?;
        agent.set_read_timeout(Some(ANSWER_LIMIT)).map_err(failed)?;
        let mut request = vec![SIGN_REQUEST];
        for part in [&self.ssh.to_blob()[..], message] {
            request.extend_from_slice(&(part.len() as u32).to_be_bytes());
            request.extend_from_slice(part);
        }
        request.extend_from_slice(&[0; 4]);
        agent.write_all(&(request.len() as u32).to_be_bytes()).map_err(failed)?;
        agent.write_all(&request).map_err(failed)?;
        let mut length = [0; 4];
        agent.read_exact(&mut length).map_err(failed)?;
        let length = u32::from_be_bytes(length);
        if !(1..=ANSWER_BYTES).contains(&length) {
            return Err(SignError::Answer);
        }
        let mut answer = vec![0; length as usize];
        agent.read_exact(&mut answer).map_err(failed)?;
        match answer.split_first() {
            Some((&SIGN_RESPONSE, rest)) => self.signature(rest).ok_or(SignError::Answer),
            // Any other answer says no: it does not have the key, or its owner did not agree.
            _ => Err(SignError::Refused),
        }
    }

    /// The signature in an answer: one string that holds a type and the signature.
    fn signature(&self, rest: &[u8]) -> Option<Signature> {
        let (length, blob) = rest.split_first_chunk::<4>()?;
        let whole = usize::try_from(u32::from_be_bytes(*length)).ok()? == blob.len();
        sshsig::parse_signature_blob(self.ssh.holder, blob).ok().filter(|_| whole)
    }
}

/// The key in an OpenSSH public key file.
pub fn read_public(file: &Path) -> Result<SshKey, Failure> {
    let text = std::fs::read_to_string(file).map_err(file_failure(file))?;
    SshKey::from_public_line(&text).map_err(|error| {
        Failure::new("SSH_KEY", format!("{}: {}", file.display(), whole(&error)))
            .hint("an Ed25519 key is needed: `ssh-keygen -t ed25519` makes one, `ssh-keygen -t ed25519-sk` one in a security key")
            .exit(Exit::Usage)
    })
}

impl SignStatement for AgentKey {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign_statement(&self, message: &[u8]) -> Result<Signature, SignError> {
        let signature = self.ask(&sshsig::signed_bytes(message))?;
        // What nobody would accept is found here, not by the room that it is handed to.
        key::verify(&self.public(), message, &signature).map_err(|_| SignError::Answer)?;
        Ok(signature)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use release::statement::Suite;
    use release::value::Bytes;

    use super::*;

    /// An agent of its own, which ends with the test.
    struct Agent(Child, PathBuf);

    impl Agent {
        fn start(directory: &Path) -> Self {
            let socket = directory.join("agent");
            let mut command = Command::new("ssh-agent");
            command.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
            let agent = Self(command.spawn().unwrap(), socket);
            // The socket is there before anybody listens to it.
            while UnixStream::connect(&agent.1).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
            agent
        }

        fn add(&self, key: &Path) {
            let mut command = Command::new("ssh-add");
            command.arg(key).env("SSH_AUTH_SOCK", &self.1).stderr(Stdio::null());
            assert!(command.status().unwrap().success());
        }
    }

    impl Drop for Agent {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn an_agent_signs_a_statement_and_without_the_key_it_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
        assert!(make.status().unwrap().success());
        let agent = Agent::start(directory.path());
        let line = read_public(&key.with_extension("pub")).unwrap();
        let public = PublicKey { suite: Suite::Sshsig, public: Bytes(line.public) };
        let held = AgentKey::at(agent.1.clone(), public).unwrap();
        assert_eq!(held.sign_statement(b"a statement"), Err(SignError::Refused));
        agent.add(&key);
        let signature = held.sign_statement(b"a statement").unwrap();
        assert!(key::verify(&held.public(), b"a statement", &signature).is_ok());
        assert!(key::verify(&held.public(), b"another", &signature).is_err());
        drop(agent);
        assert_eq!(held.sign_statement(b"a statement"), Err(SignError::Unreachable));
    }
}
