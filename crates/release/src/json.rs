//! Strict JSON: one text for each value.
//!
//! Signed payloads are JSON as RFC 8785 (JCS) writes it, restricted further: no numbers and no null, at most 16
//! levels deep, objects with ASCII keys. A payload is accepted only if writing what was read gives the same bytes
//! again. That one rule refuses duplicate and unknown keys, arrays in place of objects, defaulted fields, other
//! escapes, white space, a byte order mark and trailing bytes, whatever the parser below would have forgiven.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
/// Panics only for types that have no JSON form, which none of the statements is.
pub fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // serde_json's map is ordered by key, and for ASCII keys that order is the one of RFC 8785.
    let value = serde_json::to_value(value).expect("statements have a JSON form");
    serde_json::to_vec(&value).expect("a JSON value has a text")
}

/// Reads a value of at most `limit` bytes, in its one text.
pub fn from_bytes<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, JsonError> {
    if bytes.len() > limit {
        return Err(JsonError::TooLarge { limit });
    }
    let value: Value = serde_json::from_slice(bytes).map_err(JsonError::Syntax)?;
    if !is_restricted(&value, DEPTH_LIMIT) {
        return Err(JsonError::Restricted);
    }
    let typed: T = serde_json::from_value(value).map_err(JsonError::Shape)?;
    if to_bytes(&typed) == bytes { Ok(typed) } else { Err(JsonError::NotCanonical) }
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
