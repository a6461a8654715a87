//! `cargo xtask vm`: the end-to-end suite on another kernel.
//!
//! A Debian kernel boots under emulation, with nothing but an initramfs of ours: the collector and the suite without
//! shared libraries, and busybox. Inside there is cgroup v2 alone, with every controller on. The verdict is one line
//! on the serial console.

mod console;
mod initramfs;
mod kernel;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use self::kernel::Kernel;
use crate::test::Counts;
use crate::{apt, shell, workspace};

/// Which kernel to boot, and for what.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The kernel's version, of those that Debian has
    #[arg(default_value = "6.12", value_parser = kernel::VERSIONS)]
    version: String,
    /// A kernel image to boot in place of Debian's
    #[arg(long, value_name = "PATH")]
    kernel: Option<PathBuf>,
    /// Only the tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// Give a shell on the console, with the collector and the suite at hand, and run no tests
    #[arg(long)]
    shell: bool,
}

/// The version that `cargo xtask test` boots.
pub(crate) const DEFAULT_VERSION: &str = "6.12";

/// What has to be installed.
const PACKAGES: [&str; 3] = ["qemu-system-x86", "busybox-static", "xz-utils"];

/// A run takes half of this; emulation on a busy machine is slow.
const TIME_LIMIT: Duration = Duration::from_mins(20);

/// Runs the command.
pub(crate) fn main(args: &Args) -> Result<()> {
    let kernel = match &args.kernel {
        Some(image) => Kernel::bare(image.clone())?,
        None => prepare(&args.version)?,
    };
    let machine =
        Machine { kernel, collector: workspace::build_static_collector()?, suite: workspace::build_static_suite()? };
    if args.shell {
        return machine.shell();
    }
    let counts = machine.run(args.filter.as_deref())?;
    println!("{counts}");
    ensure!(counts.failed == 0, "{} tests failed in the virtual machine", counts.failed);
    Ok(())
}

/// Installs what a virtual machine needs and fetches its kernel.
pub(crate) fn prepare(version: &str) -> Result<Kernel> {
    ensure!(std::env::consts::ARCH == "x86_64", "virtual machines are set up for x86-64 only");
    apt::ensure_installed(&PACKAGES)?;
    kernel::fetch(version)
}

/// A kernel with what runs on it.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The kernel to boot.
    pub(crate) kernel: Kernel,
    /// The collector, without shared libraries.
    pub(crate) collector: PathBuf,
    /// The end-to-end suite, without shared libraries.
    pub(crate) suite: PathBuf,
}

impl Machine {
    /// Boots, runs the suite and returns its counts; everything said on the console is kept in `target/vm`.
    pub(crate) fn run(&self, filter: Option<&str>) -> Result<Counts> {
        let log = folder().join(format!("console-{}.log", self.kernel.name));
        let mut child = self
            .qemu("run", filter)?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-x86_64")?;
        let verdict = console::watch(&mut child, &log, TIME_LIMIT);
        // Whatever the verdict, the emulator does not outlive us; it may have ended by itself.
        drop(child.kill());
        child.wait().context("cannot wait for the emulator")?;
        verdict.with_context(|| format!("the virtual machine gave no verdict (its console is in {})", log.display()))
    }

    /// Boots to a shell on this terminal.
    fn shell(&self) -> Result<()> {
        eprintln!("note: `poweroff -f` ends the virtual machine, as does Ctrl-A X");
        shell::run(&mut self.qemu("shell", None)?)
    }

    fn qemu(&self, mode: &str, filter: Option<&str>) -> Result<Command> {
        let initramfs = folder().join("initramfs.cpio");
        self.write_initramfs(&initramfs, filter)?;
        let disk = folder().join("disk.img");
        // A file of zeroes that takes no space: block operations of containers need some device.
        let made = std::fs::File::create(&disk).and_then(|file| file.set_len(64 << 20));
        made.with_context(|| format!("cannot make {}", disk.display()))?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "2G"]);
        // Emulated, CMPXCHG16B now and then leaves rubbish in the flags when two processors use it, and the kernel's
        // allocator dies of it. Five levels of page tables only cost time.
        command.args(["-cpu", "max,-cx16,-la57"]);
        command.args(["-nographic", "-no-reboot", "-nic", "none", "-kernel"]).arg(&self.kernel.image);
        command.arg("-initrd").arg(&initramfs);
        command.arg("-drive").arg(format!("file={},if=virtio,format=raw", disk.display()));
        let arguments = format!("console=ttyS0 quiet panic=-1 oops=panic mitigations=off psi=1 collector.mode={mode}");
        command.arg("-append").arg(arguments);
        Ok(command)
    }

    fn write_initramfs(&self, path: &Path, filter: Option<&str>) -> Result<()> {
        let mut archive = initramfs::Archive::create(path)?;
        for folder in ["bin", "dev", "etc", "lib", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"] {
            archive.folder(folder)?;
        }
        // The kernel opens it before anything is mounted.
        archive.console("dev/console")?;
        archive.program("init", include_bytes!("vm/init.sh"))?;
        let busybox = std::fs::read("/bin/busybox").context("cannot read /bin/busybox")?;
        archive.program("bin/busybox", &busybox)?;
        archive.link("bin/sh", "busybox")?;
        for (name, source) in [("bin/collector", &self.collector), ("bin/e2e", &self.suite)] {
            let content = std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
            archive.program(name, &content)?;
        }
        archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")?;
        archive.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")?;
        archive.file("etc/filter", filter.unwrap_or_default().as_bytes())?;
        for (number, module) in self.kernel.modules()?.iter().enumerate() {
            archive.file(&format!("lib/{number}.ko"), module)?;
        }
        archive.finish()
    }
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
