//! Writes the vectors and the examples of `docs/formats` anew.

fn main() -> std::io::Result<()> {
    let directory = test_formats::vector::directory();
    for entry in std::fs::read_dir(&directory)? {
        std::fs::remove_file(entry?.path())?;
    }
    for defect in test_formats::defects::all() {
        std::fs::write(directory.join(format!("{}.vector", defect.name)), defect.vector().to_bytes())?;
    }
    test_formats::documents::write()
}
