//! Whoever sizes what the collector has to hold does not bring it down: with 256 MiB of memory and a thousand cgroups it
//! outlives every attack, a well-behaved client gets `/healthz` and `/metrics` within two seconds throughout, and no
//! event is lost.
//!
//! Each attack takes as many seconds as `COLLECTOR_ATTACK_SECONDS` says, 8 without; all together are about two minutes
//! then. A line of figures is printed for each.

mod clients;
mod endpoints;
mod stage;
mod witness;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use self::clients::{Attacker, Window, pause};
use self::endpoints::EndlessRuntime;
use self::stage::{Deed, InTime, Log, Proof, Stage, deed};
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Rights;
use crate::support::docker::Docker;
use crate::support::fuse::{self, SilentFiles};
use crate::support::harness::Case;
use crate::support::{Result, bytes, ensure, tar, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("attacks::a1_labels", labels).within(240),
    Case::new("attacks::a2_expressions", expressions).within(240),
    Case::new("attacks::a3_application_metrics", application_metrics).within(240),
    Case::new("attacks::a4_slow_readers", slow_readers).within(240),
    Case::new("attacks::a4_http2_windows", http2_windows).within(240),
    Case::new("attacks::a5_big_answers", big_answers).within(240),
    Case::new("attacks::a6_long_paths", long_paths).within(240),
    Case::new("attacks::a7_endless_runtimes", endless_runtimes).within(240),
    Case::new("attacks::a8_silent_files", silent_files).within(240),
    Case::new("attacks::a9_wrong_passwords", wrong_passwords).within(240),
    Case::new("attacks::a10_half_sent_requests", half_sent_requests).within(240),
    Case::new("attacks::a11_many_scrapes", many_scrapes).within(240),
    Case::new("attacks::a12_few_descriptors", few_descriptors).within(240),
    Case::new("attacks::all_at_once", all_at_once).within(300),
];

/// A hash of bcrypt with the usual cost, of no password that is tried.
const PASSWORD_HASH: &str = "$2b$10$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
/// An expression that is expensive over a text of a's and b's.
const EXPRESSION: &str = "([ab]*a[ab]{6000}c)";

/// A container of the host's network that sleeps, with these labels and with these files, each with its text.
fn run(docker: &Docker, labels: &Value, environment: &[String], files: &[(String, String)]) -> Result<String> {
    let written: Vec<String> = files.iter().map(|(file, text)| format!("echo '{text}' > {file} && ")).collect();
    docker.run_as(&json!({
        "Image": "collector-test-busybox",
        "Cmd": ["/bin/busybox", "sh", "-c", format!("{}exec /bin/busybox sleep 600", written.concat())],
        "Labels": labels,
        "Env": environment,
        "HostConfig": { "NetworkMode": "host" },
    }))
}

/// One container with two thousand labels, one with labels of a mebibyte, one with long environment variables.
fn run_labelled(docker: &Docker) -> Result<()> {
    let many = (0..2_000).map(|number| (format!("com.example.{number:04}"), Value::from("v".repeat(100))));
    run(docker, &many.collect(), &[], &[])?;
    let long = (0..4).map(|number| (format!("long{number}"), Value::from("v".repeat(bytes::MIB as usize))));
    run(docker, &long.collect(), &[], &[])?;
    // The kernel takes no longer ones.
    let environment: Vec<String> = (0..8).map(|number| format!("LONG{number}={}", "v".repeat(100 << 10))).collect();
    run(docker, &json!({ format!("k{}", "e".repeat(64 << 10)): "v" }), &environment, &[]).map(drop)
}

/// A container whose labels name so many files, each of which says this about an endpoint.
fn run_measured(docker: &Docker, count: usize, config: &Value) -> Result<()> {
    let file = |number: usize| format!("/m{number}.json");
    let labels: Value = (0..count).map(|at| (format!("io.cadvisor.metric.m{at}"), Value::from(file(at)))).collect();
    let files: Vec<_> = (0..count).map(|at| (file(at), config.to_string())).collect();
    run(docker, &labels, &[], &files).map(drop)
}

fn run_expensive(docker: &Docker, port: u16) -> Result<()> {
    let metric = json!({
        "name": "found", "metric_type": "gauge", "units": "1", "data_type": "int",
        "polling_frequency": 1_000_000_000, "regex": EXPRESSION,
    });
    let config = json!({ "endpoint": { "port": port, "path": "/expensive" }, "metrics_config": [metric] });
    (0..3).try_for_each(|_| run_measured(docker, 4, &config))
}

fn run_overlong(docker: &Docker, port: u16) -> Result<()> {
    let config = |path: &str| json!({ "endpoint": { "port": port, "path": path }, "metrics_config": [] });
    run_measured(docker, 20, &config("/long"))?;
    run_measured(docker, 8, &config("/slow"))?;
    run_measured(docker, 8, &config("/endless"))
}

/// Containers with a file that cannot be read to its end.
fn run_silent(docker: &Docker, files: &SilentFiles) -> Result<()> {
    let bind = format!("{}:/silent", files.place().display());
    (0..8).try_for_each(|_| {
        docker
            .run_as(&json!({
                "Image": "collector-test-busybox",
                "Cmd": ["/bin/busybox", "sleep", "600"],
                "Labels": { "io.cadvisor.metric.a": format!("/silent/{}", fuse::FILE) },
                "HostConfig": { "NetworkMode": "none", "Binds": [bind] },
            }))
            .map(drop)
    })
}

fn socket(docker: &Docker) -> String {
    format!("--docker=unix://{}", docker.socket().display())
}

/// Scrapes one after the other.
fn scrapes<'a>(count: usize) -> Deed<'a> {
    deed(count, |attacker| attacker.ask_on("GET", "/metrics", &[], None))
}

/// A1: what a container is called and labelled, and everybody else's scrape.
fn labels() -> Result<()> {
    let docker = Docker::start()?;
    run_labelled(&docker)?;
    let stage = Stage::new()?;
    let mut collector = stage.start(&Rights::default(), &[&socket(&docker), "--env_metadata_whitelist=LONG"])?;
    stage.prove(&Proof::of("A1"), &mut collector, &[scrapes(4)])
}

/// A2: expressions that take long.
fn expressions() -> Result<()> {
    let docker = Docker::start()?;
    run_expensive(&docker, endpoints::application()?)?;
    let stage = Stage::new()?;
    let mut collector = stage.start(&Rights::default(), &[&socket(&docker)])?;
    stage.prove(&Proof::of("A2"), &mut collector, &[])
}

/// A3: endpoints with values of a mebibyte, with no end, and with one letter at a time.
fn application_metrics() -> Result<()> {
    let docker = Docker::start()?;
    run_overlong(&docker, endpoints::application()?)?;
    let stage = Stage::new()?;
    let mut collector = stage.start(&Rights::default(), &[&socket(&docker)])?;
    stage.prove(&Proof::of("A3"), &mut collector, &[])
}

fn slow_reading<'a>() -> Deed<'a> {
    let ask = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let body = r#"{"num_stats":1000}"#;
    let post = "POST /api/v1.3/subcontainers/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18\r\n\r\n";
    let all = [
        ask("/metrics"),
        // Many requests at once on one connection.
        ask("/metrics").repeat(100),
        format!("{post}{body}"),
        ask("/api/v1.3/events/?stream=true&creation_events=true&deletion_events=true&subcontainers=true"),
    ];
    deed(160, move |attacker| attacker.read_little(&all[attacker.number % all.len()]))
}

/// A4: a hundred and sixty clients that ask for much and read hardly anything.
fn slow_readers() -> Result<()> {
    let stage = Stage::new()?;
    let mut collector = stage.start(&Rights::default(), &[])?;
    stage.prove(&Proof::of("A4-readers"), &mut collector, &[slow_reading()])
}

/// Connections of HTTP/2, each with two hundred streams on which nothing may be sent, or a byte now and then.
fn closed_windows<'a>() -> Deed<'a> {
    deed(4, |attacker| {
        let window = if attacker.number % 2 == 0 { Window::Closed } else { Window::Dripping };
        attacker.close_the_window(200, "/metrics", window);
    })
}

fn http2_windows() -> Result<()> {
    let stage = Stage::new()?;
    let mut collector = stage.start(&Rights::default(), &[])?;
    stage.prove(&Proof::of("A4-windows"), &mut collector, &[closed_windows()])
}

fn big_questions<'a>() -> Deed<'a> {
    deed(20, |attacker| attacker.ask_on("POST", "/api/v1.3/subcontainers/", &[], Some(r#"{"num_stats":1000}"#)))
}

/// A5: twenty who want everything that is known, all the time.
fn big_answers() -> Result<()> {
    let stage = Stage::new()?;
    let mut collector = stage.start(&Rights::default(), &[])?;
    // There is something to ask for.
    wait::pass(Duration::from_secs(5));
    stage.prove(&Proof::of("A5"), &mut collector, &[big_questions()])
}

/// Cgroups whose names are as long as paths may be, some of which stay while others come and go.
struct LongPaths {
    cgroups: Cgroups,
    deepest: PathBuf,
}

impl LongPaths {
    const STAY: usize = 50;

    fn make() -> Result<Self> {
        let cgroups = Cgroups::new(Set::One)?;
        let mut name = String::new();
        let top = cgroups.mounts()[0].dir(cgroups.name().as_ref());
        // The longest path that can be given to a system call has 4,095 bytes.
        while top.as_os_str().len() + name.len() + 2 * 251 < 4_090 {
            name = format!("{name}{}{}", if name.is_empty() { "" } else { "/" }, "d".repeat(250));
            cgroups.make(&name)?;
        }
        let deepest = top.join(name);
        for number in 0..Self::STAY {
            fs::create_dir(deepest.join(format!("{}-{number:04}", "s".repeat(200))))?;
        }
        Ok(Self { cgroups, deepest })
    }

    /// Two thousand a second.
    fn come_and_go(&self, attacker: &Attacker<'_>) {
        debug_assert!(!self.cgroups.name().is_empty());
        for number in 0_u64.. {
            let path = self.deepest.join(format!("{}-{}-{number}", "g".repeat(200), attacker.number));
            let _ = fs::create_dir(&path);
            let _ = fs::remove_dir(&path);
            if number % 10 == 0 {
                pause(Duration::from_millis(5));
                if attacker.is_over() {
                    break;
                }
            }
        }
    }

    fn deed(&self) -> Deed<'_> {
        deed(1, |attacker| self.come_and_go(attacker))
    }
}

/// A6: somebody to whom a cgroup was given makes others, with the longest names, and removes them.
fn long_paths() -> Result<()> {
    let stage = Stage::new()?;
    let paths = LongPaths::make()?;
    let mut collector = stage.start(&Rights::default(), &[])?;
    let proof = Proof { log: Log::Flooded, ..Proof::of("A6") };
    stage.prove(&proof, &mut collector, &[paths.deed(), scrapes(2)])
}

/// Cgroups of containers that the endless runtimes are asked about.
fn ask_runtimes(stage: &Stage) -> Deed<'_> {
    deed(1, |attacker| {
        for number in 0_u64.. {
            let id = tar::hex_sha256(&number.to_le_bytes());
            let name = if number % 2 == 0 { format!("docker-{id}.scope") } else { format!("libpod-{id}.scope") };
            let _ = stage.cgroups().make(name);
            pause(Duration::from_millis(300));
            if attacker.is_over() {
                break;
            }
        }
    })
}

/// A7: runtimes whose answers have no end.
fn endless_runtimes() -> Result<()> {
    let (docker, podman) = (EndlessRuntime::listen("docker")?, EndlessRuntime::listen("podman")?);
    let stage = Stage::new()?;
    let flags = [
        format!("--docker=unix://{}", docker.socket().display()),
        format!("--podman=unix://{}", podman.socket().display()),
    ];
    let mut collector = stage.start(&Rights::default(), &[&flags[0], &flags[1]])?;
    stage.prove(&Proof::of("A7"), &mut collector, &[ask_runtimes(&stage)])
}

/// A8: files of containers that nobody answers for. The API answers all the same.
fn silent_files() -> Result<()> {
    let docker = Docker::start()?;
    let stage = Stage::new()?;
    // Dropped before the collector, which could not end otherwise.
    let mut collector;
    let files = SilentFiles::mount()?;
    run_silent(&docker, &files)?;
    collector = stage.start(&Rights::default(), &[&socket(&docker)])?;
    let proved = stage.prove(&Proof::of("A8"), &mut collector, &[]).and_then(|()| {
        let asked = std::time::Instant::now();
        let answer = collector.get("/api/v1.3/containers/")?;
        ensure!(answer.status == 200, "/api/v1.3/containers/ answers {}", answer.status);
        ensure!(asked.elapsed() < Duration::from_secs(2), "/api/v1.3/containers/ took {:?}", asked.elapsed());
        Ok(())
    });
    drop(files);
    proved
}

/// A9: a hundred clients that try passwords, and one that has a token.
fn wrong_passwords() -> Result<()> {
    const TOKEN: &str = "a-token-for-the-well-behaved-client";
    let folder = std::env::temp_dir().join(format!("collector-test-attacks-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let (users, tokens) = (folder.join("users"), folder.join("tokens"));
    fs::write(&users, format!("ann:{PASSWORD_HASH}\n"))?;
    fs::write(&tokens, format!("{TOKEN}\n"))?;
    let stage = Stage::new()?;
    let flags = [format!("--http_auth_file={}", users.display()), format!("--bearer_token_file={}", tokens.display())];
    let started = stage.start(&Rights::default(), &[&flags[0], &flags[1], "--auth_api"]);
    let guessing = deed(100, |attacker| {
        let guess = format!("Basic {}", STANDARD.encode(format!("ann:guess-{}", attacker.number)));
        attacker.ask_on("GET", "/api/v1.3/machine", &[("Authorization", &guess)], None);
    });
    let authorization = format!("Bearer {TOKEN}");
    let proof = Proof { authorization: Some(&authorization), ..Proof::of("A9") };
    let proved = started.and_then(|mut collector| stage.prove(&proof, &mut collector, &[guessing]));
    fs::remove_dir_all(&folder)?;
    proved
}

/// Heads of requests that come to no end.
fn half_sent<'a>() -> Deed<'a> {
    deed(8, |attacker| attacker.hold(70, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", "x"))
}

/// A10: half-sent requests on all the connections that there may be.
fn half_sent_requests() -> Result<()> {
    let stage = Stage::new()?;
    let mut collector = stage.start(&Rights::default(), &[])?;
    stage.prove(&Proof::of("A10"), &mut collector, &[half_sent()])
}

/// A11: a hundred and twenty who scrape without a pause.
fn many_scrapes() -> Result<()> {
    let stage = Stage::new()?;
    let mut collector = stage.start(&Rights::default(), &[])?;
    stage.prove(&Proof::of("A11"), &mut collector, &[scrapes(120)])
}

/// A12: more connections than the collector may have files. Every container is sampled all the same.
fn few_descriptors() -> Result<()> {
    let stage = Stage::new()?;
    let rights = Rights { open_files: Some(256), ..Rights::default() };
    let mut collector = stage.start(&rights, &[])?;
    stage.prove(&Proof::of("A12"), &mut collector, &[deed(7, |attacker| attacker.hold(50, "", ""))])?;
    let metrics = collector.metrics()?;
    let errors = metrics.sum("collector_read_errors_total");
    let files = metrics.labels_above_zero("collector_read_errors_total", "file");
    ensure!(errors == 0.0, "{errors} files could not be read: {files:?}");
    Ok(())
}

/// All that can be done to one collector at the same time.
fn all_at_once() -> Result<()> {
    let docker = Docker::start()?;
    let podman = EndlessRuntime::listen("podman")?;
    let stage = Stage::new()?;
    let paths = LongPaths::make()?;
    let mut collector;
    let files = SilentFiles::mount()?;
    let port = endpoints::application()?;
    run_labelled(&docker)?;
    run_expensive(&docker, port)?;
    run_overlong(&docker, port)?;
    run_silent(&docker, &files)?;
    let podman = format!("--podman=unix://{}", podman.socket().display());
    collector = stage.start(&Rights::default(), &[&socket(&docker), &podman, "--env_metadata_whitelist=LONG"])?;
    let deeds = [
        scrapes(20),
        slow_reading(),
        closed_windows(),
        big_questions(),
        paths.deed(),
        ask_runtimes(&stage),
        half_sent(),
    ];
    let proof = Proof { log: Log::Flooded, in_time: InTime::Health, ..Proof::of("all") };
    let proved = stage.prove(&proof, &mut collector, &deeds);
    drop(files);
    proved
}
