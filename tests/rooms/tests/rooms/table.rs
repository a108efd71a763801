//! Which lie about which message has which test. The messages are read off the sockets' own descriptions, so that a new
//! one has no row and fails here; an empty row fails, and so does a test that is not there.

use std::collections::BTreeSet;
use std::process::Command;

use prost_reflect::DescriptorPool;

mod cannot;
mod rows;

/// What is done about one kind of lie about one message.
#[derive(Debug, Clone, Copy)]
pub enum Cell {
    /// These tests tell the lie.
    Told(&'static [&'static str]),
    /// There is nothing to tell, and why.
    Nothing(&'static str),
}

/// A message, and the four ways of lying about it.
#[derive(Debug)]
pub struct Row {
    pub message: &'static str,
    pub forged: Cell,
    pub replayed: Cell,
    pub withheld: Cell,
    pub reordered: Cell,
}

impl Row {
    fn cells(&self) -> [(&'static str, Cell); 4] {
        [
            ("forged", self.forged),
            ("replayed", self.replayed),
            ("withheld", self.withheld),
            ("reordered", self.reordered),
        ]
    }
}

/// Every message of a socket between rooms, as `Message.field`; what a console says to stewards and a gateway to
/// researchers, by method; the signer's
/// messages and answers; the witness's answer; and what each child hands back.
fn messages() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(api::DESCRIPTORS).unwrap();
    let mut messages = BTreeSet::new();
    for service in pool.services() {
        let internal = service.parent_file().package_name() == "databox.internal.v1";
        for method in service.methods().filter(|_| internal) {
            for message in [method.input(), method.output()] {
                let fields: Vec<_> = message.fields().collect();
                assert!(fields.iter().all(|field| field.containing_oneof().is_some()), "{}", message.name());
                messages.extend(fields.iter().map(|field| format!("{}.{}", message.name(), field.name())));
            }
        }
        if !internal {
            messages.extend(service.methods().map(|method| method.output().name().to_owned()));
        }
    }
    let signer = include_str!("../../../../docs/formats/signer-socket.md");
    let words = signer.lines().filter_map(|line| line.strip_prefix("`{\"")?.split('"').next());
    messages.extend(words.map(|word| format!("signer {word}")));
    messages.insert("witness cosignature".to_owned());
    let children = [
        "job",
        "canonicaliser",
        "judge",
        "comparer",
        "question comparer",
        "evaluation comparer",
        "views",
        "scanner",
        "unbundler",
    ];
    messages.extend(children.map(|child| format!("child {child}")));
    messages
}

/// The tests of this program, as it lists them itself.
fn tests() -> BTreeSet<String> {
    let program = std::env::current_exe().unwrap();
    let listed = Command::new(program).args(["--list", "--format", "terse"]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.strip_suffix(": test")?.to_owned())).collect()
}

#[test]
fn every_message_has_a_row_and_no_row_is_empty_or_names_a_test_that_is_not_there() {
    let tests = tests();
    let rows: Vec<_> = rows::ROWS.iter().map(|row| row.message.to_owned()).collect();
    assert_eq!(rows.len(), rows.iter().collect::<BTreeSet<_>>().len(), "a message has two rows");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), messages(), "messages with rows, and messages");
    let mut told = 0;
    for row in rows::ROWS {
        for (lie, cell) in row.cells() {
            match cell {
                Cell::Told(named) => {
                    told += 1;
                    assert!(!named.is_empty(), "{}, {lie}: empty", row.message);
                    let unknown = named.iter().find(|name| !tests.contains(**name));
                    assert_eq!(unknown, None, "{}, {lie}: no such test", row.message);
                }
                Cell::Nothing(reason) => {
                    assert!(reason.split(' ').count() > 3, "{}, {lie}: why?", row.message);
                }
            }
        }
    }
    println!(
        "{told} pairs of message and lie are told; {} are not, each with its reason",
        4 * rows::ROWS.len() - told
    );
    assert!(told >= 60, "{told}");
    // Each is a test of liars and their honest twins.
    let liars: BTreeSet<&str> = rows::ROWS
        .iter()
        .flat_map(Row::cells)
        .filter_map(|(_, cell)| match cell {
            Cell::Told(named) => Some(named),
            Cell::Nothing(_) => None,
        })
        .flatten()
        .copied()
        .collect();
    println!("{} tests of lying rooms and children", liars.len());
}

#[test]
fn each_cannot_of_rooms_and_children_has_a_test_that_is_there() {
    let tests = tests();
    let who: BTreeSet<_> = cannot::CANNOT.iter().map(|(who, _, _)| *who).collect();
    let all = [
        "gateway",
        "enclave",
        "console",
        "signer",
        "every room",
        "job",
        "canonicaliser",
        "judge",
        "comparer",
        "evaluation comparer",
        "views",
        "scanner",
        "unbundler",
    ];
    assert_eq!(who, BTreeSet::from(all));
    for (who, sentence, named) in cannot::CANNOT {
        assert!(!named.is_empty(), "{who}: {sentence}: no test");
        let unknown = named.iter().find(|name| !tests.contains(**name));
        assert_eq!(unknown, None, "{who}: {sentence}: no such test");
    }
    let used: BTreeSet<&str> = rows::ROWS
        .iter()
        .flat_map(Row::cells)
        .filter_map(|(_, cell)| match cell {
            Cell::Told(named) => Some(named),
            Cell::Nothing(_) => None,
        })
        .chain(cannot::CANNOT.iter().map(|(_, _, named)| *named))
        .flatten()
        .copied()
        .collect();
    let unused: Vec<_> =
        tests.iter().filter(|test| !test.starts_with("table::") && !used.contains(test.as_str())).collect();
    assert_eq!(unused, [""; 0], "tests that stand for nothing in the tables");
}
