//! Weights through a whole box.

use std::process::Command;

use databox::check;
use databox::job::state;
use harness::{TestBox, manifest, programs};
use lifecycle::State;
use release::statement::DeclaredTensor;

use crate::site_changes::change_policy;
use crate::wait;

/// A public model: a large tensor and a small one.
fn public_model() -> Vec<u8> {
    let values = (0..260u16).map(|value| (f32::from(value) * 0.37).sin());
    let data: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let header = concat!(
        r#"{"embed":{"dtype":"F32","shape":[256],"data_offsets":[0,1024]},"#,
        r#""head":{"dtype":"F32","shape":[4],"data_offsets":[1024,1040]}}"#
    );
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// A job that reads the model from its bundle, changes the last value of the tensor that ends at this byte of the data,
/// and writes it.
fn trained(end: usize) -> String {
    format!(
        "import struct\nmodel = bytearray(open('/job/model.bin', 'rb').read())\n\
         begin = 8 + int.from_bytes(model[:8], 'little')\n\
         model[begin + {end} - 4:begin + {end}] = struct.pack('<f', 0.625)\n\
         open('/out/model.safetensors', 'wb').write(model)\n"
    )
}

fn declared(tensors: &[DeclaredTensor]) -> String {
    let tensors: Vec<String> = tensors
        .iter()
        .map(|tensor| {
            let sha256 = tensor.sha256.map_or_else(String::new, |digest| format!(", sha256 = \"{digest}\""));
            format!("{{ name = \"{}\", shape = [{}]{sha256} }}", tensor.name, tensor.shape[0])
        })
        .collect();
    let tensors = tensors.join(", ");
    manifest(&format!(
        "[[output]]\npath = \"model.safetensors\"\nkind = \"weights\"\ntensors = [{tensors}]\n"
    ))
}

#[test]
fn a_model_of_which_the_untrained_part_was_fixed_before_the_run_is_released_for_the_price_of_the_rest() {
    let tested = TestBox::start();
    let model = tested.directory().join("public.safetensors");
    std::fs::write(&model, public_model()).unwrap();
    let mut tensors = check::tensors(&model, check::STANDARD).unwrap();
    assert!(tensors[0].sha256.is_some() && tensors[0].name.as_str() == "embed");
    tensors[1].sha256 = None;
    let manifest = declared(&tensors);
    let bundle = |name: &str, end: usize| {
        let code = trained(end);
        let bundle = tested.bundle(name, &[("databox.toml", &manifest), ("job.py", &code)]);
        std::fs::write(bundle.join("model.bin"), public_model()).unwrap();
        bundle
    };
    wait(async {
        // The small tensor was trained.
        let job = tested.run_job("kim", &bundle("head", 1040)).await;
        assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
        let opened = tested.opened("ana", &job.job).await;
        assert_eq!(opened.verdict.files[0].released_bits.0, 16 * 4);
        assert!(databox::review::words(&opened).contains("1 of 2 tensors"), "a steward is told");
        tested.approve("ana").await;
        tested.approve("ben").await;
        assert_eq!(tested.wait("kim", &job.job, State::Released).await, State::Released);
        let out = tested.directory().join("released");
        let file = tested.shelf("kim").await.get(&job.job, &out).await.unwrap();
        let mut verify = Command::new(programs().join("databox-verify"));
        verify.arg(&file).arg("--files").arg(&out).args(["--roles", &tested.stage.pin.to_string()]);
        let verified = verify.arg("--accept-on-box-witness").output().unwrap();
        let told = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success() && told.contains("VERIFIED"), "{told}");
        // The tensor that was said to be that of the public model was trained, too.
        let job = tested.run_job("kim", &bundle("embed", 1024)).await;
        assert_eq!(state(&job), State::Blocked);
        assert_eq!(job.outcome.unwrap().rule, "weights.form");
        let opened = tested.opened("ana", &job.job).await;
        assert_eq!(
            opened.judged_again,
            release::statement::Judgement::Same,
            "the steward's judge says so, too"
        );
    });
}

#[test]
fn weights_leave_with_the_policys_noise_and_a_copy_is_found_before_it_is_added() {
    let tested = TestBox::start();
    let output = "[[output]]\npath = \"model.safetensors\"\nkind = \"weights\"\n\
                  tensors = [{ name = \"w\", shape = [2048] }]\n";
    let job = |name: &str, values: &str| {
        let code = format!(
            "import json, math, struct\nvalues = [{values}]\nhead = json.dumps({{'w': {{'dtype': 'F32', 'shape': [2048], \
             'data_offsets': [0, 8192]}}}}).encode()\n\
             open('/out/model.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head + struct.pack('<2048f', *values))\n"
        );
        tested.bundle(name, &[("databox.toml", &manifest(output)), ("job.py", &code)])
    };
    let honest = "math.sin(number * 0.37) for number in range(2048)";
    wait(async {
        let values = |opened: &databox::review::Opened| -> Vec<f64> {
            let file = &opened.content.canonical[0].1;
            let data = file[file.len() - 4096..].chunks_exact(2);
            data.map(|pair| {
                f64::from(f32::from_bits(u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16))
            })
            .collect()
        };
        let released = async |name: &str| {
            let job = tested.run_job("kim", &job(name, honest)).await;
            assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
            let opened = tested.opened("ana", &job.job).await;
            assert_eq!(opened.judged_again, release::statement::Judgement::Same);
            (values(&opened), opened.verdict.files[0].released_bits.0)
        };
        let (without, price) = released("without").await;
        change_policy(&tested, "dither_percent = 0\n", "dither_percent = 30\n").await;
        let (first, second) = (released("first").await, released("second").await);
        assert_ne!(first.0, second.0, "each time with another noise");
        assert_eq!((first.1, second.1), (price, price), "at the same price");
        let squares = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>() / 2048.0;
        let noise: Vec<f64> = first.0.iter().zip(&without).map(|(with, without)| with - without).collect();
        let share = (squares(&noise) / squares(&without)).sqrt();
        assert!((0.27..0.33).contains(&share), "{share}");
        // A byte of the data in each value: the noise would hide them from whoever searched it.
        let copy = "float(byte) for byte in open('/data/hie/hie.csv', 'rb').read()[100:2148]";
        let job = tested.run_job("kim", &job("copy", copy)).await;
        assert_eq!(state(&job), State::Blocked);
        assert_eq!(job.outcome.unwrap().rule, "copy.exact");
    });
}

#[test]
fn the_box_searches_large_weights_in_parts_and_finds_a_copy_across_two_of_them() {
    let tested = TestBox::start();
    let part = (egress::PART_BYTES / 2) as usize;
    let count = part + (64 << 10);
    let output = format!(
        "[[output]]\npath = \"model.safetensors\"\nkind = \"weights\"\ntensors = [{{ name = \"w\", shape = [{count}] }}]\n"
    );
    let job = |name: &str, stolen: &str| {
        let code = format!(
            "import json, struct\nhead = json.dumps({{'w': {{'dtype': 'F32', 'shape': [{count}], \
             'data_offsets': [0, {}]}}}}).encode()\nvalues = bytearray({0})\n\
             for at, byte in enumerate({stolen}):\n    struct.pack_into('<f', values, 4 * ({part} - 30 + at), byte)\n\
             open('/out/model.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head + values)\n",
            4 * count
        );
        tested.bundle(name, &[("databox.toml", &manifest(&output)), ("job.py", &code)])
    };
    wait(async {
        // More than the account of these tests allows, so that the innocent one is blocked for that alone.
        let cases = [
            ("copy", "open('/data/hie/hie.csv', 'rb').read()[100:160]", "copy.exact"),
            ("zeros", "bytes(60)", "release.bits"),
        ];
        for (name, stolen, rule) in cases {
            let job = tested.run_job("kim", &job(name, stolen)).await;
            assert_eq!(state(&job), State::Blocked, "{name}: {:?}", job.outcome);
            assert_eq!(job.outcome.unwrap().rule, rule, "{name}");
        }
    });
}
