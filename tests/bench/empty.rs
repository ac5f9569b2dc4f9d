//! The empty program: what starting a process costs, whatever it does.

fn main() {}
