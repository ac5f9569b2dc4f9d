//! The spool in a directory of its own.

use super::*;
use std::fs::File;

fn spool() -> (tempfile::TempDir, Spool) {
    let directory = tempfile::tempdir().unwrap();
    let spool = Spool::in_run_dir(&directory.path().join("not/there/yet"));
    (directory, spool)
}

const SOME: Lost = Lost { spans: 2, logs: 3 };

#[test]
fn what_is_left_waits_in_its_order_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, spool) = spool();
    assert_eq!(spool.waiting().unwrap(), []);
    for text in ["one", "two", "three"] {
        spool.leave(text.as_bytes(), SOME).unwrap();
    }
    let waiting = spool.waiting().unwrap();
    let texts: Vec<String> = waiting.iter().map(|file| std::fs::read_to_string(&file.path).unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    assert_eq!(waiting[2].bytes, 5);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&spool.directory), mode(&waiting[0].path)), (0o700, 0o600));
    assert_eq!(spool.take_lost().unwrap(), Lost::default());
}

#[test]
fn a_full_spool_takes_no_more_and_counts_it() {
    let (_directory, spool) = spool();
    spool.leave(b"x", SOME).unwrap();
    for number in 0..BOUNDS.files {
        std::fs::write(spool.directory.join(format!("{number}{WHOLE}")), "").unwrap();
    }
    assert!(matches!(spool.leave(b"y", SOME), Err(SpoolError::Full { .. })));
    assert!(spool.leave(b"y", SOME).unwrap_err().to_string().contains("is full"));
    assert_eq!(spool.waiting().unwrap().len(), BOUNDS.files + 1);
    assert_eq!(spool.take_lost().unwrap(), Lost { spans: 4, logs: 6 });
    assert_eq!(spool.take_lost().unwrap(), Lost::default());
}

#[test]
fn a_spool_full_of_bytes_takes_no_more() {
    let (_directory, spool) = spool();
    spool.leave(&vec![0; 15 << 20], SOME).unwrap();
    assert!(matches!(spool.leave(&vec![0; 2 << 20], SOME), Err(SpoolError::Full { .. })));
    spool.leave(&vec![0; 1 << 19], SOME).unwrap();
}

#[test]
fn an_agent_puts_back_to_one_half_so_that_plugins_find_room() {
    let (_directory, spool) = spool();
    spool.put_back(&vec![0; 7 << 20]).unwrap();
    assert!(matches!(spool.put_back(&vec![0; 2 << 20]), Err(SpoolError::Full { .. })));
    assert_eq!(spool.take_lost().unwrap(), Lost::default(), "its caller knows what it is");
    spool.leave(&vec![0; 2 << 20], SOME).unwrap();
    let told: Vec<bool> = spool.waiting().unwrap().iter().map(|file| file.told).collect();
    assert_eq!(told, [true, false]);
    spool.add_lost(SOME).unwrap();
    spool.add_lost(SOME).unwrap();
    assert_eq!(spool.take_lost().unwrap(), Lost { spans: 4, logs: 6 });
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_and_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(DIRECTORY), "a file").unwrap();
    let spool = Spool::in_run_dir(directory.path());
    assert!(matches!(spool.leave(b"x", SOME), Err(SpoolError::Io { .. })));
}

#[test]
fn notes_of_what_is_held_are_no_telemetry_and_take_no_room() {
    let (_directory, spool) = spool();
    let held = spool.make_held().unwrap();
    std::fs::write(spool.directory.join("1.held"), vec![0; 16 << 20]).unwrap();
    std::fs::write(spool.directory.join(format!("{UNFINISHED}2.held")), "torn").unwrap();
    spool.put_back(b"x").unwrap();
    assert_eq!(spool.waiting().unwrap().len(), 1);
    assert_eq!(spool.held().unwrap().len(), 2, "the one that was made, and the other one");
    held.remove().unwrap();
    assert_eq!(spool.held().unwrap(), [spool.directory.join("1.held")]);
}

#[test]
fn there_are_so_many_notes_and_no_more() {
    let (_directory, spool) = spool();
    let notes: Vec<HeldFile> = (0..MOST_HELD).map(|_| spool.make_held().unwrap()).collect();
    assert!(spool.make_held().unwrap_err().to_string().contains("64 such files"));
    drop(notes);
    assert!(spool.make_held().is_err(), "those of the dead are to be taken first");
    for path in spool.held().unwrap() {
        crate::host::held_file::claim(&path).unwrap().unwrap().remove().unwrap();
    }
    spool.make_held().unwrap();
}

#[test]
fn writers_at_once_lose_nothing_and_count_right() {
    let (_directory, spool) = spool();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..16).for_each(|_| spool.leave(b"x", SOME).map_or_else(|error| panic!("{error}"), drop)));
        }
    });
    assert_eq!(spool.waiting().unwrap().len(), 8 * 16);
}

#[test]
fn what_a_killed_writer_left_goes_once_it_is_old() {
    let (_directory, spool) = spool();
    spool.leave(b"x", SOME).unwrap();
    let old = spool.directory.join(format!("{UNFINISHED}1"));
    let young = spool.directory.join(format!("{UNFINISHED}2"));
    std::fs::write(&young, "torn").unwrap();
    let file = File::create(&old).unwrap();
    file.set_modified(SystemTime::now() - STALE - Duration::from_secs(5)).unwrap();
    assert_eq!(spool.waiting().unwrap().len(), 1);
    assert_eq!((old.exists(), young.exists()), (false, true));
}
