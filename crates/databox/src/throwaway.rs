//! A throw-away box: everything that `databox demo` and the tests need, made by the same functions that the commands
//! call. Only here does one program make several people's keys; every verdict of such a box says so.

mod people;
mod statements;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use blobs::Digest;
use packet::key::PersonKeys;
use release::statement::Catalogue;
use release::value::Name;

use crate::certificate::CertificateRole;
use crate::data::{self, DataArguments};
use crate::failure::{Exit, Failure, file_failure, whole};
use crate::home::Home;
use crate::init::{self, InitArguments};
use crate::interrupt;
use crate::key::KeyFiles;
use crate::profile::Profile;
use crate::runtime::{self, RuntimeArguments};
use crate::up::Rooms;
use crate::users::RoomUsers;
use crate::{draft, programs};

/// The people of a throw-away box. Kim is the researcher; Ana and Ben are stewards of two organisations.
pub const PEOPLE: [(&str, &str, CertificateRole); 4] = [
    ("kim", "university", CertificateRole::Researcher),
    ("lee", "university", CertificateRole::Researcher),
    ("ana", "hospital", CertificateRole::Steward),
    ("ben", "registry", CertificateRole::Steward),
];

/// Bits that the project `hie` may release in total.
pub const RELEASE_BITS: u64 = 1_000_000;

/// Bits that its answers before releases may carry in total.
pub const ANSWER_BITS: u64 = 20_000;

const SITE: &str = "demo.databox.example";

/// The demonstration's policy.
pub const POLICY: &str = include_str!("../../../policies/egress/demo.toml");

/// A throw-away box on disk, and its running processes.
pub struct Throwaway {
    directory: PathBuf,
    /// The box's home.
    pub home: Home,
    /// Payload digest of the first roles.
    pub pin: Digest,
    keys: BTreeMap<&'static str, PersonKeys>,
    rooms: Option<Rooms>,
    witness: Option<Child>,
    endpoints: Endpoints,
}

/// Where the servers of a throw-away box are.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// The gateway.
    pub gateway: std::net::SocketAddr,
    /// The console.
    pub console: std::net::SocketAddr,
    /// The witness.
    pub witness: std::net::SocketAddr,
}

impl Endpoints {
    /// Ports of the loopback that are free now.
    pub fn free() -> Result<Self, Failure> {
        let listeners = [(); 3].map(|()| listen_somewhere());
        let [gateway, console, witness] =
            listeners.map(|listener| listener.and_then(|listener| listener.local_addr()));
        let failure = |error: std::io::Error| Failure::new("PORT", whole(&error));
        Ok(Self {
            gateway: gateway.map_err(failure)?,
            console: console.map_err(failure)?,
            witness: witness.map_err(failure)?,
        })
    }
}

/// Listens on a free port below those that the kernel gives to whoever connects (32768 and up, unless it is told
/// otherwise): such a one could be taken while a room is down, and the room would not come back.
///
/// None is given twice: boxes of one process start at the same time, and a room listens a while after its port was found.
fn listen_somewhere() -> std::io::Result<TcpListener> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    for _ in 0..64 {
        let port = 10_000 + RandomState::new().hash_one(()) % 22_000;
        let port = u16::try_from(port).expect("a port below 32,000");
        if !GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            continue;
        }
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener);
        }
    }
    TcpListener::bind("127.0.0.1:0")
}

fn name(text: &str) -> Name {
    text.parse().expect("the names of the demonstration are names")
}

impl Throwaway {
    /// Makes home, people's keys, roles, revocation and policy in an empty directory. No process runs yet. Without users
    /// all rooms are the one who asks.
    pub fn make(directory: &Path, endpoints: Endpoints, users: Option<&RoomUsers>) -> Result<Self, Failure> {
        let home = Home::at(directory.join("box"));
        let arguments = InitArguments {
            wall: "native".to_owned(),
            directory: home.directory().to_owned(),
            site: name(SITE),
            gateway: endpoints.gateway,
            console: endpoints.console,
            witness: format!("http://{}", endpoints.witness),
            names: Vec::new(),
            users: false,
        };
        init::init_for(&arguments, users)?;
        mark_as_demonstration(&home)?;
        let mut made = Self {
            directory: directory.to_owned(),
            home,
            pin: Digest::of(b""),
            keys: BTreeMap::new(),
            rooms: None,
            witness: None,
            endpoints,
        };
        made.make_people()?;
        made.start_witness()?;
        made.make_roles()?;
        Ok(made)
    }

    /// Where people's keys are.
    pub fn people(&self) -> PathBuf {
        self.directory.join("people")
    }

    /// The directory that holds it all.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file with the passphrase of all keys.
    pub fn passphrase_file(&self) -> PathBuf {
        self.people().join("passphrase")
    }

    /// Where the servers are.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Ends the witness, as a crash would. Its state stays.
    pub fn kill_witness(&mut self) {
        if let Some(mut witness) = self.witness.take() {
            let _ = witness.kill();
            let _ = witness.wait();
        }
    }

    /// The process id of the witness, if it runs.
    pub fn witness_process(&self) -> Option<u32> {
        self.witness.as_ref().map(Child::id)
    }

    /// Starts the witness, with the state that it has.
    pub fn start_witness(&mut self) -> Result<(), Failure> {
        let state = self.directory.join("witness");
        fs::create_dir_all(&state).map_err(file_failure(&state))?;
        let log = fs::File::create(self.directory.join("witness.log")).map_err(file_failure(&state))?;
        let mut command = self.witness_command()?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.witness = Some(command.spawn().map_err(file_failure(&state))?);
        wait_for(Duration::from_secs(10), "the witness", || {
            Ok(state.join("witness.public.json").is_file().then_some(()))
        })
    }

    /// The command line of the witness, without its outlets. Tests start it under a tracer.
    pub fn witness_command(&self) -> Result<Command, Failure> {
        let mut command = Command::new(programs::find("databox")?);
        command
            .args(["witness", "--name", "demo.databox.example/witness", "--die-with-parent", "--state"])
            .arg(self.directory.join("witness"))
            .arg("--listen")
            .arg(self.endpoints.witness.to_string())
            .arg("--log")
            .arg(self.home.public_keys());
        Ok(command)
    }

    /// Ends every process of the box at once, as a crash would; its files stay.
    pub fn stop(&mut self) {
        if let Some(mut rooms) = self.rooms.take() {
            crate::home::ROOMS.iter().for_each(|room| rooms.kill(room));
        }
        self.kill_witness();
    }

    /// Starts the four rooms.
    pub fn start(&mut self) -> Result<(), Failure> {
        self.rooms = Some(Rooms::start(&self.home)?);
        Ok(())
    }

    /// The running rooms.
    pub fn rooms(&mut self) -> &mut Rooms {
        self.rooms.as_mut().expect("the rooms were started")
    }

    /// Kills a room at once, as a crash would, and starts it again.
    pub fn kill_and_restart(&mut self, room: &'static str) -> Result<(), Failure> {
        let home = self.home.clone();
        let rooms = self.rooms();
        rooms.kill(room);
        rooms.restart(&home, room)
    }

    /// Registers a dataset: lays it into the drop directory, waits for the enclave's draft, has the stewards sign it.
    pub fn add_dataset(
        &self,
        dataset: &str,
        files: &Path,
        unit: &str,
        categories: &[&str],
    ) -> Result<Catalogue, Failure> {
        data::add_dataset(&DataArguments {
            name: name(dataset),
            directory: files.to_owned(),
            home: self.home.directory().to_owned(),
            unit_column: name(unit),
            categories: categories.iter().map(|category| name(category)).collect(),
            release_bits: 4_000_000,
            answer_bits: 100_000,
            privacy_rho: None,
            privacy_rho_per_answer: None,
            privacy_delta_exponent: 6,
            public: None,
            licence: "public domain".to_owned(),
            source: "RAND Health Insurance Experiment".to_owned(),
        })?;
        let packet = self.home.join(format!("drafts/{dataset}.packet"));
        wait_for(Duration::from_secs(30), "the enclave's draft of the dataset", || {
            Ok(packet.is_file().then_some(()))
        })?;
        let out = self.directory.join(format!("statements/{dataset}.json"));
        let catalogue = draft::open(&packet, &name("ana"), &self.keys["ana"].review, &out)?.catalogue;
        self.sign_and_install(&out, &["ana", "ben"], None)?;
        Ok(catalogue)
    }

    /// Registers this machine's Python as the runtime `host-python`.
    pub fn add_runtime(&self) -> Result<Digest, Failure> {
        self.add_python("host-python", None)
    }

    /// Registers this machine's Python as a runtime of this name, with the packages of a requirements file.
    pub fn add_python(&self, runtime: &str, requirements: Option<&Path>) -> Result<Digest, Failure> {
        runtime::add(&RuntimeArguments {
            name: name(runtime),
            home: self.home.directory().to_owned(),
            from_host_python: requirements.is_none(),
            from_requirements: requirements.map(Path::to_owned),
            wheels: None,
            interpreter: PathBuf::from("/usr/bin/python3"),
            from_directory: None,
            from_oci: None,
            for_queries: false,
            leave_out_set_user_id: false,
        })?;
        self.sign_runtime(runtime)
    }

    /// Registers the box's own program that answers questions as the runtime `queries`.
    pub fn add_query_runtime(&self) -> Result<Digest, Failure> {
        runtime::add(&RuntimeArguments {
            name: name("queries"),
            home: self.home.directory().to_owned(),
            from_host_python: false,
            from_requirements: None,
            wheels: None,
            interpreter: PathBuf::from("/usr/bin/python3"),
            from_directory: None,
            from_oci: None,
            for_queries: true,
            leave_out_set_user_id: false,
        })?;
        self.sign_runtime("queries")
    }

    /// Signs the draft of a runtime that lies in the drop directory.
    pub fn sign_runtime(&self, runtime: &str) -> Result<Digest, Failure> {
        let plain = self.home.drafts().join(format!("runtime-{runtime}.json"));
        wait_for(Duration::from_secs(120), "the enclave's draft of the runtime", || {
            Ok(plain.is_file().then_some(()))
        })?;
        let out = self.directory.join(format!("statements/{runtime}.json"));
        draft::from_plain(&plain, &out)?;
        self.sign_and_install(&out, &["ana", "ben"], None)
    }

    /// A person's key files.
    pub fn key_files(&self, id: &str) -> KeyFiles {
        KeyFiles::new(&self.people(), &name(id))
    }

    /// A person's profile.
    pub fn profile(&self, id: &str) -> Profile {
        let role = PEOPLE.iter().find(|(person, _, _)| *person == id).map(|(_, _, role)| *role);
        let address = match role {
            Some(CertificateRole::Steward) => self.endpoints.console,
            _ => self.endpoints.gateway,
        };
        Profile {
            endpoint: format!("https://{address}"),
            authority: self.home.tls("ca", "pem"),
            id: name(id),
            keys: self.people(),
            site_pin: self.pin,
            accept_on_box_witness: true,
            passphrase_file: Some(self.passphrase_file()),
        }
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        // An orderly stop first, where there is time for one.
        self.rooms = None;
        self.stop();
    }
}

/// Waits until something is there.
pub fn wait_for<T>(
    limit: Duration,
    what: &str,
    mut there: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = there()? {
            return Ok(found);
        }
        interrupt::check()?;
        if Instant::now() > deadline {
            return Err(Failure::new(
                "TOOK_TOO_LONG",
                format!("{what} did not come within {} s", limit.as_secs()),
            )
            .hint("the journals are in box/run/*.log of the demonstration's directory")
            .exit(Exit::Unavailable));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn mark_as_demonstration(home: &Home) -> Result<(), Failure> {
    for room in crate::home::ROOMS {
        let path = home.configuration(room);
        let text = fs::read_to_string(&path).map_err(file_failure(&path))?;
        let text = text
            .replace("demonstration_keys = false", "demonstration_keys = true")
            .replace("accept_on_box_witness = false", "accept_on_box_witness = true");
        fs::write(&path, text).map_err(file_failure(&path))?;
    }
    Ok(())
}
