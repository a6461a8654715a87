//! Texts of others on a terminal, which may obey none of them, and how wide they are there.

use ratatui::text::Span;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::bounds::Shown;

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    /// All of Unicode.
    Unicode,
    /// ASCII: the locale names no UTF-8. Bytes of other letters may be control characters there.
    Ascii,
}

/// Marks above and below one letter that are shown; more of them would cover the lines around.
const MARKS: usize = 2;

impl Letters {
    /// As the environment has it.
    pub(super) fn of_locale() -> Self {
        let mut set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
        Self::of(&set.find(|value| !value.is_empty()).unwrap_or_default())
    }

    fn of(locale: &str) -> Self {
        let locale = locale.to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::Unicode } else { Self::Ascii }
    }

    /// One of two, for drawing.
    pub(super) const fn either<T: Copy>(self, unicode: T, ascii: T) -> T {
        match self {
            Self::Unicode => unicode,
            Self::Ascii => ascii,
        }
    }

    /// The text as one line of harmless letters: what would not be seen, move the cursor or turn the line around is
    /// shown as an escape.
    pub(super) fn visible(self, text: &str) -> String {
        let escaped = Shown(text.as_bytes()).to_string();
        let mut out = String::with_capacity(escaped.len());
        // Nothing to be put above of at the beginning.
        let mut marks = MARKS;
        for letter in escaped.chars() {
            let is_cut = letter == '…';
            if self == Self::Ascii && !letter.is_ascii() {
                if is_cut {
                    out.push('~');
                } else {
                    out.extend(letter.escape_unicode());
                }
            } else if letter.width().unwrap_or(0) > 0 {
                marks = 0;
                out.push(letter);
            } else if marks < MARKS && !is_format(letter) {
                marks += 1;
                out.push(letter);
            } else if !is_variation(letter) && marks < MARKS {
                out.extend(letter.escape_unicode());
            }
        }
        out
    }

    /// The text in exactly so many columns: filled up with spaces, or cut where it is longer, which is marked.
    pub(super) fn fitted(self, text: &str, columns: usize) -> String {
        let mut out = self.cut(text, columns);
        let missing = columns.saturating_sub(out.width());
        out.extend(std::iter::repeat_n(' ', missing));
        out
    }

    /// The text in at most so many columns.
    pub(super) fn cut(self, text: &str, columns: usize) -> String {
        if text.width() <= columns {
            return text.to_owned();
        }
        let mark = self.either("…", "~");
        let mut out = String::new();
        let mut used = mark.width();
        for letter in text.chars() {
            used += letter.width().unwrap_or(0);
            if used > columns {
                break;
            }
            out.push(letter);
        }
        if columns > 0 {
            out.push_str(mark);
        }
        out
    }

    /// Lines of at most so many columns, broken between words where there are any.
    pub(super) fn wrapped(self, text: &str, columns: usize) -> Vec<String> {
        let columns = columns.max(8);
        let mut lines = vec![String::new()];
        for word in text.split_whitespace() {
            let line = lines.last_mut().map_or(0, |line| line.width());
            if line > 0 && line + 1 + word.width() > columns {
                lines.push(String::new());
            }
            let Some(line) = lines.last_mut() else { continue };
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(&self.cut(word, columns));
        }
        lines
    }
}

/// Letters of no width that change how others are shown.
const fn is_format(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e01ff}')
        || is_variation(letter)
}

/// Terminals disagree about how wide a letter is that has one of these behind it.
const fn is_variation(letter: char) -> bool {
    matches!(letter, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// How many columns the spans take.
pub(super) fn width(spans: &[Span<'_>]) -> usize {
    spans.iter().map(Span::width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_obeyed() {
        let hostile = "a\u{1b}[2J\u{7}\nb\u{202e}c\u{200d}d\u{9b}1m";
        assert_eq!(Letters::Unicode.visible(hostile), "a\\u{1b}[2J\\u{7}\\nb\\u{202e}c\\u{200d}d\\u{9b}1m");
        assert_eq!(Letters::Ascii.visible("größe…"), "gr\\u{f6}\\u{df}e~");
        assert_eq!(Letters::Unicode.visible("größe 容器"), "größe 容器");
        let towers = format!("o{}x\u{301}", "\u{301}".repeat(100));
        assert_eq!(Letters::Unicode.visible(&towers), "o\u{301}\u{301}x\u{301}");
        assert_eq!(Letters::Unicode.visible("❤\u{fe0f}"), "❤");
        assert!(Letters::Unicode.visible(&"\u{1b}".repeat(4000)).len() < 4000);
    }

    #[test]
    fn a_cut_is_marked_and_exact() {
        for (text, columns, expected) in [
            ("abc", 5, "abc  "),
            ("abcdef", 5, "abcd…"),
            ("容器容器", 5, "容器…"),
            ("容器容器", 6, "容器… "),
            ("o\u{301}o\u{301}o\u{301}", 2, "o\u{301}…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(Letters::Unicode.fitted(text, columns), expected);
            assert_eq!(Letters::Unicode.fitted(text, columns).width(), columns);
        }
        assert_eq!(Letters::Ascii.cut("abcdef", 4), "abc~");
    }

    #[test]
    fn words_are_not_broken() {
        assert_eq!(Letters::Unicode.wrapped("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(Letters::Unicode.wrapped("abcdefghijkl", 9), ["abcdefgh…"]);
    }

    #[test]
    fn the_locale_decides() {
        assert_eq!(["C", "", "POSIX", "de_DE"].map(Letters::of), [Letters::Ascii; 4]);
        assert_eq!(["C.UTF-8", "de_DE.utf8"].map(Letters::of), [Letters::Unicode; 2]);
    }
}
