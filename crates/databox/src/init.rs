//! `databox init`: a new home with the box's own keys, authority and configurations. It makes no person's key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use blobs::Digest;
use release::envelope::Envelope;
use release::key::{SecretKey, Sign};
use release::statement::{BoxKeys, LogKey};
use release::value::Name;
use serde::{Deserialize, Serialize};

use crate::certificate;
use crate::failure::{Exit, Failure, file_failure, whole};
use crate::home::{DIRECTORIES, Directory, Home, ROOMS};
use crate::users::RoomUsers;
use crate::walls::{self, By, WallBuilder};

/// What `init` needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct InitArguments {
    /// The home: a directory that is empty or not there.
    #[arg(long = "dir")]
    pub directory: PathBuf,
    /// The site's name, such as hospital.example.
    #[arg(long)]
    pub site: Name,
    /// Where researchers reach the gateway.
    #[arg(long, default_value = "127.0.0.1:7443")]
    pub gateway: std::net::SocketAddr,
    /// Where stewards reach the console.
    #[arg(long, default_value = "127.0.0.1:7444")]
    pub console: std::net::SocketAddr,
    /// Where the witness listens, such as http://127.0.0.1:7445.
    #[arg(long, default_value = "http://127.0.0.1:7445")]
    pub witness: String,
    /// The wall around jobs: `strongest` (the strongest whose probe runs here, with --users as the enclave's user), `native`, `vm`, or the path of an
    /// OCI runtime that the site trusts.
    #[arg(long, default_value = "strongest")]
    pub wall: String,
    /// Names by which clients reach the servers, beside localhost and 127.0.0.1.
    #[arg(long = "name")]
    pub names: Vec<String>,
    /// Give each room a user of its own, as on a server: those that deploy/databox.sysusers.conf makes. Needs root.
    #[arg(long)]
    pub users: bool,
}

/// The public half of a box: what roles must name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxPublicKeys {
    /// The site's name.
    pub site: Name,
    /// Verdict and release keys.
    #[serde(rename = "box")]
    pub box_keys: BoxKeys,
    /// The log.
    pub log: LogKey,
}

/// Makes a home and returns a line for each thing made.
pub fn init(arguments: &InitArguments) -> Result<Vec<String>, Failure> {
    let users = match arguments.users {
        true => Some(RoomUsers::of_this_machine()?),
        false => None,
    };
    init_for(arguments, users.as_ref())
}

/// The same, for rooms with these users; without, all rooms run as whoever asks.
pub fn init_for(arguments: &InitArguments, users: Option<&RoomUsers>) -> Result<Vec<String>, Failure> {
    if users.is_some() && !rustix::process::geteuid().is_root() {
        return Err(Failure::new("NOT_ROOT", "only root can give rooms users of their own")
            .hint("run it as root, or leave --users out: all rooms then run as you")
            .exit(Exit::Usage));
    }
    let home = Home::at(&arguments.directory);
    witness_address(&arguments.witness)?;
    // What root can have need not be there for the enclave's user: its control groups, its devices.
    let wall = match users {
        None => walls::choose(&arguments.wall, &By::Caller)?,
        Some(users) => {
            walls::choose(&arguments.wall, &By::Enclave(&|program| Ok(users.command("enclave", program))))?
        }
    };
    make_directories(&home)?;
    let public = make_keys(&home, &arguments.site)?;
    certificate::make_authority(&home, &arguments.site)?;
    let names: Vec<_> =
        ["localhost".to_owned(), "127.0.0.1".to_owned()].into_iter().chain(arguments.names.clone()).collect();
    certificate::make_server(&home, "gateway", &names)?;
    certificate::make_server(&home, "console", &names)?;
    for room in ROOMS {
        configure(&home, room, arguments, &wall, users)?;
    }
    if let Some(users) = users {
        users.take_over(&home)?;
    }
    Ok(vec![
        format!("keys      {} verdict, release and log key", home.join("keys").display()),
        format!("authority {} for transport certificates", home.join("tls").display()),
        format!("config    {}", ROOMS.map(|room| format!("{room}.toml")).join(", ")),
        format!("log       {}", public.log.origin),
        format!("wall      {}", walls::described(&wall)),
    ])
}

/// Refuses what the console could not ask: `http://HOST:PORT`, and a path behind it where the witness has one.
fn witness_address(address: &str) -> Result<(), Failure> {
    let place = address.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or(rest));
    let parts = place.and_then(|place| place.rsplit_once(':'));
    let plain = |host: &str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    match parts {
        Some((host, port)) if plain(host) && plain(address) && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        _ => Err(Failure::new("WITNESS_ADDRESS", format!("{address:?} is not the address of a witness"))
            .hint("write http://HOST:PORT, as in http://127.0.0.1:7445; heads and cosignatures are public and signed, so there is no https")
            .exit(Exit::Usage)),
    }
}

fn make_directories(home: &Home) -> Result<(), Failure> {
    let directory = home.directory();
    if directory.exists() && fs::read_dir(directory).map_err(file_failure(directory))?.next().is_some() {
        return Err(Failure::new("HOME_NOT_EMPTY", format!("{} is not empty", directory.display()))
            .hint("give a directory that is empty or not there; nothing was changed"));
    }
    fs::create_dir_all(directory).map_err(file_failure(directory))?;
    for Directory { below, mode, .. } in DIRECTORIES {
        let path = home.join(below);
        fs::create_dir_all(&path).map_err(file_failure(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(file_failure(&path))?;
    }
    Ok(())
}

fn make_keys(home: &Home, site: &Name) -> Result<BoxPublicKeys, Failure> {
    let make = |name: &str| -> Result<SecretKey, Failure> {
        let key = SecretKey::generate().map_err(|error| Failure::new("RANDOM", whole(&error)))?;
        let path = home.key(name);
        blobs::write_new_file_durably(&path, key.to_pkcs8_pem().as_bytes(), 0o600)
            .map_err(file_failure(&path))?;
        Ok(key)
    };
    let (enclave, signer, log) = (make("enclave")?, make("signer")?, make("log")?);
    let public = BoxPublicKeys {
        site: site.clone(),
        box_keys: BoxKeys { enclave: enclave.public(), signer: signer.public() },
        log: LogKey { origin: format!("{site}/databox/log"), public: log.public().public },
    };
    let path = home.public_keys();
    let text = release::json::to_bytes(&public);
    blobs::write_new_file_durably(&path, &text, 0o644).map_err(file_failure(&path))?;
    Ok(public)
}

/// Reads the public half of a box.
pub fn public_keys(path: &std::path::Path) -> Result<BoxPublicKeys, Failure> {
    let bytes = fs::read(path).map_err(file_failure(path))?;
    release::json::from_bytes(&bytes, 64 * 1024).map_err(file_failure(path))
}

const TEMPLATES: [(&str, &str); 4] = [
    ("signer", include_str!("../../../deploy/signer.toml")),
    ("console", include_str!("../../../deploy/console.toml")),
    ("gateway", include_str!("../../../deploy/gateway.toml")),
    ("enclave", include_str!("../../../deploy/enclave.toml")),
];

/// Writes a room's configuration: the commented example of `deploy/` with this home's paths in it.
fn configure(
    home: &Home,
    room: &str,
    arguments: &InitArguments,
    wall: &WallBuilder,
    users: Option<&RoomUsers>,
) -> Result<(), Failure> {
    let (_, template) = TEMPLATES.iter().find(|(name, _)| *name == room).expect("every room has a template");
    let absolute = fs::canonicalize(home.directory()).map_err(file_failure(home.directory()))?;
    let home_text = absolute.display().to_string();
    let programs = crate::programs::directory()?;
    let own = rustix::process::getuid().as_raw();
    let text = template
        .replace("/var/lib/databox", &home_text)
        .replace("/usr/lib/databox", &programs.display().to_string())
        .replace("127.0.0.1:7443", &arguments.gateway.to_string())
        .replace("127.0.0.1:7444", &arguments.console.to_string())
        .replace("http://127.0.0.1:7445", &arguments.witness);
    let mut text = set_users(&text, |room| users.map_or(own, |users| users.user(room)));
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    match wall {
        WallBuilder::Native => {}
        WallBuilder::Runtime(runtime) => {
            let named = format!("oci_runtime = {}", quoted(&runtime.path));
            text = text.replace("# oci_runtime = \"/usr/local/bin/runsc\"", &named);
        }
        WallBuilder::Machine(settings) => {
            let modules = settings.modules.iter().map(|path| format!("\nmodules = {}", quoted(path)));
            let named = format!("[machine]\nkernel = {}", quoted(&settings.kernel));
            let named = named + &modules.collect::<String>();
            text = text.replace("# [machine]", &named);
        }
    }
    let path = home.configuration(room);
    blobs::write_new_file_durably(&path, text.as_bytes(), 0o644).map_err(file_failure(&path))
}

/// Sets who is at the other end of each socket.
fn set_users(template: &str, user: impl Fn(&str) -> u32) -> String {
    let lines = template.lines().map(|line| {
        let key = line.split_once(" = ").map(|(key, _)| key);
        match key.and_then(|key| key.strip_suffix("_user")) {
            Some(room) => format!("{room}_user = \"{}\"", user(room)),
            None => line.to_owned(),
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// Pins the first roles in every room: the digest of their payload, which each room trusts and nothing else.
///
/// # Errors
/// If they are not the first roles of the site directory: with another pin every room refuses the site.
pub fn pin(home: &Home, roles: &Digest) -> Result<(), Failure> {
    let first = home.site().join("roles/1.json");
    let bytes = fs::read(&first).map_err(|error| {
        file_failure(&first)(error)
            .hint("install the first roles, then pin them: `databox site install roles.json`")
    })?;
    let installed = Envelope::parse(&bytes).map_err(file_failure(&first))?.payload_digest();
    if installed != *roles {
        return Err(Failure::new("PIN", format!("the first roles of {} are {installed}", home.site().display()))
            .hint("give the digest that `databox site sign` printed; if it is another, these are not the roles that you signed")
            .exit(Exit::Denied));
    }
    for room in ROOMS {
        let path = home.configuration(room);
        let text = fs::read_to_string(&path).map_err(file_failure(&path))?;
        let lines = text.lines().map(|line| match line.split_once(" = ") {
            Some(("site_pin", _)) => format!("site_pin = \"{roles}\"\n"),
            _ => format!("{line}\n"),
        });
        let changed: String = lines.collect();
        let replaced = tempfile::NamedTempFile::new_in(home.directory()).map_err(file_failure(&path))?;
        fs::write(replaced.path(), changed).map_err(file_failure(&path))?;
        fs::set_permissions(replaced.path(), fs::Permissions::from_mode(0o644))
            .map_err(file_failure(&path))?;
        replaced.persist(&path).map_err(|error| Failure::new("FILE", whole(&error.error)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_has_an_address_that_the_console_can_ask() {
        let name = |address: &str| witness_address(address).map_err(|failure| failure.reason);
        for good in ["http://127.0.0.1:7445", "http://witness.example:80/databox", "http://[::1]:7445"] {
            assert_eq!(name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:7445",
            "https://127.0.0.1:7445",
            "http://127.0.0.1",
            "http://:7445",
            "http://a:0",
            "http://a:port",
            "http://a:1\"\nlisten = \"",
        ] {
            assert_eq!(name(bad), Err("WITNESS_ADDRESS".to_owned()), "{bad}");
        }
    }
}
