//! `databox-launch`: builds the wall around one program and stays outside until the program's last process is dead.
//! What it does, step by step, is in `helper`.

mod calls;
mod first;
mod landlock;
mod layers;
mod sources;
mod supervisor;
mod system;
mod tree;

fn main() {
    supervisor::run();
}
