//! The history on disk: what was is answered after a kill, with a full disk, with a directory that cannot be written, and
//! with damaged files.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;
use serde_json::{Value, json};

use crate::auth::{Files, flag};
use crate::support::api::Container;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::metrics::Metrics;
use crate::support::settings::settings;
use crate::support::{Context as _, Result, bytes, ensure, process, surroundings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("look_back::after_a_kill", after_a_kill),
    Case::new("look_back::disk_full", disk_full),
    Case::new("look_back::read_only", read_only),
    Case::new("look_back::damaged", damaged),
    Case::new("look_back::without_history", without_history),
];

fn start(directory: &Path) -> Result<Collector> {
    let history = flag("history_dir", directory);
    Collector::start(&[&history, "--history_step=1s", "--housekeeping_interval=200ms", "--storage_duration=3s"])
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn rfc3339(seconds: f64) -> Result<String> {
    let at = format!("@{seconds}");
    let output = Command::new("date").args(["--utc", "--date", &at, "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// The samples of a container since a time, from memory and disk.
fn since(collector: &Collector, name: &str, start: f64) -> Result<Container> {
    let body = json!({ "num_stats": -1, "start": rfc3339(start)? }).to_string();
    collector.json(&format!("/api/v1.3/containers{}", bytes::url_encode(name.as_bytes())), Some(&body))
}

fn names_at(collector: &Collector, at: f64) -> Result<Vec<String>> {
    let tick: Value = collector.json(&format!("/api/feed?at={at:.3}"), None)?;
    let rows = tick["who"].as_array().context("no rows")?;
    Ok(rows
        .iter()
        .filter(|row| row["ended"].is_null())
        .filter_map(|row| row["name"].as_str().map(str::to_owned))
        .collect())
}

fn exported(arguments: &[&str]) -> Result<String> {
    let output = Command::new(&settings().collector).arg("export").args(arguments).output()?;
    ensure!(output.status.success(), "export {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn after_a_kill() -> Result<()> {
    let files = Files::new("look-back")?;
    let directory = files.path().join("history");
    let began = now();
    let (name, lived) = {
        let mut collector = start(&directory)?;
        let cgroups = Cgroups::new(Set::Every)?;
        let below = cgroups.make("gone")?;
        wait::pass(wait::seconds(4));
        let lived = now();
        below.remove()?;
        wait::pass(wait::seconds(3));
        process::signal(collector.pid(), Signal::KILL)?;
        collector.wait_exit(wait::seconds(5))?;
        (below.name(), lived)
    };
    let killed = now();
    let collector = start(&directory)?;
    wait::pass(wait::seconds(2));

    // The machine goes on, with a gap; nothing is there twice.
    let root = since(&collector, "/", began)?;
    let times: Vec<&String> = root.stats.iter().map(|stats| &stats.timestamp.text).collect();
    ensure!(times.windows(2).all(|pair| pair[0] < pair[1]), "not oldest first: {times:?}");
    ensure!(root.stats.len() > 8, "{} samples", root.stats.len());
    let totals: Vec<u64> = root.stats.iter().filter_map(|stats| Some(stats.cpu.as_ref()?.usage.total)).collect();
    ensure!(totals.windows(2).all(|pair| pair[0] <= pair[1]), "a counter went backwards: {totals:?}");

    // What ended before is found by its name, if a time is given.
    let gone = since(&collector, &name, began)?;
    ensure!(gone.stats.len() >= 3, "{} samples of what is gone", gone.stats.len());
    ensure!(collector.get(&format!("/api/v1.3/containers{name}"))?.status == 500, "it is listed without a time");
    ensure!(names_at(&collector, lived - 0.5)?.contains(&name), "it is not in the list of then");
    ensure!(!names_at(&collector, now())?.contains(&name), "it is in the list of now");
    let body = json!({ "num_stats": 1, "start": rfc3339(began)?, "end": rfc3339(lived)? }).to_string();
    let below: Vec<Container> = collector.json("/api/v1.3/subcontainers/", Some(&body))?;
    ensure!(below.iter().any(|container| container.name == name), "it is not among the subcontainers of then");

    // The same by v2, whose times are in the query.
    let of_v2 = |version: &str, name: &str, more: &str| -> Result<Value> {
        let path = format!("/api/{version}/stats{}", bytes::url_encode(name.as_bytes()));
        collector.json(&format!("{path}?count=-1&start={}{more}", rfc3339(began)?), None)
    };
    ensure!(of_v2("v2.0", &name, "")?[&name].as_array().map(Vec::len) == Some(gone.stats.len()), "v2.0");
    ensure!(of_v2("v2.1", &name, "")?[&name]["stats"].as_array().map(Vec::len) == Some(gone.stats.len()), "v2.1");
    let below = of_v2("v2.1", "/", &format!("&recursive=true&end={}", rfc3339(lived)?))?;
    ensure!(below[&name]["stats"].as_array().is_some_and(|stats| !stats.is_empty()), "it is not below / of v2");
    let machine: Value = collector.json(&format!("/api/v2.1/machinestats?count=-1&start={}", rfc3339(began)?), None)?;
    ensure!(machine.as_array().is_some_and(|stats| stats.len() >= root.stats.len()), "machinestats");
    ensure!(collector.get(&format!("/api/v2.0/stats{name}"))?.status == 500, "v2 lists it without a time");
    ensure!(collector.get("/api/v2.0/stats?start=yesterday")?.status == 500, "a start that is no time");

    // The log of events began anew, the disk has those of before.
    let query = format!("all_events=true&subcontainers=true&max_events=-1&end_time={}", rfc3339(killed)?);
    let kinds = |start: &str| -> Result<Vec<String>> {
        let events: Vec<Value> = collector.json(&format!("/api/v1.3/events{name}?{query}{start}"), None)?;
        Ok(events.iter().map(|event| event["event_type"].as_str().unwrap_or_default().to_owned()).collect())
    };
    ensure!(
        kinds(&format!("&start_time={}", rfc3339(began)?))? == ["containerCreation", "containerDeletion"],
        "events"
    );
    ensure!(kinds("")?.is_empty(), "without a start the log alone is asked");

    let series: Value = collector.json(&format!("/api/feed?series=/&from={began:.3}&at={:.3}", now()), None)?;
    let points = series["at"].as_array().map_or(0, Vec::len);
    ensure!(points > 5 && series["cpu"].as_array().is_some_and(|cpu| cpu.iter().any(Value::is_number)), "{series}");
    let tick: Value = collector.json("/api/feed", None)?;
    let from = tick["node"]["history_from"].as_u64().context("since when")?;
    ensure!((from as f64 / 1000.0 - began).abs() < 5.0, "since {from}");

    let url = format!("--url=http://{}", collector.address());
    let csv = exported(&[&url, "--format=csv", "--container", &name])?;
    ensure!(csv.lines().count() > 3 && csv.lines().skip(1).all(|line| line.contains(&name)), "{csv}");
    let metrics = exported(&[&url, "--format=openmetrics", "--from=-1h"])?;
    ensure!(metrics.ends_with("# EOF\n") && metrics.contains(&format!("{{id=\"{name}\"}}")), "{metrics:.2000}");
    let own = Metrics::parse(&collector.get("/metrics")?.text());
    let samples = own.value("collector_history_written_total", &[("what", "samples")]);
    ensure!(samples.is_some_and(|samples| samples > 0.0), "{samples:?} samples written");
    ensure!(own.value("collector_history_damaged_total", &[]) == Some(0.0), "something is damaged");
    let mut collector = collector;
    collector.check_alive()?;
    collector.terminate()?;
    collector.wait_exit(wait::seconds(10))?;
    let json = exported(&[&flag("history_dir", &directory), "--container", &name])?;
    let lines: Vec<Value> = json.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(lines.iter().filter(|line| line["container_Name"] == name.as_str()).count() >= 3, "{json:.1000}");
    ensure!(lines.iter().any(|line| line["event_type"] == "containerDeletion"), "no events");
    Ok(())
}

/// A file system of its own of so many MiB.
fn small_disk(files: &Files, options: &std::ffi::CStr) -> Result<PathBuf> {
    surroundings::unshare(UnshareFlags::NEWNS)?;
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).context("mounts of our own")?;
    let disk = files.path().join("disk");
    std::fs::create_dir(&disk)?;
    rustix::mount::mount("none", &disk, "tmpfs", MountFlags::empty(), Some(options))?;
    Ok(disk)
}

fn degraded(collector: &Collector, facility: &str) -> Result<bool> {
    let own = Metrics::parse(&collector.get("/metrics")?.text());
    Ok(own.value("collector_degraded", &[("facility", facility)]) == Some(1.0))
}

fn wait_for(collector: &Collector, facility: &str, there: bool) -> Result<()> {
    wait::eventually(wait::seconds(45), || {
        ensure!(degraded(collector, facility)? == there, "{facility} is {}reported", if there { "not " } else { "" });
        Ok(())
    })
}

fn disk_full() -> Result<()> {
    let files = Files::new("disk-full")?;
    let disk = small_disk(&files, c"size=8m")?;
    let began = now();
    let mut collector = start(&disk.join("history"))?;
    wait::pass(wait::seconds(3));
    let before = since(&collector, "/", began)?.stats.len();
    // Whatever is left of it, down to the last page.
    let filler = std::fs::File::create(disk.join("filler"))?;
    let mut end = 0;
    for size in [1 << 20, 4096] {
        while filler.write_all_at(&vec![7; size], end).is_ok() {
            end += size as u64;
        }
    }
    wait_for(&collector, "history", true)?;
    let report = collector.get("/healthz?verbose")?.text();
    ensure!(report.contains("free space on its file system"), "{report}");
    collector.check_alive()?;
    ensure!(collector.container("/")?.stats.len() > 1, "what is in memory is not served");
    ensure!(since(&collector, "/", began)?.stats.len() >= before, "what was kept is not served");
    wait::pass(wait::seconds(2));
    drop(filler);
    std::fs::remove_file(disk.join("filler"))?;
    wait_for(&collector, "history", false)?;
    // What happened meanwhile waited in memory.
    wait::pass(wait::seconds(4));
    let root = since(&collector, "/", began)?;
    let seconds = root.stats.len();
    ensure!(seconds as f64 > (now() - began) * 0.7, "{seconds} samples of {} s", now() - began);
    collector.check_alive()
}

fn read_only() -> Result<()> {
    let files = Files::new("read-only")?;
    let disk = small_disk(&files, c"size=64m")?;
    let directory = disk.join("history");
    let began = now();
    {
        let mut collector = start(&directory)?;
        wait::pass(wait::seconds(4));
        collector.terminate()?;
        collector.wait_exit(wait::seconds(10))?;
    }
    let ended = now();
    rustix::mount::mount_remount(&disk, MountFlags::RDONLY, c"")?;
    let mut collector = start(&directory)?;
    wait_for(&collector, "history", true)?;
    let report = collector.get("/healthz?verbose")?.text();
    ensure!(report.contains("mount it writable"), "{report}");
    let body = json!({ "num_stats": -1, "start": rfc3339(began)?, "end": rfc3339(ended)? }).to_string();
    let root: Container = collector.json("/api/v1.3/containers/", Some(&body))?;
    ensure!(root.stats.len() >= 3, "{} samples of before", root.stats.len());
    ensure!(names_at(&collector, ended - 1.0)?.contains(&"/".to_owned()), "the list of then");
    // Writable again, the same file goes on, and what was not in blocks is not lost.
    rustix::mount::mount_remount(&disk, MountFlags::empty(), c"")?;
    wait_for(&collector, "history", false)?;
    wait::pass(wait::seconds(3));
    collector.terminate()?;
    collector.wait_exit(wait::seconds(10))?;
    let mut collector = start(&directory)?;
    let body = json!({ "num_stats": -1, "start": rfc3339(began)? }).to_string();
    let root: Container = collector.json("/api/v1.3/containers/", Some(&body))?;
    ensure!(root.stats.len() >= 5, "{} samples of before and since", root.stats.len());
    let files = std::fs::read_dir(&directory)?.filter_map(Result::ok).count();
    ensure!(files == 1, "{files} files");
    collector.check_alive()
}

fn damaged() -> Result<()> {
    let files = Files::new("damaged")?;
    let directory = files.path().join("history");
    let began = now();
    {
        let mut collector = start(&directory)?;
        wait::pass(wait::seconds(4));
        collector.terminate()?;
        collector.wait_exit(wait::seconds(10))?;
    }
    let file = std::fs::read_dir(&directory)?.next().context("no file")??.path();
    let content = std::fs::read(&file)?;
    let open = std::fs::OpenOptions::new().write(true).open(&file)?;
    // Every zstd frame of it.
    let frames: Vec<usize> = content
        .windows(4)
        .enumerate()
        .filter(|(_, four)| *four == [0x28, 0xb5, 0x2f, 0xfd])
        .map(|(at, _)| at)
        .collect();
    ensure!(frames.len() > 4, "{} frames", frames.len());
    for at in frames {
        open.write_all_at(&[0xff; 8], at as u64 + 8)?;
    }
    let mut collector = start(&directory)?;
    wait::pass(Duration::from_secs(2));
    let root = since(&collector, "/", began)?;
    ensure!(!root.stats.is_empty(), "what is not damaged");
    wait_for(&collector, "history_damaged", true)?;
    ensure!(!degraded(&collector, "history")?, "it goes on writing");
    collector.check_alive()
}

fn without_history() -> Result<()> {
    let collector = Collector::start(&[])?;
    for (path, status) in
        [("/api/feed?at=5", 404), ("/api/feed?at=x", 400), ("/api/export", 404), ("/api/export?format=x", 400)]
    {
        ensure!(collector.get(path)?.status == status, "{path} is not answered {status}");
    }
    let tick: Value = collector.json("/api/feed", None)?;
    ensure!(tick["node"].get("history_from").is_none(), "there is no history");
    ensure!(
        !Metrics::parse(&collector.get("/metrics")?.text()).has("collector_history_disk_bytes"),
        "nor metrics of it"
    );
    Ok(())
}
