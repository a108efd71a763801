//! Every way in which a bundle can be refused. One is enough to refuse all of it.

use std::io;

/// Why a bundle is refused, or a directory cannot become one.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file does not begin like a zstd frame. Skippable frames count as this: they can carry anything.
    #[error("not a bundle: it does not begin with a zstd frame; make bundles with `databox job submit`")]
    NotZstd,
    /// The frame uses a dictionary, which the reader would have to have.
    #[error("the bundle is compressed with a dictionary; compress it without one")]
    DictionaryUsed,
    /// The frame asks for a larger window than the box gives.
    #[error("the bundle's compression needs a window of {bytes} bytes; at most {limit} are allowed")]
    WindowTooLarge {
        /// The window in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The compressed stream is damaged.
    #[error("the bundle's compressed stream is damaged")]
    CompressionDamaged(#[source] io::Error),
    /// The archive is larger than the box accepts once it is unpacked.
    #[error("the bundle is larger than {limit} bytes once unpacked")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The archive grows more on unpacking than real code and settings do.
    #[error("the bundle grows more than {limit} times when unpacked")]
    RatioTooHigh {
        /// The limit.
        limit: u64,
    },
    /// Bytes follow the frame.
    #[error("there are bytes after the end of the bundle")]
    BytesAfterFrame,
    /// The archive ends in the middle of an entry, or without its two closing blocks.
    #[error("the bundle ends too early")]
    Truncated,
    /// A header is not a POSIX ustar header.
    #[error("a header in the bundle is not POSIX ustar; with GNU tar, use --format=ustar")]
    HeaderFormat,
    /// A header's checksum is wrong.
    #[error("a header in the bundle has a wrong checksum")]
    HeaderChecksum,
    /// A number in a header is not octal digits that end in a zero byte or a space.
    #[error("a header in the bundle has a field that is not an octal number: {field}")]
    HeaderNumber {
        /// The field.
        field: &'static str,
    },
    /// A header has bytes where it should have none: after a name's end, or in the padding.
    #[error("a header in the bundle has bytes where there should be none: {field}")]
    HeaderHiddenBytes {
        /// The field.
        field: &'static str,
    },
    /// The entry is neither a file nor a directory.
    #[error("the bundle holds {kind}, {path:?}; only files and directories are allowed")]
    EntryKind {
        /// Its path, lossily.
        path: String,
        /// What it is.
        kind: EntryKind,
    },
    /// A file or directory names a link target.
    #[error("{path:?} in the bundle names a link target")]
    LinkTarget {
        /// Its path, lossily.
        path: String,
    },
    /// A directory has contents of its own.
    #[error("the directory {path:?} in the bundle has a size")]
    DirectoryWithContents {
        /// Its path, lossily.
        path: String,
    },
    /// The path is empty, or has an empty part.
    #[error("a path in the bundle has an empty part: {path:?}")]
    NameEmpty {
        /// The path, lossily.
        path: String,
    },
    /// The path begins with a slash.
    #[error("a path in the bundle is absolute: {path:?}")]
    NameAbsolute {
        /// The path, lossily.
        path: String,
    },
    /// A part of the path is `.` or `..`.
    #[error("a path in the bundle has a part that is . or ..: {path:?}")]
    NameDots {
        /// The path, lossily.
        path: String,
    },
    /// A part of the path has another character than `A-Z a-z 0-9 . _ -`.
    #[error("a name in the bundle has another character than A-Z a-z 0-9 . _ -: {path:?}; rename the file")]
    NameCharacter {
        /// The path, lossily.
        path: String,
    },
    /// The path is too long, or cannot be split as ustar needs it.
    #[error("a path in the bundle is too long: {path:?}; at most 255 bytes, the last name at most 100")]
    NameTooLong {
        /// The path, lossily.
        path: String,
    },
    /// The path has too many parts.
    #[error("a path in the bundle is more than {limit} directories deep: {path:?}")]
    TooDeep {
        /// The path, lossily.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// Two paths that differ in upper and lower case only: on some file systems one would replace the other.
    #[error(
        "two paths in the bundle differ in upper and lower case only: {path:?} and {other:?}; rename one"
    )]
    CaseTwins {
        /// The later one.
        path: String,
        /// The earlier one.
        other: String,
    },
    /// The same path twice: readers differ in which one they keep.
    #[error("the bundle holds {path:?} twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A file stands where a directory is needed, or the other way round.
    #[error("{path:?} in the bundle is both a file and a directory")]
    FileAndDirectory {
        /// The path.
        path: String,
    },
    /// Too many files and directories.
    #[error("the bundle holds more than {limit} files and directories")]
    TooManyEntries {
        /// The limit.
        limit: usize,
    },
    /// The padding after a file's bytes is not zero.
    #[error("there are hidden bytes after the end of {path:?} in the bundle")]
    HiddenPadding {
        /// The path.
        path: String,
    },
    /// Something other than zero bytes follows the archive's two closing blocks.
    #[error("there are bytes after the end of the bundle's archive")]
    BytesAfterArchive,
    /// There is no manifest.
    #[error("the bundle has no databox.toml at its root; `databox job new` makes one")]
    ManifestMissing,
    /// The manifest is larger than any real one.
    #[error("the bundle's databox.toml is larger than {limit} bytes")]
    ManifestTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The directory to unpack into has something in it already.
    #[error("the directory to unpack into is not empty")]
    DirectoryNotEmpty,
    /// A file to pack is neither a file nor a directory.
    #[error(
        "{path:?} is neither a file nor a directory, so it cannot go into a bundle; remove it or copy its target"
    )]
    SourceKind {
        /// The path under the bundle's directory.
        path: String,
    },
    /// The file system or the stream refused.
    #[error("a file cannot be read or written: {path:?}")]
    Io {
        /// The path, as far as there is one.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BundleError {
    /// Its name in answers of the command line and in scripts: one a case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotZstd => "BUNDLE_NOT_ZSTD",
            Self::DictionaryUsed => "BUNDLE_DICTIONARY_USED",
            Self::WindowTooLarge { .. } => "BUNDLE_WINDOW_TOO_LARGE",
            Self::CompressionDamaged(_) => "BUNDLE_COMPRESSION_DAMAGED",
            Self::TooLarge { .. } => "BUNDLE_TOO_LARGE",
            Self::RatioTooHigh { .. } => "BUNDLE_RATIO_TOO_HIGH",
            Self::BytesAfterFrame => "BUNDLE_BYTES_AFTER_FRAME",
            Self::Truncated => "BUNDLE_TRUNCATED",
            Self::HeaderFormat => "BUNDLE_HEADER_FORMAT",
            Self::HeaderChecksum => "BUNDLE_HEADER_CHECKSUM",
            Self::HeaderNumber { .. } => "BUNDLE_HEADER_NUMBER",
            Self::HeaderHiddenBytes { .. } => "BUNDLE_HEADER_HIDDEN_BYTES",
            Self::EntryKind { kind, .. } => kind.name(),
            Self::LinkTarget { .. } => "BUNDLE_LINK_TARGET",
            Self::DirectoryWithContents { .. } => "BUNDLE_DIRECTORY_WITH_CONTENTS",
            Self::NameEmpty { .. } => "BUNDLE_PATH_EMPTY",
            Self::NameAbsolute { .. } => "BUNDLE_PATH_ABSOLUTE",
            Self::NameDots { .. } => "BUNDLE_PATH_DOTS",
            Self::NameCharacter { .. } => "BUNDLE_PATH_CHARACTER",
            Self::NameTooLong { .. } => "BUNDLE_PATH_TOO_LONG",
            Self::TooDeep { .. } => "BUNDLE_TOO_DEEP",
            Self::CaseTwins { .. } => "BUNDLE_CASE_TWINS",
            Self::Duplicate { .. } => "BUNDLE_DUPLICATE",
            Self::FileAndDirectory { .. } => "BUNDLE_FILE_AND_DIRECTORY",
            Self::TooManyEntries { .. } => "BUNDLE_TOO_MANY_ENTRIES",
            Self::HiddenPadding { .. } => "BUNDLE_HIDDEN_PADDING",
            Self::BytesAfterArchive => "BUNDLE_BYTES_AFTER_ARCHIVE",
            Self::ManifestMissing => "BUNDLE_MANIFEST_MISSING",
            Self::ManifestTooLarge { .. } => "BUNDLE_MANIFEST_TOO_LARGE",
            Self::DirectoryNotEmpty => "BUNDLE_DIRECTORY_NOT_EMPTY",
            Self::SourceKind { .. } => "BUNDLE_SOURCE_KIND",
            Self::Io { .. } => "FILE",
        }
    }

    pub(crate) fn io(path: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Kinds of entry that tar knows and a bundle does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A hard link.
    HardLink,
    /// A symbolic link.
    SymbolicLink,
    /// A character device.
    CharacterDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Pipe,
    /// A pax extension (`x` or `g`): it could rename or resize what follows, for one reader and not for another.
    PaxExtension,
    /// A GNU extension: a long name, a sparse file, a volume label and the like.
    GnuExtension,
    /// A file in the form of 1979, which some readers take for a directory.
    OldFile,
    /// Anything else, by its type byte.
    Other(u8),
}

impl EntryKind {
    /// The name of a refusal of this kind.
    fn name(self) -> &'static str {
        match self {
            Self::HardLink => "BUNDLE_HARD_LINK",
            Self::SymbolicLink => "BUNDLE_SYMBOLIC_LINK",
            Self::CharacterDevice => "BUNDLE_CHARACTER_DEVICE",
            Self::BlockDevice => "BUNDLE_BLOCK_DEVICE",
            Self::Pipe => "BUNDLE_PIPE",
            Self::PaxExtension => "BUNDLE_PAX_EXTENSION",
            Self::GnuExtension => "BUNDLE_GNU_EXTENSION",
            Self::OldFile => "BUNDLE_OLD_FILE",
            Self::Other(_) => "BUNDLE_ENTRY_TYPE",
        }
    }

    pub(crate) fn of(type_byte: u8) -> Self {
        match type_byte {
            0 => Self::OldFile,
            b'1' => Self::HardLink,
            b'2' => Self::SymbolicLink,
            b'3' => Self::CharacterDevice,
            b'4' => Self::BlockDevice,
            b'6' => Self::Pipe,
            b'x' | b'g' | b'X' => Self::PaxExtension,
            b'A'..=b'Z' => Self::GnuExtension,
            other => Self::Other(other),
        }
    }
}

impl std::fmt::Display for EntryKind {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HardLink => formatter.write_str("a hard link"),
            Self::SymbolicLink => formatter.write_str("a symbolic link"),
            Self::CharacterDevice => formatter.write_str("a character device"),
            Self::BlockDevice => formatter.write_str("a block device"),
            Self::Pipe => formatter.write_str("a named pipe"),
            Self::PaxExtension => formatter.write_str("a pax extension"),
            Self::GnuExtension => formatter.write_str("a GNU extension"),
            Self::OldFile => formatter.write_str("a file in the form before POSIX"),
            Self::Other(byte) => write!(formatter, "an entry of the unknown type {byte}"),
        }
    }
}
