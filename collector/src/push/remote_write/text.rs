//! Prometheus' text format 0.0.4, read back.

/// One line that is no comment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
    /// Milliseconds since 1970.
    pub(super) timestamp: Option<i64>,
}

/// The series of a text; lines that are not in the format are passed over.
pub(super) fn series(text: &str) -> impl Iterator<Item = Series<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(parse)
}

fn parse(line: &str) -> Option<Series<'_>> {
    let end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    let timestamp = match words.next() {
        Some(word) => Some(word.parse().ok()?),
        None => None,
    };
    (!name.is_empty() && words.next().is_none()).then_some(Series { name, labels, value, timestamp })
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        text = text.trim_start_matches([' ', ',']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        labels.push((name.trim().to_owned(), value));
        text = rest;
    }
}

/// A value up to its closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Option<Series<'_>> {
        series(line).next()
    }

    #[test]
    fn lines() {
        let own =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
        let cases = [
            ("a 1", Some(("a", own(&[]), 1.0, None))),
            ("a_b:c{} -2.5e-3 12", Some(("a_b:c", own(&[]), -0.0025, Some(12)))),
            (r#"a{b="c",d="e f}\"\\\n",} 7"#, Some(("a", own(&[("b", "c"), ("d", "e f}\"\\\n")]), 7.0, None))),
            ("a NaN x", None),
            ("a", None),
            ("{} 1", None),
            (r#"a{b="c 1"#, None),
            ("a x", None),
            ("# a 1", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(name, labels, value, timestamp)| Series { name, labels, value, timestamp });
            assert_eq!(one(line), expected, "{line}");
        }
        assert!(one("a NaN").unwrap().value.is_nan());
        assert_eq!(one("a -Inf").map(|series| series.value), Some(f64::NEG_INFINITY));
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "[a{}=\",\\\\ 1#\n]{0,60}") {
            series(&text).for_each(drop);
        }
    }
}
