//! Where a cgroup's pressure is: `struct psi_group`.

use collector_ebpf::plan::{CHAIN, STATE};

use super::{Slot, Steps, TOO_LONG, WORD};
use crate::kernel::probes::btf::Btf;

/// What tasks wait for, as the kernel numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stalled {
    /// `cpu.pressure`.
    Cpu,
    /// `memory.pressure`.
    Memory,
    /// `io.pressure`.
    Io,
}

/// One row of a pressure file as the kernel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPressure {
    /// Nanoseconds.
    pub total: u64,
    /// Shares of 10, 60 and 300 s, as fixed-point numbers with 11 bits behind the point.
    pub averages: [u64; 3],
}

/// Where the rows are in a record.
#[derive(Clone, Copy, Debug)]
pub struct PressureLayout {
    /// A pointer that is null where the kernel keeps no pressure.
    group: Slot,
    /// 0 where it was switched off for this cgroup, since 6.1.
    enabled: Option<Slot>,
    totals: usize,
    averages: usize,
    /// `some` and `full` by [`Stalled`]; the numbers of `enum psi_states`.
    states: [[Option<usize>; 2]; 3],
}

/// `enum psi_states`, in the order of [`Stalled`].
const STATES: [[&str; 2]; 3] =
    [["PSI_CPU_SOME", "PSI_CPU_FULL"], ["PSI_MEM_SOME", "PSI_MEM_FULL"], ["PSI_IO_SOME", "PSI_IO_FULL"]];

impl PressureLayout {
    /// The rows `some` and `full`; `None` where the kernel keeps none.
    pub fn rows(&self, words: &[u64], stalled: Stalled) -> Option<[Option<RawPressure>; 2]> {
        if self.group.of(words)? == 0 || self.enabled.is_some_and(|enabled| enabled.of(words).is_none_or(is_false)) {
            return None;
        }
        let row = |state: usize| {
            let averages = words.get(self.averages + 3 * state..)?.first_chunk::<3>()?;
            Some(RawPressure { total: *words.get(self.totals + state)?, averages: *averages })
        };
        Some(self.states[stalled as usize].map(|state| row(state?)))
    }
}

/// Of a `bool` the kernel has one byte.
fn is_false(word: u64) -> bool {
    word as u8 == 0
}

/// Adds the steps for it. `None` where this kernel has no pressure of cgroups, or none that is known.
pub(super) fn pressure(btf: &Btf<'_>, steps: &mut Steps) -> Result<Option<PressureLayout>, &'static str> {
    let base = btf.field_offset("cgroup", "self").ok_or("cgroup.self")?;
    let at = |field: &'static str| btf.field_offset("cgroup", field)?.checked_sub(base);
    let states = btf.enumerator("psi_states", "NR_PSI_STATES").filter(|states| *states > 1);
    let offsets = btf.field_offset("psi_group", "total").zip(btf.field_offset("psi_group", "avg"));
    let (Some(group), Some(states), Some((totals, averages))) = (at("psi"), states, offsets) else { return Ok(None) };
    // The last is no row of a file.
    let states = states - 1;
    let mut layout = || {
        // A structure of its own since 6.1, before that a part of the cgroup.
        let (from, start, group) = match at("psi.total") {
            None => {
                steps.follow(STATE, group, CHAIN)?;
                (CHAIN, 0, steps.keep(CHAIN)?)
            }
            Some(_) => (STATE, group, steps.word(STATE, group + btf.field_offset("psi_group", "pcpu")?)?),
        };
        let enabled = match btf.field_offset("psi_group", "enabled") {
            Some(offset) => Some(steps.half(from, start + offset)?),
            None => None,
        };
        Some(PressureLayout {
            group,
            enabled,
            totals: steps.copy(from, start + totals, states * WORD as u32)?,
            averages: steps.copy(from, start + averages, 3 * states * WORD as u32)?,
            states: STATES.map(|pair| pair.map(|name| btf.enumerator("psi_states", name).map(|state| state as usize))),
        })
    };
    layout().map(Some).ok_or(TOO_LONG)
}
