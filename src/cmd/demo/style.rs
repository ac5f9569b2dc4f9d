//! How the demo's text looks: colours for terminals that want them, and text fitted to a width.

use std::io::IsTerminal;

/// No wider than a page that one can read; also what a pipe gets.
pub const FULL_WIDTH: usize = 100;
const LEAST_WIDTH: usize = 40;

/// Whether and how text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    /// Columns to fill.
    pub width: usize,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set to something or the terminal is a dumb one; the width is the
    /// terminal's within bounds.
    pub fn of_stdout() -> Style {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let columns = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        Style {
            colour: std::io::stdout().is_terminal() && !refused && !dumb,
            width: columns.unwrap_or(FULL_WIDTH).clamp(LEAST_WIDTH, FULL_WIDTH),
        }
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `text` in `width` columns or fewer: what is too long ends in an ellipsis.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let Some(kept) = width.checked_sub(1) else { return String::new() };
    text.chars().take(kept).chain(['…']).collect()
}

/// `text` cut and filled up to `width` columns.
pub fn column(text: &str, width: usize) -> String {
    format!("{:<width$}", cut(text, width))
}

/// Lines of at most `width` columns, broken at blanks; a word that is longer is broken where it must be.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut room = width;
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        if !line.is_empty() && rest.len() + 1 > room {
            lines.push(std::mem::take(&mut line));
            room = width;
        }
        if !line.is_empty() {
            line.push(' ');
            room -= 1;
        }
        while rest.len() > room {
            line.extend(rest.drain(..room));
            lines.push(std::mem::take(&mut line));
            room = width;
        }
        room -= rest.len();
        line.extend(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_blanks_and_only_then_inside_words() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("ab 0123456789 c", 4), ["ab", "0123", "4567", "89 c"]);
        assert_eq!(wrap("", 4), Vec::<String>::new());
    }

    #[test]
    fn a_column_has_its_width_whatever_is_in_it() {
        assert_eq!(column("abc", 5), "abc  ");
        assert_eq!(column("abcdef", 5), "abcd…");
        assert_eq!(column("äöü", 3), "äöü");
        assert_eq!(cut("a", 0), "");
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_wanted() {
        assert_eq!(Style { colour: false, width: 80 }.red("x"), "x");
        assert_eq!(Style { colour: true, width: 80 }.red("x"), "\x1b[31mx\x1b[0m");
    }
}
