//! Someone who works all the while, and how long they wait.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::v1::bundle_service_client::BundleServiceClient;
use api::v1::data_service_client::DataServiceClient;
use api::v1::job_service_client::JobServiceClient;
use api::v1::review_service_client::ReviewServiceClient;
use api::v1::{
    CreateUploadRequest, FinishUploadRequest, ListDatasetsRequest, ListJobsRequest, ListReviewsRequest,
    WriteUploadRequest,
};
use blobs::Digest;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::stage::{Room, Stage};

/// Fewest calls from which something is said about the hundredth that waits longest.
const LEAST_CALLS: usize = 600;

/// A connection that was there before the attack.
#[derive(Clone)]
pub struct Bystander {
    channel: Channel,
    room: Room,
}

impl Bystander {
    /// Connects, and makes the first calls, which are slower than those after them.
    pub async fn of(stage: &Stage) -> Self {
        let channel = match stage.room {
            Room::Gateway => stage.tested.bench("lee").await.channel(),
            Room::Console => databox::client::connect(&stage.tested.stage.profile("ben")).await.unwrap(),
        };
        let bystander = Self { channel, room: stage.room };
        bystander.in_peace().await;
        bystander
    }

    /// How long they wait when nothing else happens. Measured anew before and after each attack, since other programs of
    /// the machine come and go: the longest waits of one such moment say little.
    async fn in_peace(&self) -> Waits {
        self.work(&AtomicBool::new(true), &AtomicUsize::new(0)).await
    }

    /// Works while an attack goes on, and on until enough calls were made. Every call must succeed, and its answer be
    /// right. Prints how long they waited.
    pub async fn beside<T>(&self, attack: &str, work: impl Future<Output = T>) -> T {
        let quiet = self.in_peace().await;
        let working = Working::begin(self);
        let result = work.await;
        let waits = working.end().await;
        print(self.room, attack, 1, &quiet.and(self.in_peace().await), &waits);
        result
    }

    /// The same with an attack that is over soon: it is made again and again until enough calls were made beside it.
    pub async fn beside_again<T, A: Future<Output = T>>(
        &self,
        attack: &str,
        mut work: impl FnMut() -> A,
    ) -> Vec<T> {
        let quiet = self.in_peace().await;
        let working = Working::begin(self);
        let mut results = vec![work().await];
        while working.calls.load(Ordering::Relaxed) < LEAST_CALLS {
            results.push(work().await);
        }
        let waits = working.end().await;
        print(self.room, attack, results.len(), &quiet.and(self.in_peace().await), &waits);
        results
    }

    async fn work(&self, stop: &AtomicBool, calls: &AtomicUsize) -> Waits {
        let mut waits = Vec::new();
        while waits.len() < LEAST_CALLS || !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            self.call().await;
            waits.push(begun.elapsed());
            calls.store(waits.len(), Ordering::Relaxed);
            if self.room == Room::Gateway && waits.len() % 100 == 50 {
                self.upload().await;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Waits(waits)
    }

    async fn call(&self) {
        match self.room {
            Room::Gateway => {
                let mut client = DataServiceClient::new(self.channel.clone());
                let datasets = client.list_datasets(ListDatasetsRequest {}).await;
                let datasets = datasets.expect("a bystander's call succeeds").into_inner().datasets;
                assert_eq!(datasets.first().map(|dataset| &dataset.name[..]), Some("hie"));
                let mut client = JobServiceClient::new(self.channel.clone());
                let jobs = client.list_jobs(ListJobsRequest::default()).await;
                assert!(jobs.expect("a bystander's call succeeds").into_inner().jobs.is_empty());
            }
            Room::Console => {
                let mut client = ReviewServiceClient::new(self.channel.clone());
                let reviews = client.list_reviews(ListReviewsRequest::default());
                reviews.await.expect("a bystander's call succeeds");
            }
        }
    }

    /// A whole upload of a small bundle, in three calls.
    async fn upload(&self) {
        let nanoseconds =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let bytes = nanoseconds.to_be_bytes().repeat(2048);
        let sha256 = Digest::of(&bytes).to_string();
        let mut client = BundleServiceClient::new(self.channel.clone());
        let (grant, size) = ("grant-1".to_owned(), bytes.len() as u64);
        let create = CreateUploadRequest { sha256: sha256.clone(), bytes: size, grant };
        client.create_upload(create).await.expect("a bystander announces");
        let chunk = WriteUploadRequest { sha256: sha256.clone(), offset: 0, chunk: bytes.into() };
        let written = client.write_upload(tokio_stream::once(chunk)).await.expect("a bystander uploads");
        assert_eq!(written.into_inner().committed_bytes, size);
        client.finish_upload(FinishUploadRequest { sha256 }).await.expect("a bystander finishes");
    }
}

/// A bystander at work.
struct Working {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    work: JoinHandle<Waits>,
}

impl Working {
    fn begin(bystander: &Bystander) -> Self {
        let bystander = bystander.clone();
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (until, counted) = (stop.clone(), calls.clone());
        let work = tokio::spawn(async move { bystander.work(&until, &counted).await });
        Self { stop, calls, work }
    }

    async fn end(self) -> Waits {
        self.stop.store(true, Ordering::Relaxed);
        self.work.await.expect("the bystander is served")
    }
}

/// How long calls took.
struct Waits(Vec<Duration>);

impl Waits {
    fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// What so many in a hundred do not exceed, in milliseconds.
    fn at(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        sorted[sorted.len() * percent / 100].as_secs_f64() * 1000.0
    }
}

/// A line that `cargo xtask bench listening` reads again.
fn print(room: Room, attack: &str, times: usize, quiet: &Waits, waits: &Waits) {
    println!(
        "{room:?}: {attack:<44} {times:>3} times beside {:>5} calls of a bystander: p99 {:>6.1} ms, in peace {:>6.1} ms, \
         ratio {:>5.2} (aim 3); p50 ratio {:>5.2}",
        waits.0.len(),
        waits.at(99),
        quiet.at(99),
        waits.at(99) / quiet.at(99),
        waits.at(50) / quiet.at(50),
    );
}
