//! A strict reader of safetensors headers.
//!
//! The public reader accepts duplicate keys, free text in several places and names of any length: each a way to carry
//! something. Here every key has its meaning or is refused, and the data is covered exactly once, without gap, overlap
//! or rest.

use std::collections::BTreeSet;
use std::io::{self, Read, Seek, SeekFrom, Take};

use release::value::Name;

use crate::finding::quoted;
use crate::json::Json;
use crate::policy::WeightsPolicy;

/// Limits of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderLimits {
    /// Bytes.
    pub bytes: u64,
    /// Tensors.
    pub tensors: u64,
    /// Dimensions of a tensor.
    pub dimensions: u64,
}

impl HeaderLimits {
    /// Limits for canonical files, whose headers follow from declarations: a job's limits do not fit them, since a
    /// canonical file can have a scale beside each tensor.
    pub const CANONICAL: Self = Self { bytes: 1 << 26, tensors: 1 << 17, dimensions: 16 };
}

impl From<&WeightsPolicy> for HeaderLimits {
    fn from(policy: &WeightsPolicy) -> Self {
        Self {
            bytes: policy.max_header_bytes,
            tensors: policy.max_tensors,
            dimensions: policy.max_dimensions,
        }
    }
}

/// The type of a tensor's values. Others of the format (truth values, 8-bit and complex numbers) are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
}

impl Dtype {
    /// Every type.
    pub const ALL: [Self; 12] = [
        Self::F64,
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U64,
        Self::U32,
        Self::U16,
        Self::U8,
    ];

    /// Its name in a header.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
        }
    }

    /// Bytes of one value.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: Name,
    /// The type of its values.
    pub dtype: Dtype,
    /// Length of each dimension, outermost first; none of them is 0.
    pub shape: Vec<u64>,
    /// How many values it has.
    pub values: u64,
    /// Where its data begins in the file, in bytes.
    pub begin: u64,
}

/// The tensors of a file, in the order of their data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensors {
    list: Vec<Tensor>,
    /// Entries of free metadata, which no canonical form keeps.
    pub(crate) metadata: u64,
}

/// A file that is not safetensors as this reader accepts it.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WeightsError {
    #[error("the file cannot be read")]
    File(#[from] io::Error),
    #[error("the file ends before its header does")]
    CutOff,
    #[error("the header is longer than {limit} bytes")]
    HeaderTooLong { limit: u64 },
    #[error("the header does not begin with an opening brace")]
    HeaderStart,
    #[error("the header does not end with a closing brace and spaces")]
    HeaderEnd,
    #[error("the header is not JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("the free metadata is not an object of texts, each key once")]
    Metadata,
    #[error("the tensor name {name} is not 1 to 128 of A-Z a-z 0-9 . _ -")]
    TensorName { name: String },
    #[error("the tensor {name} stands in the header twice")]
    TensorTwice { name: Name },
    #[error("more than {limit} tensors")]
    TooManyTensors { limit: u64 },
    #[error("the tensor {name} does not have exactly dtype, shape and data_offsets, each once")]
    Fields { name: Name },
    #[error("the tensor {name} has the type {dtype}, which is not accepted")]
    Dtype { name: Name, dtype: String },
    #[error("the tensor {name} has more than {limit} dimensions")]
    TooManyDimensions { name: Name, limit: u64 },
    #[error("the shape of {name} has a 0, or is larger than any file")]
    Shape { name: Name },
    #[error("the data of {name} is not as long as its shape says")]
    Length { name: Name },
    #[error("the data of {name} overlaps with that of another tensor, or bytes before it belong to none")]
    Cover { name: Name },
    #[error("the data does not end where the file ends")]
    End,
}

impl Tensors {
    /// Reads the header of a file of so many bytes.
    pub fn read(
        reader: &mut (impl Read + Seek + ?Sized),
        bytes: u64,
        limits: HeaderLimits,
    ) -> Result<Self, WeightsError> {
        reader.seek(SeekFrom::Start(0))?;
        let mut length = [0; 8];
        if bytes < 8 {
            return Err(WeightsError::CutOff);
        }
        reader.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > limits.bytes {
            return Err(WeightsError::HeaderTooLong { limit: limits.bytes });
        }
        if length > bytes - 8 {
            return Err(WeightsError::CutOff);
        }
        let mut header = vec![0; length as usize];
        reader.read_exact(&mut header)?;
        Self::parse(&header, 8 + length, bytes, limits)
    }

    fn parse(header: &[u8], data: u64, bytes: u64, limits: HeaderLimits) -> Result<Self, WeightsError> {
        let end = header.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        let header = &header[..end];
        if !header.starts_with(b"{") {
            return Err(WeightsError::HeaderStart);
        }
        if !header.ends_with(b"}") {
            return Err(WeightsError::HeaderEnd);
        }
        let Json::Object(pairs) = Json::parse(header).map_err(WeightsError::NotJson)? else {
            return Err(WeightsError::HeaderStart);
        };
        let (mut list, mut metadata, mut names) = (Vec::new(), None, BTreeSet::new());
        for (name, value) in pairs {
            if name == "__metadata__" {
                let twice = metadata.replace(check_metadata(value)?).is_some();
                if twice {
                    return Err(WeightsError::Metadata);
                }
                continue;
            }
            let name: Name =
                name.parse().map_err(|_| WeightsError::TensorName { name: quoted(name.as_bytes()) })?;
            if !names.insert(name.clone()) {
                return Err(WeightsError::TensorTwice { name });
            }
            if list.len() as u64 == limits.tensors {
                return Err(WeightsError::TooManyTensors { limit: limits.tensors });
            }
            list.push(read_tensor(name, value, data, limits)?);
        }
        list.sort_by_key(|tensor| tensor.begin);
        let mut covered = data;
        for tensor in &list {
            if tensor.begin != covered {
                return Err(WeightsError::Cover { name: tensor.name.clone() });
            }
            covered = covered.checked_add(tensor.bytes()).ok_or(WeightsError::End)?;
        }
        match covered == bytes {
            true => Ok(Self { list, metadata: metadata.unwrap_or(0) }),
            false => Err(WeightsError::End),
        }
    }

    /// The tensors, in the order of their data.
    pub fn iter(&self) -> impl Iterator<Item = &Tensor> {
        self.list.iter()
    }

    /// The tensor of this name.
    pub fn find(&self, name: &Name) -> Option<&Tensor> {
        self.list.iter().find(|tensor| tensor.name == *name)
    }
}

impl Tensor {
    /// Length of its data in bytes.
    pub fn bytes(&self) -> u64 {
        // The header was accepted only if the data of this length lies in the file.
        self.values * self.dtype.bytes()
    }

    /// Its data, row by row, each value with its lowest byte first.
    pub fn data<'a, R: Read + Seek + ?Sized>(&self, reader: &'a mut R) -> io::Result<Take<&'a mut R>> {
        reader.seek(SeekFrom::Start(self.begin))?;
        Ok(reader.take(self.bytes()))
    }
}

fn check_metadata(value: Json) -> Result<u64, WeightsError> {
    let Json::Object(pairs) = value else { return Err(WeightsError::Metadata) };
    let keys: BTreeSet<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    let texts = pairs.iter().all(|(_, value)| matches!(value, Json::Text(_)));
    match texts && keys.len() == pairs.len() {
        true => Ok(pairs.len() as u64),
        false => Err(WeightsError::Metadata),
    }
}

fn read_tensor(name: Name, value: Json, data: u64, limits: HeaderLimits) -> Result<Tensor, WeightsError> {
    use WeightsError as E;
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    let Json::Object(fields) = value else { return Err(E::Fields { name }) };
    for (key, value) in fields {
        let twice = match (key.as_str(), value) {
            ("dtype", Json::Text(text)) => dtype.replace(text).is_some(),
            ("shape", Json::Array(items)) => shape.replace(items).is_some(),
            ("data_offsets", Json::Array(items)) => offsets.replace(items).is_some(),
            _ => true,
        };
        if twice {
            return Err(E::Fields { name });
        }
    }
    let (Some(dtype), Some(shape), Some(offsets)) = (dtype, shape, offsets) else {
        return Err(E::Fields { name });
    };
    let Some(dtype) = Dtype::ALL.into_iter().find(|known| known.name() == dtype) else {
        return Err(E::Dtype { name, dtype: quoted(dtype.as_bytes()) });
    };
    if shape.len() as u64 > limits.dimensions {
        return Err(E::TooManyDimensions { name, limit: limits.dimensions });
    }
    let Some(shape) = whole_numbers(&shape) else { return Err(E::Shape { name }) };
    let values = shape.iter().try_fold(1u64, |product, length| product.checked_mul(*length));
    let length = values.and_then(|values| values.checked_mul(dtype.bytes()));
    let (Some(values @ 1..), Some(length)) = (values, length) else { return Err(E::Shape { name }) };
    let offsets = whole_numbers(&offsets);
    let Some([begin, end]) = offsets.as_deref() else { return Err(E::Fields { name }) };
    match (data.checked_add(*begin), end.checked_sub(*begin)) {
        (Some(begin), Some(long)) if long == length => Ok(Tensor { name, dtype, shape, values, begin }),
        _ => Err(E::Length { name }),
    }
}

fn whole_numbers(items: &[Json]) -> Option<Vec<u64>> {
    let number = |item: &Json| match item {
        Json::Whole(number) => Some(*number),
        _ => None,
    };
    items.iter().map(number).collect()
}
