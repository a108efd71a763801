//! What researchers may know before they ask.

use std::sync::Arc;

use api::v1::data_service_server::DataService;
use api::v1::{Dataset, GetSiteRequest, GetSiteResponse, ListDatasetsRequest, ListDatasetsResponse};
use release::site::Site;
use release::statement::{CatalogueEntry, Grant};
use release::value::Name;
use server::{Refused, principal, site_files};
use tonic::{Request, Response, Status};

use crate::room::{Room, now};

pub struct Data(pub Arc<Room>);

#[tonic::async_trait]
impl DataService for Data {
    async fn list_datasets(
        &self,
        request: Request<ListDatasetsRequest>,
    ) -> Result<Response<ListDatasetsResponse>, Status> {
        let caller = principal(&request)?;
        let site = self.0.current_site()?;
        let grants = site.grants().map(|grant| grant.statement());
        let theirs = grants.filter(|grant| grant.members.contains_key(&caller.id) && now() < grant.expires);
        let allowed = theirs.filter(|grant| !site.revocation().grants.contains(&grant.id));
        let datasets = allowed.flat_map(|grant| datasets(&site, grant)).collect();
        Ok(Response::new(ListDatasetsResponse { datasets }))
    }

    type GetSiteStream = tokio_stream::Iter<std::vec::IntoIter<Result<GetSiteResponse, Status>>>;

    async fn get_site(
        &self,
        request: Request<GetSiteRequest>,
    ) -> Result<Response<Self::GetSiteStream>, Status> {
        principal(&request)?;
        self.0.look_at_site().await.map_err(|_| Refused::Box)?;
        let site = self.0.current_site()?;
        let files = site_files(&site).map_err(|_| Refused::Box)?.into_iter().map(|(path, content)| {
            let path = path.to_str().ok_or(Refused::Box)?.to_owned();
            Ok(GetSiteResponse { path, content: content.into() })
        });
        Ok(Response::new(tokio_stream::iter(files.collect::<Vec<_>>())))
    }
}

fn datasets<'a>(site: &'a Site, grant: &'a Grant) -> impl Iterator<Item = Dataset> + 'a {
    grant.datasets.keys().filter_map(|name| {
        Some(Dataset {
            name: name.to_string(),
            snapshot: newest_snapshot(site, name)?,
            grant: grant.id.to_string(),
            project: grant.project.to_string(),
        })
    })
}

fn newest_snapshot(site: &Site, dataset: &Name) -> Option<String> {
    match &site.dataset(dataset)?.statement().entry {
        CatalogueEntry::Dataset { snapshots, .. } => {
            snapshots.last().map(|snapshot| snapshot.tree.sha256.to_string())
        }
        CatalogueEntry::Runtime { .. } => None,
    }
}
