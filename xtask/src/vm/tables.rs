//! The tables of the README that show what each kernel has: made from rows that the suite says in the machines.
//!
//! A table stands between `<!-- table:NAME -->` and `<!-- /table:NAME -->`. The whole matrix fails when a table is not
//! what it has just seen, so that the README cannot promise what a kernel does not keep.

mod programs;
mod statistics;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde::de::DeserializeOwned;

use super::boot::Layout;
use super::kernel::RELEASES;
use super::matrix::Finished;
use crate::workspace;

/// A table's name, and what makes it of all that was said.
type Table = (&'static str, fn(&[Said<'_>]) -> Result<String>);

const TABLES: [Table; 2] = [(programs::NAME, programs::render), (statistics::NAME, statistics::render)];

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

/// Fails when a table in the README is not what these boots make, except for what was measured.
pub(super) fn compare(all: &[Finished]) -> Result<()> {
    let readme = read()?;
    for (name, render) in TABLES {
        let made = render(&said_in(all))?;
        let (start, end) = place(&readme, name)?;
        let difference = first_difference(&readme[start..end], &made);
        if let Some((old, new)) = difference {
            bail!(
                "the README's table `{name}` is not what the kernels say; `cargo xtask vm --write-tables` writes it\n  \
                 README: {old}\n  now:    {new}"
            );
        }
    }
    Ok(())
}

/// Writes the tables that these boots make into the README.
pub(super) fn write(all: &[Finished]) -> Result<()> {
    let mut readme = read()?;
    for (name, render) in TABLES {
        let made = render(&said_in(all))?;
        let (start, end) = place(&readme, name)?;
        readme.replace_range(start..end, &made);
    }
    let path = workspace::root().join("README.md");
    std::fs::write(&path, readme).with_context(|| format!("cannot write {}", path.display()))
}

fn read() -> Result<String> {
    let path = workspace::root().join("README.md");
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

/// Where a table begins and ends in the README.
fn place(readme: &str, name: &str) -> Result<(usize, usize)> {
    let (open, close) = (format!("<!-- table:{name} -->\n"), format!("<!-- /table:{name} -->"));
    let start = readme.find(&open).with_context(|| format!("the README has no line {}", open.trim_end()))? + open.len();
    let length = readme[start..].find(&close).with_context(|| format!("the README has no line {close}"))?;
    ensure!(!readme[start..start + length].contains("<!--"), "the README's table {name} is not closed");
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
        let readme = "a\n<!-- table:x -->\n| 1 |\n<!-- /table:x -->\nb\n";
        let (start, end) = place(readme, "x").unwrap();
        assert_eq!(&readme[start..end], "| 1 |\n");
        assert!(place(readme, "y").is_err());
        assert!(place("<!-- table:x -->\n<!-- table:y -->\n<!-- /table:x -->", "x").is_err());
    }

    #[test]
    fn the_readme_has_a_place_for_every_table() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
        for (name, _) in TABLES {
            place(&readme, name).unwrap();
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
