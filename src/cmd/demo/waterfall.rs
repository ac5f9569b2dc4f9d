//! A trace as a waterfall in text: tree, bars, durations and the attributes that matter. Pure.

use super::style::{Style, column, wrap};
use super::trace::{Call, Row, duration};

/// Columns of a bar at most, and at least.
const BAR: (usize, usize) = (32, 10);
/// Columns of a duration.
const TIME: usize = 8;
/// Below this width there is no room for attributes.
const WITH_ATTRIBUTES: usize = 76;

/// Draws each call to its own scale, one after the other.
pub fn render(calls: &[Call], style: Style) -> String {
    let names = calls.iter().flat_map(|call| &call.rows).map(name_width).max().unwrap_or_default();
    let layout = Layout::new(style.width, names);
    let origin = calls.first().map(|call| call.start_ns).unwrap_or_default();
    let mut text = String::new();
    for (index, call) in calls.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&layout.scale(call, origin, style));
        for row in &call.rows {
            layout.row(call, row, style, &mut text);
        }
    }
    text
}

struct Layout {
    name: usize,
    bar: usize,
    /// Zero when attributes are left out.
    attributes: usize,
}

impl Layout {
    fn new(width: usize, names: usize) -> Layout {
        let with_attributes = width >= WITH_ATTRIBUTES;
        let name = names.min(width / 3);
        // Blanks: before the name, the bar, and each of the rest.
        let room = width.saturating_sub(2 + name + 2 + 1 + TIME);
        let bar = if with_attributes { room / 2 } else { room }.clamp(BAR.1, BAR.0);
        let attributes = if with_attributes { room.saturating_sub(bar + 2) } else { 0 };
        Layout { name, bar, attributes }
    }

    /// The line above a call: when it began, and how long its bars' full width is.
    fn scale(&self, call: &Call, origin: u64, style: Style) -> String {
        let at = format!("+{}", duration(call.start_ns.saturating_sub(origin)));
        let whole = duration(call.length_ns);
        let ruler = match self.bar.checked_sub(whole.chars().count() + 3) {
            Some(dashes) => format!("├{} {whole}┤", "─".repeat(dashes)),
            None => whole,
        };
        format!("  {}  {}\n", style.dim(&column(&at, self.name)), style.dim(&ruler))
    }

    fn row(&self, call: &Call, row: &Row, style: Style, text: &mut String) {
        let name = column(&format!("{}{}", branches(&row.rails), row.name), self.name);
        let bar = bar(row.offset_ns, row.duration_ns, call.length_ns, self.bar);
        let time = format!("{:>TIME$}", duration(row.duration_ns));
        let (name, bar) = match row.failed {
            true => (style.red(&name), style.red(&bar)),
            false if row.rails.is_empty() => (style.bold(&name), style.cyan(&bar)),
            false => (name, style.cyan(&bar)),
        };
        let attributes = style.dim(&fitting(&row.telling(), self.attributes));
        text.push_str(format!("  {name}  {bar} {time}  {attributes}").trim_end());
        text.push('\n');
        if let Some(error) = &row.error {
            let indent = " ".repeat(2 + branches(&row.rails).chars().count());
            for line in wrap(&format!("✗ {error}"), style.width.saturating_sub(indent.len())) {
                text.push_str(&format!("{indent}{}\n", style.red(&line)));
            }
        }
    }
}

/// As many of the texts as there is room for; none is cut.
fn fitting(texts: &[String], width: usize) -> String {
    let mut line = String::new();
    for text in texts {
        let blank = usize::from(!line.is_empty());
        if line.chars().count() + blank + text.chars().count() <= width {
            line.extend(std::iter::repeat_n(' ', blank));
            line.push_str(text);
        }
    }
    line
}

fn name_width(row: &Row) -> usize {
    row.rails.len() * 2 + row.name.chars().count()
}

/// The lines of the tree before a name.
fn branches(rails: &[bool]) -> String {
    let Some((last, above)) = rails.split_last() else { return String::new() };
    let mut text: String = above.iter().map(|more| if *more { "│ " } else { "  " }).collect();
    text.push_str(if *last { "├ " } else { "└ " });
    text
}

/// A bar in half columns; however short, half a column is seen.
fn bar(offset: u64, length: u64, whole: u64, width: usize) -> String {
    let halves = u128::try_from(width * 2).unwrap_or_default();
    let at = |ns: u64| u128::from(ns) * halves / u128::from(whole.max(1));
    let start = at(offset).min(halves.saturating_sub(1));
    let end = at(offset.saturating_add(length)).clamp(start + 1, halves.max(start + 1));
    let filled = |half: usize| (start..end).contains(&u128::try_from(half).unwrap_or_default());
    let cell = |column: usize| match (filled(column * 2), filled(column * 2 + 1)) {
        (true, true) => '█',
        (true, false) => '▌',
        (false, true) => '▐',
        (false, false) => ' ',
    };
    (0..width).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(rails: &[bool], name: &str, offset: u64, length: u64, attributes: &[(&str, &str)]) -> Row {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Row {
            rails: rails.to_vec(),
            name: name.to_owned(),
            offset_ns: offset,
            duration_ns: length,
            failed: false,
            error: None,
            attributes: attributes.iter().map(own).collect(),
            links: Vec::new(),
        }
    }

    fn sample() -> Vec<Call> {
        let add = vec![
            row(
                &[],
                "cni.add",
                0,
                2_400_000,
                &[
                    ("istio_cni.command", "add"),
                    ("container.id", "cafe"),
                    ("istio_cni.outcome", "enrolled"),
                    ("istio_cni.path", "agent"),
                ],
            ),
            row(&[true], "config.parse", 10_000, 90_000, &[]),
            row(&[false], "agent.call", 120_000, 2_200_000, &[]),
            row(&[false, true], "pod.lookup", 300_000, 40_000, &[("istio_cni.pod.source", "cache")]),
            row(&[false, false], "rules.apply", 900_000, 1_200_000, &[("istio_cni.rules.backend", "nftables")]),
        ];
        let mut failed = row(&[], "cni.check", 0, 800_000, &[("error.type", "rules_drifted")]);
        failed.error =
            Some("the rules in the pod's network namespace differ from what its annotations ask for".to_owned());
        vec![
            Call { start_ns: 1_000_000_000, length_ns: 2_400_000, rows: add },
            Call { start_ns: 1_250_000_000, length_ns: 800_000, rows: vec![failed] },
        ]
    }

    #[test]
    fn a_trace_on_a_wide_terminal() {
        insta::assert_snapshot!(render(&sample(), Style { colour: false, width: 100 }));
    }

    #[test]
    fn a_trace_on_a_narrow_terminal_has_no_attributes() {
        insta::assert_snapshot!(render(&sample(), Style { colour: false, width: 60 }));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 40..=100 {
            let text = render(&sample(), Style { colour: false, width });
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(widest <= width, "{widest} columns of {width}:\n{text}");
        }
    }

    #[test]
    fn an_attribute_without_room_is_left_out_whole() {
        let texts = ["a=1", "much=longer", "b=2"].map(str::to_owned);
        assert_eq!(fitting(&texts, 7), "a=1 b=2");
        assert_eq!(fitting(&texts, 2), "");
    }

    #[test]
    fn colours_change_no_other_character() {
        let text = render(&sample(), Style { colour: true, width: 100 });
        let mut plain = text.clone();
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[36m"] {
            plain = plain.replace(code, "");
        }
        assert_ne!(text, plain);
        let trimmed = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(trimmed(&plain), trimmed(&render(&sample(), Style { colour: false, width: 100 })));
    }

    #[test]
    fn an_instant_and_a_span_beyond_its_call_are_still_seen() {
        assert_eq!(bar(0, 0, 100, 4), "▌   ");
        assert_eq!(bar(100, 0, 100, 4), "   ▐");
        assert_eq!(bar(50, 500, 100, 4), "  ██");
        assert_eq!(bar(0, u64::MAX, 1, 4), "████");
    }
}
