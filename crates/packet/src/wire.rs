//! Fixed layouts: numbers big-endian, each list behind its count, nothing optional.

use release::value::Name;

use crate::PacketError;

/// Takes fields off the front of a message. Every length is checked before anything is copied.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn bytes(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], PacketError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(PacketError::Form { part })?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], PacketError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(PacketError::Form { part })?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A count of one byte, at most `limit`.
    pub(crate) fn count(&mut self, limit: usize, part: &'static str) -> Result<usize, PacketError> {
        let [count] = self.array(part)?;
        let count = usize::from(count);
        if count <= limit { Ok(count) } else { Err(PacketError::Form { part }) }
    }

    pub(crate) fn name(&mut self, part: &'static str) -> Result<Name, PacketError> {
        let [length] = self.array(part)?;
        let text = std::str::from_utf8(self.bytes(length.into(), part)?).ok();
        text.and_then(|text| text.parse().ok()).ok_or(PacketError::Form { part })
    }

    /// Bytes behind their length of four bytes, at most `limit`.
    pub(crate) fn short(&mut self, limit: usize, part: &'static str) -> Result<&'a [u8], PacketError> {
        let length = u32::from_be_bytes(self.array(part)?) as usize;
        if length > limit { Err(PacketError::Form { part }) } else { self.bytes(length, part) }
    }

    /// Bytes behind their length of eight bytes.
    pub(crate) fn long(&mut self, part: &'static str) -> Result<&'a [u8], PacketError> {
        let length = u64::from_be_bytes(self.array(part)?);
        let length = usize::try_from(length).map_err(|_| PacketError::Form { part })?;
        self.bytes(length, part)
    }
}

/// A list's count; who calls has checked that it fits a byte.
pub(crate) fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.push(u8::try_from(count).expect("lists were checked against their limits"));
}

/// A name behind its length; names have at most 128 bytes.
pub(crate) fn put_name(bytes: &mut Vec<u8>, name: &Name) {
    put_count(bytes, name.as_str().len());
    bytes.extend(name.as_str().as_bytes());
}

/// Bytes behind their length of four bytes; who calls has checked that it fits.
pub(crate) fn put_short(bytes: &mut Vec<u8>, content: &[u8]) {
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(content);
}

/// Bytes behind their length of eight bytes.
pub(crate) fn put_long(bytes: &mut Vec<u8>, content: &[u8]) {
    bytes.extend((content.len() as u64).to_be_bytes());
    bytes.extend(content);
}
