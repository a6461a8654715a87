//! The tables of the documents that show what each kernel has: made from rows that the suite says in the machines.
//!
//! A table stands between `<!-- table:NAME -->` and `<!-- /table:NAME -->`. The whole matrix fails when a table is not
//! what it has just seen, so that no document can promise what a kernel does not keep.

mod programs;
mod statistics;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;

use super::boot::Layout;
use super::kernel::RELEASES;
use super::matrix::Finished;
use crate::processor::Processor;
use crate::workspace;

/// A generated table.
struct Table {
    name: &'static str,
    /// The document that holds it, below the project's top folder.
    document: &'static str,
    /// Makes it of all rows that were reported.
    render: fn(&[Said<'_>]) -> Result<String>,
}

const TABLES: [Table; 2] = [
    Table { name: programs::NAME, document: "docs/kernels.md", render: programs::render },
    Table { name: statistics::NAME, document: "docs/statistics.md", render: statistics::render },
];

/// Stands in a cell between what must not change and what was measured.
const MEASURED: &str = " · ";
/// Stands in a cell for what there is not.
const ABSENT: &str = "–";

/// A row as it was said, with where.
#[derive(Clone, Copy, Debug)]
struct Said<'a> {
    kernel: &'a str,
    layout: Layout,
    table: &'a str,
    json: &'a str,
}

/// The rows of one table, with kernel and layout.
fn rows_of<'a, T: DeserializeOwned>(said: &[Said<'a>], table: &str) -> Result<Vec<(&'a str, Layout, T)>> {
    let rows = said.iter().filter(|said| said.table == table).map(|said| {
        let row = serde_json::from_str(said.json);
        Ok((said.kernel, said.layout, row.with_context(|| format!("no row of table {table}: {}", said.json))?))
    });
    rows.collect()
}

/// The kernels that rows came from, oldest first.
fn kernels_of<'a>(kernels: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
    let there: BTreeSet<&str> = kernels.collect();
    RELEASES.iter().map(|release| release.name).filter(|name| there.contains(name)).collect()
}

/// Lines of Markdown for a table with these columns, the first one aligned to the left and the others as said.
fn markdown(head: &[&str], alignment: &str, rows: impl Iterator<Item = Vec<String>>) -> String {
    // A bar within a cell would end it.
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', r"\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(&head.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>());
    let mut rule = vec![alignment.to_owned(); head.len()];
    if let Some(first) = rule.first_mut() {
        "---".clone_into(first);
    }
    text += &line(&rule);
    rows.for_each(|row| text += &line(&row));
    text
}

/// Fails when a table in the documents is not what these boots make, except for what was measured.
pub(super) fn compare(all: &[Finished]) -> Result<()> {
    for Table { name, document, render } in TABLES {
        let text = read(document)?;
        let made = render(&said_in(all))?;
        let (start, end) = place(&text, name)?;
        let difference = first_difference(&text[start..end], &made);
        if let Some((old, new)) = difference {
            bail!(
                "the table `{name}` in {document} is not what the kernels have; `cargo xtask vm --write-tables` writes it\n  \
                 there: {old}\n  now:   {new}"
            );
        }
    }
    Ok(())
}

/// Fails when a statistic comes from elsewhere on another processor than the tables', on the same kernel with the same
/// hierarchies.
pub(super) fn compare_processors(all: &[Finished]) -> Result<()> {
    let rows = |one: &'_ Finished| -> BTreeSet<String> {
        let rows = one.outcome.iter().flat_map(|outcome| &outcome.rows);
        rows.filter(|row| row.table == statistics::NAME).map(|row| row.json.clone()).collect()
    };
    for other in all.iter().filter(|one| one.boot.processor != Processor::Amd64) {
        let is_twin = |one: &&Finished| {
            one.boot.is_tabled() && (&one.boot.kernel, one.boot.layout) == (&other.boot.kernel, other.boot.layout)
        };
        let Some(twin) = all.iter().find(is_twin) else { continue };
        let (here, there) = (rows(other), rows(twin));
        // One of them was skipped, or has not come that far.
        if here.is_empty() || there.is_empty() {
            continue;
        }
        let differences: Vec<_> = here.symmetric_difference(&there).collect();
        ensure!(differences.is_empty(), "{} and {} differ in {differences:?}", other.boot, twin.boot);
    }
    Ok(())
}

/// Writes the tables that these boots make into the documents.
pub(super) fn write(all: &[Finished]) -> Result<()> {
    for Table { name, document, render } in TABLES {
        let mut text = read(document)?;
        let made = render(&said_in(all))?;
        let (start, end) = place(&text, name)?;
        text.replace_range(start..end, &made);
        let path = workspace::root().join(document);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn read(document: &str) -> Result<String> {
    let path = workspace::root().join(document);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn said_in(all: &[Finished]) -> Vec<Said<'_>> {
    let mut said = Vec::new();
    for one in all.iter().filter(|one| one.boot.is_tabled()) {
        for row in one.outcome.iter().flat_map(|outcome| &outcome.rows) {
            let (kernel, layout) = (one.boot.kernel.as_str(), one.boot.layout);
            said.push(Said { kernel, layout, table: &row.table, json: &row.json });
        }
    }
    said
}

/// Where a table begins and ends in its document.
fn place(text: &str, name: &str) -> Result<(usize, usize)> {
    let (open, close) = (format!("<!-- table:{name} -->\n"), format!("<!-- /table:{name} -->"));
    let start = text.find(&open).with_context(|| format!("there is no line {}", open.trim_end()))? + open.len();
    let length = text[start..].find(&close).with_context(|| format!("there is no line {close}"))?;
    ensure!(!text[start..start + length].contains("<!--"), "the table {name} is not closed");
    Ok((start, start + length))
}

/// The first lines that differ in what must not change.
fn first_difference(old: &str, new: &str) -> Option<(String, String)> {
    let lasting = |line: &str| -> Vec<String> {
        let cells = line.split('|').map(|cell| cell.split(MEASURED).next().unwrap_or_default().trim().to_owned());
        cells.collect()
    };
    let mut old = old.lines();
    let mut new = new.lines();
    loop {
        match (old.next(), new.next()) {
            (None, None) => return None,
            (Some(old), Some(new)) if lasting(old) == lasting(new) => {}
            (old, new) => {
                let or_nothing = |line: Option<&str>| line.unwrap_or("(nothing)").to_owned();
                return Some((or_nothing(old), or_nothing(new)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_its_place() {
        let text = "a\n<!-- table:x -->\n| 1 |\n<!-- /table:x -->\nb\n";
        let (start, end) = place(text, "x").unwrap();
        assert_eq!(&text[start..end], "| 1 |\n");
        assert!(place(text, "y").is_err());
        assert!(place("<!-- table:x -->\n<!-- table:y -->\n<!-- /table:x -->", "x").is_err());
    }

    #[test]
    fn every_table_has_a_place() {
        for Table { name, document, .. } in TABLES {
            place(&read(document).unwrap(), name).unwrap();
        }
    }

    #[test]
    fn a_bar_does_not_end_a_cell() {
        let rows = [vec!["a|b".to_owned(), "c".to_owned()]];
        assert_eq!(markdown(&["x", "y"], "---:", rows.into_iter()), "| x | y |\n| --- | ---: |\n| a\\|b | c |\n");
    }

    #[test]
    fn what_was_measured_may_differ() {
        assert_eq!(first_difference("| a | 12 · 3 ms |\n", "| a | 12 · 4 ms |\n"), None);
        assert!(first_difference("| a | 12 · 3 ms |\n", "| a | 13 · 3 ms |\n").is_some());
        let longer = first_difference("| a |\n", "| a |\n| b |\n").unwrap();
        assert_eq!(longer, ("(nothing)".to_owned(), "| b |".to_owned()));
    }
}
