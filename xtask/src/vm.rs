//! `cargo xtask vm`: the end-to-end suite on other kernels, with other cgroup hierarchies.
//!
//! Debian's kernels boot under emulation, with nothing but an initramfs of ours: the collector and the suite without
//! shared libraries, and busybox. The verdict of a boot is one line on its serial console.

mod boot;
mod console;
mod engines;
mod initramfs;
mod kernel;
mod machine;
mod matrix;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use self::boot::{Boot, Layout, Pressure, Root, Scope};
use self::kernel::Kernel;
use self::machine::Machine;
use crate::build::{self, Programs};
use crate::interrupt::Interrupt;
use crate::processor::Processor;
use crate::test::{Counts, SECOND_TRY, SKIPPED};
use crate::{apt, dist, shell, workspace};

/// Which kernels to boot, and for what.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    /// One of Debian's kernels; without, the whole matrix
    #[arg(value_parser = kernel::RELEASES.map(|release| release.name))]
    version: Option<String>,
    /// A kernel image to boot in place of Debian's
    #[arg(long, value_name = "PATH", conflicts_with = "version")]
    kernel: Option<PathBuf>,
    /// Only with these cgroup hierarchies
    #[arg(long, value_enum)]
    cgroups: Option<Layout>,
    /// Only with this processor
    #[arg(long, value_enum, conflicts_with = "kernel")]
    processor: Option<Processor>,
    /// Only with this machine's root and the container engines installed on it
    #[arg(long, conflicts_with = "kernel")]
    engines: bool,
    /// Only the tests whose name contains this, also those that do not belong on every kernel
    #[arg(long)]
    filter: Option<String>,
    /// All tests in every boot
    #[arg(long, conflicts_with = "filter")]
    full: bool,
    /// Give a shell on the console, with the collector and the suite at hand, and run no tests
    #[arg(long)]
    shell: bool,
    /// So many virtual machines at a time
    #[arg(long, value_name = "NUMBER", default_value_t = AT_ONCE)]
    at_once: usize,
    /// Write the tables that the whole matrix makes into the documents
    #[arg(long, conflicts_with_all = ["version", "kernel", "cgroups", "processor", "engines", "filter", "shell"])]
    write_tables: bool,
}

/// Virtual machines at a time: with two processors, more would only take the time from each other.
const AT_ONCE: usize = 3;

/// What has to be installed, and the emulator of each processor.
const PACKAGES: [&str; 2] = ["busybox-static", "xz-utils"];
const EMULATOR: &str = "qemu-system-x86";
const EMULATOR_OF_ARM64: &str = "qemu-system-arm";

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    let boots = selected(args);
    let prepared = match &args.kernel {
        Some(image) => {
            install()?;
            let kernel = Kernel::bare(image.clone())?;
            let kernels = BTreeMap::from([((kernel.name.clone(), Processor::Amd64), kernel)]);
            Prepared { boots, kernels, obstacles: BTreeMap::new() }
        }
        None => Prepared::fetch(boots)?,
    };
    let built = prepared.build()?;
    if args.shell {
        let boot = prepared.boots.first().context("there is nothing to boot")?;
        let kernel = prepared.kernels.get(&(boot.kernel.clone(), boot.processor)).context("there is no kernel")?;
        let programs = built.get(&boot.processor).context("there are no programs")?;
        return Machine::new(kernel, boot, programs).shell();
    }
    let all = matrix::run(&prepared, &built, args.at_once, &Interrupt::install()?)?;
    let counts = matrix::summarize(&all);
    for reason in &counts.skip_reasons {
        println!("{SKIPPED}{reason}");
    }
    for name in &counts.second_tries {
        println!("{SECOND_TRY}{name}");
    }
    println!("{} second tries\n{counts}", counts.second_tries.len());
    if args.write_tables {
        tables::write(&all)?;
    }
    ensure!(counts.failed == 0, "{} tests failed in virtual machines", counts.failed);
    if is_whole(args) && !args.write_tables {
        tables::compare(&all)?;
    }
    tables::compare_processors(&all)?;
    Ok(())
}

/// What runs on each processor.
type Built = BTreeMap<Processor, Programs>;

/// Boots with their kernels, ready to run.
#[derive(Debug)]
pub(crate) struct Prepared {
    boots: Vec<Boot>,
    /// By name and processor.
    kernels: BTreeMap<(String, Processor), Kernel>,
    /// Why nothing boots with another processor than this machine's.
    obstacles: BTreeMap<Processor, String>,
}

impl Prepared {
    /// Installs and fetches what every boot with this machine's processor needs: compiling for another one takes longer
    /// than its boots. With a filter, the tests that contain it run in every boot.
    pub(crate) fn whole_matrix(filter: Option<&str>) -> Result<Self> {
        let mut boots = tested();
        if let Some(filter) = filter {
            for boot in &mut boots {
                boot.scope = Scope::Named(vec![filter.to_owned()]);
            }
        }
        Self::fetch(boots)
    }

    /// Installs what virtual machines need and fetches the kernels of these boots.
    fn fetch(boots: Vec<Boot>) -> Result<Self> {
        install()?;
        if boots.iter().any(|boot| boot.root.is_shared())
            && let Err(missing) = engines::install()
        {
            // Tests without their engine are skipped and say so.
            eprintln!("note: {missing:#}");
        }
        let mut prepared = Self { boots, kernels: BTreeMap::new(), obstacles: BTreeMap::new() };
        for processor in prepared.processors() {
            match prepared.kernels_of(processor) {
                Ok(kernels) => prepared.kernels.extend(kernels),
                Err(error) if processor == Processor::host()? => return Err(error),
                Err(error) => drop(prepared.obstacles.insert(processor, format!("{error:#}"))),
            }
        }
        Ok(prepared)
    }

    fn processors(&self) -> BTreeSet<Processor> {
        self.boots.iter().map(|boot| boot.processor).collect()
    }

    /// The kernels of all boots with a processor, and what else is needed to boot them.
    fn kernels_of(&self, processor: Processor) -> Result<Vec<((String, Processor), Kernel)>> {
        if let Some(obstacle) = build::obstacle(processor)? {
            bail!(obstacle);
        }
        if processor == Processor::Arm64 {
            apt::ensure_installed(&[EMULATOR_OF_ARM64])?;
        }
        machine::busybox(processor)?;
        let is_booted = |release: &kernel::Release| {
            self.boots.iter().any(|boot| boot.kernel == release.name && boot.processor == processor)
        };
        let releases = kernel::RELEASES.into_iter().filter(is_booted);
        releases.map(|release| Ok(((release.name.to_owned(), processor), kernel::fetch(release, processor)?))).collect()
    }

    /// Builds what runs on them.
    fn build(&self) -> Result<Built> {
        let possible = self.processors().into_iter().filter(|processor| !self.obstacles.contains_key(processor));
        let mut built = Built::new();
        for processor in possible {
            let mut programs = Programs::for_tests(processor)?;
            let mut boots = self.boots.iter().filter(|boot| boot.processor == processor);
            if boots.any(|boot| boot.root.is_shared()) && engines::obstacle_of_systemd().is_none() {
                programs.given = dist::for_tests(&programs.collector, &folder().join("given"))?;
            }
            built.insert(processor, programs);
        }
        Ok(built)
    }

    /// Builds and runs the tests. A table in the documents that is not what this run makes counts as one failed test.
    pub(crate) fn test(&self) -> Result<Counts> {
        let all = matrix::run(self, &self.build()?, AT_ONCE, &Interrupt::install()?)?;
        let mut counts = matrix::summarize(&all);
        let is_whole = self.boots == tested();
        if is_whole
            && counts.failed == 0
            && let Err(error) = tables::compare(&all).and_then(|()| tables::compare_processors(&all))
        {
            println!("FAILED tables: {error:#}");
            counts.failed += 1;
        }
        Ok(counts)
    }
}

/// The boots of `cargo xtask test`: what systemd makes of the packages takes as long again as the engines.
fn tested() -> Vec<Boot> {
    let mut boots = boot::matrix();
    boots.retain(|boot| boot.processor == Processor::Amd64 && boot.root != Root::Systemd);
    boots
}

/// The boots that were asked for. The one that comes first is the one to give a shell in.
fn selected(args: &Args) -> Vec<Boot> {
    let mut boots = match &args.kernel {
        Some(_) => Layout::ALL.map(|layout| Boot::new(kernel::OWN, layout)).to_vec(),
        None => boot::matrix(),
    };
    boots.retain(|boot| args.version.as_ref().is_none_or(|version| boot.kernel == *version));
    boots.retain(|boot| args.cgroups.is_none_or(|layout| boot.layout == layout));
    boots.retain(|boot| args.processor.is_none_or(|processor| boot.processor == processor));
    boots.retain(|boot| boot.root.is_shared() || !args.engines);
    for boot in &mut boots {
        if let Some(filter) = &args.filter {
            boot.scope = Scope::Named(vec![filter.clone()]);
        } else if args.full {
            boot.scope = Scope::Full;
        }
    }
    if args.shell {
        boots.retain(|boot| boot.root != Root::Systemd && boot.pressure == Pressure::On);
        boots.retain(|boot| args.engines == boot.root.is_shared());
        boots.sort_by_key(|boot| (boot.processor, boot.layout != Layout::V2));
    }
    boots
}

fn is_whole(args: &Args) -> bool {
    let Args { version, kernel, cgroups, processor, engines, filter, full: _, shell, at_once: _, write_tables: _ } =
        args;
    let has_chosen = version.is_some() || kernel.is_some() || cgroups.is_some() || processor.is_some();
    !has_chosen && !engines && filter.is_none() && !shell
}

/// Installs what a virtual machine needs.
fn install() -> Result<()> {
    ensure!(Processor::host()? == Processor::Amd64, "virtual machines are set up on x86-64 only");
    apt::ensure_installed(&PACKAGES)?;
    apt::ensure_installed(&[EMULATOR])
}

/// Where kernels, logs and images are kept.
fn folder() -> PathBuf {
    workspace::target().join("vm")
}

/// Runs a program and returns the bytes it prints.
fn bytes_of(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot start `{}`", shell::describe(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shell::describe(command), output.status);
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn boots(line: &str) -> Vec<String> {
        let words = std::iter::once("vm").chain(line.split_whitespace());
        selected(&Line::try_parse_from(words).unwrap().args).iter().map(Boot::to_string).collect()
    }

    #[test]
    fn boots_are_selected_by_kernel_and_layout() {
        assert_eq!(boots("6.1"), ["6.1-v1", "6.1-hybrid", "6.1-v2", "6.1-v2-arm64"]);
        assert_eq!(boots("--processor aarch64"), ["6.1-v2-arm64", "6.12-v2-arm64", "7-v2-arm64"]);
        assert_eq!(boots("7 --cgroups v1"), ["7-v1"]);
        assert_eq!(boots("--engines"), ["6.12-v2-engines", "6.12-v2-systemd"]);
        assert_eq!(boots("--kernel /x --cgroups hybrid"), ["own-hybrid"]);
        assert_eq!(boots(""), boot::matrix().iter().map(Boot::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn a_shell_is_given_with_cgroup2_unless_asked_otherwise() {
        assert_eq!(boots("5.10 --shell")[0], "5.10-v2");
        assert_eq!(boots("--shell")[0], "6.12-v2");
        assert_eq!(boots("--shell --engines")[0], "6.12-v2-engines");
        assert_eq!(boots("5.10 --shell --cgroups v1")[0], "5.10-v1");
    }
}
