//! Table `statistics`: where each statistic comes from, with each layout of cgroup hierarchies.

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::{ABSENT, Said, kernels_of, markdown, rows_of};
use crate::vm::boot::Layout;

/// The table's name.
pub(super) const NAME: &str = "statistics";

/// Where a statistic comes from.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    /// Its name.
    statistic: String,
    /// The kernel's file, perhaps with a key; `None` where the kernel has it not.
    source: Option<String>,
}

/// The sources of one statistic in one layout, each with the kernels that have it there; oldest first.
type Sources<'a> = Vec<(Option<&'a str>, Vec<&'static str>)>;

/// Statistics below each other, layouts beside each other.
pub(super) fn render(said: &[Said<'_>]) -> Result<String> {
    let rows = rows_of::<Row>(said, NAME)?;
    if rows.is_empty() {
        return Ok(String::new());
    }
    let mut statistics: Vec<&str> = Vec::new();
    for (.., row) in &rows {
        if !statistics.contains(&row.statistic.as_str()) {
            statistics.push(&row.statistic);
        }
    }
    let mut lines = Vec::new();
    for statistic in statistics {
        let mut line = vec![statistic.to_owned()];
        for layout in Layout::ALL {
            line.push(cell(&sources(&rows, statistic, layout)?));
        }
        lines.push(line);
    }
    let head: Vec<&str> = ["statistic"].into_iter().chain(Layout::ALL.map(Layout::name)).collect();
    Ok(markdown(&head, "---", lines.into_iter()))
}

fn sources<'a>(rows: &'a [(&str, Layout, Row)], statistic: &str, layout: Layout) -> Result<Sources<'a>> {
    let of_layout: Vec<_> = rows.iter().filter(|(_, of, _)| *of == layout).collect();
    let mut sources: Sources<'a> = Vec::new();
    for kernel in kernels_of(of_layout.iter().map(|(kernel, ..)| *kernel)) {
        let mut of_kernel = of_layout.iter().filter(|(of, _, row)| *of == kernel && row.statistic == statistic);
        let source = of_kernel.next().and_then(|(.., row)| row.source.as_deref());
        let again = of_kernel.next();
        ensure!(again.is_none(), "{statistic} was reported twice on {kernel} with {}", layout.name());
        match sources.iter_mut().find(|(known, _)| *known == source) {
            Some((_, kernels)) => kernels.push(kernel),
            None => sources.push((source, vec![kernel])),
        }
    }
    Ok(sources)
}

/// One source is said as it is; of several, each names its kernels.
fn cell(sources: &Sources<'_>) -> String {
    let said = |source: Option<&str>| source.map_or_else(|| ABSENT.to_owned(), |source| format!("`{source}`"));
    match sources.as_slice() {
        [] => ABSENT.to_owned(),
        [(source, _)] => said(*source),
        several => {
            let parts = several.iter().map(|(source, kernels)| format!("{} ({})", said(*source), named(kernels)));
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The names of kernels. One that only varies another beside it, `5.10-pid` beside `5.10`, goes without saying.
fn named(kernels: &[&str]) -> String {
    let is_variant = |kernel: &&&str| {
        let of = kernel.split_once('-').map(|(of, _)| of);
        of.is_some_and(|of| kernels.contains(&of))
    };
    kernels.iter().filter(|kernel| !is_variant(kernel)).copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kernel: &'static str, layout: Layout, json: &'static str) -> Said<'static> {
        Said { kernel, layout, table: NAME, json }
    }

    #[test]
    fn kernels_are_named_where_they_differ() {
        let peak = r#"{"statistic":"memory.max_usage","source":"memory.peak"}"#;
        let no_peak = r#"{"statistic":"memory.max_usage","source":null}"#;
        let text = render(&[
            said("7", Layout::V2, peak),
            said("6.12", Layout::V2, peak),
            said("5.10", Layout::V2, no_peak),
            said("5.10-pid", Layout::V2, no_peak),
            said("5.10", Layout::V1, r#"{"statistic":"memory.max_usage","source":"memory.max_usage_in_bytes"}"#),
            said("5.10", Layout::V1, r#"{"statistic":"pressure","source":null}"#),
        ]);
        let expected = "\
| statistic | v1 | hybrid | v2 |
| --- | --- | --- | --- |
| memory.max_usage | `memory.max_usage_in_bytes` | – | – (5.10), `memory.peak` (6.12, 7) |
| pressure | – | – | – |
";
        assert_eq!(text.unwrap(), expected);
    }

    #[test]
    fn a_statistic_reported_twice_is_an_error() {
        let row = said("7", Layout::V2, r#"{"statistic":"a","source":"b"}"#);
        assert!(render(&[row, row]).is_err());
    }

    #[test]
    fn variants_of_a_kernel_are_named_alone_only() {
        assert_eq!(named(&["5.10-pid", "5.10", "7"]), "5.10, 7");
        assert_eq!(named(&["5.10-pid", "7"]), "5.10-pid, 7");
    }
}
