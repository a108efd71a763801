//! The reviewed lists of `policies/sandbox`, as they are written, and as an OCI runtime is told them.

use std::collections::BTreeMap;

use seccompiler::{TargetArch, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::filter::{Action, Condition};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    allow: Vec<Allow>,
}

/// Calls that are allowed, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    calls: Vec<String>,
    /// Which code needs them; for reviewers.
    #[allow(dead_code)]
    why: String,
    /// Every one of these must hold. (Several entries for one call: any of them.)
    #[serde(default)]
    when: Vec<When>,
}

/// A condition on an argument: its lower 32 bits, where the kernel looks at no more (a job can set the upper ones to
/// anything), or all 64 for a pointer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    argument: u8,
    is: u32,
    #[serde(default)]
    mask: Option<u32>,
    #[serde(default)]
    bits: Bits,
}

#[derive(Default, Deserialize)]
#[serde(try_from = "u8")]
enum Bits {
    #[default]
    ThirtyTwo,
    SixtyFour,
}

impl TryFrom<u8> for Bits {
    type Error = &'static str;

    fn try_from(bits: u8) -> Result<Bits, &'static str> {
        match bits {
            32 => Ok(Bits::ThirtyTwo),
            64 => Ok(Bits::SixtyFour),
            _ => Err("an argument has 32 or 64 bits"),
        }
    }
}

/// What each call of a list may do, by its number.
pub fn actions(text: &str) -> BTreeMap<u32, Action> {
    let list: List = toml::from_str(text).expect("a list of policies/sandbox that parses");
    let mut actions = BTreeMap::new();
    for allow in list.allow {
        let conditions: Vec<Condition> = allow.when.iter().map(When::condition).collect();
        for call in &allow.calls {
            let action = actions.entry(number(call)).or_insert(Action::AnyOf(Vec::new()));
            match action {
                _ if conditions.is_empty() => *action = Action::Allow,
                Action::AnyOf(rules) => rules.push(conditions.clone()),
                Action::Allow | Action::Refuse => {}
            }
        }
    }
    actions
}

/// The same list as `linux.seccomp.syscalls` of an OCI runtime's configuration (runtime-spec 1.0, config-linux.md): one
/// entry for each of the list, since entries of one call are alternatives there, too.
pub fn as_oci(text: &str) -> Value {
    let list: List = toml::from_str(text).expect("a list of policies/sandbox that parses");
    let entries = list.allow.iter().map(|allow| {
        let arguments: Vec<Value> = allow.when.iter().map(When::as_oci).collect();
        match arguments.is_empty() {
            true => json!({ "names": allow.calls, "action": "SCMP_ACT_ALLOW" }),
            false => json!({ "names": allow.calls, "action": "SCMP_ACT_ALLOW", "args": arguments }),
        }
    });
    entries.collect()
}

impl When {
    /// The comparison of a runtime has 64 bits: a mask leaves those that count here.
    fn as_oci(&self) -> Value {
        let mask = match self.bits {
            Bits::ThirtyTwo => u64::from(self.mask.unwrap_or(u32::MAX)),
            Bits::SixtyFour => u64::MAX,
        };
        json!({ "index": self.argument, "value": mask, "valueTwo": self.is, "op": "SCMP_CMP_MASKED_EQ" })
    }

    fn condition(&self) -> Condition {
        assert!(self.argument < 6, "a call has six arguments");
        let (mask, whole) = match (self.mask, &self.bits) {
            (mask, Bits::ThirtyTwo) => (mask.unwrap_or(u32::MAX), false),
            (None, Bits::SixtyFour) => (u32::MAX, true),
            (Some(_), Bits::SixtyFour) => panic!("a mask has 32 bits"),
        };
        Condition { argument: self.argument, mask, is: self.is, whole }
    }
}

/// The number of a call, by the table of seccompiler: the constant that a filter for this one call compares with.
fn number(name: &str) -> u32 {
    let filter = serde_json::json!({ "one": {
        "mismatch_action": "kill_process",
        "match_action": "allow",
        "filter": [{ "syscall": name }],
    }});
    let compiled = compile_from_json(filter.to_string().as_bytes(), TargetArch::x86_64);
    let compiled = compiled.unwrap_or_else(|error| panic!("{name} is no call: {error}"));
    const EQUAL: u16 = 0x15;
    const X86_64: u32 = 0xc000_003e;
    let compared = compiled["one"].iter().filter(|step| step.code == EQUAL && step.k != X86_64);
    compared.map(|step| step.k).next().unwrap_or_else(|| panic!("{name} has no number"))
}
