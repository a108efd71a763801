//! What a run tells of a failure and of its use, as small numbers with bounds. The job chooses all of them.

use crate::convert::WireError;
use crate::{internal, v1};

/// The classes that are told by name, in the order of their numbers from 1. The last number means any other class.
pub const CLASSES: [&str; 30] = [
    "AssertionError",
    "AttributeError",
    "EOFError",
    "FileNotFoundError",
    "FileExistsError",
    "IndexError",
    "ImportError",
    "IndentationError",
    "IsADirectoryError",
    "KeyError",
    "LookupError",
    "MemoryError",
    "ModuleNotFoundError",
    "NameError",
    "NotADirectoryError",
    "NotImplementedError",
    "OSError",
    "OverflowError",
    "PermissionError",
    "RecursionError",
    "RuntimeError",
    "StopIteration",
    "SyntaxError",
    "TimeoutError",
    "TypeError",
    "UnboundLocalError",
    "UnicodeDecodeError",
    "UnicodeEncodeError",
    "ValueError",
    "ZeroDivisionError",
];

/// The name of a class, in Python's own word; `other` for any that is not on the list.
pub fn class_name(class: v1::FailureClass) -> &'static str {
    let place = (class as usize).checked_sub(1);
    place.and_then(|place| CLASSES.get(place)).copied().unwrap_or("other")
}

/// Where a Python program failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    class: v1::FailureClass,
    file: u32,
    line: u32,
}

impl Failure {
    /// Most files of a bundle that can be told apart.
    pub const FILES: u32 = (1 << 10) - 1;
    /// Most lines of a file that can be told apart.
    pub const LINES: u32 = (1 << 14) - 1;

    /// A failure of this class at this place, 0 where none is known.
    ///
    /// # Errors
    /// A number past its bound, or no class.
    pub fn new(class: v1::FailureClass, file: u32, line: u32) -> Result<Self, WireError> {
        if class == v1::FailureClass::Unspecified {
            return Err(WireError::new("failure.class"));
        }
        if file > Self::FILES {
            return Err(WireError::new("failure.file"));
        }
        if line > Self::LINES {
            return Err(WireError::new("failure.line"));
        }
        Ok(Self { class, file, line })
    }

    /// Its 29 bits: the class lowest, then the file, then the line.
    pub fn to_bits(self) -> u32 {
        self.class as u32 | self.file << 5 | self.line << 15
    }

    /// The failure with these bits. Any number below 2^29 whose class is not 0 is one.
    ///
    /// # Errors
    /// More bits, or no class.
    pub fn from_bits(bits: u32) -> Result<Self, WireError> {
        let class =
            v1::FailureClass::try_from((bits & 31) as i32).map_err(|_| WireError::new("failure.class"))?;
        Self::new(class, bits >> 5 & Self::FILES, bits >> 15)
    }
}

impl TryFrom<internal::Failure> for Failure {
    type Error = WireError;

    fn try_from(wire: internal::Failure) -> Result<Self, WireError> {
        let class = v1::FailureClass::try_from(wire.class).map_err(|_| WireError::new("failure.class"))?;
        Self::new(class, wire.file, wire.line)
    }
}

impl From<Failure> for internal::Failure {
    fn from(failure: Failure) -> Self {
        Self { class: failure.class.into(), file: failure.file, line: failure.line }
    }
}

impl From<Failure> for v1::Failure {
    fn from(failure: Failure) -> Self {
        Self { class: failure.class.into(), file: failure.file, line: failure.line }
    }
}

/// What a run used, in eighths of what it was given; 0 where nothing is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Use {
    memory: u32,
    output: u32,
}

impl Use {
    /// Seven eighths or more.
    pub const MOST: u32 = 7;

    /// These eighths.
    ///
    /// # Errors
    /// A number past its bound.
    pub fn new(memory: u32, output: u32) -> Result<Self, WireError> {
        if memory > Self::MOST {
            return Err(WireError::new("used.memory"));
        }
        if output > Self::MOST {
            return Err(WireError::new("used.output"));
        }
        Ok(Self { memory, output })
    }

    /// Eighths of a whole, rounded down to at least 1 and at most 7; 0 if there is no whole.
    pub fn eighths(part: u64, whole: u64) -> u32 {
        if whole == 0 {
            return 0;
        }
        let eighths = u128::from(part) * 8 / u128::from(whole);
        u32::try_from(eighths).unwrap_or(Self::MOST).clamp(1, Self::MOST)
    }

    /// Its 6 bits: memory lowest.
    pub fn to_bits(self) -> u32 {
        self.memory | self.output << 3
    }

    /// The use with these bits.
    ///
    /// # Errors
    /// More bits.
    pub fn from_bits(bits: u32) -> Result<Self, WireError> {
        Self::new(bits & Self::MOST, bits >> 3)
    }
}

impl TryFrom<internal::Use> for Use {
    type Error = WireError;

    fn try_from(wire: internal::Use) -> Result<Self, WireError> {
        Self::new(wire.memory, wire.output)
    }
}

impl From<Use> for internal::Use {
    fn from(used: Use) -> Self {
        Self { memory: used.memory, output: used.output }
    }
}

impl From<Use> for v1::Use {
    fn from(used: Use) -> Self {
        Self { memory: used.memory, output: used.output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_the_list_has_its_number_and_its_name() {
        for (place, name) in CLASSES.iter().enumerate() {
            let class = v1::FailureClass::try_from(place as i32 + 1).unwrap();
            assert_eq!(class_name(class), *name);
            let word = class.as_str_name().trim_start_matches("FAILURE_CLASS_").replace('_', "");
            assert_eq!(word, name.to_uppercase());
        }
        assert_eq!(class_name(v1::FailureClass::Other), "other");
        assert_eq!(v1::FailureClass::Other as usize, CLASSES.len() + 1);
    }

    #[test]
    fn a_failure_has_29_bits_and_no_more() {
        for bits in [1, 31 | 1023 << 5 | 16_383 << 15] {
            assert_eq!(Failure::from_bits(bits).unwrap().to_bits(), bits);
        }
        for bits in [0, 32, 1 << 29 | 1, u32::MAX] {
            assert!(Failure::from_bits(bits).is_err(), "{bits}");
        }
    }

    #[test]
    fn use_is_told_in_seven_steps_and_never_finer() {
        let told = [(0, 1), (1, 1), (199, 1), (200, 2), (699, 6), (700, 7), (800, 7), (u64::MAX, 7)];
        for (part, eighths) in told {
            assert_eq!(Use::eighths(part, 800), eighths, "{part}");
        }
        assert_eq!(Use::eighths(1, 0), 0);
        assert_eq!(Use::from_bits(0o77).unwrap().to_bits(), 0o77);
        assert!(Use::from_bits(0o100).is_err());
    }
}
