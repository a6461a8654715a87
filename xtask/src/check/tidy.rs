//! The rules of the house that no other tool knows, applied to every file of the project.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::links::Documents;
use super::{circles, imports, rules, tokens};

/// Folders that hold nothing of ours.
const SKIPPED_FOLDERS: [&str; 4] = ["target", ".git", "node_modules", "dist"];

/// The sources whose files have an order.
const COLLECTOR: &str = "collector/src/";

/// Endings of the text files in which unfinished work is looked for.
const TEXT: [&str; 10] = ["rs", "toml", "md", "sh", "yml", "yaml", "html", "js", "css", "service"];

/// Names documents that do not exist, to test that this is noticed.
const OWN_TESTS: &str = "xtask/src/check/links.rs";

/// Prints what is wrong and fails unless that is nothing.
pub(super) fn check(root: &Path) -> Result<()> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut documents = Documents::default();
    let mut count = 0;
    let mut collector = BTreeMap::new();
    for file in &files {
        let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned();
        let source = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let links = if path == OWN_TESTS { Vec::new() } else { documents.check(root, &path, &source)? };
        for (line, text) in check_file(&path, &source).into_iter().chain(links) {
            eprintln!("{path}:{line}: {text}");
            count += 1;
        }
        let is_rust = file.extension().is_some_and(|ending| ending == "rs");
        if let Some(below) = path.strip_prefix(COLLECTOR).filter(|_| is_rust) {
            collector.insert(below.to_owned(), tokens::tokenize(&source));
        }
    }
    for circle in circles::find(&collector) {
        let files = circle.join(", ");
        eprintln!(
            "{COLLECTOR}{}:1: a circle of files: {files}; move what they share into a file below them",
            circle[0]
        );
        count += 1;
    }
    ensure!(count == 0, "{count} places break the rules of the house");
    Ok(())
}

/// Everything wrong with one file; `path` is relative to the project's top.
fn check_file(path: &str, source: &str) -> Vec<(usize, String)> {
    let mut findings = rules::check_text(source);
    if Path::new(path).extension().is_some_and(|ending| ending == "rs") {
        let tokens = tokens::tokenize(source);
        findings.extend(rules::check_rust(path, source, &tokens));
        if let Some(below) = path.strip_prefix(COLLECTOR) {
            findings.extend(imports::check(below, &tokens));
        }
    }
    if path.ends_with("/Cargo.toml") {
        findings.extend(rules::check_manifest(source));
    }
    findings.sort();
    findings
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|ending| TEXT.iter().any(|text| ending == *text)) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_the_rules_of_its_kind() {
        assert_eq!(check_file("collector/src/rates.rs", "use crate::kernel;").len(), 2);
        assert_eq!(check_file("xtask/Cargo.toml", "[package]").len(), 1);
        assert!(check_file("Cargo.toml", "[workspace]").is_empty());
        assert!(check_file("README.md", "crate::kernel").is_empty());
    }
}
