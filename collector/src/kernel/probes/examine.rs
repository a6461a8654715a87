//! Tries out every step of loading and attaching, keeps its figures and lets go of everything again.
//!
//! The steps are those of `load`, so that what is found here is what a daemon with the same rights meets. Where the
//! daemon stops at the first failure, this goes on with the programs that are left.

use std::time::{Duration, Instant};

use aya::programs::ProgramInfo;

use super::{
    load::{
        EXIT_TRACEPOINTS, LAST_PROGRAM, LAST_TRACEPOINT, LONG_PATH_PROGRAM, Opened, ProbeOptions, attach_program,
        attached_programs, enter_long_path, gather, load_program, open,
    },
    offsets::VictimForm,
    support::{KernelFacts, Unavailable, WithoutExits, decide, exits_possible},
};
use crate::kernel::HostRoots;

/// What one program costs the kernel to take in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Instructions after the kernel's translation (`xlated_prog_len / 8` of `bpf_prog_info`); `None` without the right
    /// to see them.
    pub instructions: Option<u32>,
    /// Instructions the verifier walked through, with those walked more than once (`verified_insns`, since 5.16).
    pub verified_instructions: Option<u32>,
    /// Wall clock time of the system call that loads: the verifier and the translation to machine code.
    pub load_time: Duration,
}

/// One program of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramTrial {
    /// Its name in the object.
    pub name: String,
    /// Whether it could be loaded.
    pub load: Result<Figures, Unavailable>,
    /// The tracepoint and whether it could be attached there. `None` for a program that is not attached here: one
    /// entered by tail call, one for another kernel's form of the tracepoint, and one that was not loaded.
    pub attach: Option<(&'static str, Result<(), Unavailable>)>,
}

/// What came of trying everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// What was found out before.
    pub facts: KernelFacts,
    /// Every program of the object; empty when it did not come to loading them.
    pub programs: Vec<ProgramTrial>,
    /// Which form of the OOM tracepoint this kernel has; `None` where none that is known, or where it was not looked for.
    pub victim: Option<VictimForm>,
    /// Why a daemon with these rights would have no kernel events; `None` when it would have them.
    pub failure: Option<Unavailable>,
    /// Why it would not report how processes end, although it had kernel events.
    pub without_exits: Option<WithoutExits>,
}

/// Loads every program, attaches those that fit this kernel, and takes everything down again. Other users of BPF, a
/// running collector among them, are not touched.
pub fn examine(roots: &HostRoots, options: &ProbeOptions) -> Examination {
    let facts = gather(roots);
    let opened = decide(&facts, options.ring_buffer_bytes)
        .and_then(|plan| open(roots, *options, &plan, &facts).map(|opened| (plan, opened)));
    let (plan, opened) = match opened {
        Ok(opened) => opened,
        Err(failure) => {
            let failure = Some(failure);
            return Examination { facts, programs: Vec::new(), victim: None, failure, without_exits: None };
        }
    };
    let Opened { mut ebpf, mut tail_calls, .. } = opened;
    let mut attached: Vec<_> = attached_programs(plan.victim).collect();
    let needed = attached.len() + 1;
    let mut without_exits = exits_possible(&facts).err();
    if without_exits.is_none() {
        attached.extend(EXIT_TRACEPOINTS.map(|name| (name, name)));
    }
    attached.push((LAST_PROGRAM, LAST_TRACEPOINT));
    // As the daemon orders them, then those the daemon does without on this kernel.
    let mut names = vec![LONG_PATH_PROGRAM.to_owned()];
    names.extend(attached.iter().map(|(name, _)| (*name).to_owned()));
    let mut others: Vec<_> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    others.retain(|name| !names.contains(name));
    others.sort();
    names.extend(others);

    let mut failure = None;
    let mut programs = Vec::new();
    for (position, name) in names.into_iter().enumerate() {
        let begun = Instant::now();
        let loaded = load_program(&mut ebpf, &name, &facts).map(|program| (begun.elapsed(), program.info().ok()));
        let load = loaded.map(|(load_time, info)| Figures {
            instructions: info.as_ref().and_then(ProgramInfo::size_translated).map(|bytes| bytes / 8),
            verified_instructions: info.as_ref().and_then(ProgramInfo::verified_instruction_count),
            load_time,
        });
        let load = match load {
            Ok(figures) if name == LONG_PATH_PROGRAM => {
                enter_long_path(&mut ebpf, &mut tail_calls, &facts).map(|()| figures)
            }
            outcome => outcome,
        };
        let tracepoint = attached.iter().find(|(other, _)| *other == name).map(|(_, tracepoint)| *tracepoint);
        let attach = tracepoint
            .filter(|_| load.is_ok())
            .map(|tracepoint| (tracepoint, attach_program(&mut ebpf, &name, tracepoint, &facts)));
        let attach_failure = attach.iter().find_map(|(_, outcome)| outcome.as_ref().err());
        let found = load.as_ref().err().or(attach_failure).cloned();
        if position < needed {
            failure = failure.or(found);
        } else if tracepoint.is_some() && name != LAST_PROGRAM {
            without_exits = without_exits.or(found.map(WithoutExits));
        }
        programs.push(ProgramTrial { name, load, attach });
    }
    Examination { facts, programs, victim: plan.victim, failure, without_exits }
}
