//! The eBPF object on this kernel: every program of it passes the verifier, whether it is needed here or not.

use serde::Serialize;

use crate::doctor::examine;
use crate::support::collector::Rights;
use crate::support::harness::{Case, table_row};
use crate::support::{Context as _, Result, ensure};

pub(crate) const CASES: &[Case] = &[Case::new("programs::every_object_loads", every_object_loads).on_every_kernel()];

/// Both forms of the OOM tracepoint's program, those that every kernel needs, and those about the end of processes.
const EXPECTED: [&str; 12] = [
    "cgroup_attach_task",
    "cgroup_last",
    "cgroup_long_path",
    "cgroup_mkdir",
    "cgroup_notify_populated",
    "cgroup_release",
    "cgroup_rename",
    "cgroup_rmdir",
    "mark_victim_pid",
    "mark_victim_task",
    "sched_process_exit",
    "signal_generate",
];

/// What one program costs this kernel.
#[derive(Serialize)]
struct Row<'a> {
    program: &'a str,
    instructions: u32,
    /// Not reported before 5.16.
    verified_instructions: Option<u32>,
    load_us: u64,
}

fn every_object_loads() -> Result<()> {
    let mut report = examine(&Rights::default(), &["--port=0"])?;
    report.programs.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<_> = report.programs.iter().map(|program| program.name.as_str()).collect();
    ensure!(names == EXPECTED, "the object has {names:?}");
    for program in &report.programs {
        ensure!(program.loaded && program.error.is_none(), "{program:?}");
        let instructions = program.instructions.with_context(|| format!("root does not see the size: {program:?}"))?;
        ensure!(instructions > 0 && program.verified_instructions != Some(0), "{program:?}");
        let load_us = program.load_us.with_context(|| format!("{program:?} took no time"))?;
        let verified_instructions = program.verified_instructions;
        table_row("programs", &Row { program: &program.name, instructions, verified_instructions, load_us })?;
    }
    // The kernel drops code that reads a field it does not have, and a program without its fields loads well.
    let types = report.facility("btf")?;
    ensure!(types.status == "works", "{types:?}");
    let on_oom: Vec<_> =
        report.programs.iter().filter(|program| program.attached_to.as_deref() == Some("mark_victim")).collect();
    ensure!(on_oom.len() == 1, "one form of the OOM tracepoint's program is attached, not {on_oom:?}");
    Ok(())
}
