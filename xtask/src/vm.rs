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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use self::boot::{Boot, Layout, Root, Scope};
use self::kernel::Kernel;
pub(crate) use self::kernel::fetch_package;
use self::machine::Machine;
pub(crate) use self::machine::Programs;
use crate::interrupt::Interrupt;
use crate::test::{Counts, SECOND_TRY, SKIPPED};
use crate::{apt, shell, workspace};

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
    #[arg(long, conflicts_with_all = ["version", "kernel", "cgroups", "engines", "filter", "shell"])]
    write_tables: bool,
}

/// Virtual machines at a time: with two processors, more would only take the time from each other.
const AT_ONCE: usize = 3;

/// What has to be installed.
const PACKAGES: [&str; 3] = ["qemu-system-x86", "busybox-static", "xz-utils"];

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    let boots = selected(args);
    let kernels = match &args.kernel {
        Some(image) => {
            install()?;
            let kernel = Kernel::bare(image.clone())?;
            BTreeMap::from([(kernel.name.clone(), kernel)])
        }
        None => fetch(&boots)?,
    };
    let programs = Programs {
        collector: workspace::build_static_collector(workspace::Profile::Quick)?,
        suite: workspace::build_static_suite()?,
    };
    if args.shell {
        let boot = boots.first().context("there is nothing to boot")?;
        let kernel = kernels.get(&boot.kernel).context("there is no kernel")?;
        return Machine::new(kernel, boot, &programs).shell();
    }
    let prepared = Prepared { boots, kernels };
    let all = matrix::run(&prepared, &programs, args.at_once, &Interrupt::install()?)?;
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
    Ok(())
}

/// Boots with their kernels, ready to run.
#[derive(Debug)]
pub(crate) struct Prepared {
    boots: Vec<Boot>,
    kernels: BTreeMap<String, Kernel>,
}

impl Prepared {
    /// Installs and fetches what the whole matrix needs. With a filter, the tests that contain it run in every boot.
    pub(crate) fn whole_matrix(filter: Option<&str>) -> Result<Self> {
        let mut boots = boot::matrix();
        if let Some(filter) = filter {
            for boot in &mut boots {
                boot.scope = Scope::Named(vec![filter.to_owned()]);
            }
        }
        let kernels = fetch(&boots)?;
        Ok(Self { boots, kernels })
    }

    /// Runs the tests. A table in the documents that is not what this run makes counts as one failed test.
    pub(crate) fn test(&self, programs: &Programs) -> Result<Counts> {
        let all = matrix::run(self, programs, AT_ONCE, &Interrupt::install()?)?;
        let mut counts = matrix::summarize(&all);
        let is_whole = self.boots == boot::matrix();
        if is_whole
            && counts.failed == 0
            && let Err(error) = tables::compare(&all)
        {
            println!("FAILED tables: {error:#}");
            counts.failed += 1;
        }
        Ok(counts)
    }
}

/// The boots that were asked for. The one that comes first is the one to give a shell in.
fn selected(args: &Args) -> Vec<Boot> {
    let mut boots = match &args.kernel {
        Some(_) => Layout::ALL.map(|layout| Boot::new(kernel::OWN, layout)).to_vec(),
        None => boot::matrix(),
    };
    boots.retain(|boot| args.version.as_ref().is_none_or(|version| boot.kernel == *version));
    boots.retain(|boot| args.cgroups.is_none_or(|layout| boot.layout == layout));
    boots.retain(|boot| boot.root == Root::Host || !args.engines);
    for boot in &mut boots {
        if let Some(filter) = &args.filter {
            boot.scope = Scope::Named(vec![filter.clone()]);
        } else if args.full {
            boot.scope = Scope::Full;
        }
    }
    if args.shell {
        boots.retain(|boot| args.engines || boot.is_tabled());
        boots.sort_by_key(|boot| boot.layout != Layout::V2);
    }
    boots
}

fn is_whole(args: &Args) -> bool {
    let Args { version, kernel, cgroups, engines, filter, full: _, shell, at_once: _, write_tables: _ } = args;
    version.is_none() && kernel.is_none() && cgroups.is_none() && !engines && filter.is_none() && !shell
}

/// Installs what a virtual machine needs.
fn install() -> Result<()> {
    ensure!(std::env::consts::ARCH == "x86_64", "virtual machines are set up for x86-64 only");
    apt::ensure_installed(&PACKAGES)
}

/// Installs what a virtual machine needs and fetches the kernels of these boots.
fn fetch(boots: &[Boot]) -> Result<BTreeMap<String, Kernel>> {
    install()?;
    if boots.iter().any(|boot| boot.root == Root::Host)
        && let Err(missing) = engines::install()
    {
        // Tests without their engine are skipped and say so.
        eprintln!("note: {missing:#}");
    }
    let mut kernels = BTreeMap::new();
    for release in kernel::RELEASES {
        if boots.iter().any(|boot| boot.kernel == release.name) {
            kernels.insert(release.name.to_owned(), kernel::fetch(release)?);
        }
    }
    Ok(kernels)
}

/// Where kernels, logs and images are kept.
fn folder() -> PathBuf {
    workspace::target().join("vm")
}

/// Makes a folder with those above it.
fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
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
        assert_eq!(boots("6.1"), ["6.1-v1", "6.1-hybrid", "6.1-v2"]);
        assert_eq!(boots("7 --cgroups v1"), ["7-v1"]);
        assert_eq!(boots("--engines"), ["6.12-v2-engines"]);
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
