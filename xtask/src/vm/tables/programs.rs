//! Table `programs`: each program object on each kernel, with its size and what verifying it costs.

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::{ABSENT, MEASURED, Said, kernels_of, markdown, rows_of};

/// The table's name.
pub(super) const NAME: &str = "programs";

/// A program with a loop over all CPUs: the kernel drops what is never run on a machine with a single one.
const OVER_CPUS: &str = "cgroup_last";

/// A program that a kernel has loaded.
#[derive(Clone, Debug, Deserialize)]
struct Row {
    /// Its name in the object.
    program: String,
    /// Its instructions.
    instructions: u64,
    /// Instructions that the verifier looked at, over all paths; since 5.16.
    verified_instructions: Option<u64>,
    /// Microseconds from the system call to its return.
    load_us: f64,
}

/// Programs below each other, kernels beside each other.
pub(super) fn render(said: &[Said<'_>]) -> Result<String> {
    let rows = rows_of::<Row>(said, NAME)?;
    let kernels = kernels_of(rows.iter().map(|(kernel, ..)| *kernel));
    if kernels.is_empty() {
        return Ok(String::new());
    }
    let mut programs: Vec<&str> = rows.iter().map(|(_, _, row)| row.program.as_str()).collect();
    programs.sort_unstable();
    programs.dedup();
    let mut lines = Vec::new();
    for program in programs {
        let mut line = vec![format!("`{program}`")];
        for kernel in &kernels {
            let of_kernel = rows.iter().filter(|(of, _, row)| of == kernel && row.program == program);
            line.push(cell(&of_kernel.map(|(_, _, row)| row).collect::<Vec<_>>())?);
        }
        lines.push(line);
    }
    let head: Vec<&str> = ["program"].into_iter().chain(kernels).collect();
    Ok(markdown(&head, "---:", lines.into_iter()))
}

/// What one kernel, booted in several ways, says about one program.
fn cell(rows: &[&Row]) -> Result<String> {
    let Some(most) = rows.iter().map(|row| row.instructions).max() else { return Ok(ABSENT.to_owned()) };
    for row in rows.iter().filter(|row| row.program != OVER_CPUS) {
        ensure!(
            row.instructions == most,
            "{} has {} and {most} instructions on the same kernel",
            row.program,
            row.instructions
        );
    }
    // The least disturbed of all boots.
    let fastest = rows.iter().map(|row| row.load_us).fold(f64::INFINITY, f64::min) / 1000.0;
    let verified = rows.iter().filter_map(|row| row.verified_instructions).max();
    let verified = verified.map(|count| format!("{count} verified, ")).unwrap_or_default();
    Ok(format!("{most}{MEASURED}{verified}{fastest:.1} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::boot::Layout;

    fn said(kernel: &'static str, layout: Layout, json: &'static str) -> Said<'static> {
        Said { kernel, layout, table: NAME, json }
    }

    #[test]
    fn kernels_are_columns_and_boots_of_one_kernel_a_cell() {
        let text = render(&[
            said(
                "6.12",
                Layout::V2,
                r#"{"program":"mkdir","instructions":40,"verified_instructions":90,"load_us":1234}"#,
            ),
            said("5.10", Layout::V1, r#"{"program":"mkdir","instructions":40,"load_us":3000.5}"#),
            said("5.10", Layout::V2, r#"{"program":"mkdir","instructions":40,"load_us":2000}"#),
            said("6.12", Layout::V2, r#"{"program":"attach","instructions":7,"load_us":100}"#),
        ]);
        let expected = "\
| program | 5.10 | 6.12 |
| --- | ---: | ---: |
| `attach` | – | 7 · 0.1 ms |
| `mkdir` | 40 · 2.0 ms | 40 · 90 verified, 1.2 ms |
";
        assert_eq!(text.unwrap(), expected);
    }

    #[test]
    fn without_rows_there_is_no_table() {
        assert_eq!(render(&[]).unwrap(), "");
    }

    #[test]
    fn one_kernel_that_disagrees_with_itself_is_an_error() {
        let rows = [
            said("6.1", Layout::V1, r#"{"program":"a","instructions":1,"load_us":1}"#),
            said("6.1", Layout::V2, r#"{"program":"a","instructions":2,"load_us":1}"#),
        ];
        assert!(render(&rows).is_err());
        assert!(render(&[said("6.1", Layout::V1, r#"{"program":"a"}"#)]).is_err());
    }

    #[test]
    fn a_machine_with_a_single_cpu_has_less_of_a_loop_over_all() {
        let rows = [
            said("6.1", Layout::V1, r#"{"program":"cgroup_last","instructions":7,"load_us":1000}"#),
            said("6.1", Layout::V2, r#"{"program":"cgroup_last","instructions":9,"load_us":1000}"#),
        ];
        assert!(render(&rows).unwrap().contains("| 9 · 1.0 ms |"));
    }
}
