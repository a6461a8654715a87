//! A node agent with the collector inside: `sudo target/debug/examples/embed [collector's flags]`.
//!
//! Prints what the kubelet asks the cAdvisor in it, the kubelet's summary, and events until it is interrupted.

#![forbid(unsafe_code)]

use std::io::{Write, stdout};
use std::time::Duration;

use anyhow::{Result, bail};
use collector::api::Count;
use collector::api::backend::{StreamItem, Subscription};
use collector::api::cadvisor::events::EventQuery;
use collector::api::cadvisor::v1::StatsQuery;
use collector::api::kubelet::{Depth, render};
use collector::config::Config;
use collector::config::invocation::Invocation;
use collector::embedded::NodeStatistics;
use collector::embedded::daemon::Collector;
use collector::sample::identity::Runtime;

fn main() -> Result<()> {
    let Invocation::Run(config) = Invocation::from_command_line(std::env::args_os())? else {
        bail!("only flags; the commands are the collector's own");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let collector = start(&config).await?;
        describe(&collector, &mut stdout()).await?;
        let summary = render(&collector.node(Depth::Full).await, Depth::Full)?;
        println!("summary: {}", String::from_utf8_lossy(&summary));
        tokio::select! {
            watched = watch(&collector) => watched,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

/// Starts it and waits until two samples make a rate.
async fn start(config: &Config) -> Result<Collector> {
    let collector = Collector::start(config)?;
    while !collector.is_ready() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(config.interval * 2).await;
    Ok(collector)
}

/// Knows the trait alone: an agent would be written so.
async fn describe(node: &impl NodeStatistics, out: &mut impl Write) -> Result<()> {
    let (machine, version) = (node.machine_info(), node.version_info());
    writeln!(out, "{} CPUs, memory {:?}, kernel {}", machine.cpus.online, machine.memory, version.kernel)?;
    match node.root_fs_info().await {
        Ok(found) => writeln!(out, "root: {} with {:?} free", found.filesystem.device, found.filesystem.available)?,
        Err(error) => writeln!(out, "root: {error}")?,
    }
    for runtime in [Runtime::CriO, Runtime::Containerd, Runtime::Docker] {
        match node.images_fs_info(runtime).await {
            Ok(found) => {
                writeln!(out, "images: {} with {:?} free", found.filesystem.device, found.filesystem.available)?;
            }
            Err(error) => writeln!(out, "images: {error}")?,
        }
    }
    let newest = StatsQuery { count: Count::Newest(1), ..StatsQuery::default() };
    match node.subcontainer_info(b"/", &newest).await {
        Ok(containers) => {
            for (name, view) in containers {
                let memory = view.samples.last().and_then(|sample| sample.memory.as_ref());
                writeln!(out, "{}: {:?}", name.escape_ascii(), memory.map(|memory| memory.working_set))?;
            }
        }
        Err(error) => writeln!(out, "containers: {error}")?,
    }
    Ok(())
}

async fn watch(node: &impl NodeStatistics) -> Result<()> {
    let query = EventQuery::parse((*b"/").into(), "stream=true&all_events=true&subcontainers=true")?;
    let mut events = node.watch_events(query)?;
    while let Some(StreamItem::Event(event)) = events.next().await {
        println!("{:?} {}", event.kind, event.container.escape_ascii());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_agent_learns_of_the_machine_and_its_containers() {
        let arguments = ["embed", "--housekeeping_interval=100ms"].map(std::ffi::OsString::from);
        let Invocation::Run(config) = Invocation::from_command_line(arguments).unwrap() else { unreachable!() };
        let collector = start(&config).await.unwrap();
        let mut reported = Vec::new();
        describe(&collector, &mut reported).await.unwrap();
        let reported = String::from_utf8(reported).unwrap();
        for expected in [" CPUs, memory Some(", "root: ", "images: ", "\n/: "] {
            assert!(reported.contains(expected), "no {expected:?} in {reported}");
        }
    }
}
