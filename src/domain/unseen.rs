//! Characters that mislead whoever reads a text on a terminal or a page: those that are not seen, and those that
//! move, hide or turn around what is.

/// Whether a character is a control, a mark or an override of direction, a separator of lines or paragraphs, or has
/// no width.
pub fn misleads(c: char) -> bool {
    let unseen = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    unseen || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_hides_or_turns_text_misleads_and_letters_of_any_script_do_not() {
        for c in "\u{1b}\u{7}\u{9b}\n\u{ad}\u{61c}\u{200b}\u{200e}\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}".chars() {
            assert!(misleads(c), "{c:?}");
        }
        assert!(!"aé中עא🦀\u{a0}…".chars().any(misleads));
    }
}
