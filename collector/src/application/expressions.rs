//! Expressions of containers, compiled within bounds and kept for a while.
//!
//! A search cannot be interrupted. What bounds its time is the size of what is compiled, times that of the text: see
//! [`super::bounds`]. Compiled expressions are kept by the thread that uses them, those used last, so that their memory
//! does not grow with the containers; equal ones of several containers are one.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::bounds::{COMPILED_BYTES, EXPRESSION_BYTES, KEPT_EXPRESSIONS_BYTES, SMALL_COMPILED_BYTES};

/// A compiled expression, its caches for searching included, takes at most so many times what its states take.
const WITH_CACHES: usize = 8;

/// How long a search may take, by the size of what is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Size {
    Small,
    Large,
}

/// An expression that is not used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExpressionError {
    /// Longer than any that is used.
    #[error("the expression has {0} bytes, more than {EXPRESSION_BYTES}")]
    Long(usize),
    /// Not an expression, or one that takes too much.
    #[error(transparent)]
    Regex(#[from] regex::Error),
    /// It captures nothing.
    #[error("the expression has no group")]
    NoGroup,
}

/// Compiles an expression.
pub(super) fn compile(expression: &str) -> Result<(Regex, Size), ExpressionError> {
    if expression.len() > EXPRESSION_BYTES {
        return Err(ExpressionError::Long(expression.len()));
    }
    let within = |bytes: usize| {
        let mut builder = RegexBuilder::new(expression);
        builder.size_limit(bytes).dfa_size_limit(bytes).nest_limit(50).build()
    };
    let (compiled, size) = match within(SMALL_COMPILED_BYTES) {
        Ok(compiled) => (compiled, Size::Small),
        Err(regex::Error::CompiledTooBig(_)) => (within(COMPILED_BYTES)?, Size::Large),
        Err(error) => return Err(error.into()),
    };
    if compiled.captures_len() < 2 { Err(ExpressionError::NoGroup) } else { Ok((compiled, size)) }
}

/// Those that were used lately.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    kept: HashMap<Box<str>, KeptExpression>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct KeptExpression {
    compiled: Regex,
    bytes: usize,
    used: u64,
}

impl Expressions {
    /// The first group of the first match.
    pub(super) fn find<'t>(&mut self, expression: &str, text: &'t str) -> Result<Option<&'t str>, ExpressionError> {
        let compiled = self.compiled(expression)?;
        Ok(compiled.captures(text).and_then(|captures| captures.get(1)).map(|found| found.as_str()))
    }

    fn compiled(&mut self, expression: &str) -> Result<&Regex, ExpressionError> {
        self.clock += 1;
        if !self.kept.contains_key(expression) {
            let (compiled, size) = compile(expression)?;
            let states = match size {
                Size::Small => SMALL_COMPILED_BYTES,
                Size::Large => COMPILED_BYTES,
            };
            let bytes = states * WITH_CACHES + expression.len();
            self.make_room(bytes);
            self.bytes += bytes;
            self.kept.insert(expression.into(), KeptExpression { compiled, bytes, used: 0 });
        }
        let clock = self.clock;
        let kept = self.kept.get_mut(expression).ok_or(ExpressionError::NoGroup)?;
        kept.used = clock;
        Ok(&kept.compiled)
    }

    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > KEPT_EXPRESSIONS_BYTES {
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(expression, _)| expression.clone());
            let Some(removed) = oldest.and_then(|oldest| self.kept.remove(&oldest)) else { return };
            self.bytes -= removed.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_have_a_size() {
        let size = |expression: &str| compile(expression).map(|(_, size)| size).map_err(|error| error.to_string());
        for usual in [
            "Active connections: ([0-9]+)",
            "server accepts handled requests\n ([0-9]+) ([0-9]+) ([0-9]+)",
            "Reading: ([0-9]+) .*",
            r"(?m)^load\s+(\d+\.\d+)$",
        ] {
            assert!(size(usual).is_ok(), "{usual}");
        }
        assert_eq!(size("Active connections: ([0-9]+)"), Ok(Size::Small));
        assert_eq!(size(r"(?i)total[ \t]+memory\s*=\s*(\w+)"), Ok(Size::Large));
        for too_much in ["([ab]*a[ab]{6000}c)", r"(\w{1000})", r"((\w{100}){100})", "(((a{50}){50}){50})"] {
            assert!(size(too_much).unwrap_err().contains("size"), "{too_much}");
        }
        assert!(size(&format!("({})", "(".repeat(60) + &")".repeat(60))).is_err(), "nested too deeply");
        assert_eq!(size("x").unwrap_err(), "the expression has no group");
        let just = format!("({})", "x".repeat(EXPRESSION_BYTES - 2));
        assert!(size(&just).is_ok());
        assert_eq!(size(&format!("{just}x")).unwrap_err(), "the expression has 1025 bytes, more than 1024");
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut expressions = Expressions::default();
        for number in 0..2000 {
            let text = format!("x{number}={number};");
            let found = expressions.find(&format!("x{number}=([0-9]+)"), &text).unwrap();
            assert_eq!(found, Some(&*number.to_string()));
            assert!(expressions.bytes <= KEPT_EXPRESSIONS_BYTES);
            assert_eq!(expressions.find("often=(.)", "often=1").unwrap(), Some("1"));
        }
        assert!(expressions.kept.len() < 200 && expressions.kept.contains_key("often=(.)"));
        assert!(!expressions.kept.contains_key("x0=([0-9]+)"));
    }

    #[test]
    fn the_slowest_that_is_accepted_comes_to_an_end() {
        let text: String =
            (0..super::super::bounds::SEARCHED_BYTES).map(|at| if at % 3 == 0 { 'a' } else { 'b' }).collect();
        let largest = (1..4000).rev().step_by(50).map(|states| format!("([ab]*a[ab]{{{states}}}c)"));
        let slowest = largest.into_iter().find(|expression| compile(expression).is_ok()).unwrap();
        let began = std::time::Instant::now();
        assert_eq!(Expressions::default().find(&slowest, &text).unwrap(), None);
        println!("{slowest} took {:?}", began.elapsed());
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{slowest} took {:?}", began.elapsed());
    }
}
