//! `databox tensors`: what a manifest says of the tensors of a public model.

use std::path::PathBuf;

use egress::Policy;
use release::statement::DeclaredTensor;

use crate::check;
use crate::failure::{Failure, whole};

/// What `databox tensors` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct TensorsArguments {
    /// A safetensors file.
    pub file: PathBuf,
    /// The egress policy, whose precision the digests are of; without it the standard one.
    #[arg(long)]
    pub policy: Option<PathBuf>,
}

/// Prints the tensors, in TOML or JSON.
pub fn run(arguments: &TensorsArguments, json: bool) -> Result<(), Failure> {
    let text = check::policy_text(arguments.policy.as_deref())?;
    let tensors = check::tensors(&arguments.file, &text)?;
    let policy = Policy::parse(&text).map_err(|error| Failure::new("POLICY", whole(&error)))?;
    let precision = policy.weights.precision.word();
    match json {
        true => println!("{}", serde_json::json!({ "precision": precision, "tensors": tensors })),
        false => {
            print!("# as {precision}; leave sha256 out of those that the job trains\n{}", manifest(&tensors))
        }
    }
    Ok(())
}

/// The value of `tensors` in a manifest. Names are of A-Z a-z 0-9 . _ - and need no escapes.
fn manifest(tensors: &[DeclaredTensor]) -> String {
    let mut text = String::from("tensors = [\n");
    for tensor in tensors {
        let shape: Vec<String> = tensor.shape.iter().map(|length| length.0.to_string()).collect();
        let sha256 = tensor.sha256.map_or_else(String::new, |digest| format!(", sha256 = \"{digest}\""));
        text += &format!("  {{ name = \"{}\", shape = [{}]{sha256} }},\n", tensor.name, shape.join(", "));
    }
    text + "]\n"
}
