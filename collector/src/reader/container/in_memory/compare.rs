//! Compares what was read from kernel memory with the files.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::stat::Comparison;
use crate::reader::container::context::ReaderContext;
use crate::reader::container::families::Families;
use crate::reader::container::kernel_memory::{Counted, Distrust, KernelMemory};
use crate::reader::container::reading::Reading;
use crate::reader::container::{ContainerReader, Scratch};
use crate::sample::container::{Cpu, Io, Memory, Processes, Sample};
use crate::sample::unread::Unread;
use crate::sample::walk::Visitor;

/// How often files and memory are read until a difference counts as one: a number may go up and down again in between.
const TRIES: u32 = 20;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_micros(500);

impl ContainerReader {
    /// Reads memory, files, and memory again until nothing differs that did not change meanwhile. Which of the container's
    /// numbers may be taken from memory by that.
    pub(super) fn compare(&mut self, ctx: &ReaderContext, memory: &KernelMemory, scratch: &mut Scratch) -> Compared {
        let wanted = [self.in_memory.targets];
        let mut differing = Vec::new();
        for number in 0..TRIES {
            if number > 0 {
                std::thread::sleep(PAUSE);
            }
            let before = Arc::new(memory.counters().read(&wanted));
            let has = |family: &CounterFamily| before.get(0, *family).is_some();
            let mut unread: Vec<_> = CounterFamily::ALL.into_iter().filter(|family| !has(family)).collect();
            let mut reading = Reading::new(ctx, &self.name, self.live, &mut scratch.buffer);
            let mut files = Sample::default();
            self.families.read(&mut reading, &mut files);
            self.families.processes.read_threads(&mut reading, &mut files);
            let is_whole = reading.gone == 0 && reading.unread == Unread::default();
            let after = Arc::new(memory.counters().read(&wanted));
            if !is_whole {
                // It is ending, or its files are odd: nothing can be compared.
                return Compared::None;
            }
            let records = (Counted::new(before, 0), Counted::new(after, 0));
            match self.differences(ctx, memory, &files, &records, scratch) {
                Judged::Alike(incomplete) => {
                    let is_learning = incomplete.contains(&CounterFamily::Memory);
                    // What was not compared is not taken.
                    unread.extend(incomplete);
                    for family in unread {
                        self.in_memory.targets[family as usize] = None;
                    }
                    return if is_learning { Compared::ButMemory } else { Compared::All };
                }
                Judged::Differing(found) => differing = found,
            }
        }
        // It may have ended meanwhile: its files are gone at once, its structures later.
        let Some(still) = self.find_targets(ctx, memory, scratch) else { return Compared::None };
        let mut is_known = true;
        for Distrust { family, difference } in differing {
            let has_ended = still[family as usize] != self.in_memory.targets[family as usize];
            if has_ended || (family == CounterFamily::Memory && memory.learn_again()) {
                is_known = false;
            } else {
                memory.distrust(family, difference);
            }
        }
        if is_known { Compared::All } else { Compared::None }
    }

    fn differences(
        &self,
        ctx: &ReaderContext,
        memory: &KernelMemory,
        files: &Sample,
        (before, after): &(Counted, Counted),
        scratch: &mut Scratch,
    ) -> Judged {
        let mut differing = Vec::new();
        let mut incomplete = Vec::new();
        for family in CounterFamily::ALL.into_iter().filter(|family| memory.serves(*family)) {
            let (Some(old), Some(new)) = (memory.words(before, family), memory.words(after, family)) else { continue };
            let mut differs = None;
            if family == CounterFamily::Memory
                && let (Some(layout), Some(file)) = (self.families.memory.layout(), &files.memory)
            {
                memory.without_swap.store(file.swap.is_none(), Ordering::Relaxed);
                let compared = Comparison { file: &file.stat.values, before: old, after: new };
                differs = memory.learn(layout, compared).err();
            }
            let mut take = |counted: &Counted| {
                let mut reading = Reading::new(ctx, &self.name, self.live, &mut scratch.buffer);
                reading.counted = Some(counted.clone());
                Families::counted(&mut reading, family)
            };
            match (take(before), take(after)) {
                (Some(mut old), Some(mut new)) => {
                    if family == CounterFamily::Cgroup {
                        // Without the controller there is pressure, and no family that it would be a part of.
                        for part in [&mut old, &mut new] {
                            part.memory.take_if(|_| files.memory.is_none());
                            part.io.take_if(|_| files.io.is_none());
                        }
                    }
                    differs = differs.or_else(|| difference(&part_of(files, family), old, new));
                }
                // Of a container that uses devices nothing is taken from memory.
                _ if family == CounterFamily::Blkio => {}
                // Not every line of memory's is known yet; and the file of CPU time has bandwidth, which was not read.
                _ => incomplete.push(family),
            }
            memory.compared[family as usize].fetch_add(1, Ordering::Relaxed);
            differing.extend(differs.map(|difference| Distrust { family, difference }));
        }
        if differing.is_empty() { Judged::Alike(incomplete) } else { Judged::Differing(differing) }
    }
}

/// Which numbers may be taken from memory by a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// Those that are there.
    All,
    /// The same but memory's: too little is known so far of which number is what.
    ButMemory,
    /// None now.
    None,
}

/// What a comparison came to.
enum Judged {
    /// Nothing differs; and the families of which too little was there to be compared.
    Alike(Vec<CounterFamily>),
    Differing(Vec<Distrust>),
}

/// The part of a sample that a family has.
fn part_of(sample: &Sample, family: CounterFamily) -> Sample {
    let mut part = Sample::default();
    match family {
        CounterFamily::Memory => {
            let own = |memory: &Memory| Memory { pressure: None, numa: None, ..memory.clone() };
            part.memory = sample.memory.as_ref().map(own);
        }
        CounterFamily::CpuTime | CounterFamily::Cgroup => {
            let is_unified = family == CounterFamily::Cgroup;
            part.cpu = sample.cpu.as_ref().map(|cpu| Cpu {
                total: cpu.total,
                user: cpu.user,
                system: cpu.system,
                per_cpu: cpu.per_cpu.clone(),
                pressure: cpu.pressure.filter(|_| is_unified),
                ..Cpu::default()
            });
            let memory = sample.memory.as_ref().and_then(|memory| memory.pressure).filter(|_| is_unified);
            part.memory = memory.map(|pressure| Memory { pressure: Some(pressure), ..Memory::default() });
            let io = sample.io.as_ref().and_then(|io| io.pressure).filter(|_| is_unified);
            part.io = io.map(|pressure| Io { pressure: Some(pressure), ..Io::default() });
        }
        CounterFamily::Bandwidth => {
            part.cpu = sample.cpu.as_ref().map(|cpu| Cpu { cfs: cpu.cfs, ..Cpu::default() });
        }
        CounterFamily::Pids => {
            let threads = sample.processes.and_then(|processes| processes.threads);
            part.processes = Some(Processes { threads, ..Processes::default() });
        }
        CounterFamily::Blkio => {
            part.io = sample.io.as_ref().map(|io| Io { devices: io.devices.clone(), pressure: None });
        }
    }
    part
}

/// All numbers, and which of them only grow.
#[derive(Default)]
struct Numbers(Vec<(u64, Kind)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

impl Visitor for Numbers {
    fn counter(&mut self, value: &mut u64) {
        self.0.push((*value, Kind::Counter));
    }

    fn gauge(&mut self, value: &mut u64) {
        self.0.push((*value, Kind::Gauge));
    }
}

/// What of the files is not what memory had before and after them; a gauge that changed between the two is not judged.
fn difference(files: &Sample, mut before: Sample, mut after: Sample) -> Option<String> {
    if !before.same_shape(&after) {
        return None;
    }
    if !files.same_shape(&before) {
        return Some("the files have other numbers".to_owned());
    }
    let mut files = files.clone();
    let [mut file, mut old, mut new] = [Numbers::default(), Numbers::default(), Numbers::default()];
    files.walk(&mut file);
    before.walk(&mut old);
    after.walk(&mut new);
    let both = old.0.iter().map(|(old, _)| old).zip(new.0.iter().map(|(new, _)| new));
    let differs = |((file, kind), (old, new)): (&(u64, Kind), (&u64, &u64))| {
        let is_wrong = match kind {
            Kind::Counter => file < old || file > new,
            Kind::Gauge => old == new && file != old,
        };
        is_wrong.then(|| format!("a file has {file}, memory had {old} before and {new} after"))
    };
    file.0.iter().zip(both).find_map(differs)
}
