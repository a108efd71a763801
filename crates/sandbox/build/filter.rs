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
    let mut search = Search::default();
    let begin = search.through(&parts(actions));
    assert!(matches!(begin, Way::Compare(0)), "a list that allows something");
    filter.extend(search.steps());
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

/// Where a comparison leads.
#[derive(Clone, Copy)]
enum Way {
    Compare(usize),
    Allow,
    Refuse,
    /// To the conditions of this number.
    Conditions(usize),
}

/// One comparison of the search: calls from this number on, and those below it.
struct Compare {
    number: u32,
    from: Way,
    below: Way,
}

/// The search, and the different conditions that it leads to. The number stays loaded until one of them is reached.
#[derive(Default)]
struct Search {
    compares: Vec<Compare>,
    conditions: Vec<Vec<Vec<Condition>>>,
}

impl Search {
    fn through(&mut self, parts: &[(u32, Action)]) -> Way {
        if let [(_, action)] = parts {
            return self.to(action);
        }
        let (lower, upper) = parts.split_at(parts.len() / 2);
        let place = self.compares.len();
        self.compares.push(Compare { number: upper[0].0, from: Way::Refuse, below: Way::Refuse });
        self.compares[place].below = self.through(lower);
        self.compares[place].from = self.through(upper);
        Way::Compare(place)
    }

    fn to(&mut self, action: &Action) -> Way {
        let rules = match action {
            Action::Allow => return Way::Allow,
            Action::Refuse => return Way::Refuse,
            Action::AnyOf(rules) => rules,
        };
        let known = self.conditions.iter().position(|held| held == rules);
        Way::Conditions(known.unwrap_or_else(|| {
            self.conditions.push(rules.clone());
            self.conditions.len() - 1
        }))
    }

    /// The comparisons, what they allow and refuse, and the conditions, the longest last: a jump reaches 255 steps.
    fn steps(self) -> Vec<Step> {
        let mut conditions: Vec<(usize, Vec<Step>)> =
            self.conditions.iter().map(|rules| any_of(rules)).enumerate().collect();
        conditions.sort_by_key(|(_, steps)| steps.len());
        let allow = self.compares.len();
        let mut begins = vec![0; conditions.len()];
        let mut next = allow + 2;
        for (number, steps) in &conditions {
            begins[*number] = next;
            next += steps.len();
        }
        let jump = |place: usize, way: Way| {
            let to = match way {
                Way::Compare(other) => other,
                Way::Allow => allow,
                Way::Refuse => allow + 1,
                Way::Conditions(number) => begins[number],
            };
            u8::try_from(to - place - 1).expect("a list that jumps span")
        };
        let compares = self.compares.iter().enumerate();
        let mut steps: Vec<Step> = compares
            .map(|(place, one)| (AT_LEAST, jump(place, one.from), jump(place, one.below), one.number))
            .collect();
        steps.extend([(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, NOT_PERMITTED)]);
        steps.extend(conditions.into_iter().flat_map(|(_, steps)| steps));
        steps
    }
}

/// Allowed if one of the rules holds. Ends in a return on every way.
fn any_of(rules: &[Vec<Condition>]) -> Vec<Step> {
    let mut steps = Vec::new();
    // Rules of one condition each, on the same bits of the same argument, need it loaded once.
    for together in
        rules.chunk_by(|one, next| matches!((&one[..], &next[..]), ([one], [next]) if one.same_bits(next)))
    {
        match together {
            [rule] => steps.extend(all_of(rule)),
            several => {
                steps.extend(several[0][0].words().remove(0));
                let values = several.iter().map(|rule| rule[0].is);
                let left = (0..several.len()).rev();
                steps.extend(values.zip(left).map(|(is, left)| {
                    let to_return = u8::try_from(left).expect("a rule of a few values");
                    (EQUAL, to_return, u8::from(left == 0), is)
                }));
                steps.push((RETURN, 0, 0, ALLOW));
            }
        }
    }
    steps.push((RETURN, 0, 0, NOT_PERMITTED));
    steps
}

/// Returns if all conditions hold, and else goes on behind.
fn all_of(rule: &[Condition]) -> Vec<Step> {
    let mut steps = Vec::new();
    let words: Vec<Vec<Step>> = rule.iter().flat_map(Condition::words).collect();
    let mut left: usize = words.iter().map(|word| word.len() + 1).sum();
    for (word, is) in words.into_iter().zip(rule.iter().flat_map(Condition::values)) {
        left -= word.len() + 1;
        // Past the rest of the rule, and its return.
        let past = u8::try_from(left + 1).expect("a rule of a few conditions");
        steps.extend(word);
        steps.push((EQUAL, 0, past, is));
    }
    steps.push((RETURN, 0, 0, ALLOW));
    steps
}

impl Condition {
    fn same_bits(&self, other: &Self) -> bool {
        !self.whole && !other.whole && (self.argument, self.mask) == (other.argument, other.mask)
    }

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
