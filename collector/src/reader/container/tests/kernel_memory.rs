//! Kernel memory against files, on the running kernel and in cgroups of these tests. Where the programs cannot be loaded,
//! or memory is not in a hierarchy of v1, that is said, and nothing is proven.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::kernel::cgroup::{Hierarchies, Mode, Version};
use crate::kernel::file::{FileBudget, ReadBuffer};
use crate::kernel::machine::{possible_cpus, present_cpus};
use crate::kernel::probes::counters::plan::{Plans, Surroundings};
use crate::kernel::probes::counters::{CounterFamily, Counters, FAMILIES, Targets};
use crate::kernel::{GivenRoots, HostRoots};
use crate::reader::container::{
    ContainerReader, ContextParts, Counted, Distrust, Extras, KernelMemory, MachineFacts, Member, NetworkFiles,
    ReaderContext, Scratch,
};
use crate::sample::container::{Cpu, Sample};
use crate::sample::kinds::{KindSet, MetricKind};
use crate::sample::spec::Spec;
use crate::units::WallTime;

/// The controllers whose hierarchies a test's cgroups are in.
const CONTROLLERS: [&str; 5] = ["memory", "cpuacct", "cpu", "pids", "blkio"];

/// A cgroup with a process, gone with the value.
struct Cgroup {
    name: String,
    directories: Vec<PathBuf>,
    child: Child,
}

impl Cgroup {
    fn new(ctx: &ReaderContext, name: &str, script: &str) -> Self {
        let with_controllers =
            CONTROLLERS.iter().filter_map(|controller| ctx.hierarchies().with_controller(controller));
        let unified = ctx.hierarchies().iter().filter(|_| ctx.hierarchies().mode == Mode::V2);
        let mut directories: Vec<_> =
            with_controllers.chain(unified).map(|hierarchy| hierarchy.dir(name.as_bytes())).collect();
        directories.dedup();
        let mut enter = String::new();
        for directory in &directories {
            std::fs::create_dir_all(directory).unwrap();
            enter = format!("{enter}echo $$ > {}/cgroup.procs; ", directory.display());
        }
        let child = Command::new("sh").arg("-c").arg(format!("{enter}{script}")).spawn().unwrap();
        Self { name: name.to_owned(), directories, child }
    }

    /// Waits until its shell has come to the end of its work, where nothing happens any more.
    fn settle(&self) {
        let is_asleep =
            |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n");
        let has_come = || {
            let listed = std::fs::read_to_string(self.directories[0].join("cgroup.procs")).unwrap_or_default();
            listed.lines().any(is_asleep)
        };
        let end = Instant::now() + Duration::from_secs(20);
        while !has_come() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
    }

    fn reader(&self, ctx: &ReaderContext) -> ContainerReader {
        let mut buffer = ReadBuffer::new();
        let member = |hierarchy: &crate::kernel::cgroup::Hierarchy| {
            Some(Member { hierarchy: hierarchy.id, id: hierarchy.id_of(self.name.as_bytes(), &mut buffer)? })
        };
        let members: Vec<_> = ctx.hierarchies().iter().filter_map(member).collect();
        ContainerReader::new(self.name.as_bytes().into(), &members)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What the shell started lives on.
        for directory in &self.directories {
            let listed = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            for pid in listed.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        for directory in &self.directories {
            for _ in 0..100 {
                if std::fs::remove_dir(directory).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// The running kernel with what was found wrong so far.
struct Kernel {
    ctx: ReaderContext,
    distrusted: Arc<Mutex<Vec<Distrust>>>,
    scratch: Scratch,
}

impl Kernel {
    fn new(break_it: impl FnOnce(&mut Plans)) -> Option<Self> {
        Self::of_kinds(KindSet::all(), break_it)
    }

    fn of_kinds(kinds: KindSet, break_it: impl FnOnce(&mut Plans)) -> Option<Self> {
        let roots = HostRoots::locate(GivenRoots::default());
        let hierarchies = Hierarchies::detect(&roots).ok()?;
        if hierarchies.with_controller("memory").is_none_or(|hierarchy| hierarchy.version == Version::V2) {
            println!("SKIPPED: memory is not in a hierarchy of v1");
            return None;
        }
        Self::with(&roots, hierarchies, kinds, break_it)
    }

    /// The same with cgroup2 alone, which counts CPU time whether or not it has controllers.
    fn unified(break_it: impl FnOnce(&mut Plans)) -> Option<Self> {
        let roots = HostRoots::locate(GivenRoots::default());
        let Some(hierarchies) = Hierarchies::detect(&roots).ok()?.unified_alone() else {
            println!("SKIPPED: cgroup2 is not mounted");
            return None;
        };
        Self::with(&roots, hierarchies, KindSet::all(), break_it)
    }

    fn with(
        roots: &HostRoots,
        hierarchies: Hierarchies,
        kinds: KindSet,
        break_it: impl FnOnce(&mut Plans),
    ) -> Option<Self> {
        let hierarchies = Arc::new(hierarchies);
        let present = present_cpus(roots).ok().and_then(|cpus| Some(*cpus.last()? as usize + 1));
        let ctx = ReaderContext::new(ContextParts {
            roots: roots.clone(),
            hierarchies,
            kinds,
            budget: Arc::new(FileBudget::new(1000)),
            network_files: NetworkFiles::OpenedEachTime,
            errors: Arc::default(),
            load: None,
            extras: Extras::default(),
            machine: MachineFacts { cpus: present.unwrap_or(1), present_cpus: present, ..MachineFacts::default() },
            clock: || WallTime::from(SystemTime::now()),
        });
        let surroundings = Surroundings { memory: ctx.memory_version(), cpus: possible_cpus(roots).unwrap() };
        let counters = Counters::plans(roots, surroundings).and_then(|mut plans| {
            break_it(&mut plans);
            Counters::with_plans(roots, plans, &ctx.counter_families())
        });
        let counters = match counters {
            Ok(counters) => counters,
            Err(unavailable) => {
                println!("SKIPPED: {unavailable}");
                return None;
            }
        };
        let distrusted = Arc::<Mutex<Vec<Distrust>>>::default();
        let noted = Arc::clone(&distrusted);
        let note = move |distrust: &Distrust| noted.lock().unwrap().push(distrust.clone());
        let kernel = Self { ctx, distrusted, scratch: Scratch::default() };
        kernel.ctx.set_kernel_memory(counters, Box::new(note));
        Some(kernel)
    }

    fn memory(&self) -> &KernelMemory {
        self.ctx.kernel_memory().unwrap()
    }

    fn counted(&mut self, reader: &ContainerReader) -> Option<Counted> {
        let targets = reader.targets()?;
        let read = self.ctx.kernel_memory()?.read(&[targets], std::iter::empty::<&[u8]>(), self.scratch.buffer());
        Some(Counted::new(Arc::new(read), 0))
    }

    /// Samples until the container's numbers may be taken from memory.
    fn adopt(&mut self, reader: &mut ContainerReader) {
        reader.sample(&self.ctx, &mut self.scratch).unwrap();
        for _ in 0..20 {
            reader.keep_true(&self.ctx, &mut self.scratch);
            if reader.targets().is_some() {
                return;
            }
            reader.look_in_memory_again();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn distrusted(&self) -> Vec<CounterFamily> {
        self.distrusted.lock().unwrap().iter().map(|distrust| distrust.family).collect()
    }
}

/// Makes the plans wrong.
type Mistake = fn(&mut Plans);

/// A name that no other test has.
fn named(test: &str) -> String {
    format!("/collector-unit-{}-{test}", std::process::id())
}

fn served(kernel: &Kernel) -> Vec<CounterFamily> {
    CounterFamily::ALL.into_iter().filter(|family| kernel.memory().counts(*family).records > 0).collect()
}

#[test]
fn an_idle_cgroup_has_the_same_numbers_in_memory_and_files() {
    let Some(mut kernel) = Kernel::new(|_| ()) else { return };
    let top = named("idle");
    let work = "head -c 9000000 /dev/urandom > /dev/shm/collector-unit-$$; cat /dev/shm/collector-unit-$$ > /dev/null; \
                rm /dev/shm/collector-unit-$$; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000";
    let outer = Cgroup::new(&kernel.ctx, &top, "sleep 1000");
    let inner = Cgroup::new(&kernel.ctx, &format!("{top}/inner"), work);
    std::fs::write(inner.directories[0].join("memory.limit_in_bytes"), "300000000").unwrap();
    outer.settle();
    inner.settle();
    for cgroup in [&inner, &outer] {
        let mut reader = cgroup.reader(&kernel.ctx);
        kernel.adopt(&mut reader);
        let counted = kernel.counted(&reader).expect("its numbers are like the files");
        let from_memory = reader.sample_with(&kernel.ctx, &mut kernel.scratch, Some(counted)).unwrap();
        let kept = reader.kept();
        let from_files = reader.sample(&kernel.ctx, &mut kernel.scratch).unwrap();
        assert_eq!(Sample { at: from_files.at, ..from_memory.clone() }, from_files);
        assert!(from_memory.memory.unwrap().usage.0 > 0 && from_memory.cpu.unwrap().total.0 > 0);
        // Limits of tasks have a file, and blkio where a device was used.
        assert!(kept <= 6, "{kept}");
    }
    assert_eq!(kernel.distrusted(), []);
    let families = served(&kernel);
    assert!(families.contains(&CounterFamily::Memory) && families.contains(&CounterFamily::Pids), "{families:?}");
    drop(inner);
}

#[test]
fn a_busy_cgroup_is_not_distrusted() {
    let Some(mut kernel) = Kernel::new(|_| ()) else { return };
    let work = "while :; do head -c 300000 /dev/zero | tail -c 1 > /dev/null; done";
    let cgroup = Cgroup::new(&kernel.ctx, &named("busy"), work);
    let mut reader = cgroup.reader(&kernel.ctx);
    kernel.adopt(&mut reader);
    for _ in 0..100 {
        // One container: its turn comes with every second sample.
        reader.keep_true(&kernel.ctx, &mut kernel.scratch);
        std::thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(*kernel.distrusted.lock().unwrap(), []);
    assert!(kernel.memory().counts(CounterFamily::CpuTime).compared > 20);
}

#[test]
fn time_of_cgroup2_is_like_its_file() {
    let Some(mut kernel) = Kernel::unified(|_| ()) else { return };
    let busy = Cgroup::new(
        &kernel.ctx,
        &named("unified"),
        "while :; do head -c 300000 /dev/zero | tail -c 1 > /dev/null; done",
    );
    let mut reader = busy.reader(&kernel.ctx);
    kernel.adopt(&mut reader);
    for _ in 0..100 {
        reader.keep_true(&kernel.ctx, &mut kernel.scratch);
        std::thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(*kernel.distrusted.lock().unwrap(), []);
    assert!(kernel.memory().counts(CounterFamily::Cgroup).compared > 20);
    let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000";
    let idle = Cgroup::new(&kernel.ctx, &named("unified-idle"), work);
    idle.settle();
    let mut reader = idle.reader(&kernel.ctx);
    kernel.adopt(&mut reader);
    let counted = kernel.counted(&reader).expect("its time is like the file");
    let from_memory = reader.sample_with(&kernel.ctx, &mut kernel.scratch, Some(counted)).unwrap().cpu.unwrap();
    let from_files = reader.sample(&kernel.ctx, &mut kernel.scratch).unwrap().cpu.unwrap();
    let times = |cpu: &Cpu| (cpu.total, cpu.user, cpu.system, cpu.cfs);
    assert_eq!(times(&from_memory), times(&from_files));
    assert!(from_memory.total.0 > 0 && served(&kernel).contains(&CounterFamily::Cgroup));
    // The averages of ten seconds fall meanwhile.
    let stalled =
        |cpu: &Cpu| cpu.pressure.map(|pressure| [pressure.some, pressure.full].map(|row| row.map(|row| row.total)));
    assert_eq!(stalled(&from_memory), stalled(&from_files));
    if let Some(pressure) = from_memory.pressure {
        assert!(pressure.some.is_some_and(|row| row.total.0 > 0), "work beside work waits: {pressure:?}");
    }
}

/// Of a cgroup in which nothing happens no sample is made, and of one in which something does one is.
#[test]
fn what_is_unchanged_is_not_made_anew() {
    let kinds = KindSet::none().union([MetricKind::Cpu, MetricKind::PerCpu, MetricKind::Memory, MetricKind::DiskIo]);
    let Some(mut kernel) = Kernel::of_kinds(kinds, |_| ()) else { return };
    let cgroup = Cgroup::new(&kernel.ctx, &named("still"), "sleep 1000");
    cgroup.settle();
    let mut reader = cgroup.reader(&kernel.ctx);
    kernel.adopt(&mut reader);
    let counted = kernel.counted(&reader).expect("its numbers are like the files");
    assert_eq!(reader.repeats(&kernel.ctx, &counted), None, "the last sample was of files");
    let first = reader.sample_with(&kernel.ctx, &mut kernel.scratch, Some(counted)).unwrap();
    let counted = kernel.counted(&reader).unwrap();
    let at = reader.repeats(&kernel.ctx, &counted).expect("nothing happened");
    let again = reader.sample_with(&kernel.ctx, &mut kernel.scratch, Some(counted.clone())).unwrap();
    assert_eq!(Sample { at: first.at, ..again }, first);
    assert!(at > first.at);
    assert_eq!(reader.repeats(&kernel.ctx, &counted), None, "it was read before the last sample");
    let mut work = Command::new("sh");
    let enter: Vec<_> =
        cgroup.directories.iter().map(|to| format!("echo $$ > {}/cgroup.procs", to.display())).collect();
    work.arg("-c").arg(format!("{}; head -c 1000000 /dev/zero > /dev/null", enter.join("; ")));
    assert!(work.status().unwrap().success());
    let counted = kernel.counted(&reader).unwrap();
    assert_eq!(reader.repeats(&kernel.ctx, &counted), None, "there was work");
}

/// The files of limits are left alone as long as kernel memory has what it had when they were read, and not longer.
#[test]
fn limits_that_change_are_read_again() {
    let Some(mut kernel) = Kernel::new(|_| ()) else { return };
    let cgroup = Cgroup::new(&kernel.ctx, &named("limits"), "sleep 1000");
    let mut reader = cgroup.reader(&kernel.ctx);
    kernel.adopt(&mut reader);
    let mut spec = Spec::default();
    for (controller, file, value) in [
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "40000"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("memory", "memory.limit_in_bytes", "400001024"),
        ("memory", "memory.soft_limit_in_bytes", "300000000"),
        ("memory", "memory.memsw.limit_in_bytes", "500000000"),
        ("pids", "pids.max", "77"),
    ] {
        let counted = kernel.counted(&reader).expect("its numbers are like the files");
        let before = std::mem::replace(&mut spec, reader.spec(&kernel.ctx, &mut kernel.scratch));
        reader.note_limits(&kernel.ctx, &counted, &before, &spec);
        for _ in 0..8 {
            let counted = kernel.counted(&reader).unwrap();
            let again = reader.limits_again(&kernel.ctx, &counted, spec.clone(), &mut kernel.scratch);
            assert_eq!(again, Some(spec.clone()), "before {file}");
        }
        let counted = kernel.counted(&reader).unwrap();
        let again = reader.limits_again(&kernel.ctx, &counted, spec.clone(), &mut kernel.scratch);
        assert_eq!(again, None, "they are read again some time");
        reader.note_limits(&kernel.ctx, &counted, &spec, &spec);
        let path = kernel.ctx.hierarchies().with_controller(controller).unwrap().dir(cgroup.name.as_bytes()).join(file);
        if !path.exists() {
            println!("this kernel has no {file}");
            continue;
        }
        std::fs::write(&path, value).unwrap();
        let counted = kernel.counted(&reader).unwrap();
        let again = reader.limits_again(&kernel.ctx, &counted, spec.clone(), &mut kernel.scratch);
        assert_eq!(again, None, "{file} is another");
        assert_ne!(reader.spec(&kernel.ctx, &mut kernel.scratch), spec, "{file}");
    }
}

/// Where limits change and kernel memory does not, their files are read from then on.
#[test]
fn limits_that_kernel_memory_does_not_show_are_read() {
    let Some(mut kernel) = Kernel::new(|_| ()) else { return };
    let cgroup = Cgroup::new(&kernel.ctx, &named("limits-hidden"), "sleep 1000");
    let mut reader = cgroup.reader(&kernel.ctx);
    kernel.adopt(&mut reader);
    let counted = kernel.counted(&reader).expect("its numbers are like the files");
    let spec = reader.spec(&kernel.ctx, &mut kernel.scratch);
    let other = Spec { memory: None, ..spec.clone() };
    reader.note_limits(&kernel.ctx, &counted, &spec, &spec);
    assert!(reader.limits_again(&kernel.ctx, &counted, spec.clone(), &mut kernel.scratch).is_some());
    reader.note_limits(&kernel.ctx, &counted, &other, &spec);
    assert_eq!(reader.limits_again(&kernel.ctx, &counted, spec, &mut kernel.scratch), None);
}

/// With another word taken for the time, only work shows it.
#[test]
fn a_wrong_time_of_cgroup2_is_not_taken() {
    let Some(mut kernel) = Kernel::unified(|plans| plans.shift(CounterFamily::Cgroup)) else { return };
    let busy = Cgroup::new(
        &kernel.ctx,
        &named("unified-shifted"),
        "while :; do head -c 300000 /dev/zero | tail -c 1 > /dev/null; done",
    );
    std::thread::sleep(Duration::from_millis(200));
    let mut reader = busy.reader(&kernel.ctx);
    kernel.adopt(&mut reader);
    let is_taken = reader.targets().is_some_and(|targets| targets[CounterFamily::Cgroup as usize].is_some());
    assert!(!is_taken || !kernel.memory().serves(CounterFamily::Cgroup), "{:?}", kernel.distrusted());
}

#[test]
fn what_ended_has_no_numbers_and_its_successor_has_its_own() {
    let Some(mut kernel) = Kernel::new(|_| ()) else { return };
    let name = named("ended");
    let cgroup = Cgroup::new(&kernel.ctx, &name, "sleep 1000");
    let mut reader = cgroup.reader(&kernel.ctx);
    kernel.adopt(&mut reader);
    let targets = reader.targets().expect("its numbers are like the files");
    drop(cgroup);
    let _successor = Cgroup::new(&kernel.ctx, &name, "sleep 1000");
    let read = kernel.memory().counters().read(&[targets]);
    assert!(CounterFamily::ALL.into_iter().all(|family| read.get(0, family).is_none()));
}

/// Each mistake with the family that must be distrusted, or not be taken at all.
#[test]
fn mistakes_are_found_before_a_number_is_taken() {
    let work = "head -c 3000000 /dev/zero | tail -c 2000000 > /dev/null; sleep 1000";
    let mistakes: [(&str, CounterFamily, Mistake); 6] = [
        ("shifted", CounterFamily::Memory, |plans| plans.shift(CounterFamily::Memory)),
        ("time", CounterFamily::CpuTime, |plans| plans.shift(CounterFamily::CpuTime)),
        ("pids", CounterFamily::Pids, |plans| plans.shift(CounterFamily::Pids)),
        ("swapped", CounterFamily::Memory, Plans::swap_usage_and_peak),
        ("shorter", CounterFamily::Memory, |plans| plans.lengthen_states(-20)),
        ("longer", CounterFamily::Memory, |plans| plans.lengthen_states(7)),
    ];
    for (name, family, mistake) in mistakes {
        let Some(mut kernel) = Kernel::new(mistake) else { return };
        // Where the pointer to the time in ticks is taken for that to the time, only work shows it.
        let busy = "while :; do head -c 300000 /dev/zero | tail -c 1 > /dev/null; done";
        let work = if family == CounterFamily::CpuTime { busy } else { work };
        let cgroup = Cgroup::new(&kernel.ctx, &named(name), work);
        if family == CounterFamily::CpuTime {
            std::thread::sleep(Duration::from_millis(200));
        } else {
            cgroup.settle();
        }
        let mut reader = cgroup.reader(&kernel.ctx);
        kernel.adopt(&mut reader);
        let is_taken = reader.targets().is_some_and(|targets: [_; FAMILIES]| {
            let counted: Targets = targets;
            counted[family as usize].is_some() && kernel.memory().serves(family)
        });
        // Which number is which line is learnt, whatever the arrays are taken for.
        assert!(!is_taken || name == "longer", "{name}");
        if let Some(counted) = kernel.counted(&reader).filter(|_| family != CounterFamily::CpuTime) {
            let from_memory = reader.sample_with(&kernel.ctx, &mut kernel.scratch, Some(counted)).unwrap();
            let from_files = reader.sample(&kernel.ctx, &mut kernel.scratch).unwrap();
            // The shell may still be starting what it waits for.
            let referenced = from_files.referenced;
            assert_eq!(Sample { at: from_files.at, referenced, ..from_memory }, from_files, "{name}");
        }
        println!("{name}: {:?}", kernel.distrusted.lock().unwrap());
    }
}
