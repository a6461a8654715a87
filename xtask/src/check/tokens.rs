//! Rust source as a sequence of words and signs, without comments and literals: enough for the rules of [`super::tidy`].

/// A word or a sign with the line it stands on, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An identifier or keyword.
    Word(String),
    /// One character of punctuation.
    Sign(char),
    /// A string, character or number.
    Literal,
}

impl Token {
    /// Whether this is the identifier or keyword.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, Kind::Word(own) if own == word)
    }

    /// Whether this is the sign.
    pub(super) fn is_sign(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }

    /// The identifier or keyword.
    pub(super) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Sign(_) | Kind::Literal => None,
        }
    }
}

/// Whether `::` stands at this place.
pub(super) fn is_path_separator(tokens: &[Token], at: usize) -> bool {
    [at, at + 1].iter().all(|&at| tokens.get(at).is_some_and(|token| token.is_sign(':')))
}

/// Splits a source text.
pub(super) fn tokenize(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1 };
    let mut tokens = Vec::new();
    while let Some(first) = lexer.rest.chars().next() {
        let line = lexer.line;
        if let Some(kind) = lexer.next(first) {
            tokens.push(Token { line, kind });
        }
    }
    tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    /// Takes one token, or one stretch of blanks or comment.
    fn next(&mut self, first: char) -> Option<Kind> {
        if first.is_whitespace() {
            self.take(first.len_utf8());
            return None;
        }
        if self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            return None;
        }
        if self.rest.starts_with("/*") {
            self.block_comment();
            return None;
        }
        if first == '"' {
            self.quoted('"');
            return Some(Kind::Literal);
        }
        if first == '\'' {
            return Some(self.character_or_lifetime());
        }
        if first.is_alphabetic() || first == '_' {
            return Some(self.word_or_prefixed_string());
        }
        if first.is_ascii_digit() {
            self.word();
            return Some(Kind::Literal);
        }
        self.take(first.len_utf8());
        Some(Kind::Sign(first))
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        self.take(end)
    }

    fn word_or_prefixed_string(&mut self) -> Kind {
        let word = self.word();
        if matches!(word, "r" | "br" | "cr") && self.rest.starts_with(['"', '#']) {
            let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
            if self.rest[hashes..].starts_with('"') {
                self.take(hashes + 1);
                let end = format!("\"{}", "#".repeat(hashes));
                self.take(self.rest.find(&end).map_or(self.rest.len(), |at| at + end.len()));
                return Kind::Literal;
            }
            self.take(hashes);
            return Kind::Word(self.word().to_owned());
        }
        if matches!(word, "b" | "c") && self.rest.starts_with('"') {
            self.quoted('"');
            return Kind::Literal;
        }
        if word == "b" && self.rest.starts_with('\'') {
            self.quoted('\'');
            return Kind::Literal;
        }
        Kind::Word(word.to_owned())
    }

    /// Skips a literal that starts here, up to the same quote without a backslash before it.
    fn quoted(&mut self, quote: char) {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|&(_, c)| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        self.take(end.map_or(self.rest.len(), |(at, c)| at + c.len_utf8()));
    }

    fn character_or_lifetime(&mut self) -> Kind {
        let mut after = self.rest.chars().skip(1);
        let (first, second) = (after.next(), after.next());
        if first == Some('\\') || second == Some('\'') {
            self.quoted('\'');
        } else {
            self.take(1);
            self.word();
        }
        Kind::Literal
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.take(2);
            } else if let Some(next) = self.rest.chars().next() {
                self.take(next.len_utf8());
            }
            if depth == 0 || self.rest.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokenize(source).iter().filter_map(|token| token.word().map(str::to_owned)).collect()
    }

    #[test]
    fn comments_and_literals_hold_no_words() {
        let source = r##"a // b
            /* c /* d */ e */ f "g \" h" r#"i " j"# b'k' b"l" '\'' 'm' n<'o> 12u8 r#type "##;
        assert_eq!(words(source), ["a", "f", "n", "type"]);
    }

    #[test]
    fn lines_are_counted_through_literals_and_comments() {
        let tokens = tokenize("\"a\nb\"\n/*\n*/ x");
        assert_eq!(tokens.last().map(|token| token.line), Some(4));
    }

    #[test]
    fn nothing_unfinished_hangs_or_panics() {
        for source in ["\"", "'", "r#\"", "/*", "b'", "'\\", "r#", "é'é", "*/"] {
            tokenize(source);
        }
    }
}
