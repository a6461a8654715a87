//! What a push of 49,000 series costs, in bytes and CPU time. Measures, and so is left out of ordinary runs:
//! `cargo test --release -p collector --lib remote_write::cost -- --ignored --nocapture`

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::series::{append_family, append_label, append_labels, append_series};

const CONTAINERS: usize = 1000;
const FAMILIES: usize = 49;

/// Which labels containers have.
#[derive(Clone, Copy, Debug)]
enum Labelled {
    /// `id` alone.
    Cgroup,
    /// Those of pods' containers.
    Pod,
}

/// Numbers that look like any; always the same ones.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The page of one moment. Two of three values are counters, of which half have not moved since they were 0; gauges are
/// whole pages of memory.
fn page(labelled: Labelled, moment: u64) -> Vec<u8> {
    let mut noise = Noise(88_172_645_463_325_252);
    let mut all = Vec::new();
    let mut ranges = Vec::new();
    for container in 0..CONTAINERS {
        let begin = all.len();
        let mut label = |name: &str, value: String| append_label(&mut all, name, value.as_bytes());
        let (uid, hash) = (noise.next(), noise.next());
        match labelled {
            Labelled::Cgroup => label("id", format!("/system.slice/service-{container}.service")),
            Labelled::Pod => {
                label("container", format!("app-{}", container % 7));
                label("id", format!("/kubepods/burstable/pod{uid:016x}{hash:016x}/{hash:016x}{uid:016x}{hash:032x}"));
                label("image", format!("registry.example.com/team-{}/app:v1.{}", container % 20, container % 9));
                label("name", format!("{hash:016x}{uid:016x}{hash:032x}"));
                label("namespace", format!("team-{}", container % 20));
                label("pod", format!("app-{}-{:08x}-{:05x}", container % 50, uid as u32, hash as u16));
            }
        }
        ranges.push(begin..all.len());
    }
    let mut page = Vec::new();
    append_labels(&mut page, &all);
    for family in 0..FAMILIES {
        let is_counter = family % 3 < 2;
        let name =
            if is_counter { format!("container_{family}_things_total") } else { format!("container_{family}_bytes") };
        let kind = if is_counter { MetricType::Counter } else { MetricType::Gauge };
        append_family(&mut page, [&name, ""], "What this family of statistics of a container is about.", kind);
        for (container, range) in ranges.iter().enumerate() {
            let drawn = noise.next();
            let value = match (is_counter, drawn % 2) {
                (true, 0) => 0.0,
                (true, _) => (drawn % 1_000_000_000) as f64 / 1e3 + moment as f64,
                (false, _) => ((drawn % 100_000 + moment) * 4096) as f64,
            };
            let began = if is_counter { 1_700_000_000_000 + container as u64 * 1000 } else { 0 };
            append_series(&mut page, range.clone(), &[], value, [1_700_100_000_000 + moment * 15_000, began]);
        }
    }
    page
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
#[ignore = "measures CPU time; see the module"]
fn of_49_000_series() {
    for labelled in [Labelled::Cgroup, Labelled::Pod] {
        let mut writer =
            Writer::new(vec![("job".to_owned(), "collector".to_owned()), ("instance".to_owned(), "node-1".to_owned())]);
        let mut best = Duration::MAX;
        let mut requests = Vec::new();
        // The first page makes room that the others use again.
        for moment in 0..8 {
            let page = page(labelled, moment);
            let before = cpu();
            requests = writer.requests(page, WallTime(0)).unwrap();
            best = best.min(cpu().saturating_sub(before));
        }
        let points: u64 = requests.iter().map(|request| request.points).sum();
        assert_eq!(points, (CONTAINERS * FAMILIES) as u64);
        let bytes: usize = requests.iter().map(|request| request.body.len()).sum();
        let before = cpu();
        let bodies: Vec<_> =
            requests.iter().flat_map(|request| version_1::requests(&request.body).unwrap_or_default()).collect();
        let more = cpu().saturating_sub(before);
        let bytes_1: usize = bodies.iter().map(bytes::Bytes::len).sum();
        println!(
            "{labelled:?}: {points} series: 2.0 {bytes} bytes, {:.1} ms; 1.0 {bytes_1} bytes, {:.1} ms more",
            best.as_secs_f64() * 1e3,
            more.as_secs_f64() * 1e3
        );
        assert!(bytes < bytes_1, "2.0 takes more than 1.0");
    }
}
