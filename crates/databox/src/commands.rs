//! What each command does: calls the library, prints.

use std::process::ExitCode;

use api::v1::{ReviewKind, WatchJobResponse};
use databox::failure::{Exit, Failure, file_failure, whole};
use databox::home::Home;
use databox::job::Bench;
use databox::profile::Profile;
use databox::release_files::{self, Shelf};
use databox::review::{self, Desk, ReviewArguments};
use databox::up::Rooms;
use databox::{
    certificate, check, data, demo, doctor, draft, fsck, init, job, key, local, policy, published, runtime,
    site, tensors, walls, witness,
};
use release::statement::{DenialDecision, DenialReason};
use release::value::Name;

use crate::command_line::{
    CertCommand, Command, CommandLine, DataCommand, JobCommand, KeyCommand, ReleaseCommand, ReviewCommand,
    RuntimeCommand, SiteCommand,
};
use crate::show;

/// Runs one command.
pub fn run(line: CommandLine) -> Result<ExitCode, Failure> {
    let json = line.json;
    let profile = line.profile;
    if json && matches!(line.command, Command::Demo(_) | Command::Up { .. } | Command::Witness(_)) {
        return Err(Failure::new(
            "NO_JSON",
            "this command stays, and answers nothing that could be one object",
        )
        .hint("leave --json out; what rooms and witnesses tell, they tell as lines of JSON in their journals")
        .exit(Exit::Usage));
    }
    match line.command {
        Command::Demo(arguments) => demo::run(&arguments)?,
        Command::Init(arguments) => show::made(&init::init(&arguments)?, json),
        Command::Up { directory } => up(&Home::at(directory))?,
        Command::Doctor(arguments) => return doctor::run(&arguments, json),
        Command::ProbeWall => walls::answer_probe()?,
        Command::Fsck(arguments) => return fsck::run(&arguments, json),
        Command::Key(KeyCommand::New(arguments)) if arguments.ssh_key.is_some() => {
            let ssh_key = arguments.ssh_key.clone().unwrap_or_default();
            let made = key::new_for_agent(&arguments, &ssh_key)?;
            let made: Vec<String> = made.iter().map(|path| path.display().to_string()).collect();
            show::made(&made, json);
        }
        Command::Key(KeyCommand::New(arguments)) => {
            let (files, _) = key::new(&arguments)?;
            show::made(
                &[files.signing(), files.review(), files.public(), files.tls_key(), files.tls_request()]
                    .map(|path| path.display().to_string()),
                json,
            );
        }
        Command::Cert(CertCommand::Issue { home, request, role, id, out, hours }) => {
            let home = Home::at(home);
            let pem = std::fs::read_to_string(&request).map_err(file_failure(&request))?;
            let site = init::public_keys(&home.public_keys())?.site;
            let certificate = certificate::issue(&home, &site, &pem, role, &id, hours)?;
            blobs::write_new_file_durably(&out, certificate.as_bytes(), 0o644).map_err(file_failure(&out))?;
            show::made(&[out.display().to_string()], json);
        }
        Command::Cert(CertCommand::Revoke { home, certificate, out }) => {
            let serial = certificate::serial(&certificate)?;
            site::revoke_certificate(&serial, &Home::at(home).site(), &out)?;
            show::made(&[format!("{}  revokes certificate {serial}", out.display())], json);
        }
        Command::Site(command) => site_command(command, &profile, json)?,
        Command::Data(DataCommand::Add(arguments)) => {
            show::made(&[data::add_dataset(&arguments)?.display().to_string()], json);
            let draft = format!("{}.packet", arguments.name);
            show::next(&databox::data::next_steps(&Home::at(&arguments.home), &draft, &arguments.name), json);
        }
        Command::Data(DataCommand::Ls) => asynchronous(list_datasets(Profile::load(&profile)?, json))?,
        Command::Data(DataCommand::Show { dataset }) => {
            asynchronous(show_dataset(Profile::load(&profile)?, dataset, json))?;
        }
        Command::Runtime(RuntimeCommand::Add(arguments)) => {
            show::made(&[runtime::add(&arguments)?.display().to_string()], json);
            let draft = format!("runtime-{}.json", arguments.name);
            show::next(&databox::data::next_steps(&Home::at(&arguments.home), &draft, &arguments.name), json);
        }
        Command::Job(JobCommand::New { directory }) => {
            let made: Vec<_> = job::new(&directory)?.iter().map(|path| path.display().to_string()).collect();
            show::files(&made, json);
        }
        Command::Job(JobCommand::Inspect { file }) => show::found(&job::inspect(&file)?, json),
        Command::Job(JobCommand::Run(arguments)) => return local::run(&arguments, &profile, json),
        Command::Job(command) => return asynchronous(job_command(command, Profile::load(&profile)?, json)),
        Command::Release(command) => asynchronous(release_command(command, Profile::load(&profile)?, json))?,
        Command::Review(command) => asynchronous(review_command(command, Profile::load(&profile)?, json))?,
        Command::Check(arguments) => return check::run(&arguments, &profile, json),
        Command::Tensors(arguments) => tensors::run(&arguments, json)?,
        Command::Policy(command) => return policy::run(&command, json),
        Command::Witness(arguments) => asynchronous(witness::serve(&arguments))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn asynchronous<R>(work: impl Future<Output = Result<R, Failure>>) -> Result<R, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::new("RUNTIME", whole(&error)))?;
    runtime.block_on(work)
}

fn up(home: &Home) -> Result<(), Failure> {
    let mut rooms = Rooms::start(home)?;
    let stop = daemon::stop_on_signals().map_err(|error| Failure::new("SIGNALS", whole(&error)))?;
    for check in doctor::hold_ups(home) {
        eprintln!("held up: {}", check.found);
        check.remedy.iter().for_each(|remedy| eprintln!("  → {remedy}"));
    }
    let walls = match databox::users::are_apart(home) {
        true => "each as a user of its own",
        false => "all as one user: the walls between rooms are thinner here than under deploy/",
    };
    println!("up: {} ({walls})", databox::home::ROOMS.join(", "));
    while !stop.is_raised() {
        if let Some(room) = rooms.ended() {
            return Err(Failure::new("ROOM_ENDED", format!("the {room} ended"))
                .hint(format!("its journal is {}", home.journal(room).display())));
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    Ok(())
}

fn site_command(command: SiteCommand, profile: &str, json: bool) -> Result<(), Failure> {
    match command {
        SiteCommand::New(arguments) => {
            site::new(&arguments)?;
            show::made(&[arguments.out.display().to_string()], json);
        }
        SiteCommand::Draft { answer, id, keys, passphrase_file, out } => {
            let sealed = answer.extension().is_some_and(|extension| extension == "packet");
            match id {
                Some(id) if sealed => {
                    let files = key::KeyFiles::new(&keys, &id);
                    let draft = draft::from_packet(&answer, &id, &files, passphrase_file.as_deref(), &out)?;
                    draft.words().into_iter().for_each(|words| eprintln!("note: {words}"));
                }
                None if sealed => {
                    return Err(Failure::new("DRAFT", "the answer is sealed")
                        .hint("give --as ID and --keys")
                        .exit(Exit::Usage));
                }
                _ => drop(draft::from_plain(&answer, &out)?),
            }
            show::made(&[out.display().to_string()], json);
        }
        SiteCommand::Sign(arguments) => {
            let signed = site::sign(&arguments, profile, |words| show::before_signing(words, json))?;
            show::made(&[signed], json);
        }
        SiteCommand::Install(arguments) => {
            show::made(&[site::install(&arguments)?.display().to_string()], json)
        }
        SiteCommand::Pin { home, roles } => {
            let home = Home::at(home);
            init::pin(&home, &roles)?;
            show::made(
                &databox::home::ROOMS.map(|room| home.configuration(room).display().to_string()),
                json,
            );
        }
        SiteCommand::Ls { site_directory, pin } => {
            show::found(&site::list(&site_directory, pin.as_ref())?, json)
        }
    }
    Ok(())
}

async fn job_command(command: JobCommand, profile: Profile, json: bool) -> Result<ExitCode, Failure> {
    let bench = Bench::connect(profile).await?;
    match command {
        JobCommand::New { .. } | JobCommand::Inspect { .. } | JobCommand::Run(_) => {}
        JobCommand::Submit { directory, wait } => {
            let prepared = bench.prepare(&directory).await?;
            let submitted = bench.submit(&prepared).await?;
            databox::place::remember(&submitted.job, &prepared.bundle)?;
            let Some(wait) = wait else {
                show::job(&submitted, json);
                return Ok(ExitCode::SUCCESS);
            };
            let wanted = wait.into();
            show::waiting(&format!("job {}", submitted.job));
            let told = |event: &WatchJobResponse, state: lifecycle::State| {
                show::waiting(&show::event_words(event));
                state.is_end() || state >= wanted
            };
            let reached = bench.follow(&submitted.job, 0, told).await?;
            show::job(&bench.job(&submitted.job).await?, json);
            return Ok(
                Exit::of_job(wanted, reached).map_or(ExitCode::SUCCESS, |exit| ExitCode::from(exit as u8))
            );
        }
        JobCommand::Watch { job, after } => {
            let job = bench.job(&job).await?.job;
            let told = |event: &WatchJobResponse, state: lifecycle::State| {
                show::event(event, json);
                state.is_end()
            };
            bench.follow(&job, after, told).await?;
        }
        JobCommand::Cancel { job } => show::job(&bench.cancel(&job).await?, json),
        JobCommand::Ls => show::jobs(&bench.jobs().await?, json),
        JobCommand::Show { job } => show::job(&bench.job(&job).await?, json),
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_datasets(profile: Profile, json: bool) -> Result<(), Failure> {
    show::datasets(&Bench::connect(profile).await?.datasets().await?, json);
    Ok(())
}

async fn show_dataset(profile: Profile, dataset: Name, json: bool) -> Result<(), Failure> {
    let site = Bench::connect(profile).await?.site().await?;
    show::published(&published::of(&site, &dataset)?, json);
    Ok(())
}

async fn release_command(command: ReleaseCommand, profile: Profile, json: bool) -> Result<(), Failure> {
    let bench = Bench::connect(profile.clone()).await?;
    let mut shelf = Shelf::new(profile, bench.channel());
    match command {
        ReleaseCommand::Ls => show::releases(&shelf.list().await?, json),
        ReleaseCommand::Get { release, out } => {
            let release = if release.len() == 64 { release } else { bench.job(&release).await?.job };
            let file = match shelf.get(&release, &out).await {
                Err(failure) if failure.reason == "NOT_FOUND" => {
                    let job = bench.job(&release).await;
                    return Err(job.map_or(failure, |job| release_files::not_released(&job)));
                }
                fetched => fetched?,
            };
            show::fetched(&file, release_files::note(&file)?, json);
        }
    }
    Ok(())
}

async fn review_command(command: ReviewCommand, profile: Profile, json: bool) -> Result<(), Failure> {
    let mut desk = Desk::connect(profile).await?;
    match command {
        ReviewCommand::Ls => show::reviews(&desk.list().await?, json),
        ReviewCommand::Show(arguments) => {
            let (looked, words) = look(&mut desk, &arguments).await?;
            show::looked(looked.kind(), &words, json);
        }
        ReviewCommand::Approve { review, confirm } => {
            let (looked, words) = look(&mut desk, &review).await?;
            show::before_signing(words.trim_end(), json);
            if let Looked::Outputs(opened) = &looked {
                desk.may_approve(opened)?;
            }
            show::before_signing(looked.consent(), json);
            let answer = match looked {
                Looked::Outputs(opened) => {
                    show::confirm(&opened.digest.to_string(), confirm, json)?;
                    desk.approve(&opened).await?
                }
                Looked::Code(opened) => {
                    show::confirm(&opened.digest().to_string(), confirm, json)?;
                    desk.approve_code(&opened).await?
                }
            };
            show::decision(&answer, json);
        }
        ReviewCommand::Reject { review, r#return, reasons, out } => {
            let decision = if r#return { DenialDecision::Return } else { DenialDecision::Reject };
            let reasons = reasons.into_iter().map(DenialReason::from).collect();
            let (looked, words) = look(&mut desk, &review).await?;
            show::before_signing(words.trim_end(), json);
            let answer = match looked {
                Looked::Outputs(opened) => desk.deny(&opened, decision, reasons, out.as_deref()).await?,
                Looked::Code(opened) => desk.deny_code(&opened, decision, reasons, out.as_deref()).await?,
            };
            show::decision(&answer, json);
        }
    }
    Ok(())
}

/// What a steward looked at.
enum Looked {
    Outputs(Box<review::Opened>),
    Code(Box<review::code::OpenedCode>),
}

impl Looked {
    fn kind(&self) -> ReviewKind {
        match self {
            Self::Outputs(_) => ReviewKind::Outputs,
            Self::Code(_) => ReviewKind::Code,
        }
    }

    /// What an approval of it says.
    fn consent(&self) -> &'static str {
        match self {
            Self::Outputs(_) => "You sign: \"I approve that these files leave the box.\"",
            Self::Code(_) => {
                "You sign: \"I read this code and approve that it runs on the data.\" It lets no file leave."
            }
        }
    }
}

/// Opens a review; returns what it says in words beside.
async fn look(desk: &mut Desk, arguments: &ReviewArguments) -> Result<(Looked, String), Failure> {
    let found = desk.find(&arguments.review).await?;
    review::undecided(&found)?;
    // The console's word only chooses how it is looked at: neither way accepts the other's statements.
    if found.kind() == ReviewKind::Code {
        let opened = desk.open_code(found).await?;
        let mut words = review::code::words(&opened);
        if arguments.findings {
            words += "found      nothing yet: this code has not run\n";
        }
        if let Some(directory) = &arguments.files {
            review::code::write_files(&opened, directory)?;
        }
        return Ok((Looked::Code(Box::new(opened)), words));
    }
    let opened = desk.open_outputs(found).await?;
    let mut words = review::words(&opened);
    if arguments.findings {
        words += &review::findings(&opened)?;
    }
    if let Some(directory) = &arguments.files {
        review::write_files(&opened, directory)?;
    }
    Ok((Looked::Outputs(Box::new(opened)), words))
}
