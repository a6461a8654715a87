//! Links in documents, and documents that code and unit files name: each leads to a file, and to a heading in it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Where a document is named from the top of the project.
const DOCUMENTS: &str = "docs/";

/// Headings of documents that were read once, as anchors.
#[derive(Debug, Default)]
pub(super) struct Documents(BTreeMap<String, Vec<String>>);

impl Documents {
    /// What is wrong with the links of a file, by line; `path` is relative to the project's top.
    pub(super) fn check(&mut self, root: &Path, path: &str, source: &str) -> Result<Vec<(usize, String)>> {
        let mut findings = Vec::new();
        for (line, link, from) in links(path, source) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { path.to_owned() } else { resolved(from, file) };
            if !root.join(&target).exists() {
                findings.push((line, format!("{link} leads nowhere: there is no {target}")));
            } else if let Some(anchor) = anchor
                && !self.anchors(root, &target)?.iter().any(|known| known == anchor)
            {
                findings.push((line, format!("{link} leads nowhere: {target} has no heading #{anchor}")));
            }
        }
        Ok(findings)
    }

    fn anchors(&mut self, root: &Path, document: &str) -> Result<&[String]> {
        if !self.0.contains_key(document) {
            let text =
                std::fs::read_to_string(root.join(document)).with_context(|| format!("cannot read {document}"))?;
            self.0.insert(document.to_owned(), anchors(&text));
        }
        Ok(&self.0[document])
    }
}

/// The links of a file: line, link, and the folder that it is relative to.
fn links<'a>(path: &'a str, source: &'a str) -> Vec<(usize, &'a str, &'a str)> {
    let is_markdown = |path: &str| Path::new(path).extension().is_some_and(|ending| ending == "md");
    let is_document = is_markdown(path);
    // The head of a page that is generated into another folder.
    if is_document && path.starts_with("collector/") {
        return Vec::new();
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    let mut is_code = false;
    for (number, line) in (1..).zip(source.lines()) {
        is_code ^= line.trim_start().starts_with("```");
        if is_code && is_document {
            continue;
        }
        if is_document {
            let ends = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            let local = ends.map(|(link, _)| link).filter(|link| !link.contains("://"));
            found.extend(local.map(|link| (number, link, folder)));
        } else {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '#');
            for (at, _) in line.match_indices(DOCUMENTS) {
                let rest = &line[at + DOCUMENTS.len()..];
                let link = &line[at..at + DOCUMENTS.len() + rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())];
                let link = link.trim_end_matches('.');
                let is_whole = !line[..at].ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '/');
                if is_whole && link.split('#').next().is_some_and(is_markdown) {
                    found.push((number, link, ""));
                }
            }
        }
    }
    found
}

/// A path relative to a folder, from the top.
fn resolved(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => _ = parts.pop(),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors that GitHub makes of a document's headings.
fn anchors(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else { continue };
        let letters = heading.trim_start_matches('#').trim().to_lowercase();
        let slug: String = letters
            .chars()
            .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        let before = found.iter().filter(|known| **known == slug).count();
        found.push(if before == 0 { slug } else { format!("{slug}-{before}") });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_become_anchors() {
        let text = "# Host and Origin\n```sh\n# no heading\n```\n## `--config`: a file\n## Host and Origin\n";
        assert_eq!(anchors(text), ["host-and-origin", "--config-a-file", "host-and-origin-1"]);
    }

    #[test]
    fn a_link_leads_to_a_file_and_a_heading() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        std::fs::write(folder.path().join("docs/a.md"), "# Head\n").unwrap();
        let check = |path: &str, text: &str| Documents::default().check(folder.path(), path, text).unwrap();
        let good = "[a](a.md) [b](a.md#head) [c](../docs/a.md) [d](https://x.example/y)\n```\n[e](none.md)\n```\n";
        assert_eq!(check("docs/a.md", good), []);
        let wrong = check("docs/a.md", "[a](b.md)\n[b](a.md#tail) [c](#other)\n");
        assert_eq!(wrong.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 2]);
        assert_eq!(check("collector/src/x.rs", "see docs/a.md#head, or docs/a.md.\n"), []);
        assert_eq!(check("collector/src/x.rs", "see docs/b.md\n").len(), 1);
    }
}
