//! How the allocator keeps memory. A thread per request would give glibc a reason for an arena per
//! core and more, each of which keeps what it once had.

use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};

/// Few arenas, and freed memory goes back early. To be called before there are threads.
pub fn frugal() {
    const ARENAS: i32 = 2;
    const KEPT: i32 = 256 << 10;
    for (parameter, value) in [(M_ARENA_MAX, ARENAS), (M_TRIM_THRESHOLD, KEPT), (M_MMAP_THRESHOLD, KEPT)] {
        // SAFETY: mallopt(3) only sets numbers of the allocator; no pointer is involved. A value
        // that it does not take leaves the default.
        let _ = unsafe { mallopt(parameter, value) };
    }
}
