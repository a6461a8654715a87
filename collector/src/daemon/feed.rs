//! What the page asks for, from the table of rows and the history.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::api::backend::Exporting;
use crate::api::backend::feed::{Cursor, Feed, NoHistory, Point, Tick, Trend};
use crate::api::query::export::ExportQuery;
use crate::daemon::backend::Backend;
use crate::daemon::past;
use crate::sample::event::Name;
use crate::store::Container;
use crate::store::history::Selection;
use crate::units::WallTime;

/// How far back a trend goes.
const TREND: Duration = Duration::from_secs(120);

fn trend(id: u64, container: &Container) -> Trend {
    let start = container.latest().map(|latest| latest.at.back(TREND));
    past::trend(id, &container.samples(Selection { start, end: None, count: None }))
}

impl Backend {
    /// What is said of the machine beside the rows.
    fn with_machine(&self, rows: Tick) -> Tick {
        let machine = self.current_machine();
        Tick {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            cpus: machine.cpus.online,
            memory: machine.memory,
            kernel: machine.kernel_release.clone(),
            history_from: self.past().and_then(|past| past.archive().oldest()).map(|from| WallTime(from * 1_000_000)),
            ..rows
        }
    }
}

impl Exporting for Backend {
    fn export(&self, query: ExportQuery) -> Result<mpsc::Receiver<Bytes>, NoHistory> {
        self.past().ok_or(NoHistory::Off)?.export(query)
    }
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
        self.with_machine(Tick { at, filesystems: self.engine().store().filesystems(), ..rows })
    }

    async fn moment(&self, at: WallTime) -> Result<Tick, NoHistory> {
        let past = self.past().ok_or(NoHistory::Off)?;
        let rows = past.ask(move |archive| past::rows_at(archive, at)).await;
        rows.map(|rows| self.with_machine(rows)).ok_or(NoHistory::Slow)
    }

    async fn series(&self, name: Name, from: WallTime, to: WallTime) -> Result<Vec<Point>, NoHistory> {
        let past = self.past().ok_or(NoHistory::Off)?;
        past.ask(move |archive| past::series(archive, &name, from, to)).await.ok_or(NoHistory::Slow)
    }

    async fn trends_at(&self, rows: Vec<u64>, at: WallTime) -> Result<Vec<Trend>, NoHistory> {
        let past = self.past().ok_or(NoHistory::Off)?;
        past.ask(move |archive| past::trends_at(archive, &rows, at)).await.ok_or(NoHistory::Slow)
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
