//! A list that has its bound, and how much it lost to it.

/// The first of a list and its newest, and how many between them are left out.
pub struct Few<T> {
    pub items: Vec<T>,
    pub left_out: u64,
}

impl<T> Few<T> {
    /// At most so many of them, which are in the order of time; of the first ones, which are fewer, all.
    pub fn of(mut items: Vec<T>, most: usize, first: usize) -> Few<T> {
        let left_out = items.len().saturating_sub(most);
        if left_out > 0 {
            items.drain(first..first + left_out);
        }
        Few { items, left_out: left_out as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_newest_stay() {
        let few = Few::of((0..10).collect(), 4, 1);
        assert_eq!((few.items, few.left_out), (vec![0, 7, 8, 9], 6));
        let all = Few::of(vec![1, 2], 2, 1);
        assert_eq!((all.items, all.left_out), (vec![1, 2], 0));
        assert_eq!(Few::<u8>::of(Vec::new(), 2, 1).left_out, 0);
    }
}
