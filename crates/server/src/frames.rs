//! Frames of HTTP/2 as they pass (RFC 9113, section 4.1). Only their heads are read: nothing is decoded, nothing kept.

/// Length of what a client sends before its first frame (RFC 9113, section 3.4). That it is the right text is looked at
/// by whoever reads the frames.
const PREFACE_BYTES: usize = 24;

const HEAD_BYTES: usize = 9;

/// The types of frame that are told apart here (RFC 9113, section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Of DATA and HEADERS: nothing follows on this stream.
#[cfg(test)]
pub(crate) const END_STREAM: u8 = 1;

/// Error codes (RFC 9113, section 7).
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const SETTINGS_TIMEOUT: u32 = 4;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes that follow.
    pub(crate) length: usize,
    /// Its type; most of the 256 mean nothing, and are passed over by whoever reads them.
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    fn read(bytes: &[u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The first bit is reserved, and means nothing.
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    fn bytes(self) -> [u8; HEAD_BYTES] {
        let [_, a, b, c] = (self.length as u32).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// One direction of a connection, cut into frames wherever its pieces end.
#[derive(Debug)]
pub(crate) struct Frames {
    /// Bytes until the next head.
    skip: usize,
    head: [u8; HEAD_BYTES],
    filled: usize,
}

impl Frames {
    /// What a client sends.
    pub(crate) fn from_client() -> Self {
        Self { skip: PREFACE_BYTES, ..Self::to_client() }
    }

    /// What a server sends.
    pub(crate) fn to_client() -> Self {
        Self { skip: 0, head: [0; HEAD_BYTES], filled: 0 }
    }

    /// The next bytes; `each` gets every head that is whole with them.
    pub(crate) fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD_BYTES - self.filled).min(bytes.len());
            self.head[self.filled..][..taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD_BYTES {
                let head = Head::read(&self.head);
                (self.filled, self.skip) = (0, head.length);
                each(head);
            }
        }
    }

    /// True where a frame may begin.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }
}

/// A GOAWAY frame: the connection ends, streams after `last` were not looked at, and `word` says why in plain text.
pub(crate) fn goaway(last: u32, code: u32, word: &'static str) -> Vec<u8> {
    let head = Head { length: 8 + word.len(), kind: GOAWAY, flags: 0, stream: 0 };
    [&head.bytes()[..], &last.to_be_bytes(), &code.to_be_bytes(), word.as_bytes()].concat()
}

/// A SETTINGS frame that sets nothing: what a server must begin with before it may say anything else.
pub(crate) fn empty_settings() -> Vec<u8> {
    Head { length: 0, kind: SETTINGS, flags: 0, stream: 0 }.bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> (Vec<u8>, Vec<Head>) {
        let heads = vec![
            Head { length: 6, kind: SETTINGS, flags: 0, stream: 0 },
            Head { length: 0, kind: SETTINGS, flags: 1, stream: 0 },
            Head { length: 300, kind: HEADERS, flags: 4, stream: 1 },
            Head { length: 70_000, kind: DATA, flags: END_STREAM, stream: 0x7fff_ffff },
            Head { length: 1, kind: 0xfa, flags: 0xff, stream: 3 },
        ];
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for head in &heads {
            bytes.extend(head.bytes());
            bytes.extend(vec![0x55; head.length]);
        }
        (bytes, heads)
    }

    #[test]
    fn heads_are_the_same_wherever_the_pieces_end() {
        let (bytes, heads) = client();
        for piece in [1, 2, 8, 9, 10, 24, 25, 33, 4096, bytes.len()] {
            let (mut frames, mut seen) = (Frames::from_client(), Vec::new());
            for piece in bytes.chunks(piece) {
                frames.pass(piece, |head| seen.push(head));
            }
            assert_eq!(seen, heads, "pieces of {piece}");
            assert!(frames.is_between_frames());
        }
    }

    #[test]
    fn a_frame_may_begin_only_where_one_has_ended() {
        let bytes = goaway(5, ENHANCE_YOUR_CALM, "why");
        let mut frames = Frames::to_client();
        for (place, byte) in bytes.iter().enumerate() {
            assert_eq!(frames.is_between_frames(), place == 0);
            frames.pass(&[*byte], |_| {});
        }
        assert!(frames.is_between_frames());
        let mut begun = Frames::from_client();
        assert!(!begun.is_between_frames(), "the preface is not there yet");
        begun.pass(&[0; PREFACE_BYTES], |_| panic!("the preface is no frame"));
        assert!(begun.is_between_frames());
    }

    #[test]
    fn a_goaway_has_the_bytes_of_the_standard() {
        let bytes = goaway(0x0102_0304, ENHANCE_YOUR_CALM, "ab");
        assert_eq!(bytes, [0, 0, 10, 7, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 11, b'a', b'b']);
        assert_eq!(empty_settings(), [0, 0, 0, 4, 0, 0, 0, 0, 0]);
    }
}
