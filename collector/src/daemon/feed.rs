//! What the page asks for, from the table of rows and the history.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::api::backend::feed::{Cursor, Feed, Tick, Trend};
use crate::daemon::backend::Backend;
use crate::rates;
use crate::store::Container;
use crate::store::history::Selection;
use crate::units::WallTime;

/// How far back a trend goes.
const TREND: Duration = Duration::from_secs(120);

fn trend(id: u64, container: &Container) -> Trend {
    let start = container.latest().map(|latest| latest.at.back(TREND));
    let samples = container.samples(Selection { start, end: None, count: None });
    let mut trend = Trend { id, ..Trend::default() };
    for [before, after] in samples.array_windows() {
        trend.at.push(after.at);
        trend.cpu.push(rates::cpu_total(before, after).map(|nanocores| nanocores / 1_000_000));
        trend.memory.push(after.memory.as_ref().map(|memory| memory.working_set.0 >> 10));
    }
    trend
}

impl Feed for Backend {
    async fn tick(&self, since: Option<Cursor>) -> Tick {
        let (engine, table, at) =
            (Arc::clone(self.engine()), Arc::clone(self.feed()), WallTime::from(SystemTime::now()));
        // Counters of cgroups alone, which the kernel answers from memory. The table is locked meanwhile, so nothing that
        // serves waits for it.
        let rows = tokio::task::spawn_blocking(move || {
            table.read_limits(&engine);
            table.rows(&engine, since, at)
        });
        let rows = rows.await;
        let rows = rows.unwrap_or_else(|error| {
            tracing::error!(%error, "the page's table could not be brought up to date");
            Tick::default()
        });
        let machine = self.current_machine();
        Tick {
            at,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            cpus: machine.cpus.online,
            memory: machine.memory,
            kernel: machine.kernel_release.clone(),
            filesystems: self.engine().store().filesystems(),
            ..rows
        }
    }

    async fn trends(&self, rows: Vec<u64>) -> Vec<Trend> {
        let table = Arc::clone(self.feed());
        let read = move || table.containers(&rows).iter().map(|(id, container)| trend(*id, container)).collect();
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| {
            tracing::error!(%error, "trends could not be made");
            Vec::new()
        })
    }
}
