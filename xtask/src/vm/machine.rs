//! One virtual machine: what it is made of, what is in its initramfs, and how it is started.
//!
//! Everything it needs carries its boot's name, so that several run beside each other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::boot::{Boot, Hardware, Pressure, Root};
use super::console::{self, Outcome};
use super::engines::{self, Share};
use super::kernel::Kernel;
use super::{folder, initramfs};
use crate::apt::private::{codename, fetch_package};
use crate::build::Programs;
use crate::interrupt::Interrupt;
use crate::processor::Processor;
use crate::{shell, workspace};

/// Memory of a machine.
const MEGABYTES: u32 = 2048;
/// The disk that tests write to: a file of zeroes that takes no space.
const DISK_BYTES: u64 = 64 << 20;
/// The disk that `init.sh` swaps to.
const SWAP_BYTES: u64 = 128 << 20;

/// What `init.sh` does when everything is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Runs the suite and says the verdict.
    Run,
    /// Gives a shell.
    Shell,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Shell => "shell",
        }
    }
}

/// A kernel with what runs on it.
#[derive(Clone, Debug)]
pub(super) struct Machine<'a> {
    /// The kernel to boot.
    pub(super) kernel: &'a Kernel,
    /// How.
    pub(super) boot: &'a Boot,
    /// What runs inside, without shared libraries.
    pub(super) programs: &'a Programs,
}

impl<'a> Machine<'a> {
    /// The machine of a boot.
    pub(super) fn new(kernel: &'a Kernel, boot: &'a Boot, programs: &'a Programs) -> Self {
        Self { kernel, boot, programs }
    }

    /// Where everything said on its console is kept.
    pub(super) fn log(&self) -> PathBuf {
        folder().join("logs").join(format!("{}.log", self.boot))
    }

    /// Boots, runs the suite and returns what came of it.
    pub(super) fn run(&self, limit: Duration, interrupt: &Interrupt) -> Result<Outcome> {
        let log = self.log();
        workspace::make_folder(&folder().join("logs"))?;
        // Kept until the emulator has ended.
        let share = self.share()?;
        let mut child = self
            .command(Mode::Run, share.as_ref())?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the emulator")?;
        let outcome = console::watch(&mut child, &self.boot.to_string(), &log, limit, interrupt);
        // Whatever came of it, the emulator does not outlive us; it may have ended by itself.
        drop(child.kill());
        child.wait().context("cannot wait for the emulator")?;
        outcome
    }

    /// Boots to a shell on this terminal.
    pub(super) fn shell(&self) -> Result<()> {
        eprintln!("note: `poweroff -f` ends the virtual machine, as does Ctrl-A X");
        let share = self.share()?;
        shell::run(&mut self.command(Mode::Shell, share.as_ref())?)
    }

    /// Where its files are.
    fn home(&self) -> Result<PathBuf> {
        let home = folder().join("machines").join(self.boot.to_string());
        workspace::make_folder(&home)?;
        Ok(home)
    }

    /// Shares this machine's root with it, where its own is to be that.
    fn share(&self) -> Result<Option<Share>> {
        match self.boot.root {
            Root::Own => Ok(None),
            Root::Host | Root::Systemd => Share::start(&self.home()?).map(Some),
        }
    }

    fn command(&self, mode: Mode, share: Option<&Share>) -> Result<Command> {
        let home = self.home()?;
        let initramfs = home.join("initramfs.cpio");
        self.write_initramfs(&initramfs)?;
        let processor = self.boot.processor;
        let mut command = Command::new(format!("qemu-system-{}", processor.rpm()));
        let (machine, cpu) = match processor {
            // Emulated, CMPXCHG16B now and then leaves rubbish in the flags when two processors use it, and the kernel's
            // allocator dies of it. Five levels of page tables only cost time.
            Processor::Amd64 => ("q35", "max,-cx16,-la57"),
            // Signed pointers, which later ones have, only cost time.
            Processor::Arm64 => ("virt,gic-version=3", "cortex-a72"),
        };
        // Processors that take turns on one thread. On threads of their own they now and then still execute what another one
        // has just patched, and the kernel dies of an `int3` that is long gone; nothing is lost by it in a whole matrix,
        // where there are more machines than processors to run them.
        command.args(["-machine", machine, "-accel", "tcg,thread=single", "-m", &format!("{MEGABYTES}M"), "-cpu", cpu]);
        command.args(["-nographic", "-no-reboot", "-nic", "none", "-kernel"]).arg(&self.kernel.image);
        command.arg("-initrd").arg(&initramfs);
        let mut disks = vec![("disk", DISK_BYTES)];
        // An engine limits its containers' memory and most leave their swap alone, which would put off OOM kills.
        if self.boot.root == Root::Own {
            disks.push(("swap", SWAP_BYTES));
        }
        for (name, size) in disks {
            let file = home.join(name);
            let made = std::fs::File::create(&file).and_then(|file| file.set_len(size));
            made.with_context(|| format!("cannot make {}", file.display()))?;
            command.arg("-drive").arg(format!("file={},if=virtio,format=raw", file.display()));
        }
        command.args(hardware(self.boot.hardware));
        if let Some(share) = share {
            command.args(share.arguments(MEGABYTES));
        }
        command.arg("-append").arg(self.arguments(mode));
        Ok(command)
    }

    /// The kernel's command line; `init.sh` reads the words that begin with `collector.`.
    fn arguments(&self, mode: Mode) -> String {
        let psi = match self.boot.pressure {
            Pressure::On => 1,
            Pressure::Off => 0,
        };
        // Kernels before 5.19 or so account for a cgroup's swap only when asked to. What a kernel does for safety
        // (zeroed pages, audit) or out of doubt about its clock costs a fifth of the time under emulation.
        let console = match self.boot.processor {
            Processor::Amd64 => "ttyS0",
            Processor::Arm64 => "ttyAMA0",
        };
        format!(
            "console={console} quiet panic=-1 oops=panic mitigations=off init_on_alloc=0 audit=0 tsc=reliable \
             rcupdate.rcu_expedited=1 psi={psi} swapaccount=1 collector.mode={} collector.kernel={} \
             collector.cgroups={} collector.root={}{}",
            mode.name(),
            self.boot.kernel,
            self.boot.layout.name(),
            self.boot.root.name(),
            // systemd mounts what Docker looks for it by; its tools are not there.
            if self.boot.root == Root::Systemd { " apparmor=0" } else { "" },
        )
    }

    fn write_initramfs(&self, path: &Path) -> Result<()> {
        let mut archive = initramfs::Archive::create(path)?;
        for folder in ["bin", "dev", "etc", "lib", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"] {
            archive.folder(folder)?;
        }
        // The kernel opens it before anything is mounted.
        archive.console("dev/console")?;
        archive.program("init", include_bytes!("init.sh"))?;
        for (name, content) in [
            ("init-engines.sh", &include_bytes!("init-engines.sh")[..]),
            ("init-systemd.sh", include_bytes!("init-systemd.sh")),
            ("run-suite.sh", include_bytes!("run-suite.sh")),
        ] {
            archive.file(name, content)?;
        }
        let busybox = busybox(self.boot.processor)?;
        let busybox = std::fs::read(&busybox).with_context(|| format!("cannot read {}", busybox.display()))?;
        archive.program("bin/busybox", &busybox)?;
        archive.link("bin/sh", "busybox")?;
        for (name, source) in [("bin/collector", &self.programs.collector), ("bin/e2e", &self.programs.suite)] {
            let content = std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
            archive.program(name, &content)?;
        }
        archive.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")?;
        archive.file("etc/group", b"root:x:0:\nnogroup:x:65534:\n")?;
        // A line each; the last one ends like the others, for `read` to see it.
        let arguments = [self.boot.arguments().join("\n"), String::new()].join("\n");
        archive.file("etc/arguments", arguments.as_bytes())?;
        if self.boot.root.is_shared() {
            archive.folder("given")?;
            for file in &self.programs.given {
                let name = file.file_name().context("a file has a name")?.to_string_lossy();
                let content = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
                archive.file(&format!("given/{name}"), &content)?;
            }
        }
        let modules: &[&str] = if self.boot.root.is_shared() { &engines::MODULES } else { &[] };
        for (number, module) in self.kernel.modules(modules)?.iter().enumerate() {
            archive.file(&format!("lib/{number}.ko"), module)?;
        }
        archive.finish()
    }
}

/// A busybox for a processor: this machine's own is installed, that for another one is unpacked.
pub(super) fn busybox(processor: Processor) -> Result<PathBuf> {
    if processor == Processor::host()? {
        return Ok("/bin/busybox".into());
    }
    let release = codename()?;
    Ok(fetch_package("busybox-static", &[&release], processor)?.join("bin/busybox"))
}

/// Qemu's arguments for processors, and for memory in nodes, which together are [`MEGABYTES`].
fn hardware(hardware: Hardware) -> Vec<String> {
    let arguments: &[&str] = match hardware {
        Hardware::Single => &["-smp", "1"],
        Hardware::Plain => &["-smp", "2"],
        Hardware::Numa => &[
            "-smp",
            "4",
            "-object",
            "memory-backend-ram,id=near,size=1G",
            "-object",
            "memory-backend-ram,id=far,size=1G",
            "-numa",
            "node,nodeid=0,cpus=0-1,memdev=near",
            "-numa",
            "node,nodeid=1,cpus=2-3,memdev=far",
        ],
    };
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}
