//! Steps that are written, read back, cut short by a kill, damaged and dropped.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::process::{Command, Stdio};

use super::*;
use crate::sample::application::{Number, Round, Value};
use crate::sample::container::{Cpu, Memory, Sample};
use crate::sample::event::{Event, EventData, EventKind, Name};
use crate::sample::filesystem::{DiskUsage, Measured, Method, Storage};
use crate::sample::identity::{Identity, Runtime};
use crate::sample::spec::{MemoryLimit, MemorySpec, Spec};
use crate::store::event_log::{EventLimits, KindLimits};
use crate::store::history::Limits;
use crate::store::{Container, Listed, MemoryBounds, Store, StoreLimits};
use crate::units::{Bytes, Nanos, WallTime};

const STEP: Duration = Duration::from_secs(10);

pub(super) fn store() -> Store {
    Store::new(StoreLimits {
        history: Limits { age: Duration::from_secs(120), count: 20 },
        events: EventLimits {
            default: KindLimits { age: Duration::from_secs(10), count: None },
            kinds: std::collections::HashMap::new(),
            bytes: usize::MAX,
        },
        memory: MemoryBounds::NONE,
        ended_retention: Duration::from_secs(120),
    })
}

pub(super) fn options(directory: &Path) -> ArchiveOptions {
    ArchiveOptions { directory: directory.to_path_buf(), step: STEP, age: Duration::from_hours(24), bytes: 1 << 30 }
}

pub(super) fn writer(options: ArchiveOptions) -> (Writer, Arc<Archive>) {
    let archive = Arc::new(Archive::empty(options, Degradations::default()));
    (Writer::new(Arc::clone(&archive)), archive)
}

/// A day that begins at a full hour.
fn at(step: u64) -> WallTime {
    WallTime((1_700_000_000_000 + step * 10_000) * 1_000_000)
}

fn sample(step: u64, number: u64) -> Sample {
    Sample {
        at: at(step),
        cpu: Some(Cpu { total: Nanos(step * 1_000 * (number + 1)), ..Cpu::default() }),
        memory: Some(Memory { usage: Bytes(step * 7 % 13 * number), ..Memory::default() }),
        ..Sample::default()
    }
}

fn name(text: &str) -> Name {
    text.as_bytes().into()
}

fn containers(store: &Store, count: u64) -> Vec<Arc<Container>> {
    (0..count).map(|number| store.begin(&name(&format!("/c{number}")), Listed::Yes)).collect()
}

fn write(writer: &mut Writer, store: &Store, containers: &[Arc<Container>], steps: std::ops::Range<u64>) {
    for step in steps {
        for (number, container) in containers.iter().enumerate() {
            container.push(sample(step, number as u64));
        }
        writer.step(store, at(step));
    }
}

fn all(archive: &Archive, of: &str) -> Vec<Sample> {
    let wanted = WantedSamples { from: at(0), to: at(1_000_000), newest: usize::MAX };
    archive.samples(of.as_bytes(), wanted).iter().map(|sample| Sample::clone(sample)).collect()
}

fn expected(steps: std::ops::Range<u64>, number: u64) -> Vec<Sample> {
    steps.map(|step| sample(step, number)).collect()
}

#[test]
fn what_was_written_is_read_while_it_is_written_and_later() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 20);
    // Beyond an hour: another file.
    write(&mut writer, &store, &containers, 0..500);
    assert_eq!(archive.files().len(), 2);
    for number in [0, 7, 19] {
        assert_eq!(all(&archive, &format!("/c{number}")), expected(0..500, number), "{number}");
    }
    assert_eq!(all(&archive, "/c"), [] as [Sample; 0]);
    let few = WantedSamples { from: at(100), to: at(420), newest: 5 };
    let samples = archive.samples(b"/c3", few);
    assert_eq!(samples.iter().map(|sample| sample.at).collect::<Vec<_>>(), [416, 417, 418, 419, 420].map(at));
    assert_eq!(archive.counts().samples, 500 * 20);
    drop((writer, archive));

    let later = Archive::open(options(directory.path()), Degradations::default()).unwrap();
    assert_eq!(all(&later, "/c7"), expected(0..500, 7));
    assert_eq!(later.counts().damaged, 0);
}

#[test]
fn pieces_are_the_samples_in_parts() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 3);
    write(&mut writer, &store, &containers, 0..450);
    for (from, to, newest) in [(0, 449, usize::MAX), (50, 430, usize::MAX), (0, 449, 200), (10, 10, 9), (460, 500, 9)] {
        let wanted = WantedSamples { from: at(from), to: at(to), newest };
        let pieces = archive.pieces(b"/c2", wanted);
        let parts: Vec<_> = pieces.iter().flat_map(|piece| archive.samples(b"/c2", piece.wanted)).collect();
        assert_eq!(parts, archive.samples(b"/c2", wanted), "{wanted:?}");
        assert!(pieces.iter().all(|piece| piece.len < 130));
    }
}

#[test]
fn what_files_take_is_kept_where_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 2);
    let takes = |bytes: u64, step: u64| {
        let usage = DiskUsage { bytes: Bytes(bytes), inodes: Some(2) };
        let layer = Some(Measured { usage, at: at(step), by: Method::Walk });
        containers[0].set_storage(at(step), Storage { layer, ..Storage::default() });
    };
    write(&mut writer, &store, &containers, 0..10);
    takes(4096, 10);
    write(&mut writer, &store, &containers, 10..20);
    takes(4096, 20);
    write(&mut writer, &store, &containers, 20..30);
    takes(8192, 30);
    // Another file has it from its beginning.
    write(&mut writer, &store, &containers, 30..450);
    let check = |archive: &Archive| {
        let known = |name: &[u8], step: u64| {
            let wanted = WantedSamples { from: at(step), to: at(step), newest: 1 };
            let known = archive.storage(name, &archive.samples(name, wanted));
            known.into_iter().flatten().next().map(|storage| storage.total().unwrap().bytes.0)
        };
        for (step, expected) in [(9, None), (10, Some(4096)), (29, Some(4096)), (30, Some(8192)), (449, Some(8192))] {
            assert_eq!(known(b"/c0", step), expected, "{step}");
        }
        assert_eq!(known(b"/c1", 400), None);
    };
    check(&archive);
    drop((writer, archive));
    check(&Archive::open(options(directory.path()), Degradations::default()).unwrap());
}

#[test]
fn what_does_nothing_is_kept_like_what_works() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 3);
    // It works at every seventh step.
    let of = |step: u64, number: u64| Sample { at: at(step), ..sample(step / 7, number) };
    for step in 0..450 {
        for (number, container) in containers.iter().enumerate() {
            container.push(of(step, number as u64));
        }
        writer.step(&store, at(step));
    }
    let expected: Vec<_> = (0..450).map(|step| of(step, 2)).collect();
    assert_eq!(all(&archive, "/c2"), expected);
    // The end of a file that is not ended is in rows.
    drop((writer, archive));
    assert_eq!(all(&Archive::open(options(directory.path()), Degradations::default()).unwrap(), "/c2"), expected);
}

#[test]
fn what_applications_report_is_kept_with_its_samples() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 2);
    let round = |number| {
        let value = Value { at: at(0), number: Number::Integer(number), labels: None };
        Round { values: [("jobs".to_owned(), vec![value])].into(), ..Round::default() }
    };
    for step in 0..500 {
        // Not read with each step, and nothing of it is written twice.
        if step % 5 == 0 {
            containers[0].offer(round(step as i64), 100, 10_000);
        }
        write(&mut writer, &store, &containers, step..step + 1);
    }
    assert_eq!(archive.files().len(), 2);
    let check = |archive: &Archive| {
        let wanted = WantedSamples { from: at(340), to: at(420), newest: usize::MAX };
        let found = archive.readings(b"/c0", &archive.samples(b"/c0", wanted));
        let expected: Vec<_> = (340..=420).step_by(5).map(|step| (at(step), Arc::new(round(step as i64)))).collect();
        // Each file begins with what was known.
        let found: Vec<_> = found.into_iter().filter(|(time, _)| expected.iter().any(|(at, _)| at == time)).collect();
        assert_eq!(found, expected);
        assert_eq!(archive.readings(b"/c1", &archive.samples(b"/c1", wanted)), []);
    };
    check(&archive);
    drop((writer, archive));
    check(&Archive::open(options(directory.path()), Degradations::default()).unwrap());
}

#[test]
fn a_changed_limit_is_known_with_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 1);
    let limit = |mebibytes: u64| Spec {
        memory: Some(MemorySpec { limit: Some(MemoryLimit::Bytes(Bytes(mebibytes << 20))), ..MemorySpec::default() }),
        ..Spec::default()
    };
    for (number, steps) in [0..10, 10..20, 20..450].into_iter().enumerate() {
        containers[0].set_spec(limit(64 >> number));
        write(&mut writer, &store, &containers, steps);
    }
    let changes = archive.changes(b"/c0", at(5), at(449));
    let shown: Vec<_> = changes.iter().map(|(time, subject)| (*time, subject.spec.clone())).collect();
    assert_eq!(shown[..3], [(at(0), limit(64)), (at(10), limit(32)), (at(20), limit(16))]);
    // The next file begins with what holds.
    assert_eq!((shown.len(), &shown[3].1), (4, &limit(16)));
}

#[test]
fn a_moment_has_who_was_there_then() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 2);
    let identity = Identity { name: Some("web".to_owned()), ..Identity::from_path(Runtime::Docker, "abc".to_owned()) };
    containers[0].set_identity(identity);
    write(&mut writer, &store, &containers, 0..30);
    containers[1].add_oom_kills(2);
    store.end(&containers[1], at(30));
    containers[1].keep_latest_only();
    write(&mut writer, &store, &containers[..1], 30..200);
    // It lives between two steps only.
    let short = store.begin(&name("/short"), Listed::Yes);
    short.push(sample(200, 9));
    store.end(&short, at(200));
    short.keep_latest_only();
    writer.step(&store, at(200));
    containers[0].push(sample(201, 0));
    store.end(&containers[0], at(201));
    containers[0].keep_latest_only();
    writer.step(&store, at(201));

    let names = |step: u64| -> Vec<(String, bool)> {
        let moments = archive.moment(WallTime(at(step).0 + 1), 2);
        let name = |moment: &PastContainer| String::from_utf8_lossy(&moment.subject.name).into_owned();
        moments.iter().map(|moment| (name(moment), moment.ended.is_some())).collect()
    };
    let shown =
        |list: &[(&str, bool)]| list.iter().map(|(name, ended)| ((*name).to_owned(), *ended)).collect::<Vec<_>>();
    assert_eq!(names(20), shown(&[("/c0", false), ("/c1", false)]));
    assert_eq!(names(35), shown(&[("/c0", false), ("/c1", true)]));
    assert_eq!(names(100), shown(&[("/c0", false)]));
    assert_eq!(names(200), shown(&[("/c0", false), ("/short", true)]));
    // What a runtime made is shown longer than a bare cgroup.
    assert_eq!(names(230), shown(&[("/c0", true)]));
    assert_eq!(names(100_000), []);
    let moment = archive.moment(at(20), 2);
    assert_eq!(moment[0].samples.iter().map(|sample| sample.at).collect::<Vec<_>>(), [at(19), at(20)]);
    assert_eq!(moment[0].subject.identity.as_ref().unwrap().name.as_deref(), Some("web"));
    assert_eq!(all(&archive, "/c1").last().unwrap().oom_kills, 2, "the kill of the end");
    let ended = archive.subjects(at(0), at(10), |subject| *subject.name == *b"/c1");
    assert_eq!(ended.len(), 1);
}

#[test]
fn events_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let event = |step| Event { container: name("/x"), at: at(step), kind: EventKind::Oom, data: EventData::None };
    for step in 0..400 {
        writer.add_event(Arc::new(event(step)));
        writer.step(&store, at(step));
    }
    let mut found = Vec::new();
    archive.events(at(350), at(370), |event| found.push(event));
    assert_eq!(found, (350..=370).map(event).collect::<Vec<_>>());
    assert_eq!(archive.counts().events, 400);
}

#[test]
fn what_a_crash_left_is_read_and_continued() {
    let directory = tempfile::tempdir().unwrap();
    let store = store();
    let containers = containers(&store, 3);
    for round in 0..4 {
        let (mut writer, _) = writer(options(directory.path()));
        write(&mut writer, &store, &containers, round * 45..(round + 1) * 45);
        // Dropped without a word, in the middle of blocks.
    }
    let (_, archive) = writer(options(directory.path()));
    assert_eq!(all(&archive, "/c1"), expected(0..180, 1));
}

#[test]
fn a_damaged_block_costs_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 40);
    write(&mut writer, &store, &containers, 0..300);
    writer.roll(at(300)).unwrap();
    drop((writer, archive));
    let path = files_of(directory.path()).unwrap()[0].path.clone();
    // In the middle of the largest piece of the file: a bundle of blocks.
    let bytes = std::fs::read(&path).unwrap();
    let magic = [0x28, 0xb5, 0x2f, 0xfd];
    let frames: Vec<_> = bytes.windows(4).enumerate().filter(|(_, four)| *four == magic).map(|(at, _)| at).collect();
    let hit = frames[frames.len() / 2] + 40;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[bytes[hit] ^ 0xff], hit as u64).unwrap();

    let degradations = Degradations::default();
    let archive = Archive::open(options(directory.path()), degradations.clone()).unwrap();
    let lost: Vec<_> = (0..40).map(|number| 300 - all(&archive, &format!("/c{number}")).len()).collect();
    assert_eq!(lost.iter().filter(|lost| **lost > 0).count(), 1, "{lost:?}");
    assert!(lost.iter().all(|lost| *lost < 130), "{lost:?}");
    assert_eq!(archive.counts().damaged, 1);
    assert_eq!(degradations.facilities(), ["history_damaged"]);
    assert!(degradations.reasons()[0].contains(path.to_str().unwrap()), "{:?}", degradations.reasons());
}

/// Whatever bytes are flipped, nothing panics, and what is read was written.
#[test]
fn damage_anywhere_never_makes_a_wrong_number() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut writer, archive)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 5);
    write(&mut writer, &store, &containers, 0..200);
    writer.roll(at(200)).unwrap();
    drop((writer, archive));
    let path = files_of(directory.path()).unwrap()[0].path.clone();
    let bytes = std::fs::read(&path).unwrap();
    let expected: Vec<_> = (0..5).map(|number| expected(0..200, number)).collect();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let mut unread = 0;
    for round in 0..60 {
        let mut damaged = bytes.clone();
        let place = round * bytes.len() / 60 + round * 37 % 512;
        for byte in damaged.iter_mut().skip(place).take(16) {
            *byte ^= 0x5a;
        }
        std::fs::write(&path, &damaged).unwrap();
        let archive = Archive::open(options(directory.path()), Degradations::default()).unwrap();
        for (number, expected) in expected.iter().enumerate() {
            let samples = all(&archive, &format!("/c{number}"));
            assert!(samples.iter().all(|sample| expected.contains(sample)), "round {round}");
            unread += usize::from(samples.len() < expected.len());
        }
    }
    std::panic::set_hook(hook);
    assert!(unread > 0, "some of it was hit");
}

#[test]
fn age_and_bytes_bound_it() {
    let directory = tempfile::tempdir().unwrap();
    let bounds = ArchiveOptions { age: Duration::from_hours(1), ..options(directory.path()) };
    let (store, (mut writer, archive)) = (store(), writer(bounds));
    let containers = containers(&store, 2);
    write(&mut writer, &store, &containers, 0..1000);
    let samples = all(&archive, "/c0");
    // An hour, and at most one file of it more.
    assert!((360..=360 + 30).contains(&samples.len()), "{}", samples.len());
    assert_eq!(samples.last().unwrap().at, at(999));

    let directory = tempfile::tempdir().unwrap();
    let bounds = ArchiveOptions { bytes: 2 << 20, ..options(directory.path()) };
    let (mut writer, archive) = self::writer(bounds);
    for step in 1000..1600 {
        for (number, container) in containers.iter().enumerate() {
            let mut noise = sample(step, number as u64);
            let keys: Arc<[Box<str>]> = (0..400).map(|key| format!("k{key}").into()).collect();
            let mixed = |key: u64| {
                let number = (step * 400 + key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
            };
            let values = (0..400).map(mixed).collect();
            noise.memory.as_mut().unwrap().stat = crate::sample::memory_stat::MemoryStat { keys, values };
            container.push(noise);
        }
        writer.step(&store, at(step));
        assert!(archive.bytes() <= (2 << 20) + (1 << 20), "{} at {step}", archive.bytes());
    }
    let samples = all(&archive, "/c0");
    assert!((10..600).contains(&samples.len()), "{}", samples.len());
    assert_eq!(samples.last().unwrap().at, at(1599));
}

#[test]
fn a_directory_that_cannot_be_had_is_reported_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("missing/history");
    let degradations = Degradations::default();
    let archive = Arc::new(Archive::empty(options(&place), degradations.clone()));
    let (store, mut writer) = (store(), Writer::new(Arc::clone(&archive)));
    let containers = containers(&store, 1);
    write(&mut writer, &store, &containers, 0..3);
    assert_eq!(degradations.facilities(), ["history"]);
    assert!(degradations.reasons()[0].contains("create the directory"), "{:?}", degradations.reasons());
    assert_eq!(archive.moment(at(2), 1), []);
    std::fs::create_dir_all(&place).unwrap();
    write(&mut writer, &store, &containers, 3..6);
    assert_eq!(degradations.facilities(), [] as [&str; 0]);
    assert_eq!(all(&archive, "/c0"), expected(3..6, 0));
}

#[test]
fn two_collectors_do_not_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (store, (mut first, _)) = (store(), writer(options(directory.path())));
    let containers = containers(&store, 1);
    write(&mut first, &store, &containers, 0..3);
    let degradations = Degradations::default();
    let archive = Arc::new(Archive::empty(options(directory.path()), degradations.clone()));
    let _second = Writer::new(archive);
    assert!(degradations.reasons()[0].contains("another process has it open"), "{:?}", degradations.reasons());
}

const CHILD: &str = "HISTORY_OF_A_KILLED_WRITER";

/// The process that is killed: it says each step that it has written.
#[test]
#[ignore = "the other side of the next test"]
fn writes_until_it_is_killed() {
    use std::io::Write as _;
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let (store, (mut writer, archive)) = (store(), writer(options(Path::new(&directory))));
    let containers = containers(&store, 10);
    let wanted = WantedSamples { from: at(0), to: at(1_000_000), newest: 1 };
    let last =
        archive.samples(b"/c0", wanted).first().map_or(0, |sample| (sample.at.millis() - at(0).millis()) / 10_000);
    for step in last + 1.. {
        write(&mut writer, &store, &containers, step..step + 1);
        let mut out = std::io::stdout().lock();
        writeln!(out, "step {step}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn fifty_kills_lose_at_most_the_step_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for round in 0..50_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "archive::tests::writes_until_it_is_killed", "--ignored", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let wanted = 1 + round * 7 % 9;
        let mut steps = lines.by_ref().filter_map(|line| line.strip_prefix("step ")?.parse::<u64>().ok());
        written.extend(steps.by_ref().take(wanted));
        // In the middle of whatever it does.
        std::thread::sleep(Duration::from_micros(round as u64 * 131 % 4_000));
        child.kill().unwrap();
        child.wait().unwrap();
        written.extend(steps);
    }
    let (_, archive) = writer(options(directory.path()));
    let kept = all(&archive, "/c7");
    for step in &written {
        assert!(kept.contains(&sample(*step, 7)), "step {step} of {}", written.len());
    }
    assert!(kept.len() >= written.len() && kept.len() <= written.len() + 50);
    assert_eq!(archive.counts().damaged, 0);
    assert!(written.len() > 200, "{}", written.len());
}
