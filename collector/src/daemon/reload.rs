//! Reads the configuration again, on SIGHUP and when one of its files changes, and puts into force what can change while
//! the collector runs: what is listed, how it is exposed, what is pushed where, and who may ask. It is in force as a whole
//! or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::{block_in_place, spawn_blocking};
use tokio::time::interval;
use tracing::{error, info, warn};

use super::Parts;
use super::backend::Backend;
use super::current::Current;
use super::listeners::{Guards, NewGuards};
use super::push::{self, Exporters};
use crate::api::prometheus::ExpositionOptions;
use crate::auth::FileVersion;
use crate::config::{Config, ReadAgain};
use crate::degradations::Degradations;
use crate::discovery::follower::News;
use crate::own_metrics::ConfigurationOutcome;
use crate::sample::kinds::KindSet;
use crate::shutdown::Hangups;
use crate::units::WallTime;

/// How often the files are looked at. One that changed is read when it has stayed the same for as long: it may have been
/// only half written.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What is missing when what was read cannot be used.
const FACILITY: &str = "configuration";

/// Everybody whom a new configuration concerns.
pub(super) struct Reload {
    /// What is in force.
    running: Arc<Config>,
    answers: Arc<Backend>,
    exposed: Arc<Current<ExpositionOptions>>,
    listed: News,
    guards: Guards,
    exporters: Exporters,
    degradations: Degradations,
}

/// The files of the configuration as they were looked at.
type Versions = BTreeMap<PathBuf, Option<FileVersion>>;

impl Reload {
    /// Begins with the configuration that everything was started with.
    pub(super) fn new(
        running: Config,
        parts: &Parts,
        guards: Guards,
        exporters: Exporters,
        degradations: Degradations,
    ) -> Self {
        let (answers, exposed) = (Arc::clone(&parts.answers), Arc::clone(&parts.exposed));
        let listed = parts.follower.1.news();
        Self { running: Arc::new(running), answers, exposed, listed, guards, exporters, degradations }
    }

    /// Reads it whenever there is a reason to, until the answers close; then waits for the exporters.
    pub(super) async fn run(mut self, mut hangups: Hangups) {
        let started = StartedWith { kinds: self.running.kinds, kubelet_kinds: self.running.metrics.kubelet_kinds };
        self.note(ConfigurationOutcome::Applied);
        let mut closed = std::pin::pin!(self.answers.closed());
        let mut looks = interval(LOOK_EVERY);
        let mut read = self.look().await;
        let mut last = read.clone();
        loop {
            let cause = tokio::select! {
                () = &mut closed => break,
                () = hangups.next() => "SIGHUP",
                _ = looks.tick(), if !read.is_empty() => {
                    let now = self.look().await;
                    let is_settled = now == last;
                    last = now;
                    if !is_settled || last == read {
                        continue;
                    }
                    "a file changed"
                }
            };
            // Looked at before it is read: a change in between is noticed the next time.
            let before = self.look().await;
            self.read_again(cause, started).await;
            read = self.look().await;
            read.extend(before.into_iter().filter(|(path, _)| read.contains_key(path)).collect::<Vec<_>>());
            last.clone_from(&read);
        }
        self.exporters.join_all().await;
    }

    /// Looks at the files on a thread that nobody waits for: they may be on a file system that hangs.
    async fn look(&self) -> Versions {
        let files = self.running.files();
        let look = move || files.into_iter().map(|path| (path.clone(), FileVersion::of(&path))).collect();
        spawn_blocking(look).await.unwrap_or_default()
    }

    async fn read_again(&mut self, cause: &'static str, started: StartedWith) {
        let running = Arc::clone(&self.running);
        let read = match spawn_blocking(move || running.read_again()).await {
            Ok(Ok(read)) => block_in_place(|| self.apply(read, started)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match read {
            Ok(Applied { changed, need_restart }) => {
                let changed = if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") };
                info!(cause, changed, "the configuration was read again and is in force");
                if !need_restart.is_empty() {
                    let flags = need_restart.join(", ");
                    warn!(flags, "these flags changed, and stay as they are until the collector is restarted");
                }
                self.degradations.clear(&FACILITY);
                self.note(ConfigurationOutcome::Applied);
            }
            Err(problem) => {
                error!(cause, problem, "the configuration cannot be used; the one before stays in force");
                let reason = format!(
                    "the configuration that was read last cannot be used, and the one before is in force: {problem}; \
                     correct it (`collector config check` with the same flags shows whether it is right)"
                );
                self.degradations.set(&FACILITY, &reason);
                self.note(ConfigurationOutcome::Rejected);
            }
        }
    }

    fn note(&self, outcome: ConfigurationOutcome) {
        self.answers.own_metrics().configuration_read(outcome, WallTime::from(SystemTime::now()));
    }

    /// What can fail comes first.
    fn apply(&mut self, read: ReadAgain, started: StartedWith) -> Result<Applied, String> {
        let ReadAgain { config, changed, mut need_restart } = read;
        let is_same_access = config.access.settings == self.running.access.settings
            && config.access.protected == self.running.access.protected
            && config.kubelet.secure == self.running.kubelet.secure;
        // Files that only changed are read again by who uses them.
        let guards = if is_same_access { None } else { Some(NewGuards::load(&config)) };
        let guards = guards.transpose().map_err(|error| error.to_string())?;
        push::check(&config.push).map_err(|error| error.to_string())?;
        self.exporters.apply(config.push.clone()).map_err(|error| error.to_string())?;
        if let Some(guards) = guards {
            self.guards.set(guards);
        }
        if config.filter != self.running.filter {
            self.listed.filter(config.filter.clone());
        }
        self.exposed.set(started.exposed(&config));
        let unread = started.unread(config.kinds);
        if unread != KindSet::none() {
            need_restart.push(format!("enable_metrics ({unread})"));
        }
        self.answers.set_configuration(config.to_toml());
        self.running = Arc::new(config);
        Ok(Applied { changed, need_restart })
    }
}

/// What became of the flags that differ.
struct Applied {
    changed: Vec<String>,
    need_restart: Vec<String>,
}

/// What is read of containers since the collector started.
#[derive(Clone, Copy, Debug)]
struct StartedWith {
    kinds: KindSet,
    kubelet_kinds: KindSet,
}

impl StartedWith {
    /// What is exposed of it: no kind that is not read.
    fn exposed(self, config: &Config) -> ExpositionOptions {
        let options = config.metrics.clone();
        let kubelet_kinds = options.kubelet_kinds.and(self.kubelet_kinds);
        ExpositionOptions { kinds: options.kinds.and(self.kinds), kubelet_kinds, ..options }
    }

    /// The kinds that would have to be read.
    fn unread(self, wanted: KindSet) -> KindSet {
        wanted.minus(self.kinds)
    }
}
