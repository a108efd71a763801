use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::super::wheel;
use super::*;

const HEADER: &str = "# via nobody\n";

/// A directory of wheels, and a list that names them.
struct Stage {
    directory: tempfile::TempDir,
    list: String,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("wheels")).unwrap();
        Self { directory, list: HEADER.to_owned() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Lays a wheel of these members down, and names it in the list.
    fn wheel(&mut self, name: &str, members: &[(&str, &str, u32)]) -> PathBuf {
        let path = self.at("wheels").join(name);
        let mut archive = ZipWriter::new(fs::File::create(&path).unwrap());
        for (member, text, mode) in members {
            let options = SimpleFileOptions::default().unix_permissions(*mode);
            if mode & 0o170_000 == 0o120_000 {
                archive.add_symlink(*member, *text, options).unwrap();
            } else {
                archive.start_file(*member, options).unwrap();
                archive.write_all(text.as_bytes()).unwrap();
            }
        }
        archive.finish().unwrap();
        set_modes(&path, members);
        let parsed = WheelName::parse(name).unwrap();
        self.list += &format!(
            "{}=={} \\\n    --hash=sha256:{}\n",
            parsed.package,
            parsed.version,
            wheel::digest(&path).unwrap()
        );
        path
    }

    fn chosen(&self) -> Result<Vec<PathBuf>, &'static str> {
        let wanted = Requirements::parse(&self.list).map_err(|error| error.name())?;
        let chosen = choose(&wanted, &self.at("wheels"), (3, 11)).map_err(|error| error.name())?;
        Ok(chosen.into_iter().map(|(_, path)| path).collect())
    }

    /// What a wheel of this member becomes.
    fn installed(&mut self, members: &[(&str, &str, u32)]) -> Result<PathBuf, &'static str> {
        let path = self.wheel("hostile-1.0-py3-none-any.whl", members);
        let mut tree = Tree::new(self.directory.path()).unwrap();
        for path in ["usr/bin/python3", "usr/lib/python3.11/os.py", "lib/x86_64-linux-gnu/libc.so.6"] {
            tree.file(path, true, &mut &b"the interpreter's"[..]).unwrap();
        }
        let mut needed = Vec::new();
        wheel::install(&path, "usr/lib/python3/dist-packages", &mut tree, &mut needed)
            .map_err(|error| error.name())?;
        let into = self.at("tree");
        tree.write(&into).map_err(|error| error.name())?;
        Ok(into)
    }
}

/// Writes whole modes into the central directory (APPNOTE.TXT, 4.3.12): the library writes no set-user-id bit.
fn set_modes(path: &Path, members: &[(&str, &str, u32)]) {
    const RECORD: [u8; 4] = *b"PK\x01\x02";
    const ATTRIBUTES: usize = 38;
    let mut bytes = fs::read(path).unwrap();
    let records: Vec<usize> = (0..bytes.len() - 4).filter(|at| bytes[*at..*at + 4] == RECORD).collect();
    for (at, (_, _, mode)) in records.into_iter().zip(members).filter(|(_, (_, _, mode))| mode & 0o7000 != 0)
    {
        bytes[at + ATTRIBUTES..at + ATTRIBUTES + 4]
            .copy_from_slice(&((0o100_000 | mode) << 16).to_le_bytes());
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn only_what_the_list_names_by_its_digest_is_taken_and_nothing_of_the_list_is_missing() {
    let mut stage = Stage::new();
    let path =
        stage.wheel("some_package-1.2-py3-none-any.whl", &[("some_package/__init__.py", "x = 1\n", 0o644)]);
    assert_eq!(stage.chosen().unwrap(), std::slice::from_ref(&path));
    stage.list += "windows-only==3.0 ; sys_platform == \"win32\" --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000\n";
    let chosen = stage.chosen().unwrap();
    assert_eq!(chosen, std::slice::from_ref(&path), "what is for other machines may be missing");
    // The bytes of one package under the name of another one that the list has, too.
    let other = stage.wheel("other-2.0-py3-none-any.whl", &[("other.py", "", 0o644)]);
    fs::copy(&path, &other).unwrap();
    assert_eq!(stage.chosen(), Err("WHEEL_DIFFERS"));
    fs::remove_file(&other).unwrap();
    let end = stage.list.find("other==").unwrap();
    stage.list.truncate(end);
    let twice = stage.at("wheels/some_package-1.2-1again-py3-none-any.whl");
    fs::copy(&path, &twice).unwrap();
    assert_eq!(stage.chosen(), Err("WHEEL_TWICE"));
    fs::remove_file(&twice).unwrap();
    let whole = stage.list.clone();
    stage.list +=
        "absent==3.0 --hash=sha256:0000000000000000000000000000000000000000000000000000000000000000\n";
    assert_eq!(stage.chosen(), Err("WHEEL_MISSING"));
    stage.list = whole;
    fs::copy(&path, stage.at("wheels/another-1.0-py3-none-any.whl")).unwrap();
    let mut changed = fs::read(&path).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, changed).unwrap();
    assert_eq!(stage.chosen(), Err("WHEEL_DIFFERS"));
}

#[test]
fn a_wheel_for_another_interpreter_or_machine_is_refused_by_name() {
    let fits = |name: &str| WheelName::parse(name).unwrap().fits((3, 11));
    for name in [
        "a-1.0-py3-none-any.whl",
        "a-1.0-py2.py3-none-any.whl",
        "a-1.0-py37-none-any.whl",
        "a-1.0-py311-none-any.whl",
        "a-1.0-1build-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "a-1.0-cp37-abi3-manylinux2014_x86_64.whl",
        "a-1.0-cp311-none-linux_x86_64.whl",
    ] {
        assert!(fits(name), "{name}");
    }
    for name in [
        "a-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
        "a-1.0-cp311-cp311-manylinux_2_17_aarch64.whl",
        "a-1.0-cp311-cp311-musllinux_1_1_x86_64.whl",
        "a-1.0-cp312-abi3-manylinux2014_x86_64.whl",
        "a-1.0-cp311-cp311-win_amd64.whl",
        "a-1.0-py2-none-any.whl",
        "a-1.0-py27-none-any.whl",
        "a-1.0-py312-none-any.whl",
        "a-1.0-py312-none-linux_x86_64.whl",
    ] {
        assert!(!fits(name), "{name}");
    }
    assert!(WheelName::parse("a-1.0.tar.gz").is_err() && WheelName::parse("a.whl").is_err());
    let mut stage = Stage::new();
    stage.wheel("a-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", &[("a.py", "", 0o644)]);
    assert_eq!(stage.chosen(), Err("WHEEL_TAGS"));
}

#[test]
fn a_list_holds_pinned_packages_with_a_digest_and_nothing_else() {
    let digest = "0".repeat(64);
    let name = |line: &str| {
        Requirements::parse(line).map(|found| found.packages.len()).map_err(|error| error.name())
    };
    assert_eq!(
        name(&format!(
            "a==1.0 --hash=sha256:{digest} --hash=sha256:{digest}\nb[extra]==2 --hash=sha256:{digest}"
        )),
        Ok(2)
    );
    for line in [
        "".to_owned(),
        "a==1.0".to_owned(),
        "a>=1.0 --hash=sha256:".to_owned() + &digest,
        "a --hash=sha256:".to_owned() + &digest,
        format!("a==1.0 --hash=md5:{digest}"),
        format!("a==1.0 --hash=sha256:{}", &digest[1..]),
        "--index-url https://elsewhere.example".to_owned(),
        "-r other.txt".to_owned(),
        format!("a @ https://elsewhere.example/a.whl --hash=sha256:{digest}"),
        format!("../a==1.0 --hash=sha256:{digest}"),
        format!("-rother==1 --hash=sha256:{digest}"),
    ] {
        assert_eq!(name(&line), Err("REQUIREMENT"), "{line}");
    }
}

#[test]
fn members_of_a_wheel_lie_where_packages_lie_and_hostile_ones_are_refused_by_name() {
    let mut stage = Stage::new();
    let tree = stage.installed(&[
        ("some/__init__.py", "x = 1\n", 0o644),
        ("some-1.0.dist-info/METADATA", "Name: some\n", 0o644),
        ("some-1.0.data/purelib/pure.py", "", 0o644),
        ("some-1.0.data/data/share/some/table.csv", "a\n", 0o644),
        ("some-1.0.data/scripts/some", "#!/bin/sh\n", 0o755),
    ]);
    let tree = tree.unwrap();
    let there = |path: &str| tree.join(path).is_file();
    assert!(there("usr/lib/python3/dist-packages/some/__init__.py"));
    assert!(there("usr/lib/python3/dist-packages/pure.py") && there("usr/share/some/table.csv"));
    assert!(!Path::new(&tree).join("usr/lib/python3/dist-packages/some-1.0.data").exists());
    for (member, text, mode, expected) in [
        ("../../../etc/passwd", "x", 0o644, "IMAGE_PATH"),
        ("some/../../x", "x", 0o644, "IMAGE_PATH"),
        ("/etc/passwd", "x", 0o644, "IMAGE_PATH"),
        ("some-1.0.data/data/share/../../../x", "x", 0o644, "IMAGE_PATH"),
        ("some/link", "/etc/shadow", 0o120_777, "IMAGE_DEVICE"),
        ("some/su", "x", 0o4755, "IMAGE_SET_USER_ID"),
        ("some/code.so", "this is no shared object", 0o755, "WHEEL"),
    ] {
        assert_eq!(Stage::new().installed(&[(member, text, mode)]), Err(expected), "{member}");
    }
    let path = stage.at("wheels/torn-1.0-py3-none-any.whl");
    fs::write(&path, "PK\u{3}\u{4}and no more").unwrap();
    let mut tree = Tree::new(stage.directory.path()).unwrap();
    let torn = wheel::install(&path, "usr/lib", &mut tree, &mut Vec::new());
    assert_eq!(torn.unwrap_err().name(), "WHEEL");
}

#[test]
fn no_wheel_replaces_what_is_the_interpreters_or_takes_a_place_before_it() {
    for member in [
        "some-1.0.data/data/lib/python3.11/os.py",
        "some-1.0.data/data/lib/python3.11/sitecustomize.py",
        "some-1.0.data/data/lib/python3/dist-packages/../../python3.11/x.py",
        "some-1.0.data/data/local/bin/python3",
        "some-1.0.data/data/sbin/x",
        "some-1.0.data/data/x",
    ] {
        let refused = Stage::new().installed(&[(member, "x", 0o755)]);
        assert!(matches!(refused, Err("WHEEL_REPLACES" | "IMAGE_PATH")), "{member}: {refused:?}");
    }
    let mut stage = Stage::new();
    let tree = stage.installed(&[
        ("some-1.0.data/data/bin/python3", "x", 0o755),
        ("some-1.0.data/data/lib/libsome.txt", "a library's own", 0o644),
        ("some-1.0.data/data/etc/some.conf", "a", 0o644),
    ]);
    let tree = tree.expect("the innocent twin");
    let text = |path: &str| fs::read_to_string(tree.join(path)).unwrap();
    assert_eq!(text("usr/bin/python3"), "the interpreter's", "programs are left out, as scripts are");
    assert_eq!(text("usr/lib/libsome.txt"), "a library's own");
    assert!(tree.join("usr/etc/some.conf").is_file());
}

#[test]
fn what_a_shared_object_needs_is_read_and_a_library_that_nobody_has_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut tree = Tree::new(directory.path()).unwrap();
    add_libraries(&["libc.so.6".to_owned()], &mut tree).unwrap();
    assert!(tree.has_file_called("libc.so.6"));
    let absent = add_libraries(&["libnobody-has-this.so.1".to_owned()], &mut tree);
    assert_eq!(absent.unwrap_err().name(), "LIBRARY_MISSING");
}

/// A shared object that needs another one by this name.
fn shared_object(directory: &Path, needs: &str) -> Vec<u8> {
    let cc = |arguments: &[&str]| {
        let built =
            Command::new("cc").args(["-shared", "-o"]).args(arguments).current_dir(directory).status();
        assert!(built.expect("a C compiler").success());
    };
    fs::write(directory.join("needed.c"), "int needed(void) { return 1; }\n").unwrap();
    fs::write(directory.join("needs.c"), "int needed(void); int needs(void) { return needed(); }\n").unwrap();
    cc(&["needed.so", "needed.c", &format!("-Wl,-soname,{needs}")]);
    cc(&["needs.so", "needs.c", "./needed.so"]);
    fs::read(directory.join("needs.so")).unwrap()
}

#[test]
fn a_shared_object_that_needs_a_file_of_this_machine_by_its_path_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let read = |needs: &str| wheel::needs(&shared_object(directory.path(), needs));
    let named = read("libsome.so.1").expect("the innocent twin");
    assert!(named.contains(&"libsome.so.1".to_owned()), "{named:?}");
    for path in ["/etc/shadow", "../../etc/shadow", "./x"] {
        assert_eq!(read(path), None, "{path}");
    }
}

#[test]
fn nothing_of_the_directory_that_the_operator_stands_in_is_run() {
    let directory = tempfile::tempdir().unwrap();
    for module in ["pip", "venv", "json", "site"] {
        let text = format!("open({:?}, 'w').write('x')\n", directory.path().join("ran"));
        fs::write(directory.path().join(format!("{module}.py")), text).unwrap();
    }
    fs::write(directory.path().join("list"), format!("a==1.0 --hash=sha256:{}\n", "0".repeat(64))).unwrap();
    let program = std::env::current_exe().unwrap();
    let mut again = Command::new(program);
    again.args(["--exact", "--ignored", "runtime::python::tests::fetches_from_where_it_stands"]);
    let status = again.current_dir(directory.path()).env("PYTHONPATH", directory.path()).status().unwrap();
    assert!(status.success());
    assert!(!directory.path().join("ran").exists());
}

#[test]
#[ignore = "run by the test before it, in a directory of its own"]
fn fetches_from_where_it_stands() {
    let scratch = tempfile::tempdir().unwrap();
    let fetched = fetch(Path::new("/usr/bin/python3"), Path::new("list"), scratch.path());
    assert_eq!(fetched.unwrap_err().name(), "PIP");
}
