//! Turns a list of calls into the kernel's filter language: a search by halves over the numbers of calls, so that a call
//! passes a dozen instructions and not a thousand, and the kernel has less to translate at each launch.

use std::collections::BTreeMap;

/// The last call number that the lists were reviewed against (Linux 6.13). A later one does not exist for the program,
/// so that a C library falls back to an older call; a known but unlisted one is not permitted.
const LAST_REVIEWED: u32 = 466;

/// The x86_64 numbers of calls of the x32 ABI have this bit, and would otherwise pass as unknown numbers.
const X32_BIT: u32 = 0x4000_0000;

/// clone3 and openat2 keep their flags in memory, where no filter can see them.
const HIDDEN_FLAGS: [u32; 2] = [435, 437];

// include/uapi/linux/seccomp.h, include/uapi/linux/audit.h, errno of x86_64.
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const NOT_PERMITTED: u32 = 0x0005_0000 | 1;
const NO_SUCH_CALL: u32 = 0x0005_0000 | 38;
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

// include/uapi/linux/bpf_common.h
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// struct seccomp_data
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// One instruction: code, jumps where it holds and where not, constant.
pub type Step = (u16, u8, u8, u32);

/// What a call may do.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    Allow,
    Refuse,
    /// Allowed if all conditions of one of these hold.
    AnyOf(Vec<Vec<Condition>>),
}

/// A condition on an argument.
#[derive(Clone, PartialEq, Eq)]
pub struct Condition {
    pub argument: u8,
    pub mask: u32,
    pub is: u32,
    /// The upper 32 bits must be 0.
    pub whole: bool,
}

/// The whole filter. A call of another ABI (`int 0x80`, x32) has other numbers, so it could do what the list refuses under
/// the number of something allowed: that program is killed.
pub fn compile(actions: &BTreeMap<u32, Action>) -> Vec<Step> {
    let mut filter = vec![
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        (ANY_BIT, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL),
        (GREATER, 2, 0, LAST_REVIEWED),
        (EQUAL, 1, 0, HIDDEN_FLAGS[0]),
        (EQUAL, 0, 1, HIDDEN_FLAGS[1]),
        (RETURN, 0, 0, NO_SUCH_CALL),
    ];
    filter.extend(search(&parts(actions)));
    filter
}

/// Where the action changes, from number 0 on.
fn parts(actions: &BTreeMap<u32, Action>) -> Vec<(u32, Action)> {
    let mut parts: Vec<(u32, Action)> = Vec::new();
    for number in 0..=LAST_REVIEWED {
        let action = actions.get(&number).cloned().unwrap_or(Action::Refuse);
        if parts.last().is_none_or(|(_, last)| *last != action) {
            parts.push((number, action));
        }
    }
    parts
}

/// Ends in a return on every way. The number stays loaded until an action is reached.
fn search(parts: &[(u32, Action)]) -> Vec<Step> {
    if let [(_, action)] = parts {
        return act(action);
    }
    let (lower, upper) = parts.split_at(parts.len() / 2);
    let (below, above) = (search(lower), search(upper));
    // Jumps that depend on something reach 255 instructions only, this one any.
    let mut steps = vec![(AT_LEAST, 0, 1, upper[0].0), (JUMP, 0, 0, below.len() as u32)];
    steps.extend(below);
    steps.extend(above);
    steps
}

fn act(action: &Action) -> Vec<Step> {
    let rules = match action {
        Action::Allow => return vec![(RETURN, 0, 0, ALLOW)],
        Action::Refuse => return vec![(RETURN, 0, 0, NOT_PERMITTED)],
        Action::AnyOf(rules) => rules,
    };
    let mut steps = Vec::new();
    for rule in rules {
        let words: Vec<Vec<Step>> = rule.iter().flat_map(Condition::words).collect();
        let mut left: usize = words.iter().map(|word| word.len() + 1).sum();
        for (mut word, is) in words.into_iter().zip(rule.iter().flat_map(Condition::values)) {
            left -= word.len() + 1;
            // Past the rest of the rule, and its return.
            let past = u8::try_from(left + 1).expect("a rule of a few conditions");
            word.push((EQUAL, 0, past, is));
            steps.extend(word);
        }
        steps.push((RETURN, 0, 0, ALLOW));
    }
    steps.push((RETURN, 0, 0, NOT_PERMITTED));
    steps
}

impl Condition {
    /// How each half of the argument that counts is loaded.
    fn words(&self) -> Vec<Vec<Step>> {
        let lower = ARGUMENTS + 8 * u32::from(self.argument);
        let mut first = vec![(LOAD, 0, 0, lower)];
        if self.mask != u32::MAX {
            first.push((AND, 0, 0, self.mask));
        }
        let mut words = vec![first];
        if self.whole {
            words.push(vec![(LOAD, 0, 0, lower + 4)]);
        }
        words
    }

    /// What each must be.
    fn values(&self) -> Vec<u32> {
        if self.whole { vec![self.is, 0] } else { vec![self.is] }
    }
}
