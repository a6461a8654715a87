//! Loads the eBPF programs and prints every kernel event until it is interrupted, to see them at work:
//! `sudo target/debug/examples/probes`.

#![forbid(unsafe_code)]

use std::{process::ExitCode, time::Instant};

use collector::kernel::{
    HostRoots,
    probes::{KernelEvent, LogLevel, ProbeOptions, Probes, oom_owner::limit_owner},
};

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).init();
    let options = match std::env::args().nth(1).as_deref() {
        Some("--log") => ProbeOptions { log: LogLevel::Debug, ..ProbeOptions::default() },
        _ => ProbeOptions::default(),
    };
    let started = Instant::now();
    let (probes, mut reader, _) = match Probes::load(&HostRoots::default(), &options) {
        Ok(loaded) => loaded,
        Err(unavailable) => {
            eprintln!("{unavailable}");
            return ExitCode::FAILURE;
        }
    };
    eprintln!("loaded in {:?}, maps take {:?} bytes", started.elapsed(), probes.map_bytes());
    loop {
        if let Err(error) = reader.wait(None) {
            eprintln!("waiting: {error}");
            return ExitCode::FAILURE;
        }
        reader.drain(|event| match event {
            Ok(KernelEvent::Cgroup(event)) => println!(
                "{:?} hierarchy {} cgroup {} parent {:?} level {} populated {:?} {}{}",
                event.kind,
                event.hierarchy_id,
                event.id,
                event.parent_id,
                event.level,
                event.populated,
                event.path.escape_ascii(),
                if event.path_truncated { " (cut)" } else { "" },
            ),
            Ok(KernelEvent::Attach(event)) => println!(
                "Attach hierarchy {} cgroup {} process {} ({})",
                event.hierarchy_id,
                event.id,
                event.pid,
                event.comm.as_bytes().escape_ascii(),
            ),
            Ok(KernelEvent::Oom(event)) => {
                println!("{event:#?}\nlimit of {:?}", limit_owner(&event.levels, |_| None));
            }
            Ok(KernelEvent::Exit(event)) => println!("{event:?}"),
            Ok(KernelEvent::Last(event)) => println!("{event:?}"),
            Err(error) => eprintln!("{error}"),
        });
    }
}
