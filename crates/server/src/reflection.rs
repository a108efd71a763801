//! What the services are, told to whoever may call them: gRPC server reflection (`grpc.reflection`, in the versions that
//! clients in use speak, v1 and v1alpha), so that a client needs no copy of `proto/`.

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

/// Where the files lie whose services people call. The sockets between rooms are none of their business.
const PUBLIC: [&str; 2] = ["databox/v1/", "google/protobuf/"];

/// Adds reflection of these services to a room's routes.
///
/// # Errors
/// Only if the descriptors in this program are broken.
pub(crate) fn with_reflection(routes: Routes, services: &[&str]) -> Result<Routes, Error> {
    let builder = || {
        let builder =
            Builder::configure().register_file_descriptor_set(public()).include_reflection_service(false);
        services.iter().fold(builder, |builder, service| builder.with_service_name(*service))
    };
    let v1 = builder().build_v1()?.max_decoding_message_size(api::MESSAGE_LIMIT);
    let v1alpha = builder().build_v1alpha()?.max_decoding_message_size(api::MESSAGE_LIMIT);
    let limit = api::MESSAGE_LIMIT;
    Ok(routes
        .add_service(v1.max_encoding_message_size(limit))
        .add_service(v1alpha.max_encoding_message_size(limit)))
}

/// The descriptors of the public files. (Custom options, such as the bits of a field, are not in them.)
fn public() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(api::DESCRIPTORS).unwrap_or_default();
    set.file.retain(|file| PUBLIC.iter().any(|place| file.name().starts_with(place)));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_public_file_is_told_and_none_between_rooms() {
        let names: Vec<String> = public().file.iter().map(|file| file.name().to_owned()).collect();
        for name in ["bundle", "data", "job", "release", "review"] {
            assert!(names.contains(&format!("databox/v1/{name}.proto")), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("internal")), "{names:?}");
        assert!(
            api::DESCRIPTORS.windows(8).any(|window| window == b"internal"),
            "there is something to leave out"
        );
    }
}
