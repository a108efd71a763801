//! The keyed hash of windows.
//!
//! The key is chosen at random after the bytes were fixed, so that a job cannot write bytes that make the search slow.
//! Any two windows of 16 bytes share their product with a chance of at most 2^-64 (J. Black et al., "UMAC: Fast and Secure
//! Message Authentication", 1999: NH); its halves are folded into one, of which nothing is proved. What is longer is
//! hashed by pair-multiply-shift from those (M. Thorup, "High Speed Hashing for Integers and Strings", arXiv 1504.06804).
//! The hash decides speed alone: whatever the key, what is reported was compared byte by byte.

/// The windows that the search is built on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 16 bytes.
    Narrow,
    /// 64 bytes, where each 16 of them are plain.
    Wide,
}

impl Kind {
    /// Length of a window, and the distance of two windows of the data.
    pub(crate) const fn window(self) -> usize {
        match self {
            Self::Narrow => 16,
            Self::Wide => 64,
        }
    }

    /// Length of the shortest run that holds a whole window, however it is aligned.
    pub(crate) const fn run(self) -> usize {
        2 * self.window() - 1
    }
}

/// Bytes of a *gram*, by which a window is told with fewer questions.
pub(crate) const GRAM: usize = 8;

/// A secret key: of one search, or of the index of one snapshot.
pub(crate) struct HashKey([u128; 12]);

impl HashKey {
    /// Its bytes.
    pub(crate) const BYTES: usize = 16 * 12;

    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self::from_bytes(&bytes))
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (parts, _) = bytes.as_chunks();
        Self(std::array::from_fn(|index| u128::from_le_bytes(parts[index])))
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|part| part.to_le_bytes()).collect()
    }

    /// Two words that nothing else is made of.
    pub(crate) fn two_words(&self) -> [u64; 2] {
        [self.0[11] as u64, (self.0[11] >> 64) as u64]
    }

    /// Hash of 16 bytes, of one multiplication.
    #[inline]
    pub(crate) fn narrow(&self, window: &[u8; 16]) -> u64 {
        let both = u128::from_le_bytes(*window);
        let left = (both as u64).wrapping_add(self.0[0] as u64);
        let right = ((both >> 64) as u64).wrapping_add((self.0[0] >> 64) as u64);
        let product = u128::from(left) * u128::from(right);
        product as u64 ^ (product >> 64) as u64
    }

    /// Hash of 8 bytes: of a window of them and eight zeros.
    #[inline]
    pub(crate) fn gram(&self, gram: &[u8; GRAM]) -> u64 {
        let left = u64::from_le_bytes(*gram).wrapping_add(self.0[0] as u64);
        let product = u128::from(left) * (self.0[0] >> 64);
        product as u64 ^ (product >> 64) as u64
    }

    /// Hash of 64 bytes, from the hashes of their four parts.
    #[inline]
    pub(crate) fn wide(&self, parts: [u64; 4]) -> u64 {
        let [a, b, c, d] = parts.map(u128::from);
        let [add, k1, k2, k3, k4] = [self.0[3], self.0[4], self.0[5], self.0[6], self.0[7]];
        let first = a.wrapping_add(k1).wrapping_mul(b.wrapping_add(k2));
        let second = c.wrapping_add(k3).wrapping_mul(d.wrapping_add(k4));
        (add.wrapping_add(first).wrapping_add(second) >> 64) as u64
    }

    /// Hash of the window of `kind` that begins at `at`. It lies within `bytes`.
    #[inline]
    pub(crate) fn window(&self, kind: Kind, bytes: &[u8], at: usize) -> u64 {
        match kind {
            Kind::Narrow => self.narrow(array_at(bytes, at)),
            Kind::Wide => self.wide([0, 16, 32, 48].map(|part| self.narrow(array_at(bytes, at + part)))),
        }
    }

    /// Hash of the run of [`Kind::run`] bytes that begins at `at`, from those of its first and last window.
    #[inline]
    pub(crate) fn run(&self, kind: Kind, bytes: &[u8], at: usize) -> u64 {
        let last = at + kind.run() - kind.window();
        self.pair(8, self.window(kind, bytes, at), self.window(kind, bytes, last))
    }

    #[inline]
    fn pair(&self, key: usize, a: u64, b: u64) -> u64 {
        let left = u128::from(a).wrapping_add(self.0[key + 1]);
        let right = u128::from(b).wrapping_add(self.0[key + 2]);
        (self.0[key].wrapping_add(left.wrapping_mul(right)) >> 64) as u64
    }
}

/// The `N` bytes at `at`. They lie within `bytes`.
#[inline]
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("the window lies within the bytes")
}
