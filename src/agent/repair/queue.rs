//! The pods that are to be looked at: each once, however often it is heard of, and bounded. Whoever
//! hears of a pod only puts its name in; nothing here waits.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// More pods than this at once are not remembered by name: a node has a tenth of them at the most.
const MOST: usize = 4096;

/// One pod of all that had its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    /// By UID.
    pods: HashMap<String, Entry>,
    /// Counts what was put in, for the order.
    count: u64,
    /// There was no room for somebody.
    missed: bool,
}

#[derive(Debug)]
struct Entry {
    key: Key,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ready {
        turn: u64,
    },
    /// Somebody works on it; whether there was news meanwhile, and whether it is gone or well again.
    Busy {
        news: bool,
        over: bool,
    },
    /// Waits until then, or, if it is prompt, until there is news.
    Later {
        due: Instant,
        prompt: bool,
    },
}

/// What happens to a pod after it was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing until there is news of it.
    Done,
    /// It is looked at again after this time; if it is prompt, as soon as there is news.
    Again { pause: Duration, prompt: bool },
}

impl Queue {
    /// Puts a pod in. One that waits for its next attempt goes on waiting, unless it waits for news.
    pub fn offer(&mut self, key: Key) {
        self.count += 1;
        let ready = Place::Ready { turn: self.count };
        let full = self.pods.len() >= MOST;
        match self.pods.get_mut(&key.uid) {
            Some(entry) => match &mut entry.place {
                Place::Busy { news, .. } => *news = true,
                Place::Later { prompt: true, .. } => entry.place = ready,
                Place::Later { .. } | Place::Ready { .. } => {}
            },
            None if full => self.missed = true,
            None => _ = self.pods.insert(key.uid.clone(), Entry { key, place: ready }),
        }
    }

    /// The pod is gone or well again: there is no point in waiting for its next attempt any longer.
    /// False when it is not here.
    pub fn hurry(&mut self, uid: &str) -> bool {
        self.count += 1;
        let Some(entry) = self.pods.get_mut(uid) else { return false };
        match &mut entry.place {
            Place::Later { .. } => entry.place = Place::Ready { turn: self.count },
            Place::Busy { over, .. } => *over = true,
            Place::Ready { .. } => {}
        }
        true
    }

    /// Takes the next pod out to be worked on, or says when there is one, if ever.
    pub fn next(&mut self, now: Instant) -> Result<Key, Option<Instant>> {
        // What is due is as good as ready, and has waited longer.
        let turn = |place: Place| match place {
            Place::Later { due, .. } if due <= now => Some(0),
            Place::Ready { turn } => Some(turn),
            _ => None,
        };
        let next = self.pods.values_mut().filter_map(|entry| Some((turn(entry.place)?, entry)));
        if let Some((_, entry)) = next.min_by_key(|(turn, _)| *turn) {
            entry.place = Place::Busy { news: false, over: false };
            return Ok(entry.key.clone());
        }
        let due = |entry: &Entry| match entry.place {
            Place::Later { due, .. } => Some(due),
            _ => None,
        };
        Err(self.pods.values().filter_map(due).min())
    }

    /// Puts a pod back that was worked on.
    pub fn back(&mut self, key: &Key, after: After, now: Instant) {
        let Some(entry) = self.pods.get_mut(&key.uid) else { return };
        let (news, over) = match entry.place {
            Place::Busy { news, over } => (news, over),
            _ => (false, false),
        };
        self.count += 1;
        let ready = Place::Ready { turn: self.count };
        match after {
            After::Done if news => entry.place = ready,
            After::Done => _ = self.pods.remove(&key.uid),
            After::Again { prompt: true, .. } if news => entry.place = ready,
            After::Again { .. } if over => entry.place = ready,
            After::Again { pause, prompt } => entry.place = Place::Later { due: now + pause, prompt },
        }
    }

    /// Whether somebody found no room since this was asked last, and there is room by now.
    pub fn missed(&mut self) -> bool {
        self.pods.len() < MOST / 2 && std::mem::take(&mut self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(uid: &str) -> Key {
        Key { namespace: "shop".into(), name: format!("pod-{uid}"), uid: uid.into() }
    }

    fn taken(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.next(now).ok().map(|key| key.uid)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_pod_is_there_once_in_its_turn_and_worked_on_by_one() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        ["a", "b", "a", "c", "a"].into_iter().for_each(|uid| queue.offer(key(uid)));
        assert_eq!([0; 3].map(|_| taken(&mut queue, now).unwrap()), ["a", "b", "c"]);
        assert_eq!(queue.next(now), Err(None), "all are being worked on");
        queue.back(&key("b"), After::Done, now);
        assert_eq!(queue.next(now), Err(None), "there is no news of it");
        queue.offer(key("b"));
        assert_eq!(taken(&mut queue, now).as_deref(), Some("b"));
    }

    #[test]
    fn news_during_the_work_is_not_lost() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.offer(key("a"));
        queue.next(now).unwrap();
        queue.offer(key("a"));
        assert_eq!(queue.next(now), Err(None));
        queue.back(&key("a"), After::Done, now);
        assert_eq!(taken(&mut queue, now).as_deref(), Some("a"));
    }

    #[test]
    fn a_pod_that_waits_is_not_hurried_unless_it_waits_for_news() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        ["slow", "prompt", "gone"].into_iter().for_each(|uid| queue.offer(key(uid)));
        for prompt in [false, true, false] {
            let key = queue.next(now).unwrap();
            queue.back(&key, After::Again { pause: SECOND, prompt }, now);
        }
        assert_eq!(queue.next(now), Err(Some(now + SECOND)));
        ["slow", "prompt"].into_iter().for_each(|uid| queue.offer(key(uid)));
        assert_eq!(taken(&mut queue, now).as_deref(), Some("prompt"));
        assert!(queue.hurry("gone") && !queue.hurry("never here"));
        assert_eq!(taken(&mut queue, now).as_deref(), Some("gone"));
        assert_eq!(queue.next(now), Err(Some(now + SECOND)));
        assert_eq!(taken(&mut queue, now + SECOND).as_deref(), Some("slow"));
    }

    #[test]
    fn news_during_the_work_ends_a_prompt_wait_and_no_other() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (uid, prompt, next) in [("a", true, Some("a")), ("b", false, None)] {
            queue.offer(key(uid));
            queue.next(now).unwrap();
            queue.offer(key(uid));
            queue.back(&key(uid), After::Again { pause: SECOND, prompt }, now);
            assert_eq!(taken(&mut queue, now).as_deref(), next);
        }
    }

    #[test]
    fn a_pod_that_goes_or_recovers_during_the_work_does_not_wait_for_another_attempt() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for prompt in [false, true] {
            queue.offer(key("a"));
            queue.next(now).unwrap();
            assert!(queue.hurry("a"));
            queue.back(&key("a"), After::Again { pause: SECOND, prompt }, now);
            assert_eq!(taken(&mut queue, now).as_deref(), Some("a"));
            assert!(queue.hurry("a"));
            queue.back(&key("a"), After::Done, now);
            assert_eq!(queue.next(now), Err(None), "there is nothing more to be done about it");
            assert!(!queue.hurry("a"));
        }
    }

    #[test]
    fn it_is_bounded_and_knows_that_somebody_was_missed() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        (0..MOST).for_each(|number| queue.offer(key(&number.to_string())));
        assert!(!queue.missed());
        queue.offer(key("more"));
        assert_eq!(queue.pods.len(), MOST);
        assert!(!queue.missed(), "there is no room yet");
        while let Ok(key) = queue.next(now) {
            queue.back(&key, After::Done, now);
        }
        assert!(queue.missed() && !queue.missed());
    }
}
