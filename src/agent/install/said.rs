//! What was said already, so that a problem that lasts is said once, and again when it comes back.

use std::collections::BTreeSet;

/// What is said of a thing that is looked at over and over.
#[derive(Debug, Default)]
pub struct Said(BTreeSet<(String, String)>);

impl Said {
    /// Takes all that there is to say now about subjects; gives what was not said the last time.
    pub fn news(&mut self, now: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
        let now: BTreeSet<_> = now.into_iter().collect();
        let news = now.difference(&self.0).cloned().collect();
        self.0 = now;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_said_once_and_again_when_it_comes_back() {
        let mut said = Said::default();
        let problem = |text: &str| ("10-a.conf".to_owned(), text.to_owned());
        assert_eq!(said.news([problem("empty")]), [problem("empty")]);
        assert!(said.news([problem("empty")]).is_empty());
        assert_eq!(said.news([problem("empty"), problem("not JSON")]), [problem("not JSON")]);
        assert!(said.news([]).is_empty());
        assert_eq!(said.news([problem("empty")]), [problem("empty")]);
    }
}
