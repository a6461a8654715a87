//! The project's commands. `cargo xtask help` lists them; each lives in the file of its name.

#![forbid(unsafe_code)]

mod apt;
mod bench;
mod bpf;
mod build;
mod cadvisor;
mod check;
mod dist;
mod fleet;
mod image;
mod interrupt;
mod newer;
mod privilege;
mod processor;
mod run;
mod shell;
mod test;
mod vm;
mod web;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Builds, runs, proves and measures the collector.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_flag = false)]
enum Command {
    /// Builds the collector, starts it in the foreground as root and says where to look
    Run(run::Args),
    /// Runs every test of the project: units, the end-to-end suite on this kernel, and on others in virtual machines
    Test(test::Args),
    /// Checks what needs no kernel: formatting, lints, documentation, dependencies, layering
    Check(check::Args),
    /// Rebuilds the committed eBPF object, or proves that it belongs to its source
    Bpf(bpf::Args),
    /// Builds the page's bundle, or proves that the committed one belongs to its source
    Web(web::Args),
    /// Runs the end-to-end suite on Debian's kernels with cgroup v1, v2 and both, under emulation
    Vm(vm::Args),
    /// Makes the container image and its bill of materials
    Image(image::Args),
    /// Makes everything that is given to users: binary, packages, image, bill of materials, checksums
    Dist(dist::Args),
    /// Measures the collector's cost on cgroups that it makes itself
    Bench(bench::Args),
    /// Has many nodes push to real receivers, and measures both sides
    Fleet(fleet::Args),
    /// What `bench --processes` fills cgroups with
    #[command(hide = true)]
    Hold(bench::HoldArgs),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Run(args) => run::main(&args),
        Command::Test(args) => test::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Bpf(args) => bpf::main(&args),
        Command::Web(args) => web::main(&args),
        Command::Vm(args) => vm::main(&args),
        Command::Image(args) => image::main(&args),
        Command::Dist(args) => dist::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Fleet(args) => fleet::main(&args),
        Command::Hold(args) => bench::hold(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
