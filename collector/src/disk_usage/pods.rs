//! What pods keep on the node: which there are, and what their files take.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::DiskUsageTurn;
use super::layer::{Survey, walked};
use super::pace::Pace;
use super::timetable::{Bulk, Timetable};
use crate::kernel::HostRoots;
use crate::kernel::error::ReadError;
use crate::kernel::machine::statfs::{self, Size};
use crate::kernel::storage::idle::own_cpu_time;
use crate::kernel::storage::pods::{VolumeDirectory, directories, kubelet_files, volumes};
use crate::kernel::storage::{logs, place};
use crate::sample::event::Name;
use crate::sample::filesystem::{DiskUsage, Measured};
use crate::sample::pods::{PodFiles, PodName, Volume, VolumeFilesystem, VolumeKind};
use crate::units::{Bytes, WallTime};

/// How long the file systems of a pod's volumes may take to report their size.
const LIMIT: Duration = Duration::from_secs(2);

/// Where a kubelet keeps what belongs to pods. Paths are the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodPlaces {
    /// Its root directory, `/var/lib/kubelet` as a rule.
    pub kubelet: PathBuf,
    /// The directory of pods' logs, `/var/log/pods` as a rule.
    pub logs: PathBuf,
}

/// The pods that have a directory, each with the name of its log directory.
#[derive(Debug, Default)]
pub(super) struct PodList {
    pods: BTreeMap<String, Option<String>>,
    pub(super) errors: Vec<ReadError>,
}

/// A pod to look at.
#[derive(Clone, Debug)]
pub(super) struct PodJob {
    uid: String,
    logs: Option<String>,
}

/// A pod that was looked at.
#[derive(Debug)]
pub(super) struct PodDone {
    pub(super) uid: String,
    pub(super) files: PodFiles,
    pub(super) errors: Vec<ReadError>,
    pub(super) cpu: Duration,
}

/// When to look at which pod.
#[derive(Debug)]
pub(super) struct PodTimetable {
    times: Timetable,
    known: BTreeMap<String, Option<String>>,
}

impl PodTimetable {
    pub(super) fn new(every: Duration) -> Self {
        Self { times: Timetable::new(every), known: BTreeMap::new() }
    }

    /// These are there, and no others. The uids are returned.
    pub(super) fn listed(&mut self, list: PodList, now: Instant) -> BTreeSet<String> {
        for gone in self.known.keys().filter(|uid| !list.pods.contains_key(*uid)) {
            self.times.end(&key(gone));
        }
        for uid in list.pods.keys() {
            self.times.begin(&key(uid), now);
        }
        self.known = list.pods;
        self.known.keys().cloned().collect()
    }

    /// A pod that is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(PodJob, DiskUsageTurn, Bulk)> {
        loop {
            let (name, turn, size) = self.times.take_due(now)?;
            let found = str::from_utf8(&name).ok().and_then(|uid| self.known.get_key_value(uid));
            if let Some((uid, logs)) = found {
                return Some((PodJob { uid: uid.clone(), logs: logs.clone() }, turn, size));
            }
            self.times.end(&name);
        }
    }

    /// It was looked at. Whether it is still there.
    pub(super) fn done(&mut self, uid: &str, now: Instant, cpu: Duration) -> bool {
        self.times.done(&key(uid), now, cpu, None);
        self.known.contains_key(uid)
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.times.next()
    }
}

fn key(uid: &str) -> Name {
    uid.as_bytes().into()
}

/// Which pods have a directory of the kubelet's or of logs.
pub(super) fn list(roots: &HostRoots, places: &PodPlaces) -> PodList {
    let mut list = PodList::default();
    let mut names = |directory: &Path| match directories(roots, directory) {
        Ok(names) => names,
        // There is no kubelet.
        Err(ReadError::Missing(_) | ReadError::Gone(_)) => Vec::new(),
        Err(error) => {
            list.errors.push(error);
            Vec::new()
        }
    };
    let (pods, logs) = (names(&places.kubelet.join("pods")), names(&places.logs));
    list.pods.extend(pods.into_iter().map(|uid| (uid, None)));
    for directory in logs {
        if let Some((uid, _)) = of_log_directory(&directory) {
            list.pods.insert(uid.to_owned(), Some(directory));
        }
    }
    list
}

/// The uid and the name in `<namespace>_<name>_<uid>`; neither of them can have an underscore.
fn of_log_directory(directory: &str) -> Option<(&str, PodName)> {
    let mut parts = directory.split('_');
    let (namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() && ![namespace, name, uid].contains(&"");
    is_whole.then(|| (uid, PodName { namespace: namespace.to_owned(), name: name.to_owned() }))
}

/// What of a pod's files changes all the time and is cheap to look at: a kubelet counts it for each answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLogs {
    /// Name and namespace, by the log directory's name.
    pub name: PodName,
    /// Log files by container.
    pub logs: BTreeMap<String, Measured>,
    /// Log files of no container.
    pub pod_logs: Option<Measured>,
}

/// The logs of all pods as they are now, by uid. What may not be read is absent; the threads that look at files regularly
/// complain of it.
pub fn pod_logs(roots: &HostRoots, places: &PodPlaces) -> BTreeMap<String, PodLogs> {
    let found = directories(roots, &places.logs).unwrap_or_default();
    let look = |directory: &String| {
        let (uid, name) = of_log_directory(directory)?;
        let path = places.logs.join(directory);
        let counted = |path: &Path| logs::in_directory(roots, path).ok().flatten().map(walked);
        let containers = directories(roots, &path).ok()?.into_iter();
        let logs = containers.filter_map(|name| Some((name.clone(), counted(&path.join(name))?))).collect();
        Some((uid.to_owned(), PodLogs { name, logs, pod_logs: counted(&path) }))
    };
    found.iter().filter_map(look).collect()
}

/// Looks at one pod's files, on a thread that may take its time.
pub(super) fn look(roots: &HostRoots, places: &PodPlaces, job: PodJob, pace: &mut Pace) -> PodDone {
    let began = own_cpu_time();
    let mut survey = Survey { roots, pace, errors: Vec::new() };
    let PodJob { uid, logs } = job;
    let pod = places.kubelet.join("pods").join(&uid);
    let mut files = PodFiles {
        name: logs.as_deref().and_then(of_log_directory).map(|(_, name)| name),
        volumes: survey.volumes(&pod),
        kubelet_files: survey.counted(kubelet_files(roots, &pod)),
        ..PodFiles::default()
    };
    if let Some(directory) = logs.map(|name| places.logs.join(name)) {
        files.pod_logs = survey.counted(logs::in_directory(roots, &directory));
        for container in survey.note(directories(roots, &directory)).unwrap_or_default() {
            let logs = survey.counted(logs::in_directory(roots, &directory.join(&container)));
            files.logs.extend(logs.map(|logs| (container, logs)));
        }
    }
    let errors = survey.errors;
    PodDone { uid, files, errors, cpu: own_cpu_time().saturating_sub(began) }
}

/// What of a survey is about pods.
impl Survey<'_> {
    fn volumes(&mut self, pod: &Path) -> Vec<Volume> {
        let mut found = self.note(volumes(self.roots, pod)).unwrap_or_default();
        if statfs::is_crowded() {
            // What others mount may hang as well; what is left out is not known for now.
            found.retain(|volume| kind(&volume.plugin, true) != VolumeKind::Persistent);
        }
        // The pod's own directory, too: what is on another file system than that is mounted.
        let paths = std::iter::once(pod).chain(found.iter().map(|volume| volume.path.as_path()));
        let paths: Vec<_> = paths.map(|path| place::path(self.roots, path)).collect();
        let mut sizes = statfs::sizes(&paths, LIMIT).into_iter();
        let Some(node) = sizes.next().and_then(|size| self.note(size)) else { return Vec::new() };
        let mut volumes: Vec<_> =
            found.iter().zip(sizes).filter_map(|(volume, size)| self.volume(volume, size, node.device)).collect();
        volumes.sort_by(|one, other| {
            let persists = |volume: &Volume| volume.kind == VolumeKind::Persistent;
            (persists(one), &one.name).cmp(&(persists(other), &other.name))
        });
        volumes
    }

    fn volume(&mut self, volume: &VolumeDirectory, size: Result<Size, ReadError>, node: (u32, u32)) -> Option<Volume> {
        let size = self.note(size)?;
        let kind = kind(&volume.plugin, size.device == node);
        let used = match kind {
            VolumeKind::LocalEphemeral | VolumeKind::Ephemeral => self.walk(&volume.path).map(|walked| walked.usage),
            VolumeKind::Persistent => Some(DiskUsage {
                bytes: Bytes(size.capacity.0.saturating_sub(size.free.0)),
                inodes: Some(size.inodes.saturating_sub(size.inodes_free)),
            }),
        };
        let Size { capacity, available, inodes, inodes_free, .. } = size;
        let filesystem = VolumeFilesystem { capacity, available, inodes, inodes_free };
        Some(Volume { name: volume.name.clone(), kind, filesystem, used, at: now() })
    }
}

/// Whose space a volume of this plugin takes. Volumes of the kubelet's own plugins are counted file by file, as it does
/// itself; what others mount is as full as its file system.
fn kind(plugin: &str, on_node_disk: bool) -> VolumeKind {
    match plugin.strip_prefix("kubernetes.io~").unwrap_or(plugin) {
        "empty-dir" | "configmap" | "git-repo" if on_node_disk => VolumeKind::LocalEphemeral,
        "empty-dir" | "configmap" | "git-repo" | "secret" | "projected" | "downward-api" => VolumeKind::Ephemeral,
        _ => VolumeKind::Persistent,
    }
}

fn now() -> WallTime {
    WallTime::from(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::pace::Budget;
    use super::*;

    #[test]
    fn log_directories() {
        let (uid, name) = of_log_directory("kube-system_etcd-node1_0123abcd").unwrap();
        assert_eq!((uid, name.namespace.as_str(), name.name.as_str()), ("0123abcd", "kube-system", "etcd-node1"));
        for other in ["", "a_b", "a_b_", "_b_c", "a_b_c_d"] {
            assert!(of_log_directory(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_pod_from_its_first_directory_to_its_last() {
        let directory = tempfile::tempdir().unwrap();
        let places = PodPlaces { kubelet: directory.path().join("kubelet"), logs: directory.path().join("logs") };
        let roots = HostRoots::default();
        let none = list(&roots, &places);
        assert!(none.pods.is_empty() && none.errors.is_empty());

        let pod = places.kubelet.join("pods/u1");
        for volume in ["empty-dir/cache", "configmap/settings", "projected/token", "nfs/share"] {
            let path = pod.join("volumes").join(format!("kubernetes.io~{volume}"));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("file"), vec![1; 100_000]).unwrap();
        }
        fs::create_dir_all(places.logs.join("shop_web-0_u1/app")).unwrap();
        fs::write(places.logs.join("shop_web-0_u1/app/0.log"), vec![1; 50_000]).unwrap();
        fs::create_dir_all(places.logs.join("shop_web-1_u2")).unwrap();
        let now = Instant::now();
        let mut table = PodTimetable::new(Duration::from_secs(60));
        let uids = table.listed(list(&roots, &places), now);
        assert_eq!(uids.into_iter().collect::<Vec<_>>(), ["u1", "u2"]);
        let (job, _, _) = table.take_due(now).unwrap();
        let done = look(&roots, &places, job, &mut Pace::new(Budget::new()));
        assert!(done.errors.is_empty(), "{:?}", done.errors);
        let PodFiles { name, volumes, logs, pod_logs, kubelet_files } = done.files;
        let name = name.unwrap();
        assert_eq!((name.namespace.as_str(), name.name.as_str()), ("shop", "web-0"));
        let kinds: Vec<_> = volumes.iter().map(|volume| (volume.name.as_str(), volume.kind)).collect();
        let (local, ephemeral, persistent) =
            (VolumeKind::LocalEphemeral, VolumeKind::Ephemeral, VolumeKind::Persistent);
        assert_eq!(
            kinds,
            [("cache", local), ("settings", local), ("token", ephemeral), ("share", persistent)],
            "the pod's own first"
        );
        let cache = volumes[0].used.unwrap();
        assert!((100_000..200_000).contains(&cache.bytes.0) && cache.inodes == Some(2), "{cache:?}");
        assert!(volumes[3].used.unwrap().bytes.0 > 200_000, "as full as its file system");
        assert!(volumes.iter().all(|volume| volume.filesystem.capacity >= volume.filesystem.available));
        assert_eq!(logs.keys().collect::<Vec<_>>(), ["app"]);
        assert!(logs["app"].usage.bytes.0 >= 50_000);
        assert_eq!((pod_logs, kubelet_files), (None, None));

        assert!(table.done("u1", now, Duration::ZERO));
        fs::remove_dir_all(&pod).unwrap();
        fs::remove_dir_all(places.logs.join("shop_web-0_u1")).unwrap();
        let uids = table.listed(list(&roots, &places), now);
        assert_eq!(uids.into_iter().collect::<Vec<_>>(), ["u2"]);
        assert!(!table.done("u1", now, Duration::ZERO), "it is gone");
    }
}
