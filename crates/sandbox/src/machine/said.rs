//! What the machine says over its serial line: one message of fixed size before the program begins, and one at its end.
//!
//! The first comes from a machine in which only our own bytes have run. The second may be the program's, should it have
//! taken its kernel over; so it has a size, two numbers and one of a few outcomes, and is taken or not, never interpreted.

use crate::evidence::{LayerName, Outcome, State};

/// Of each message.
const BYTES: usize = 256;

const NAME: usize = 16;
const STANDS: &[u8; NAME] = b"databox stands 1";
const FAILED: &[u8; NAME] = b"databox failed 1";
const ENDED: &[u8; NAME] = b"databox ended 1\n";

/// The length of a kernel's name or a reason, at most.
const TEXT: usize = 64;

/// Words of an emulator that did not start, for whoever looks after the machine.
const WORDS: usize = 600;

/// All that a machine may say, before the emulator counts as gone mad: both messages, and warnings before the first.
pub const MOST: u64 = 16 << 10;

/// Every outcome of a program, by its number on the line.
const OUTCOMES: [Outcome; 10] = [
    Outcome::Succeeded,
    Outcome::Failed,
    Outcome::NotExecutable,
    Outcome::TimeLimit,
    Outcome::CpuLimit,
    Outcome::MemoryLimit,
    Outcome::ProcessLimit,
    Outcome::FileLimit,
    Outcome::SpaceLimit,
    Outcome::OutputLimit,
];

/// The wall in the machine, tried by a program of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// The state of each layer, in the order of [`LayerName::ALL`].
    pub layers: Vec<State>,
    /// The release of its kernel.
    pub kernel: String,
}

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How, in the words of every wall.
    pub outcome: Outcome,
    /// The exit code, if it ended by itself.
    pub code: Option<u8>,
    /// The most memory that any of its processes held.
    pub peak_bytes: Option<u64>,
}

/// What was heard of a machine that is off.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// It did not come up; the words say why, as far as it could.
    Nothing(String),
    /// The wall stood, and the program may have run. Without an end: it took its kernel along.
    Stood(Stands, Option<End>),
}

/// The message that the wall stands.
pub fn stands(stands: &Stands) -> Vec<u8> {
    let state = |state: &State| match state {
        State::On => 0,
        State::Off => 1,
        State::Absent => 2,
    };
    let mut message = STANDS.to_vec();
    message.extend(stands.layers.iter().map(state));
    message.extend(stands.kernel.bytes().take(TEXT));
    filled(message)
}

/// The message that it does not, and why.
pub fn failed(reason: &str) -> Vec<u8> {
    filled([FAILED, &reason.as_bytes()[..reason.len().min(BYTES - NAME)]].concat())
}

/// The message of the end.
pub fn ended(end: &End) -> Vec<u8> {
    let number = OUTCOMES.iter().position(|outcome| *outcome == end.outcome);
    // What only the outside can bring about, such as a cancel, is told there.
    let number = number.unwrap_or(1) as u8;
    let mut message = ENDED.to_vec();
    message.push(number);
    message.extend(end.code.map_or(u16::MAX, u16::from).to_le_bytes());
    message.extend(end.peak_bytes.unwrap_or(u64::MAX).to_le_bytes());
    filled(message)
}

fn filled(mut message: Vec<u8>) -> Vec<u8> {
    message.resize(BYTES, 0);
    message
}

/// Looks through all that a machine said. What comes before the first message is the emulator's, of whose words none
/// begins like a message.
pub fn hear(said: &[u8]) -> Heard {
    let begins = |name: &[u8; NAME]| said.windows(NAME).position(|window| window == name);
    if let Some(stands) = begins(STANDS).and_then(|at| said.get(at..at + BYTES)).and_then(read_stands) {
        let after = begins(STANDS).map_or(said.len(), |at| at + BYTES);
        return Heard::Stood(stands, said.get(after..after + BYTES).and_then(read_end));
    }
    let told = begins(FAILED).map(|at| &said[at + NAME..]);
    Heard::Nothing(printable(told.unwrap_or(said)))
}

fn read_stands(message: &[u8]) -> Option<Stands> {
    let (states, kernel) = message[NAME..].split_at(LayerName::ALL.len());
    let state = |byte: &u8| match byte {
        0 => Some(State::On),
        1 => Some(State::Off),
        2 => Some(State::Absent),
        _ => None,
    };
    Some(Stands { layers: states.iter().map(state).collect::<Option<_>>()?, kernel: printable(kernel) })
}

fn read_end(message: &[u8]) -> Option<End> {
    let rest = message.strip_prefix(ENDED)?;
    let (number, rest) = rest.split_first()?;
    let (code, rest) = rest.split_first_chunk()?;
    let (peak, rest) = rest.split_first_chunk()?;
    if rest.iter().any(|byte| *byte != 0) {
        return None;
    }
    let code = match u16::from_le_bytes(*code) {
        u16::MAX => None,
        code => Some(u8::try_from(code).ok()?),
    };
    let peak = u64::from_le_bytes(*peak);
    let peak_bytes = (peak != u64::MAX).then_some(peak);
    Some(End { outcome: *OUTCOMES.get(usize::from(*number))?, code, peak_bytes })
}

fn printable(bytes: &[u8]) -> String {
    let graphic = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
    let text = bytes.iter().map(|byte| if graphic(byte) { char::from(*byte) } else { ' ' });
    let text: String = text.take(WORDS).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stood() -> Stands {
        let layers = (0..LayerName::ALL.len()).map(|n| [State::On, State::Off, State::Absent][n % 3]);
        Stands { layers: layers.collect(), kernel: "6.1.0-57-cloud-amd64".into() }
    }

    const END: End = End { outcome: Outcome::Failed, code: Some(3), peak_bytes: Some(1 << 40) };

    #[test]
    fn what_a_machine_says_is_heard_behind_whatever_its_emulator_said_before() {
        let warning = b"qemu-system-x86_64: warning: a feature is not there\n".to_vec();
        let said = [warning.clone(), stands(&stood()), ended(&END)].concat();
        assert_eq!(hear(&said), Heard::Stood(stood(), Some(END)));
        for end in [End { outcome: Outcome::Succeeded, code: None, peak_bytes: None }, END] {
            assert_eq!(hear(&[stands(&stood()), ended(&end)].concat()), Heard::Stood(stood(), Some(end)));
        }
        let words = "no device for disk 3";
        assert_eq!(hear(&failed(words)), Heard::Nothing(words.into()));
        assert_eq!(hear(b"qemu: no\x1b such file\n"), Heard::Nothing("qemu: no such file".into()));
    }

    #[test]
    fn every_outcome_is_told_but_a_cancel_which_only_the_outside_knows() {
        use Outcome::{
            Cancelled, CpuLimit, Failed, FileLimit, MemoryLimit, NotExecutable, OutputLimit, ProcessLimit,
            SpaceLimit, Succeeded, TimeLimit,
        };
        let told = |outcome| match hear(&[stands(&stood()), ended(&End { outcome, ..END })].concat()) {
            Heard::Stood(_, Some(end)) => end.outcome,
            other => panic!("{other:?}"),
        };
        let of_a_program = [
            Succeeded,
            Failed,
            NotExecutable,
            TimeLimit,
            CpuLimit,
            MemoryLimit,
            ProcessLimit,
            FileLimit,
            SpaceLimit,
            OutputLimit,
        ];
        assert_eq!(of_a_program.map(told), of_a_program);
        assert_eq!(told(Cancelled), Failed);
    }

    #[test]
    fn an_end_that_is_not_of_the_form_is_none_and_layers_are_told_once() {
        let first = stands(&stood());
        let with = |end: Vec<u8>| hear(&[first.clone(), end].concat());
        let none = Heard::Stood(stood(), None);
        assert_eq!(hear(&first), none);
        assert_eq!(with(ended(&END)[..BYTES - 1].to_vec()), none, "cut");
        for (place, byte) in [(NAME, 10), (NAME + 2, 1), (BYTES - 1, 1), (0, b'x')] {
            let mut end = ended(&END);
            end[place] = byte;
            assert_eq!(with(end), none, "byte {place}");
        }
        // A program that took its kernel over says that everything stood.
        let mut lie = stood();
        lie.layers.fill(State::On);
        assert_eq!(with(stands(&lie)), none);
    }
}
