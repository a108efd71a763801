use release::value::Name;

/// Why a packet cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// No recipient, or too many.
    #[error("a packet is sealed to 1 to {limit} stewards")]
    Recipients {
        /// The limit.
        limit: usize,
    },
    /// A steward is named twice.
    #[error("{steward} is named twice as a recipient of a packet")]
    RecipientTwice {
        /// The steward.
        steward: Name,
    },
    /// Nothing can be sealed to this key: it is of small order, so everyone could open it.
    #[error("the review key of {steward} is not usable; a new one is made by `databox key new`")]
    ReviewKey {
        /// The steward.
        steward: Name,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
    /// A part of the content is larger than packets may carry.
    #[error("the content does not fit into a packet: {part}")]
    ContentTooLarge {
        /// The part.
        part: &'static str,
    },
    /// A name stands twice in a list.
    #[error("{name} stands twice in a packet")]
    NameTwice {
        /// The name.
        name: Name,
    },
    /// Not a packet, or one of another version.
    #[error("not a review packet of version 1")]
    NotAPacket,
    /// The packet is cut short, too long, or not in its one form.
    #[error("the review packet is not in its one form: {part}")]
    Form {
        /// The part.
        part: &'static str,
    },
    /// The packet was sealed for another request.
    #[error("the review packet belongs to another request")]
    OtherRequest,
    /// The packet is not sealed to this steward.
    #[error("the review packet is not sealed to {steward}")]
    NotForSteward {
        /// The steward.
        steward: Name,
    },
    /// The content key cannot be unwrapped with this review key.
    #[error(
        "the review packet cannot be opened with this review key: it is another key, or the packet was changed"
    )]
    WrongKey,
    /// The unwrapped content key is not the one that all stewards share: two stewards would see two contents.
    #[error("the review packet would show another steward another content")]
    KeyNotCommitted,
    /// The content was changed after it was sealed.
    #[error("the review packet was changed after it was sealed")]
    ContentChanged,
}
