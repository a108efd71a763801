//! The signer's socket: seven messages and their answers, specified byte by byte in
//! `docs/formats/signer-socket.md`. One connection carries one message and one answer.
//!
//! Every message may be repeated: the answer to a repeat is the first one, also after a crash.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use blobs::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::json::{self, JsonError};
use crate::refusal::Refusal;
use crate::value::Count;

/// Largest message or answer in bytes: 32 MiB.
pub const MESSAGE_LIMIT: usize = 32 << 20;

/// Most decisions in one [`Together`]: while the signer weighs them it answers nobody else.
pub const TOGETHER_LIMIT: usize = 256;

/// What the console asks of the signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// Evidence in, an unwitnessed checkpoint out.
    Submit(Submit),
    /// The evidence of several decisions in, one unwitnessed checkpoint out.
    Together(Together),
    /// A refusal of code before its run in, an unwitnessed checkpoint out.
    DenyCode(DenyCode),
    /// Cosignatures in, a release file or denial file out.
    Cosign(Cosign),
    /// What became of a verdict.
    Get(Get),
    /// What the site directory has new is to be in the log and under a published checkpoint.
    Publish(Publish),
    /// Cosignatures of a checkpoint in, for [`Message::Publish`].
    CosignHead(CosignHead),
}

/// The evidence about one verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Submit {
    /// The job request that the verdict is about.
    pub request: Envelope,
    /// The verdict.
    pub verdict: Envelope,
    /// The approvals of its code before the run, sorted by steward; none if the grant demands none.
    pub code_approvals: Vec<Envelope>,
    /// What the stewards decided.
    pub decision: Decision,
    /// Payload digests of the verdicts that its tables were compared with, sorted: the set of which the verdict has the
    /// digest. None with a denial.
    pub compared: Vec<Digest>,
    /// Size of the log that the witness cosigned last, as far as the console knows; 0 if it does not know.
    pub witnessed: Count,
}

/// The evidence about several verdicts, which come into the log under one head. What became of each is a question of its
/// own: the decision again, or [`Get`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Together {
    /// At most [`TOGETHER_LIMIT`], each weighed with those before it.
    pub submits: Vec<Submit>,
    /// As in [`Submit`]; what each of them says there is not asked.
    pub witnessed: Count,
}

/// A steward's refusal of the code of one request, which has not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DenyCode {
    /// The job request whose code is refused.
    pub request: Envelope,
    /// The refusal.
    pub denial: Envelope,
    /// As in [`Submit`].
    pub witnessed: Count,
}

/// What the stewards decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Decision {
    /// They consent: one envelope a steward.
    Approvals(Vec<Envelope>),
    /// One of them refuses.
    Denial(Envelope),
}

/// Cosignatures of a checkpoint that covers the verdict's leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cosign {
    /// Payload digest of the verdict; of the request, if its code is refused.
    pub verdict: Digest,
    /// Size of the log that was cosigned.
    pub size: Count,
    /// The signature lines of one or more witnesses, one after the other, as their answers had them.
    pub cosignatures: String,
}

/// A question about a verdict. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Get {
    /// Payload digest of the verdict; of the request, if its code is refused.
    pub verdict: Digest,
    /// As in [`Submit`].
    pub witnessed: Count,
}

/// A wish that the statements of the site directory be in the log, and the log under a published checkpoint, without
/// waiting for a decision: a recall counts for those who read the log once it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publish {
    /// As in [`Submit`].
    pub witnessed: Count,
}

/// Cosignatures of a checkpoint that no decision waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CosignHead {
    /// As in [`Cosign`].
    pub size: Count,
    /// As in [`Cosign`].
    pub cosignatures: String,
}

/// What the signer answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// The decision is a leaf of the log, and witnesses are awaited.
    Appended(Appended),
    /// The decision is a witnessed leaf.
    Finished(Finished),
    /// The log has more than its published checkpoint says, and witnesses are awaited.
    Unwitnessed(Unwitnessed),
    /// The published checkpoint is of the whole log.
    Published(Published),
    /// Nothing was signed.
    Refused(SignerRefusal),
}

/// A decision that is a leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Appended {
    /// Which decision.
    pub outcome: Outcome,
    /// Index of the leaf.
    pub index: Count,
    /// Size of the log in the checkpoint.
    pub size: Count,
    /// The body of the request `add-checkpoint` to a witness that cosigned the size which the message named.
    pub add_checkpoint: String,
}

/// A log that is larger than its published checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unwitnessed {
    /// Size of the log in the checkpoint.
    pub size: Count,
    /// As in [`Appended`].
    pub add_checkpoint: String,
}

/// A log that is as large as its published checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Published {
    /// Size of the log.
    pub size: Count,
}

/// A decision that is a witnessed leaf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finished {
    /// Which decision.
    pub outcome: Outcome,
    /// The release file, denial file or code denial file, a JSON text.
    pub file: String,
}

/// A decision about a verdict, final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Its files may leave.
    Release,
    /// They may not.
    Denial,
    /// It is about a request: its code may not run.
    CodeDenial,
}

/// Why the signer signs nothing. Its text is the name of the case, or the name of the broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SignerRefusal {
    /// A rule of the path is broken.
    Rule(Refusal),
    /// Not a message, or too large.
    MessageForm,
    /// Nothing was appended for this verdict.
    VerdictUnknown,
    /// The verdict's release is in the log; a denial comes too late. Recall it by a revocation.
    AlreadyReleased,
    /// The grant is not in the log, since the dataset's grants together would exceed the catalogue's limit.
    GrantsExceedDataset,
    /// The site directory cannot be read.
    SiteUnreadable,
    /// A witness has cosigned a larger log than the one here: this is an old copy.
    LogBehindWitness,
    /// The log never had this size, or it does not cover the verdict's leaf.
    SizeUnknown,
    /// None of the cosignatures is a signature line.
    CosignatureForm,
    /// The clock is more than five minutes behind the last signature.
    ClockBehind,
    /// The clock was set forward by more than an hour while the signer ran.
    ClockAhead,
    /// The token that holds the release key or the log key does not sign. A decision may be a leaf already; a repeat goes on
    /// from there.
    KeyUnavailable,
}

impl SignerRefusal {
    const OWN: [(Self, &'static str); 11] = [
        (Self::MessageForm, "message-form"),
        (Self::VerdictUnknown, "verdict-unknown"),
        (Self::AlreadyReleased, "already-released"),
        (Self::GrantsExceedDataset, "grants-exceed-dataset"),
        (Self::SiteUnreadable, "site-unreadable"),
        (Self::LogBehindWitness, "log-behind-witness"),
        (Self::SizeUnknown, "size-unknown"),
        (Self::CosignatureForm, "cosignature-form"),
        (Self::ClockBehind, "clock-behind"),
        (Self::ClockAhead, "clock-ahead"),
        (Self::KeyUnavailable, "key-unavailable"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rule(rule) => rule.name(),
            own => Self::OWN.iter().find(|(case, _)| *case == own).map_or("", |(_, name)| name),
        }
    }
}

impl From<Refusal> for SignerRefusal {
    fn from(rule: Refusal) -> Self {
        Self::Rule(rule)
    }
}

impl fmt::Display for SignerRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::error::Error for SignerRefusal {}

/// A name that no refusal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a refusal")]
pub struct RefusalNameError;

impl FromStr for SignerRefusal {
    type Err = RefusalNameError;

    fn from_str(name: &str) -> Result<Self, RefusalNameError> {
        let own = Self::OWN.iter().find(|(_, own)| *own == name).map(|(case, _)| *case);
        own.or_else(|| Refusal::from_name(name).map(Self::Rule)).ok_or(RefusalNameError)
    }
}

impl From<SignerRefusal> for String {
    fn from(refusal: SignerRefusal) -> Self {
        refusal.name().to_owned()
    }
}

impl TryFrom<String> for SignerRefusal {
    type Error = RefusalNameError;

    fn try_from(name: String) -> Result<Self, RefusalNameError> {
        name.parse()
    }
}

/// What can go wrong on the socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The connection broke or ended early. The message may be repeated.
    #[error("the signer's socket broke")]
    Io(#[from] io::Error),
    /// More bytes than [`MESSAGE_LIMIT`].
    #[error("a message of more than {MESSAGE_LIMIT} bytes on the signer's socket")]
    TooLarge,
    /// Not a message in its one form.
    #[error("a message on the signer's socket is not accepted")]
    Form(#[from] JsonError),
}

/// Writes one message: its length as 32 bits, most significant byte first, then its one JSON text.
pub fn write<T: Serialize>(stream: &mut impl Write, message: &T) -> Result<(), SocketError> {
    let bytes = json::to_bytes(message);
    if bytes.len() > MESSAGE_LIMIT {
        return Err(SocketError::TooLarge);
    }
    let length = u32::try_from(bytes.len()).map_err(|_| SocketError::TooLarge)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&bytes)?;
    Ok(stream.flush()?)
}

/// Reads one message.
pub fn read<T: Serialize + DeserializeOwned>(stream: &mut impl Read) -> Result<T, SocketError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MESSAGE_LIMIT {
        return Err(SocketError::TooLarge);
    }
    // The length is the peer's word: memory grows with what arrives, not with what is announced.
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(json::from_bytes(&bytes, MESSAGE_LIMIT)?)
}

/// Sends a message and waits for its answer, on a connection that was opened for it.
pub fn ask(stream: &mut (impl Read + Write), message: &Message) -> Result<Answer, SocketError> {
    write(stream, message)?;
    read(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: Serialize>(message: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, message).unwrap();
        bytes
    }

    #[test]
    fn every_refusal_has_one_name_and_is_found_by_it() {
        let rules = Refusal::ALL.map(SignerRefusal::Rule);
        let own = SignerRefusal::OWN.map(|(case, _)| case);
        let mut names: Vec<_> = rules.iter().chain(&own).map(|refusal| refusal.name()).collect();
        assert!(names.iter().all(|name| !name.is_empty()));
        for refusal in rules.into_iter().chain(own) {
            assert_eq!(refusal.name().parse(), Ok(refusal));
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rules.len() + own.len());
        assert!("".parse::<SignerRefusal>().is_err());
    }

    #[test]
    fn messages_are_as_the_specification_shows_them() {
        let get = Message::Get(Get { verdict: Digest::of(b"abc"), witnessed: Count(7) });
        let text = br#"{"get":{"verdict":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","witnessed":"7"}}"#;
        assert_eq!(bytes(&get), [&[0, 0, 0, text.len() as u8][..], text].concat());
        assert_eq!(read::<Message>(&mut &bytes(&get)[..]).unwrap(), get);
        let refused = Answer::Refused(SignerRefusal::Rule(Refusal::Denied));
        assert_eq!(&bytes(&refused)[4..], br#"{"refused":"denied"}"#);
        assert_eq!(read::<Answer>(&mut &bytes(&refused)[..]).unwrap(), refused);
    }

    #[test]
    fn short_long_and_other_forms_are_refused() {
        let get = bytes(&Message::Get(Get { verdict: Digest::of(b"abc"), witnessed: Count(7) }));
        let short = read::<Message>(&mut &get[..get.len() - 1]);
        assert!(matches!(short, Err(SocketError::Io(_))));
        let long = read::<Message>(&mut &[0xff; 64][..]);
        assert!(matches!(long, Err(SocketError::TooLarge)));
        let other = [&[0, 0, 0, 2][..], b"{}"].concat();
        assert!(matches!(read::<Message>(&mut &other[..]), Err(SocketError::Form(_))));
        let mut spaced = get.clone();
        spaced[3] += 1;
        spaced.push(b' ');
        assert!(matches!(read::<Message>(&mut &spaced[..]), Err(SocketError::Form(_))));
    }
}
