//! What the demo says: headings, and lines that are printed only once what they say is done.

use super::style::{Style, column, cut, wrap};
use anyhow::Result;
use std::io::{Stdout, Write, stdout};

/// Standard output with its style.
pub struct Out {
    to: Stdout,
    pub style: Style,
}

impl Out {
    /// Standard output as it is.
    pub fn new(style: Style) -> Out {
        Out { to: stdout(), style }
    }

    /// The first line.
    pub fn title(&mut self, name: &str, text: &str) -> Result<()> {
        let style = self.style;
        self.lines(&wrap(&format!("{name} {text}"), style.width).join("\n").replacen(name, &style.bold(name), 1))
    }

    /// Begins a part.
    pub fn heading(&mut self, text: &str) -> Result<()> {
        let text = self.style.bold(text);
        self.lines(&format!("\n{text}"))
    }

    /// Something was done, and came out as it should.
    pub fn done(&mut self, text: &str) -> Result<()> {
        let mark = self.style.green("✓");
        self.hanging(&format!("  {mark} "), text)
    }

    /// Text of somebody else, as it is but for where its lines end.
    pub fn quote(&mut self, text: &str) -> Result<()> {
        let style = self.style;
        for line in wrap(text, style.width.saturating_sub(6)) {
            self.lines(&format!("    {} {line}", style.dim("│")))?;
        }
        Ok(())
    }

    /// A line of dim text, cut to the width.
    pub fn dim(&mut self, text: &str) -> Result<()> {
        let text = self.style.dim(&cut(text, self.style.width.saturating_sub(4)));
        self.lines(&format!("    {text}"))
    }

    /// A row of a table, as done, or a heading of it.
    pub fn row(&mut self, cells: &[(&str, usize)], is_heading: bool) -> Result<()> {
        let cells: Vec<String> = cells.iter().map(|(text, width)| column(text, *width)).collect();
        let line = cut(cells.join("  ").trim_end(), self.style.width.saturating_sub(4));
        match is_heading {
            true => self.lines(&format!("    {}", self.style.dim(&line))),
            false => self.lines(&format!("  {} {line}", self.style.green("✓"))),
        }
    }

    /// What something came to, at the right edge.
    pub fn measure(&mut self, what: &str, value: &str) -> Result<()> {
        let width = self.style.width.saturating_sub(6);
        let room = width.saturating_sub(value.chars().count() + 2);
        let line = format!("      {}  {}", column(what, room), self.style.green(value));
        self.lines(&line)
    }

    /// Text as it is.
    pub fn lines(&mut self, text: &str) -> Result<()> {
        writeln!(self.to, "{}", text.trim_end_matches('\n'))?;
        Ok(self.to.flush()?)
    }

    fn hanging(&mut self, first: &str, text: &str) -> Result<()> {
        for (index, line) in wrap(text, self.style.width.saturating_sub(4)).iter().enumerate() {
            self.lines(&format!("{}{line}", if index == 0 { first } else { "    " }))?;
        }
        Ok(())
    }
}
