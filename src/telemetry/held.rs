//! How many items this process holds in memory on their way to a collector. It is noted where it
//! outlives the process, so that what a kill takes along is counted by whoever comes next.
//!
//! The note never says less than there is: it is raised before items are taken over, and lowered
//! after they have arrived, are kept elsewhere, or are counted as lost.

use super::keep::Keeper;
use super::story::Lost;
use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The account; clones are handles to the same.
#[derive(Clone)]
pub struct Held(Arc<Account>);

struct Account {
    spans: AtomicU64,
    logs: AtomicU64,
    keeper: Option<Arc<dyn Keeper>>,
    noted: Mutex<Noted>,
}

#[derive(Default)]
struct Noted {
    /// What the note says.
    held: Lost,
    /// Whether it was ever written.
    written: bool,
    /// Whether it could not be written the last time. Until [`Held::retry`] it is not tried again:
    /// whoever holds something may have somebody waiting for an answer.
    failing: bool,
    /// Why it could not be written, since it could be the last time.
    problem: Option<String>,
    /// The process ends; nothing is noted any more.
    closed: bool,
}

/// A part of what is held, until it is dropped.
pub struct Share {
    account: Arc<Account>,
    items: Lost,
    /// Who wants to know when this and all parts of it are gone.
    then: Option<Arc<Then>>,
}

/// Runs once, when the last share that has it is dropped.
struct Then(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Drop for Then {
    fn drop(&mut self) {
        if let Some(then) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            then();
        }
    }
}

impl Held {
    /// Nothing is held yet. Without a keeper there is no note.
    pub fn new(keeper: Option<Arc<dyn Keeper>>) -> Held {
        let noted = Mutex::default();
        Held(Arc::new(Account { spans: AtomicU64::new(0), logs: AtomicU64::new(0), keeper, noted }))
    }

    /// Notes that so many more items are held.
    pub fn hold(&self, items: Lost) -> Share {
        let mut share = Share { account: Arc::clone(&self.0), items: Lost::default(), then: None };
        share.cover(items);
        share
    }

    /// Lowers the note to what is held now. For whoever has just let go of some.
    pub fn settle(&self) {
        self.0.note(|now, noted| now != noted);
    }

    /// Writes the note if there is none yet, or if it could not be written the last time.
    pub fn retry(&self) {
        self.0.write(|_, noted| noted.failing || !noted.written);
    }

    /// Why the note could not be written, if it ever was so; said once.
    pub fn take_problem(&self) -> Option<String> {
        self.0.lock().problem.take()
    }

    /// The process ends in order: without anything that is held there is no note. What is held
    /// even now goes with the process, and stays noted.
    pub fn close(&self) {
        self.settle();
        let mut noted = self.0.lock();
        if !noted.closed && noted.held == Lost::default() {
            self.0.keeper.iter().for_each(|keeper| keeper.end_note());
        }
        noted.closed = true;
    }
}

impl Share {
    /// Sees to it that it has at least so many items.
    pub fn cover(&mut self, items: Lost) {
        let more = Lost {
            spans: items.spans.saturating_sub(self.items.spans),
            logs: items.logs.saturating_sub(self.items.logs),
        };
        if more == Lost::default() {
            return;
        }
        self.account.spans.fetch_add(more.spans, Ordering::AcqRel);
        self.account.logs.fetch_add(more.logs, Ordering::AcqRel);
        self.items.spans += more.spans;
        self.items.logs += more.logs;
        // A note that says enough already is lowered by whoever left it so.
        self.account.note(|now, noted| now.spans > noted.spans || now.logs > noted.logs);
    }

    /// How many items it has.
    pub fn items(&self) -> Lost {
        self.items
    }

    /// Parts with so many of its items; there are as many as have been covered.
    pub fn split(&mut self, items: Lost) -> Share {
        let part = Lost { spans: items.spans.min(self.items.spans), logs: items.logs.min(self.items.logs) };
        self.items.spans -= part.spans;
        self.items.logs -= part.logs;
        Share { account: Arc::clone(&self.account), items: part, then: self.then.clone() }
    }

    /// Has this run when the share and all that is split off from now on are gone: their items have arrived, are kept
    /// elsewhere, or are lost and counted. It may run on any thread, and must not wait.
    pub fn then(&mut self, run: impl FnOnce() + Send + 'static) {
        self.then = Some(Arc::new(Then(Mutex::new(Some(Box::new(run))))));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.account.spans.fetch_sub(self.items.spans, Ordering::AcqRel);
        self.account.logs.fetch_sub(self.items.logs, Ordering::AcqRel);
    }
}

impl Debug for Share {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Share({:?})", self.items)
    }
}

impl Account {
    /// Writes the note if it should say something else. Under its lock, so that of two writers the
    /// later one has seen what the earlier one has.
    fn note(&self, is_wrong: impl FnOnce(Lost, Lost) -> bool) {
        self.write(|now, noted| !noted.failing && is_wrong(now, noted.held));
    }

    fn write(&self, is_due: impl FnOnce(Lost, &Noted) -> bool) {
        let Some(keeper) = &self.keeper else { return };
        let mut noted = self.lock();
        let now = Lost { spans: self.spans.load(Ordering::Acquire), logs: self.logs.load(Ordering::Acquire) };
        if noted.closed || !is_due(now, &noted) {
            return;
        }
        match keeper.note(now) {
            Ok(()) => (noted.held, noted.written, noted.failing) = (now, true, false),
            Err(error) => {
                if !std::mem::replace(&mut noted.failing, true) {
                    noted.problem = Some(error.to_string());
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keep::Kept;
    use super::*;
    use std::io;

    #[test]
    fn whoever_waits_for_a_share_hears_when_all_parts_of_it_are_gone() {
        let (tell, told) = std::sync::mpsc::channel();
        let mut share = Held::new(None).hold(Lost { spans: 2, logs: 0 });
        share.then(move || tell.send(()).unwrap());
        let one = share.split(Lost { spans: 1, logs: 0 });
        drop(share);
        assert!(told.try_recv().is_err(), "one is under way still");
        drop(one);
        assert!(told.try_recv().is_ok());
    }

    /// Remembers each note; `None` is its end.
    #[derive(Default)]
    struct Notes(Mutex<Vec<Option<(u64, u64)>>>);

    /// Counts the tries to write a note, which fail while it is told so.
    #[derive(Default)]
    struct Fails(Mutex<(usize, bool)>);

    impl Keeper for Fails {
        fn keep(&self, _: &[u8], _: Lost) -> Kept {
            Kept::Lost
        }
        fn note(&self, _: Lost) -> io::Result<()> {
            let mut tries = self.0.lock().unwrap();
            tries.0 += 1;
            if tries.1 { Err(io::Error::other("no room")) } else { Ok(()) }
        }
        fn end_note(&self) {}
    }

    #[test]
    fn a_note_that_cannot_be_written_is_tried_again_by_nobody_who_is_waited_for() {
        let fails = Arc::new(Fails(Mutex::new((0, true))));
        let held = Held::new(Some(fails.clone()));
        let tries = || fails.0.lock().unwrap().0;
        let shares: Vec<Share> = (0..10).map(|_| held.hold(items(1, 1))).collect();
        held.settle();
        assert_eq!((tries(), held.take_problem().as_deref()), (1, Some("no room")));
        held.retry();
        assert_eq!((tries(), held.take_problem()), (2, None), "it was said already");
        fails.0.lock().unwrap().1 = false;
        held.retry();
        held.retry();
        assert_eq!(tries(), 3);
        let _more = held.hold(items(1, 0));
        assert_eq!(tries(), 4);
        fails.0.lock().unwrap().1 = true;
        drop(shares);
        held.settle();
        assert_eq!(held.take_problem().as_deref(), Some("no room"), "it was in order meanwhile");
    }

    #[test]
    fn the_first_note_is_written_before_anything_is_held() {
        let (held, notes) = held();
        held.retry();
        held.retry();
        assert_eq!(notes(), [Some((0, 0))]);
    }

    impl Keeper for Notes {
        fn keep(&self, _: &[u8], _: Lost) -> Kept {
            Kept::Lost
        }
        fn note(&self, held: Lost) -> io::Result<()> {
            self.0.lock().unwrap().push(Some((held.spans, held.logs)));
            Ok(())
        }
        fn end_note(&self) {
            self.0.lock().unwrap().push(None);
        }
    }

    const fn items(spans: u64, logs: u64) -> Lost {
        Lost { spans, logs }
    }

    fn held() -> (Held, impl Fn() -> Vec<Option<(u64, u64)>>) {
        let notes = Arc::new(Notes::default());
        (Held::new(Some(notes.clone())), move || std::mem::take(&mut *notes.0.lock().unwrap()))
    }

    #[test]
    fn what_is_held_is_noted_at_once_and_what_is_let_go_when_it_is_settled() {
        let (held, notes) = held();
        let mut first = held.hold(items(3, 2));
        let second = held.hold(items(1, 0));
        assert_eq!(notes(), [Some((3, 2)), Some((4, 2))]);
        let part = first.split(items(1, 1));
        drop(first);
        drop(second);
        assert_eq!(notes(), []);
        held.settle();
        held.settle();
        assert_eq!(notes(), [Some((1, 1))]);
        drop(part);
        held.settle();
        assert_eq!(notes(), [Some((0, 0))]);
    }

    #[test]
    fn a_note_that_says_enough_is_left_as_it_is() {
        let (held, notes) = held();
        drop(held.hold(items(3, 3)));
        let _two = held.hold(items(2, 2));
        assert_eq!(notes(), [Some((3, 3))]);
        let mut share = held.hold(items(0, 0));
        assert_eq!(notes(), []);
        share.cover(items(1, 2));
        share.cover(items(1, 1));
        assert_eq!((notes(), share.items()), (vec![Some((3, 4))], items(1, 2)));
    }

    #[test]
    fn there_is_no_more_in_a_part_than_in_the_whole() {
        let (held, _) = held();
        let mut whole = held.hold(items(1, 1));
        assert_eq!(whole.split(items(2, 0)).items(), items(1, 0));
        assert_eq!(whole.items(), items(0, 1));
    }

    #[test]
    fn the_note_ends_with_the_process_unless_something_is_held() {
        let (held, notes) = held();
        drop(held.hold(items(1, 0)));
        held.close();
        assert_eq!(notes(), [Some((1, 0)), Some((0, 0)), None]);
        let _late = held.hold(items(1, 0));
        held.close();
        assert_eq!(notes(), []);
        let (held, notes) = self::held();
        let _left = held.hold(items(1, 0));
        held.close();
        assert_eq!(notes(), [Some((1, 0))]);
    }
}
