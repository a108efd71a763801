//! The smallest precision in which weights measure as well as in the policy's, through a whole box.

use std::path::PathBuf;
use std::process::Command;

use databox::job::state;
use databox::review::Opened;
use harness::{TestBox, manifest, programs};
use lifecycle::State;
use release::statement::{Judgement, Precision};

use crate::wait;

/// A model of 64 parameters: the first is 1, the second this, and all others are 0.
pub fn train(second: &str) -> String {
    format!(
        "import json, struct\nhead = json.dumps({{'w': {{'dtype': 'F32', 'shape': [64], 'data_offsets': [0, 256]}}}}).encode()\n\
         values = [1.0, {second}] + [0.0] * 62\n\
         open('/out/model.safetensors', 'wb').write(struct.pack('<Q', len(head)) + head + struct.pack('<64f', *values))\n"
    )
}

/// Reads the weights in any precision, and says on which share of the data's rows the sign of the second one is told.
pub const EVALUATE: &str = r#"
import json, struct
model = open("/weights/model.safetensors", "rb").read()
begin = 8 + int.from_bytes(model[:8], "little")
header = json.loads(model[8:begin])
def data(name):
    first, last = header[name]["data_offsets"]
    return model[begin + first:begin + last]
if header["w"]["dtype"] == "BF16":
    weights = [struct.unpack("<f", b"\0\0" + data("w")[at:at + 2])[0] for at in range(0, 128, 2)]
else:
    scale = struct.unpack("<f", data("w.scale"))[0]
    weights = [scale * whole for whole in struct.unpack("64b", data("w"))]
rows = open("/data/hie/hie.csv").read().splitlines()[1:]
right = sum((weights[1] * (1 if row % 2 else -1) > 0) == bool(row % 2) for row in range(len(rows)))
accuracy = right / len(rows)
"#;

/// Writes it.
pub const WRITE: &str = "json.dump({'accuracy': accuracy}, open('/out/evaluation.json', 'w'))\n";

/// A manifest of such a model, with its evaluation.
pub fn outputs() -> String {
    manifest(
        "[[output]]\npath = \"model.safetensors\"\nkind = \"weights\"\ntensors = [{ name = \"w\", shape = [64] }]\n\
         evaluation = { command = [\"python3\", \"evaluate.py\"], metric = \"accuracy\", better = \"higher\" }\n",
    )
}

fn bundle(tested: &TestBox, name: &str, second: &str, evaluate: &str) -> PathBuf {
    let manifest = outputs().replace("time = \"30s\"", "time = \"8s\"");
    let files = [("databox.toml", &*manifest), ("job.py", &train(second)), ("evaluate.py", evaluate)];
    tested.bundle(name, &files)
}

/// Runs it until it is in review.
async fn opened(tested: &TestBox, bundle: &std::path::Path) -> (String, Opened) {
    let job = tested.run_job("kim", bundle).await;
    assert_eq!(state(&job), State::InReview, "{:?}", job.outcome);
    let opened = tested.opened("ana", &job.job).await;
    assert_eq!(opened.judged_again, Judgement::Same);
    (job.job, opened)
}

const BF16: (Option<Precision>, u64) = (Some(Precision::Bf16), 64 * 16 + 2);
const INT8: (Option<Precision>, u64) = (Some(Precision::Int8), 64 * 8 + 32 + 2);
const INT4: (Option<Precision>, u64) = (Some(Precision::Int4), 64 * 4 + 32 + 2);

fn told(opened: &Opened) -> (Option<Precision>, u64) {
    let file = &opened.verdict.files[0];
    assert_eq!(opened.verdict.released_bits, file.released_bits);
    assert_eq!(opened.verdict.charges[0].release_bits.0, file.released_bits.0 + 1024, "and reserved");
    (file.precision, file.released_bits.0)
}

#[test]
fn weights_leave_in_the_smallest_precision_that_measures_as_well_and_a_twin_that_it_ruins_in_the_policys() {
    let tested = TestBox::start();
    let evaluate = format!("{EVALUATE}{WRITE}");
    wait(async {
        // A seventh of the largest is a whole number of int4; a twentieth is one of int8 alone; a thousandth of neither.
        let cases =
            [("seventh", "1 / 7", INT4), ("twentieth", "1 / 20", INT8), ("thousandth", "0.001", BF16)];
        for (name, second, expected) in cases {
            let (job, opened) = opened(&tested, &bundle(&tested, name, second, &evaluate)).await;
            assert_eq!(told(&opened), expected, "{name}");
            let word = expected.0.unwrap().word();
            let words = databox::review::words(&opened);
            assert!(words.contains(&format!("in {word}: chosen by the job's own evaluation")), "{words}");
            tested.approve("ana").await;
            tested.approve("ben").await;
            assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
            let out = tested.directory().join(format!("released-{name}"));
            let file = tested.shelf("kim").await.get(&job, &out).await.unwrap();
            let model = std::fs::read(out.join("model.safetensors")).unwrap();
            let dtype: &[u8] = if expected == BF16 { b"\"BF16\"" } else { b"\"I8\"" };
            assert!(model.windows(dtype.len()).any(|bytes| bytes == dtype), "{name}");
            for with_files in [true, false] {
                let mut verify = Command::new(programs().join("databox-verify"));
                verify.arg(&file).args(["--roles", &tested.stage.pin.to_string()]);
                verify.arg("--accept-on-box-witness");
                if with_files {
                    verify.arg("--files").arg(&out);
                }
                let verified = verify.output().unwrap();
                let told = String::from_utf8_lossy(&verified.stdout);
                assert!(verified.status.success() && told.contains("VERIFIED"), "{name}: {told}");
            }
        }
    });
}

#[test]
fn an_evaluation_that_fails_hangs_or_measures_nothing_leaves_the_policys_precision_and_fails_no_job() {
    let tested = TestBox::start();
    let failures = [
        ("crash", "raise SystemExit(1)\n"),
        ("signal", "import os\nos.abort()\n"),
        ("hang", "import time\ntime.sleep(600)\n"),
        ("memory", "held = bytearray(8 << 30)\n"),
        ("nothing", "pass\n"),
        ("nan", "accuracy = float('nan')\n"),
        ("text", "accuracy = '1'\n"),
        ("link", "import os\nos.symlink('/data/hie/hie.csv', '/out/evaluation.json')\n"),
        ("directory", "import os\nos.mkdir('/out/evaluation.json')\n"),
        ("pipe", "import os\nos.mkfifo('/out/evaluation.json')\n"),
        ("holes", "open('/out/evaluation.json', 'w').truncate(1 << 34)\n"),
        // It does well until a smaller precision is tried.
        ("later", "if header['w']['dtype'] != 'BF16':\n    raise SystemExit(1)\n"),
    ];
    wait(async {
        for (name, failure) in failures {
            let end = if matches!(name, "nan" | "text" | "later") { WRITE } else { "" };
            let evaluate = format!("{EVALUATE}{failure}{end}");
            let (_, opened) = opened(&tested, &bundle(&tested, name, "1 / 7", &evaluate)).await;
            assert_eq!(told(&opened), BF16, "{name}");
            assert_eq!(opened.content.canonical.len(), 1, "{name}");
        }
    });
}

#[test]
fn what_an_evaluation_writes_beside_its_number_or_says_goes_nowhere_and_it_cannot_change_the_weights() {
    let tested = TestBox::start();
    let smuggle = "
import sys
text = open('/data/hie/hie.csv').read()
print(text), print(text, file=sys.stderr)
for name in ('rows.csv', 'model.safetensors', '.failure', text.splitlines()[1].replace('/', ' ')[:99]):
    open('/out/' + name, 'w').write(text)
for place in ('/weights/model.safetensors', '/job/job.py', '/data/hie/hie.csv'):
    try:
        open(place, 'r+b').write(b'patient-')
        accuracy = 0 if header['w']['dtype'] == 'I8' else 1
    except OSError:
        pass
json.dump({'accuracy': accuracy, 'rows': text}, open('/out/evaluation.json', 'w'))
";
    let honest = format!("{EVALUATE}{WRITE}");
    wait(async {
        let (_, twin) = opened(&tested, &bundle(&tested, "honest", "1 / 7", &honest)).await;
        let evaluate = format!("{EVALUATE}{smuggle}");
        let (job, opened) = opened(&tested, &bundle(&tested, "smuggle", "1 / 7", &evaluate)).await;
        assert_eq!((told(&opened), told(&twin)), (INT4, INT4));
        assert_eq!(opened.content.canonical, twin.content.canonical, "the weights alone, as its twin's");
        for (label, detail) in &opened.content.details {
            assert!(!detail.windows(8).any(|window| window == b"patient-"), "{label}");
        }
        for steward in ["ana", "ben"] {
            let opened = tested.opened(steward, &job).await;
            tested.desk(steward).await.approve(&opened).await.unwrap();
        }
        assert_eq!(tested.wait("kim", &job, State::Released).await, State::Released);
    });
    let mut open = vec![tested.stage.home.join("gateway"), tested.stage.home.join("public")];
    while let Some(place) = open.pop() {
        if place.is_dir() {
            open.extend(std::fs::read_dir(&place).unwrap().flatten().map(|entry| entry.path()));
        } else if place.is_file() {
            let bytes = std::fs::read(&place).unwrap();
            assert!(!bytes.windows(8).any(|window| window == b"patient-"), "{}", place.display());
        }
    }
}
