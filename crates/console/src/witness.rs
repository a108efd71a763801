//! Asks witnesses for their cosignature (C2SP tlog-witness, `add-checkpoint`).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one witness may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer taken, in bytes.
const ANSWER_BYTES: usize = 16 * 1024;

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its cosignature lines.
    Cosigned(String),
    /// It has cosigned this size last; ask again from there.
    OtherSize(u64),
}

/// A witness that gave no cosignature.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The address is not `http://HOST:PORT`.
    #[error("a witness's address is not of the form http://HOST:PORT")]
    Address,
    /// It cannot be reached.
    #[error("the witness cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// The connection broke.
    #[error("the connection to the witness broke")]
    Connection(#[from] hyper::Error),
    /// It took too long.
    #[error("the witness did not answer in time")]
    Late,
    /// It refused: 403 for an unknown key, 404 for an unknown log, 422 for a proof that does not fit.
    #[error("the witness refused with status {0}")]
    Refused(u16),
    /// Its answer is not of the protocol.
    #[error("the witness's answer is not of the protocol")]
    Form,
}

/// Sends one `add-checkpoint` request.
pub async fn add_checkpoint(address: &str, body: &str) -> Result<Answer, WitnessError> {
    tokio::time::timeout(PATIENCE, ask(address, body)).await.map_err(|_| WitnessError::Late)?
}

async fn ask(address: &str, body: &str) -> Result<Answer, WitnessError> {
    let rest = address.strip_prefix("http://").ok_or(WitnessError::Address)?;
    let (host, prefix) = rest.split_once('/').map_or((rest, ""), |(host, prefix)| (host, prefix));
    let stream = TcpStream::connect(host).await.map_err(WitnessError::Unreachable)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends by itself once the sender is dropped; errors reach the sender too.
    tokio::spawn(connection);
    let path =
        if prefix.is_empty() { "/add-checkpoint".to_owned() } else { format!("/{prefix}/add-checkpoint") };
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header("host", host)
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|_| WitnessError::Address)?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let bytes =
        Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(|_| WitnessError::Form)?;
    let text = String::from_utf8(bytes.to_bytes().to_vec()).map_err(|_| WitnessError::Form)?;
    match status {
        // Without its newline the last line would run into the next witness's first.
        StatusCode::OK if text.ends_with('\n') => Ok(Answer::Cosigned(text)),
        StatusCode::CONFLICT => {
            text.trim_end().parse().map(Answer::OtherSize).map_err(|_| WitnessError::Form)
        }
        StatusCode::OK => Err(WitnessError::Form),
        other => Err(WitnessError::Refused(other.as_u16())),
    }
}
