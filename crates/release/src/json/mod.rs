//! Strict JSON: one text for each value.
//!
//! Signed payloads are JSON as RFC 8785 (JCS) writes it, restricted further: no numbers and no null, at most 16
//! levels deep, objects with ASCII keys. A payload is accepted only if writing what was read gives the same bytes
//! again. That one rule refuses duplicate and unknown keys, arrays in place of objects, defaulted fields, other
//! escapes, white space, a byte order mark and trailing bytes, whatever the parser below would have forgiven.

mod writer;

use std::fmt;

use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use serde_json::{Map, Value};

/// Deepest nesting of arrays and objects.
pub const DEPTH_LIMIT: usize = 16;

/// JSON that is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Longer than the caller allows.
    #[error("more than {limit} bytes of JSON")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8")]
    Text(#[from] std::str::Utf8Error),
    /// Not JSON at all.
    #[error("not JSON")]
    Syntax(#[source] serde_json::Error),
    /// A number, a null, a key that is not ASCII, or nesting past the limit.
    #[error("JSON with a number, a null, a key that is not ASCII, or more than {DEPTH_LIMIT} levels")]
    Restricted,
    /// A field is missing, unknown or has a wrong value.
    #[error("JSON that does not fit: {0}")]
    Shape(#[source] serde_json::Error),
    /// The same value has another text in the one accepted form: twice a key, white space, another order.
    #[error("JSON that is not in its one form: sorted keys, no white space, each key once")]
    NotCanonical,
}

/// The one text of a value.
///
/// Panics only for values that have no such text: with a number, a null, or more than [`DEPTH_LIMIT`] levels.
pub fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    writer::write(value, 0).expect("statements have a JSON form")
}

/// Reads a value of at most `limit` bytes, in its one text.
///
/// The type is read straight from the text. Whatever the parser forgives on the way (a list for an object, a key twice
/// in a map, an escape too many) shows when the value is written again.
pub fn from_bytes<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge { limit });
    }
    // Looked at once; from a slice each string would be looked at by itself.
    let text = std::str::from_utf8(bytes)?;
    let typed: T = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => JsonError::Shape(error),
        Category::Io | Category::Syntax | Category::Eof => JsonError::Syntax(error),
    })?;
    let written = writer::write(&typed, bytes.len()).map_err(|_| JsonError::Restricted)?;
    if written == bytes { Ok(typed) } else { Err(JsonError::NotCanonical) }
}

/// Reads a value of at most `limit` bytes whose white space and order of fields are free, as in files that other
/// tools write. Everything else is as strict: each key once, none unknown, no number, no null, nothing after the end.
pub fn from_any_form<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge { limit });
    }
    let Once(value) = serde_json::from_str(std::str::from_utf8(bytes)?).map_err(JsonError::Syntax)?;
    if !is_restricted(&value, DEPTH_LIMIT) {
        return Err(JsonError::Restricted);
    }
    let typed: T = serde_json::from_value(value.clone()).map_err(JsonError::Shape)?;
    // A list would pass for an object otherwise: serde fills a struct's fields from either.
    match serde_json::to_value(&typed) {
        Ok(written) if written == value => Ok(typed),
        _ => Err(JsonError::NotCanonical),
    }
}

/// A JSON value in which no object has a key twice; `serde_json::Value` itself keeps the last.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnceVisitor)
    }
}

struct OnceVisitor;

impl<'de> Visitor<'de> for OnceVisitor {
    type Value = Once;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON without numbers and null")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
        Ok(Once(Value::Bool(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Once, E> {
        Ok(Once(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
        let mut array = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Once(Value::Array(array)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Once, A::Error> {
        let mut object = Map::new();
        while let Some((key, Once(item))) = fields.next_entry::<String, Once>()? {
            if object.insert(key, item).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Once(Value::Object(object)))
    }
}

fn is_restricted(value: &Value, depth: usize) -> bool {
    match value {
        Value::Null | Value::Number(_) => false,
        Value::Bool(_) | Value::String(_) => true,
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_restricted(item, depth - 1)),
        Value::Object(fields) => {
            depth > 0 && fields.iter().all(|(key, item)| key.is_ascii() && is_restricted(item, depth - 1))
        }
    }
}
