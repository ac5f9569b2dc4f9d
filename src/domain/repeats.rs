//! Whose pods are taken off the node over and over: each of them is another pod, so that nothing but their owner, or
//! what its pods' names begin with, tells that it is always the same trouble.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long one counts.
const WINDOW: Duration = Duration::from_secs(30 * 60);
/// So many are over and over.
const OFTEN: usize = 3;
/// No more are remembered.
const MOST: usize = 256;

/// The pods that were taken off lately.
#[derive(Debug, Default)]
pub struct Repeats(VecDeque<(Instant, String)>);

impl Repeats {
    /// A pod was taken off.
    pub fn add(&mut self, namespace: &str, name: &str, now: Instant) {
        // The last part of the name is made up for each pod, or is its number.
        let owner = name.rsplit_once('-').map_or(name, |(owner, _)| owner);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        self.0.push_back((now, format!("{namespace}/{owner}")));
    }

    /// Whose pods were taken off over and over, and how often lately.
    pub fn often(&self, now: Instant) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        let lately = self.0.iter().filter(|(at, _)| now.saturating_duration_since(*at) < WINDOW);
        for (_, owner) in lately {
            *counts.entry(owner.as_str()).or_default() += 1;
        }
        counts.retain(|_, count| *count >= OFTEN);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_of_one_owner_are_counted_together_and_not_for_ever() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        for name in ["web-7d4b-aaaaa", "web-7d4b-bbbbb", "cart-0", "cart-0", "web-7d4b-ccccc"] {
            repeats.add("shop", name, start);
        }
        assert_eq!(repeats.often(start), BTreeMap::from([("shop/web-7d4b", 3)]));
        repeats.add("shop", "cart-0", start + WINDOW);
        assert!(repeats.often(start + WINDOW).is_empty());
    }

    #[test]
    fn no_more_are_remembered_than_fit() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        (0..1000).for_each(|n| repeats.add("shop", &format!("job{n}-x"), now));
        assert_eq!(repeats.0.len(), MOST);
    }
}
