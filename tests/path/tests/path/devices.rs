//! Whole jobs with devices. No GPU is on the machines that run these tests: nodes made with the numbers of `/dev/full` and
//! `/dev/zero`, and a file of the Container Device Interface that names them, stand in for two.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use api::v1::{Job, Reason};
use databox::job::state;
use harness::{ONE_METRIC, TestBox, manifest, write_metric};
use lifecycle::State;
use release::statement::Warning;
use release::value::Count;
use serde_json::json;

use crate::wait;

/// Only root has control groups that count memory here, without which nothing with a device starts.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A box with these devices of the kind `gpu` and so many slots, whose grant gives as many of them.
fn with_devices(devices: &[(&str, &str)], slots: u32) -> TestBox {
    let mut tested = TestBox::start();
    let file = write_file(&tested, devices, json!({}));
    list_devices(&tested, &file, devices, slots);
    tested.stage.kill_and_restart("enclave").unwrap();
    let count = Count(devices.len() as u64);
    wait(tested.replace_grant(|grant| grant.devices = [("gpu".parse().unwrap(), count)].into()));
    tested
}

/// Makes the nodes, and writes the file that names them, with these edits of every container.
fn write_file(tested: &TestBox, devices: &[(&str, &str)], edits: serde_json::Value) -> PathBuf {
    let node = |(name, minor): &(&str, &str)| {
        let path = tested.directory().join(name);
        if !path.exists() {
            let made = Command::new("mknod").arg(&path).args(["c", "1", minor]).status();
            assert!(made.unwrap().success());
            fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        }
        json!({ "name": name, "containerEdits": { "deviceNodes": [
            { "path": format!("/dev/{name}"), "hostPath": path, "major": 1, "minor": minor.parse::<u32>().unwrap() },
        ] } })
    };
    let nodes: Vec<_> = devices.iter().map(node).collect();
    let file = tested.directory().join("cdi.json");
    let text = json!({
        "cdiVersion": "0.6.0", "kind": "example.org/gpu", "devices": nodes, "containerEdits": edits,
    });
    fs::write(&file, text.to_string()).unwrap();
    file
}

fn list_devices(tested: &TestBox, file: &std::path::Path, devices: &[(&str, &str)], slots: u32) {
    let path = tested.stage.home.configuration("enclave");
    let mut text =
        fs::read_to_string(&path).unwrap().replace("\nslots = 1\n", &format!("\nslots = {slots}\n"));
    for (name, _) in devices {
        let entry = format!("cdi_file = {file:?}\ncdi_device = \"example.org/gpu={name}\"");
        text += &format!("\n[[device]]\nkind = \"gpu\"\n{entry}\n");
    }
    fs::write(&path, text).unwrap();
}

fn asks_for(devices: u64) -> String {
    manifest(ONE_METRIC).replace("[limits]", &format!("[devices]\ngpu = {devices}\n\n[limits]"))
}

const TWO: [(&str, &str); 2] = [("gpu0", "7"), ("gpu1", "5")];

/// How many devices of the kind a program finds, and that it can read each, and make none.
const COUNT: &str = "import os\n\
    found = [name for name in os.listdir('/dev') if name.startswith('gpu')]\n\
    assert all(open('/dev/' + name, 'r+b', 0).read(2) == b'\\0\\0' for name in found)\n\
    try: os.mknod('/tmp/gpu0', 0o20666, os.makedev(1, 7)); raise SystemExit(3)\n\
    except PermissionError: pass\n";

#[test]
fn a_job_holds_the_devices_that_it_asked_for_its_verdict_names_them_and_a_job_without_sees_none() {
    if !is_root() {
        return;
    }
    let tested = with_devices(&TWO, 1);
    let job = COUNT.to_owned() + &write_metric("len(found)");
    wait(async {
        for asked in 0..=2u64 {
            let text = if asked == 0 { manifest(ONE_METRIC) } else { asks_for(asked) };
            let bundle =
                tested.bundle(&format!("asks-{asked}"), &[("databox.toml", &text), ("job.py", &job)]);
            let ended = tested.run_job("kim", &bundle).await;
            assert_eq!(state(&ended), State::InReview, "{asked}: {:?}", ended.outcome);
            let opened = tested.opened("ana", &ended.job).await;
            let (_, metrics) = &opened.content.canonical[0];
            assert_eq!(String::from_utf8_lossy(metrics).trim(), format!("{{\"value\":{asked}}}"));
            let held = &opened.verdict.wall.devices;
            let numbers: Vec<u64> = held.iter().map(|device| device.number.0).collect();
            assert_eq!(numbers, (1..=asked).collect::<Vec<_>>());
            assert!(held.iter().all(|device| device.kind.as_str() == "gpu"));
            assert_eq!(opened.verdict.warnings.contains(&Warning::DeviceDriver), asked > 0);
        }
        // Whoever asks for more than the grant gives, or the box has, is told so at once.
        let refused = |asked: u64, name: &'static str| {
            let bundle = tested.bundle(name, &[("databox.toml", &asks_for(asked)), ("job.py", &job)]);
            let tested = &tested;
            async move {
                let bench = tested.bench("kim").await;
                match bench.prepare(&bundle).await {
                    Ok(prepared) => bench.submit(&prepared).await.map(|job: Job| state(&job)),
                    Err(failure) => Err(failure),
                }
            }
        };
        let told = refused(3, "too-many").await.expect_err("more than the grant gives");
        assert_eq!(told.reason, "STATEMENT", "{told}");
    });
}

#[test]
fn two_jobs_never_hold_one_device_and_a_job_without_one_does_not_wait_for_it() {
    if !is_root() {
        return;
    }
    let tested = with_devices(&TWO[..1], 3);
    let slow = COUNT.to_owned() + "import time\ntime.sleep(3)\n" + &write_metric("len(found)");
    let none = COUNT.to_owned() + &write_metric("len(found)");
    wait(async {
        let bench = tested.bench("kim").await;
        let submit = async |name: &str, text: &str, job: &str| {
            let bundle = tested.bundle(name, &[("databox.toml", text), ("job.py", job)]);
            let prepared = bench.prepare(&bundle).await.unwrap();
            bench.submit(&prepared).await.unwrap().job
        };
        let first = submit("first", &asks_for(1), &slow).await;
        bench.wait(&first, &[State::Running], harness::PATIENCE).await.unwrap();
        let second = submit("second", &asks_for(1), &slow).await;
        let beside = submit("beside", &manifest(ONE_METRIC), &none).await;
        // Two slots are free all the time.
        let beside = bench.wait(&beside, &[State::InReview], harness::PATIENCE).await.unwrap();
        assert_eq!(state(&beside), State::InReview);
        let waits = state(&bench.job(&second).await.unwrap());
        let goes_on = state(&bench.job(&first).await.unwrap());
        // On a machine that is busy the first may be over by now; it never runs together with the second.
        assert!(waits == State::Queued || goes_on != State::Running, "{goes_on:?} and {waits:?}");
        loop {
            let (second, first) = (bench.job(&second).await.unwrap(), bench.job(&first).await.unwrap());
            let running = [&first, &second].iter().filter(|job| state(job) == State::Running).count();
            assert!(running < 2 || state(&bench.job(&first.job).await.unwrap()) != State::Running);
            if state(&second) == State::InReview && state(&first) == State::InReview {
                break;
            }
            assert!(
                !state(&second).is_end() && !state(&first).is_end(),
                "{:?} {:?}",
                first.outcome,
                second.outcome
            );
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
}

#[test]
fn a_device_goes_back_when_the_enclave_was_killed_and_the_lost_run_gets_it_again() {
    if !is_root() {
        return;
    }
    let mut tested = with_devices(&TWO[..1], 1);
    let job = COUNT.to_owned() + "import time\ntime.sleep(2)\n" + &write_metric("len(found)");
    let bundle = tested.bundle("lost", &[("databox.toml", &asks_for(1)), ("job.py", &job)]);
    let lost = wait(async {
        let bench = tested.bench("kim").await;
        let prepared = bench.prepare(&bundle).await.unwrap();
        let job = bench.submit(&prepared).await.unwrap().job;
        bench.wait(&job, &[State::Running], harness::PATIENCE).await.unwrap();
        job
    });
    tested.stage.kill_and_restart("enclave").unwrap();
    wait(async {
        assert_eq!(tested.wait("kim", &lost, State::InReview).await, State::InReview);
        let verdict = tested.opened("ana", &lost).await.verdict;
        assert_eq!((verdict.run.0, verdict.wall.devices.len()), (2, 1));
    });
}

#[test]
fn an_enclave_does_not_start_on_a_file_with_a_hook_or_behind_a_wall_that_shows_no_device() {
    if !is_root() {
        return;
    }
    let mut tested = TestBox::start();
    let started = |tested: &mut TestBox| tested.stage.kill_and_restart("enclave").is_ok();
    let said = |tested: &TestBox| fs::read_to_string(tested.stage.home.journal("enclave")).unwrap();
    let file =
        write_file(&tested, &TWO, json!({ "hooks": [{ "hookName": "prestart", "path": "/bin/true" }] }));
    list_devices(&tested, &file, &TWO, 1);
    assert!(!started(&mut tested));
    assert!(said(&tested).contains("it asks for a hook (every device)"), "{}", said(&tested));
    write_file(&tested, &TWO, json!({}));
    assert!(started(&mut tested), "the innocent twin");
    let path = tested.stage.home.configuration("enclave");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("oci_runtime = \"/usr/bin/runsc\"\n{text}")).unwrap();
    assert!(!started(&mut tested));
    assert!(said(&tested).contains("the wall around jobs shows none"));
    fs::write(&path, format!("oci_runtime = \"/usr/bin/crun\"\n{text}")).unwrap();
    assert!(started(&mut tested));
    wait(tested.replace_grant(|grant| grant.devices = [("gpu".parse().unwrap(), Count(2))].into()));
    let job = COUNT.to_owned() + &write_metric("len(found)");
    let bundle = tested.bundle("behind-crun", &[("databox.toml", &asks_for(2)), ("job.py", &job)]);
    let ended = wait(tested.run_job("kim", &bundle));
    assert_eq!(state(&ended), State::InReview, "behind crun: {:?}", ended.outcome);
    // A device that is gone from the configuration is nobody's to ask for.
    fs::write(&path, text.split("\n[[device]]").next().unwrap().to_owned() + "\n").unwrap();
    assert!(started(&mut tested));
    let refused = wait(tested.run_job("kim", &bundle));
    assert_eq!((state(&refused), refused.outcome.unwrap().reason()), (State::Refused, Reason::Limits));
}
