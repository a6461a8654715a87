//! The families of statistics: one file each, one list.
//!
//! A family knows where its numbers are on this machine, keeps their files open, makes a part of a sample of them, and
//! says of each number where it comes from. Adding a family is a file here and a line in [`Families`].

mod cpu;
mod cpuset;
mod hugetlb;
mod io;
mod load;
mod memory;
mod misc;
mod network;
mod numa;
mod oom;
mod perf;
mod pressure;
mod processes;
mod referenced;
mod resctrl;
mod sched;
mod sockets;

use super::first_process;
use super::places::{Mounted, Place};
use super::reading::Reading;
use super::rows::Rows;
use crate::kernel::file::KeptFile;
use crate::kernel::probes::counters::CounterFamily;
use crate::kernel::probes::counters::cpu_time::ShownTimes;
use crate::kernel::probes::counters::plan::Stalled;
use crate::sample::container::{Cpu, Io, Memory, Processes, Sample};
use crate::sample::spec::Spec;
use crate::sample::statistic::Value;

pub(super) use cpu::{later, legacy_times, unified_times};
pub use oom::OomCounter;

/// One family of a container's statistics, with what it remembers between samples.
pub(super) trait Family {
    /// Where its numbers are; `None` where nothing has them, where its kind is switched off, and for what belongs to
    /// processes rather than to a cgroup. Found once for the machine.
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place>;

    /// Reads the cgroup's own files.
    fn read(&mut self, _: Option<Place>, _: &mut Reading<'_>, _: &mut Sample) {}

    /// Reads what is beside them: procfs, answers of the kernel. The sample has its time by then.
    fn read_beside(&mut self, _: Option<Place>, _: &mut Reading<'_>, _: &mut Sample) {}

    /// Reads limits and configuration.
    fn limits(&mut self, _: Option<Place>, _: &mut Reading<'_>, _: &mut Spec) {}

    /// Which family of counters shows whether its limits changed, if one does for all of them.
    fn shows_limits(&self) -> Option<CounterFamily> {
        None
    }

    /// Brings limits up to date of which those that kernel memory has are known to be right.
    fn limits_again(
        &mut self,
        place: Option<Place>,
        reading: &mut Reading<'_>,
        is_known: &dyn Fn(CounterFamily) -> bool,
        spec: &mut Spec,
    ) {
        if !self.shows_limits().is_some_and(is_known) {
            self.limits(place, reading, spec);
        }
    }

    /// Adds a row for each of its numbers: its value, and the file and key it comes from.
    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample);

    /// The same for its limits.
    fn explain_limits(&self, _: Option<Place>, _: &mut Rows<'_>, _: &Spec) {}

    /// Visits the cgroup's files that are kept open.
    fn each(&mut self, _: &mut dyn FnMut(&mut KeptFile)) {}

    /// Closes those whose numbers are otherwise taken from kernel memory, by the families of counters that are.
    fn release(&mut self, _: &dyn Fn(CounterFamily) -> bool) {}

    /// Whether a file that every cgroup with the controller has is not there.
    fn lacks_leading(&self) -> bool {
        false
    }

    /// Chooses its files anew.
    fn retry(&mut self) {}

    /// Lets go of what it keeps open beside files.
    fn close(&mut self) {}
}

macro_rules! families {
    ($($name:ident: $state:ty,)+) => {
        /// Every family of one container.
        #[derive(Debug, Default)]
        pub(super) struct Families { $(pub(super) $name: $state,)+ }

        impl Families {
            const COUNT: usize = [$(stringify!($name)),+].len();

            /// All of them, in the order in which they are read and explained.
            fn all(&mut self) -> [&mut dyn Family; Self::COUNT] {
                [$(&mut self.$name),+]
            }
        }
    };
}

families! {
    cpu: cpu::CpuFiles,
    sched: sched::Scheduled,
    load: load::LoadState,
    cpuset: cpuset::CpusetFiles,
    memory: memory::MemoryFiles,
    numa: numa::NumaFiles,
    oom: oom::OomFiles,
    hugetlb: hugetlb::HugetlbFiles,
    io: io::IoFiles,
    misc: misc::MiscFiles,
    processes: processes::ProcessFiles,
    network: network::NetworkState,
    referenced: referenced::ReferencedState,
    resctrl: resctrl::ResctrlState,
    perf: perf::PerfState,
}

impl Families {
    /// Where each is read on this machine.
    pub(super) fn places(mounted: &Mounted<'_>) -> Box<[Option<Place>]> {
        Self::default().all().map(|family| family.place(mounted)).into()
    }

    /// Each with its place.
    fn placed<'a>(
        &'a mut self,
        places: &'a [Option<Place>],
    ) -> impl Iterator<Item = (&'a mut dyn Family, Option<Place>)> {
        self.all().into_iter().zip(places.iter().copied())
    }

    pub(super) fn read(&mut self, reading: &mut Reading<'_>, sample: &mut Sample) {
        let ctx = reading.ctx;
        for (family, place) in self.placed(&ctx.places) {
            family.read(place, reading, sample);
        }
    }

    /// The part of a sample that a family of counters has by what was read from kernel memory; `None` where it has none.
    pub(super) fn counted(reading: &mut Reading<'_>, family: CounterFamily) -> Option<Sample> {
        let mut sample = Sample::default();
        match family {
            CounterFamily::Memory => sample.memory = Some(memory::counted(reading, &mut memory::ZswapKeys::default())?),
            CounterFamily::CpuTime => sample.cpu = Some(cpu::counted_time(reading, ShownTimes::default())?.0),
            CounterFamily::Bandwidth => {
                let cfs = cpu::counted_bandwidth(reading)?;
                sample.cpu = Some(Cpu { cfs: Some(cfs), ..Cpu::default() });
            }
            CounterFamily::Pids => {
                let threads = Some(reading.counted_pids()?);
                sample.processes = Some(Processes { threads, ..Processes::default() });
            }
            CounterFamily::Blkio => sample.io = reading.used_no_device().then(Io::default),
            CounterFamily::Cgroup => {
                let time = cpu::counted_unified_time(reading, ShownTimes::default())?.0;
                sample.cpu = Some(Cpu { pressure: pressure::counted(reading, Stalled::Cpu), ..time });
                let of_memory = pressure::counted(reading, Stalled::Memory);
                sample.memory = of_memory.map(|pressure| Memory { pressure: Some(pressure), ..Memory::default() });
                let of_io = pressure::counted(reading, Stalled::Io);
                sample.io = of_io.map(|pressure| Io { pressure: Some(pressure), ..Io::default() });
            }
        }
        Some(sample).filter(|sample| *sample != Sample::default())
    }

    pub(super) fn read_beside(&mut self, reading: &mut Reading<'_>, sample: &mut Sample) {
        let ctx = reading.ctx;
        for (family, place) in self.placed(&ctx.places) {
            family.read_beside(place, reading, sample);
        }
    }

    pub(super) fn limits(&mut self, reading: &mut Reading<'_>) -> Spec {
        let mut spec = Spec::default();
        let ctx = reading.ctx;
        for (family, place) in self.placed(&ctx.places) {
            family.limits(place, reading, &mut spec);
        }
        spec.unread = reading.unread;
        spec
    }

    pub(super) fn limits_again(
        &mut self,
        reading: &mut Reading<'_>,
        is_known: &dyn Fn(CounterFamily) -> bool,
        spec: &mut Spec,
    ) {
        let ctx = reading.ctx;
        for (family, place) in self.placed(&ctx.places) {
            family.limits_again(place, reading, is_known, spec);
        }
        spec.unread = reading.unread;
    }

    /// Adds a row for every number of a sample and of a spec.
    pub(super) fn explain(&mut self, rows: &mut Rows<'_>, sample: &Sample, spec: &Spec) {
        let ctx = rows.reading.ctx;
        for (family, place) in self.placed(&ctx.places) {
            family.explain(place, rows, sample);
        }
        // Of the collector's own kernel events where there are any.
        let text = "cgroup_mkdir, or else modification times of the cgroup's directories";
        rows.add_reported("spec.creation_time", spec.created.as_ref().map(Value::from), text);
        for (family, place) in self.placed(&ctx.places) {
            family.explain_limits(place, rows, spec);
        }
    }

    /// Visits every cgroup file that is kept open; that of a network namespace belongs to no cgroup.
    pub(super) fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        for family in self.all() {
            family.each(each);
        }
    }

    /// Closes what is open of the files whose numbers are otherwise taken from kernel memory.
    pub(super) fn release(&mut self, is_taken: &dyn Fn(CounterFamily) -> bool) {
        self.all().into_iter().for_each(|family| family.release(is_taken));
    }

    pub(super) fn lacks_leading(&mut self) -> bool {
        self.all().into_iter().any(|family| family.lacks_leading())
    }

    pub(super) fn retry(&mut self) {
        self.all().into_iter().for_each(Family::retry);
    }

    pub(super) fn close(&mut self) {
        self.all().into_iter().for_each(Family::close);
    }
}

/// Each field of a structure that may be absent, as an option. Without `..`: a field that is added to it and not here does
/// not compile.
macro_rules! fields {
    ($from:expr => $structure:ident { $($field:ident $(: $unused:tt)?),* $(,)? }) => {
        let ($($field,)*) = match $from {
            Some($structure { $($field),* }) => ($(Some($field),)*),
            None => ($({ let $field = None; $field },)*),
        };
        $($(let $unused = $field;)?)*
    };
}
use fields;

/// An optional field of an optional structure.
fn flat<T>(value: Option<&Option<T>>) -> Option<&T> {
    value.and_then(Option::as_ref)
}
