//! Files of the collector that use each other in a circle: none of them can be read without the others. That a file uses
//! what the module around it has is no circle; modules of one room share that way.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, is_path_separator};

/// A module by the names that lead to it from the crate's top.
type Module = Vec<String>;

/// The circles among these files, given by their paths below `collector/src`: the paths of each.
pub(super) fn find(files: &BTreeMap<String, Vec<Token>>) -> Vec<Vec<&str>> {
    let modules: BTreeMap<Module, &str> =
        files.keys().filter(|path| !path.contains("test")).map(|path| (module(path), path.as_str())).collect();
    let edges: BTreeMap<&Module, BTreeSet<Module>> =
        modules.iter().map(|(of, path)| (of, uses(of, &files[*path], &modules))).collect();
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = edges.keys().map(|from| (*from, reach(from, &edges))).collect();
    let mut circles = BTreeSet::new();
    for (from, to) in &reached {
        let circle: Vec<&str> =
            to.iter().filter(|other| reached[*other].contains(*from)).map(|other| modules[*other]).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// The module that a file is.
fn module(path: &str) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut names: Module = path.split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|last| matches!(last.as_str(), "lib" | "main")) {
        names.pop();
    }
    names
}

/// Everything that is used by it, by what it uses, and so on; itself only if it is in a circle.
fn reach<'a>(from: &Module, edges: &'a BTreeMap<&Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut left: Vec<&Module> = edges.get(from).into_iter().flatten().collect();
    while let Some(next) = left.pop() {
        if found.insert(next) {
            left.extend(edges.get(next).into_iter().flatten());
        }
    }
    found
}

/// The files that a file names outside its tests, but for those of the modules around it.
fn uses(of: &Module, tokens: &[Token], modules: &BTreeMap<Module, &str>) -> BTreeSet<Module> {
    let tokens = without_tests(tokens);
    let children: BTreeSet<&str> = tokens
        .windows(3)
        .filter(|window| window[0].is_word("mod") && window[2].is_sign(';'))
        .filter_map(|window| window[1].word())
        .collect();
    let mut paths = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let starts = (at == 0 || !tokens[at - 1].is_sign(':')) && is_path_separator(tokens, at + 1);
        let Some(first) = token.word().filter(|_| starts) else { continue };
        if matches!(first, "crate" | "self" | "super") || children.contains(first) {
            leaves(tokens, at, &mut Vec::new(), &mut paths);
        }
    }
    let mut used = BTreeSet::new();
    for path in paths {
        let mut names: Module = match path[0] {
            "crate" => Vec::new(),
            "super" => of[..of.len().saturating_sub(1)].to_vec(),
            _ => of.clone(),
        };
        let rest = if matches!(path[0], "crate" | "self" | "super") { &path[1..] } else { &path[..] };
        for name in rest {
            match *name {
                "super" => drop(names.pop()),
                "self" => {}
                name => names.push(name.to_owned()),
            }
        }
        // What follows the file's name is something in it.
        while !names.is_empty() && !modules.contains_key(&names) {
            names.pop();
        }
        if !names.is_empty() && !of.starts_with(&names) {
            used.insert(names);
        }
    }
    used
}

/// The tokens before the first module of tests, which stands at the end of a file.
fn without_tests(tokens: &[Token]) -> &[Token] {
    let is_tests = |at: usize| {
        tokens[at].is_word("cfg")
            && tokens.get(at + 2).is_some_and(|token| token.is_word("test"))
            && tokens.get(at + 5).is_some_and(|token| token.is_word("mod"))
            && tokens.get(at + 7).is_some_and(|token| token.is_sign('{'))
    };
    &tokens[..(0..tokens.len()).find(|&at| is_tests(at)).unwrap_or(tokens.len())]
}

/// Every path of a tree such as `a::{b, c::d}` that starts here; returns where the tree ends.
fn leaves<'a>(tokens: &'a [Token], at: usize, before: &mut Vec<&'a str>, paths: &mut Vec<Vec<&'a str>>) -> usize {
    let (mut at, depth) = (at, before.len());
    while let Some(word) = tokens.get(at).and_then(Token::word) {
        before.push(word);
        at += 1;
        if !is_path_separator(tokens, at) {
            break;
        }
        at += 2;
    }
    if tokens.get(at).is_some_and(|token| token.is_sign('{')) && before.len() > depth {
        at += 1;
        while let Some(token) = tokens.get(at).filter(|token| !token.is_sign('}')) {
            if token.word().is_none() {
                at += 1;
                continue;
            }
            at = leaves(tokens, at, before, paths);
            // `as other_name`
            while tokens.get(at).is_some_and(|token| !token.is_sign(',') && !token.is_sign('}')) {
                at += 1;
            }
        }
        at += 1;
    } else {
        paths.push(before.clone());
    }
    before.truncate(depth);
    at
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokenize;
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let files = files.iter().map(|(path, source)| ((*path).to_owned(), tokenize(source))).collect();
        find(&files).into_iter().map(|circle| circle.join(" ")).collect()
    }

    #[test]
    fn files_that_use_each_other_are_found() {
        let files = [
            ("a.rs", "mod one; mod two;"),
            ("a/one.rs", "use super::two::X; use crate::b::Y;"),
            ("a/two.rs", "fn f() { crate::b::g() }"),
            ("b.rs", "use crate::{c, a::{self, one::{X as Z, W}}};"),
            ("c.rs", "use std::io;"),
        ];
        assert_eq!(circles(&files), ["a/one.rs a/two.rs b.rs"]);
        assert!(circles(&files[..3]).is_empty());
    }

    #[test]
    fn a_module_uses_its_children_and_they_use_it() {
        let files = [("a.rs", "mod one; pub use one::X;"), ("a/one.rs", "use super::Y; use crate::a::Z;")];
        assert!(circles(&files).is_empty());
        let files = [files[0], files[1], ("b.rs", "use crate::a::X;"), ("a/one.rs", "use crate::b;")];
        assert_eq!(circles(&files), ["a.rs a/one.rs b.rs"]);
    }

    #[test]
    fn tests_may_use_anything() {
        let files = [
            ("a.rs", "use crate::b::B; #[cfg(test)] mod tests { use crate::c::C; }"),
            ("b.rs", "#[cfg(test)] mod tests; fn f() {}"),
            ("b/tests.rs", "use crate::a::A;"),
            ("c.rs", "use crate::a::A;"),
        ];
        assert!(circles(&files).is_empty());
    }
}
