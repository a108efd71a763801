//! Weights: tensors of declared names and shapes, in the policy's precision.

mod dither;
mod fixed;
mod form;
mod header;
mod layout;
mod number;

pub use dither::dither;
pub use fixed::{tensors_of_form, tensors_written};

pub(crate) use fixed::holds;
pub use header::{Dtype, HeaderLimits, Tensor, Tensors, WeightsError};

pub(crate) use form::{FormError, canonicalise, check};
pub(crate) use layout::{Stretch, capacity_bits, data_bytes, header, header_of, layout};
