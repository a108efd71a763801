//! What researchers call.

mod bundle;
mod data;
mod job;
mod release;
mod watch;

use std::sync::Arc;

use api::MESSAGE_LIMIT;
use api::v1::bundle_service_server::BundleServiceServer;
use api::v1::data_service_server::DataServiceServer;
use api::v1::job_service_server::JobServiceServer;
use api::v1::release_service_server::ReleaseServiceServer;
use blobs::Digest;
use prost_types::Timestamp;
use server::Refused;
use tonic::server::NamedService;
use tonic::service::Routes;

use crate::room::Room;

/// Calls that take as long as an upload takes.
pub const LONG_CALLS: &[&str] =
    &["/databox.v1.BundleService/WriteUpload", "/databox.v1.BundleService/FinishUpload"];

/// What reflection tells of.
pub const NAMES: &[&str] = &[
    DataServiceServer::<data::Data>::NAME,
    BundleServiceServer::<bundle::Bundles>::NAME,
    JobServiceServer::<job::Jobs>::NAME,
    ReleaseServiceServer::<release::Releases>::NAME,
];

/// Every service, with message limits.
pub fn routes(room: &Arc<Room>) -> Routes {
    macro_rules! limited {
        ($server:ident, $service:expr) => {
            $server::new($service)
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT)
        };
    }
    Routes::new(limited!(DataServiceServer, data::Data(room.clone())))
        .add_service(limited!(BundleServiceServer, bundle::Bundles(room.clone())))
        .add_service(limited!(JobServiceServer, job::Jobs(room.clone())))
        .add_service(limited!(ReleaseServiceServer, release::Releases(room.clone())))
}

fn digest(field: &'static str, text: &str) -> Result<Digest, Refused> {
    text.parse().map_err(|_| Refused::Malformed(field))
}

fn moment(moment: ::release::value::Timestamp) -> Option<Timestamp> {
    Some(Timestamp { seconds: moment.seconds(), nanos: 0 })
}
