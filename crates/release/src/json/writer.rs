//! Writes a value in its one text: as RFC 8785 (JCS) for objects with ASCII keys, without numbers and null.

use std::fmt;
use std::io::Write as _;

use serde::ser::{
    Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeTuple, Serializer,
};

use super::DEPTH_LIMIT;

/// A value that has no text here: a number, a null, a key that is not ASCII, more levels than the limit, or a form of enum
/// that no statement has.
#[derive(Debug)]
pub struct NoText;

impl fmt::Display for NoText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value with a number, a null, a key that is not ASCII, or too many levels")
    }
}

impl std::error::Error for NoText {}

impl serde::ser::Error for NoText {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// The text of a value, which is expected to have this many bytes.
pub fn write<T: Serialize + ?Sized>(value: &T, expected: usize) -> Result<Vec<u8>, NoText> {
    // An object whose fields come in another order is written twice for a moment.
    let mut text = Vec::with_capacity(2 * expected);
    value.serialize(Writer { text: &mut text, depth: DEPTH_LIMIT })?;
    Ok(text)
}

struct Writer<'a> {
    text: &'a mut Vec<u8>,
    /// How many levels may still be opened.
    depth: usize,
}

/// True for what JSON writes as an escape.
fn is_special(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn write_string(text: &mut Vec<u8>, value: &str) -> Result<(), NoText> {
    // Without a stop at the first one, so that many bytes are compared at once.
    if !value.bytes().fold(false, |found, byte| found | is_special(byte)) {
        text.push(b'"');
        text.extend_from_slice(value.as_bytes());
        text.push(b'"');
        return Ok(());
    }
    // The escapes of RFC 8785 are those of `serde_json`.
    serde_json::to_writer(text, value).map_err(|_| NoText)
}

/// The parts of an array, in their order.
struct Array<'a> {
    text: &'a mut Vec<u8>,
    depth: usize,
    begin: usize,
}

impl Array<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NoText> {
        if self.text.len() > self.begin {
            self.text.push(b',');
        }
        item.serialize(Writer { text: self.text, depth: self.depth })
    }

    fn close(self) {
        self.text.push(b']');
    }
}

/// The fields of an object. Each is written when it comes; at the end they are brought into the order of their keys.
struct Object<'a> {
    text: &'a mut Vec<u8>,
    depth: usize,
    begin: usize,
    fields: Vec<(Key, std::ops::Range<usize>)>,
    open_key: Option<Key>,
}

type Key = std::borrow::Cow<'static, str>;

impl Object<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, key: Key, value: &T) -> Result<(), NoText> {
        if !key.is_ascii() {
            return Err(NoText);
        }
        if !self.fields.is_empty() {
            self.text.push(b',');
        }
        let begin = self.text.len();
        write_string(self.text, &key)?;
        self.text.push(b':');
        value.serialize(Writer { text: self.text, depth: self.depth })?;
        self.fields.push((key, begin..self.text.len()));
        Ok(())
    }

    fn close(mut self) {
        // For ASCII keys the order of bytes is that of RFC 8785, which is of UTF-16 code units.
        if !self.fields.is_sorted_by(|one, other| one.0 <= other.0) {
            self.fields.sort_by(|one, other| one.0.cmp(&other.0));
            let end = self.text.len();
            for (number, (_, range)) in self.fields.iter().enumerate() {
                if number > 0 {
                    self.text.push(b',');
                }
                self.text.extend_from_within(range.clone());
            }
            self.text.drain(self.begin..end);
        }
        self.text.push(b'}');
    }
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = NoText;
    type SerializeSeq = Array<'a>;
    type SerializeTuple = Array<'a>;
    type SerializeTupleStruct = Impossible<(), NoText>;
    type SerializeTupleVariant = Impossible<(), NoText>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Impossible<(), NoText>;

    fn serialize_bool(self, value: bool) -> Result<(), NoText> {
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), NoText> {
        write_string(self.text, value)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), NoText> {
        let begin = self.text.len();
        self.text.push(b'"');
        write!(self.text, "{value}").map_err(|_| NoText)?;
        if self.text[begin + 1..].iter().fold(false, |found, byte| found | is_special(*byte)) {
            self.text.truncate(begin);
            return write_string(self.text, &value.to_string());
        }
        self.text.push(b'"');
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), NoText> {
        write_string(self.text, value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NoText> {
        value.serialize(self)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), NoText> {
        write_string(self.text, name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NoText> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), NoText> {
        let mut object = self.serialize_map(Some(1))?;
        object.add(name.into(), value)?;
        object.close();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Array<'a>, NoText> {
        let depth = self.depth.checked_sub(1).ok_or(NoText)?;
        self.text.push(b'[');
        Ok(Array { begin: self.text.len(), text: self.text, depth })
    }

    fn serialize_tuple(self, length: usize) -> Result<Array<'a>, NoText> {
        self.serialize_seq(Some(length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Object<'a>, NoText> {
        let depth = self.depth.checked_sub(1).ok_or(NoText)?;
        self.text.push(b'{');
        let begin = self.text.len();
        let fields = Vec::with_capacity(length.unwrap_or_default());
        Ok(Object { text: self.text, depth, begin, fields, open_key: None })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Object<'a>, NoText> {
        self.serialize_map(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, NoText> {
        Err(NoText)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, NoText> {
        Err(NoText)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, NoText> {
        Err(NoText)
    }

    fn serialize_none(self) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_unit(self) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_i8(self, _: i8) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_i16(self, _: i16) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_i32(self, _: i32) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_i64(self, _: i64) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_u8(self, _: u8) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_u16(self, _: u16) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_u32(self, _: u32) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_u64(self, _: u64) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_f32(self, _: f32) -> Result<(), NoText> {
        Err(NoText)
    }

    fn serialize_f64(self, _: f64) -> Result<(), NoText> {
        Err(NoText)
    }
}

impl SerializeSeq for Array<'_> {
    type Ok = ();
    type Error = NoText;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NoText> {
        self.add(item)
    }

    fn end(self) -> Result<(), NoText> {
        self.close();
        Ok(())
    }
}

impl SerializeTuple for Array<'_> {
    type Ok = ();
    type Error = NoText;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), NoText> {
        self.add(item)
    }

    fn end(self) -> Result<(), NoText> {
        self.close();
        Ok(())
    }
}

impl SerializeStruct for Object<'_> {
    type Ok = ();
    type Error = NoText;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), NoText> {
        self.add(key.into(), value)
    }

    fn end(self) -> Result<(), NoText> {
        self.close();
        Ok(())
    }
}

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = NoText;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NoText> {
        match serde_json::to_value(key) {
            Ok(serde_json::Value::String(key)) => {
                self.open_key = Some(key.into());
                Ok(())
            }
            _ => Err(NoText),
        }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoText> {
        let key = self.open_key.take().ok_or(NoText)?;
        self.add(key, value)
    }

    fn end(self) -> Result<(), NoText> {
        self.close();
        Ok(())
    }
}
