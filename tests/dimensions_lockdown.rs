//! Kernel lockdown, raised step by step. There is no way back before the next boot, so these come last, and only where
//! nothing follows: in a virtual machine.

use crate::dimensions_events::{reason, still_reports};
use crate::oom::Scene;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::{Case, Skip};
use crate::support::surroundings::Surroundings;
use crate::support::{Context as _, Result, bytes, ensure, settings};

pub(crate) const CASES: &[Case] = &[
    Case::new("dimensions_lockdown::integrity", integrity).on_every_unified_kernel(),
    Case::new("dimensions_lockdown::confidentiality", confidentiality).on_every_kernel(),
];

const STATE: &str = "/sys/kernel/security/lockdown";

/// Raises lockdown, or finds it there already.
fn lock_down(level: &str) -> Result<()> {
    if !settings::in_vm() {
        return Err(Skip::because("lockdown cannot be undone, and this machine is no virtual machine of ours"));
    }
    let state = bytes::read(STATE).map_err(|_| Skip::because("the kernel has no lockdown"))?;
    if !state.contains(&format!("[{level}]")) {
        bytes::write(STATE, level).with_context(|| format!("lockdown is {state}"))?;
    }
    let state = bytes::read(STATE)?;
    ensure!(state.contains(&format!("[{level}]")), "raised to {level}, but: {state}");
    Ok(())
}

/// The kernel may not be changed any more; to look at it is still allowed.
fn integrity() -> Result<()> {
    lock_down("integrity")?;
    let collector = Collector::start(&["--kernel_events=ebpf"])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::Memory)?;
    let scene = Scene::new(&cgroups, 0)?;
    let killing = scene.kill()?;
    scene.is_reported(&killing, &collector)
}

/// Nor may its memory be read: the verifier refuses the programs, also to root.
fn confidentiality() -> Result<()> {
    lock_down("confidentiality")?;
    let words = ["locked down for confidentiality", "boot without lockdown=confidentiality"];
    let mut collector = Collector::start(&[])?;
    reason(&collector, &words)?;
    still_reports(&mut collector)?;
    // In a container there is seldom a securityfs to ask.
    let unasked = Collector::start_as(Surroundings::default().without("/sys/kernel/security"), &[])?;
    reason(&unasked, &words).context("without securityfs")?;
    Ok(())
}
