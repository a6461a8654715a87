//! Why containers died: exit codes, signals and who sent them, and the OOM killer.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::oom::limit_memory;
use crate::support::api::{Event, Exit};
use crate::support::cgroups::{Cgroup, Cgroups, Layout, Set};
use crate::support::collector::Collector;
use crate::support::docker::Docker;
use crate::support::harness::{Case, Needs, Skip};
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bail, bytes, ensure, settings, tar, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("died::in_cgroups", in_cgroups).within(180).on_every_unified_kernel(),
    Case::new("died::as_a_group", as_a_group).needs(Needs::PureV2).on_every_unified_kernel(),
    Case::new("died::in_docker", in_docker).within(180),
    Case::new("died::what_is_not_the_containers_end", what_is_not_the_containers_end),
];

/// How often each way is gone.
fn rounds() -> usize {
    settings::times(20, 5)
}

/// A program that does nothing but write to address 0: a file for the kernel's loader with one segment.
fn faulting_program() -> Vec<u8> {
    const LOADED_AT: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let (machine, code): (u16, &[u8]) = if cfg!(target_arch = "aarch64") {
        // mov x0, #0; str w0, [x0]
        (183, &[0x00, 0x00, 0x80, 0xd2, 0x00, 0x00, 0x00, 0xb9])
    } else {
        // xor eax, eax; mov [rax], eax
        (62, &[0x31, 0xc0, 0x89, 0x00])
    };
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    // An executable: where it begins, where its one program header is, and how long headers are.
    put(&2_u16.to_le_bytes());
    put(&machine.to_le_bytes());
    put(&1_u32.to_le_bytes());
    for address in [LOADED_AT + HEADERS, 64, 0] {
        put(&address.to_le_bytes());
    }
    put(&0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        put(&half.to_le_bytes());
    }
    // Load it all, to be read and run.
    put(&1_u32.to_le_bytes());
    put(&5_u32.to_le_bytes());
    for number in [0, LOADED_AT, LOADED_AT, size, size, 0x1000] {
        put(&number.to_le_bytes());
    }
    put(code);
    file
}

/// What a report has to say.
struct Expected<'a> {
    code: i32,
    signal: Option<&'a str>,
    reason: &'a str,
    /// `None` for whom nobody had asked to end.
    sender: Option<&'a str>,
    text: &'a str,
}

const COMPLETED: Expected<'_> = Expected { code: 0, signal: None, reason: "completed", sender: None, text: "exit 0" };
const FAILED: Expected<'_> = Expected { code: 3, signal: None, reason: "error", sender: None, text: "exit 3" };
const FAULTED: Expected<'_> =
    Expected { code: 139, signal: Some("SIGSEGV"), reason: "crash", sender: Some("itself"), text: "ended by SIGSEGV" };
const OUT_OF_MEMORY: Expected<'_> = Expected {
    code: 137,
    signal: Some("SIGKILL"),
    reason: "oom",
    sender: Some("oom"),
    text: "OOM-killed at its limit",
};

impl Expected<'_> {
    fn check(&self, exit: &Exit) -> Result<()> {
        let found = (exit.exit_code, exit.signal.as_deref(), exit.reason.as_str());
        ensure!(found == (self.code, self.signal, self.reason), "not {} {}: {exit:?}", self.code, self.reason);
        let sender = exit.sent.as_ref().map(|sent| sent.sender.as_str());
        ensure!(sender == self.sender, "sent by {sender:?}, not {:?}: {exit:?}", self.sender);
        // Whether memory is dumped is the machine's affair.
        let text = exit.text.strip_suffix(", core dumped").unwrap_or(&exit.text);
        ensure!(text == self.text, "{:?} is not {:?}", exit.text, self.text);
        ensure!(exit.first_process, "not the first process: {exit:?}");
        ensure!(self.signal.is_some() || !exit.core_dumped, "a core without a signal: {exit:?}");
        let sent = exit.sent.as_ref().map(|sent| sent.signal.as_str());
        ensure!(self.signal.is_none() || sent.is_none() || sent == self.signal, "{sent:?} ended it: {exit:?}");
        ensure!(exit.lasted_seconds > 0.0 && exit.lasted_seconds < 600.0, "{exit:?}");
        Ok(())
    }
}

/// The exits that the events of a cgroup and those below it report: by its own event, and by the deletion's.
fn exits(collector: &Collector, name: &str) -> Result<[Vec<Event>; 2]> {
    let mut found = Vec::new();
    for kind in ["exit_events", "deletion_events"] {
        let mut events = collector.events(name, &[kind])?;
        events.retain(|event| event.event_data.exit.is_some());
        found.push(events);
    }
    found.try_into().ok().context("two lists")
}

/// Waits until so many ends are reported in both ways, and checks each.
fn all_are(collector: &Collector, name: &str, count: usize, expected: &Expected<'_>) -> Result<Vec<Exit>> {
    let reported = wait::eventually(wait::seconds(10), || {
        let reported = exits(collector, name)?;
        let counts = reported.each_ref().map(Vec::len);
        ensure!(counts == [count, count], "{counts:?} of {count} ends of {name} are reported");
        Ok(reported)
    })?;
    let mut wrong = Vec::new();
    let mut all = Vec::new();
    for event in reported.into_iter().flatten() {
        let exit = event.event_data.exit.context("filtered")?;
        let told = event.event_data.container_deletion.map(|deletion| deletion.exit_code);
        if told.is_some_and(|code| code != expected.code) {
            wrong.push(format!("exit_code {told:?}"));
        }
        wrong.extend(expected.check(&exit).err().map(|error| format!("{error:#}")));
        all.push(exit);
    }
    ensure!(wrong.is_empty(), "{} of {} reports are wrong, first: {}", wrong.len(), 2 * count, wrong[0]);
    Ok(all)
}

struct Program(PathBuf);

impl Program {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("collector-test-fault-{}", std::process::id()));
        fs::write(&path, faulting_program())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self(path))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A name, what ends the process in such a cgroup, and what is to be reported.
type Way<'a> = (&'a str, &'a dyn Fn(&Cgroup<'_>) -> Result<()>, &'a Expected<'a>);

fn in_cgroups() -> Result<()> {
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::Memory)?;
    let fault = Program::new()?;
    let ran = |work: Work| move |cgroup: &Cgroup<'_>| -> Result<()> { Plan::new(work.clone(), cgroup).run().map(drop) };
    let killer = cgroups.make("killer")?;
    let by_a_sibling = |cgroup: &Cgroup<'_>| -> Result<()> {
        let mut victim = Plan::new(Work::Threads(3), cgroup).start_ready()?;
        let kill = Work::Signal(victim.pid(), Signal::KILL.as_raw());
        Plan::new(kill, &killer).named("killer").run()?;
        victim.wait().map(drop)
    };
    let for_memory = |cgroup: &Cgroup<'_>| -> Result<()> {
        limit_memory(cgroup, 16)?;
        Plan::new(Work::Grow(64), cgroup).run().map(drop)
    };
    let sibling = Expected { code: 137, signal: Some("SIGKILL"), reason: "signal", sender: Some("process"), text: "" };
    let ways: [Way<'_>; 5] = [
        ("zero", &ran(Work::Exit(0)), &COMPLETED),
        ("three", &ran(Work::Exit(3)), &FAILED),
        ("fault", &ran(Work::Become(fault.0.clone())), &FAULTED),
        ("killed", &by_a_sibling, &sibling),
        ("memory", &for_memory, &OUT_OF_MEMORY),
    ];
    for (way, run, expected) in ways {
        let above = cgroups.make(way)?;
        above.delegate()?;
        for round in 0..rounds() {
            let cgroup = cgroups.make(format!("{way}/{round}"))?;
            run(&cgroup)?;
            cgroup.remove()?;
        }
        if way == "killed" {
            // The sender has another process id each time.
            killed_by(&collector, &above.name(), &killer.name())?;
        } else {
            all_are(&collector, &above.name(), rounds(), expected).with_context(|| way.to_owned())?;
        }
    }
    let metrics = collector.metrics()?;
    for (reason, count) in [("completed", 1), ("error", 1), ("crash", 1), ("signal", 1), ("oom", 1)] {
        let counted = metrics.value("collector_container_exits_total", &[("reason", reason)]);
        // The senders end in a cgroup, too, and come and go there.
        let least = (count * rounds()) as f64;
        ensure!(counted.is_some_and(|counted| counted >= least), "{reason}: {counted:?} of {least}");
    }
    ensure!(metrics.sum("collector_events_lost_total") == 0.0, "kernel events were lost");
    Ok(())
}

fn killed_by(collector: &Collector, name: &str, killer: &str) -> Result<()> {
    let reported = wait::eventually(wait::seconds(10), || {
        let [reported, deleted] = exits(collector, name)?;
        ensure!((reported.len(), deleted.len()) == (rounds(), rounds()), "{} of {}", reported.len(), rounds());
        Ok(reported)
    })?;
    for exit in reported.iter().filter_map(|event| event.event_data.exit.as_ref()) {
        let sent = exit.sent.as_ref().with_context(|| format!("nobody sent it: {exit:?}"))?;
        let pid = sent.pid.context("no sender's process id")?;
        let text = format!("killed by SIGKILL from killer ({pid}) in {killer}");
        let expected =
            Expected { code: 137, signal: Some("SIGKILL"), reason: "signal", sender: Some("process"), text: &text };
        expected.check(exit)?;
        ensure!(sent.container_name.as_deref() == Some(killer) && sent.seconds_before < 1.0, "{exit:?}");
    }
    Ok(())
}

/// The OOM killer takes every process of the group, and whose limit it was is known of each.
fn as_a_group() -> Result<()> {
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::Memory)?;
    if !Layout::detect()?.is_pure_v2() {
        return Err(Skip::because("the memory controller is on cgroup v1, which kills no groups"));
    }
    let above = cgroups.make("groups")?;
    above.delegate()?;
    for round in 0..rounds() {
        let cgroup = cgroups.make(format!("groups/{round}"))?;
        limit_memory(&cgroup, 32)?;
        bytes::write(cgroup.v2_file("memory.oom.group")?, "1")?;
        let mut first = Plan::new(Work::Hold(4), &cgroup).start_ready()?;
        Plan::new(Work::Grow(64), &cgroup).oom_score_adj(1000).run()?;
        first.wait()?;
        cgroup.remove()?;
    }
    all_are(&collector, &above.name(), rounds(), &OUT_OF_MEMORY).map(drop)
}

/// A container that is started again and again, and what the engine itself says of its end.
struct Restarted<'a> {
    docker: &'a Docker,
    id: String,
    rounds: usize,
}

impl<'a> Restarted<'a> {
    fn new(docker: &'a Docker, image: &str, command: &Value, rounds: usize) -> Result<Self> {
        let config = json!({
            "Image": image,
            "Cmd": command,
            "HostConfig": { "NetworkMode": "none", "Memory": 32 * bytes::MIB, "MemorySwap": 32 * bytes::MIB },
        });
        let id = docker.create(&config)?;
        docker.will_start(&id)?;
        Ok(Self { docker, id, rounds })
    }

    fn shell(docker: &'a Docker, command: &str, rounds: usize) -> Result<Self> {
        Self::new(docker, Docker::image(), &json!(["/bin/busybox", "sh", "-c", command]), rounds)
    }

    /// Runs it to its end, brought about by a request or by itself.
    fn run(&self, end: Option<&str>, code: i32) -> Result<()> {
        for _ in 0..self.rounds {
            self.docker.ask("POST", &format!("/containers/{}/start", self.id), None)?;
            if let Some(end) = end {
                // A shell has to have set its trap.
                wait::pass(wait::millis(150));
                self.docker.ask("POST", &format!("/containers/{}/{end}", self.id), None)?;
            }
            self.docker.wait(&self.id)?;
            let inspected = self.docker.ask("GET", &format!("/containers/{}/json", self.id), None)?;
            let inspected: Value = serde_json::from_slice(&inspected.body)?;
            ensure!(inspected["State"]["ExitCode"] == code, "the scene does not work: {}", inspected["State"]);
        }
        Ok(())
    }

    fn reported_as(self, collector: &Collector, expected: &Expected<'_>) -> Result<()> {
        let name = format!("/docker/{}", self.id);
        let exits = all_are(collector, &name, self.rounds, expected).with_context(|| expected.text.to_owned())?;
        for sent in exits.iter().filter_map(|exit| exit.sent.as_ref()) {
            let by_engine = sent.sender == "process";
            ensure!(!by_engine || sent.runtime.as_deref() == Some("docker"), "{sent:?}");
            ensure!(sent.sender != "oom" || sent.limit_container_name.as_deref() == Some(&name), "{sent:?}");
        }
        self.docker.remove(&self.id)
    }
}

fn in_docker() -> Result<()> {
    let docker = Docker::start()?;
    docker.import("fault", &tar::with_program("fault", &faulting_program()))?;
    let collector = Collector::start(&[&format!("--docker=unix://{}", docker.socket().display())])?;
    collector.require_ebpf()?;
    let rounds = rounds() / 5;
    let by_docker = |code, signal, reason, text| Expected { code, signal, reason, sender: Some("process"), text };

    let container = Restarted::shell(&docker, "exit 0", rounds)?;
    container.run(None, 0)?;
    container.reported_as(&collector, &COMPLETED)?;
    let container = Restarted::shell(&docker, "exit 3", rounds)?;
    container.run(None, 3)?;
    container.reported_as(&collector, &FAILED)?;
    let container = Restarted::new(&docker, "fault", &json!(["/bin/fault"]), rounds)?;
    container.run(None, 139)?;
    container.reported_as(&collector, &FAULTED)?;
    let container = Restarted::shell(&docker, "trap 'exit 4' TERM; while :; do sleep 0.02; done", rounds)?;
    container.run(Some("stop?t=5"), 4)?;
    container.reported_as(&collector, &by_docker(4, None, "error", "exit 4 after SIGTERM from docker"))?;
    let container = Restarted::shell(&docker, "trap '' TERM; while :; do sleep 0.02; done", rounds)?;
    container.run(Some("stop?t=1"), 137)?;
    let killed = by_docker(137, Some("SIGKILL"), "signal", "killed by SIGKILL from docker");
    container.reported_as(&collector, &killed)?;
    let container = Restarted::shell(&docker, "exec /bin/busybox sleep 600", rounds)?;
    container.run(Some("kill"), 137)?;
    container.reported_as(&collector, &killed)?;
    let container = Restarted::shell(&docker, "x=abcdefgh; while :; do x=$x$x; done", rounds)?;
    container.run(None, 137)?;
    container.reported_as(&collector, &OUT_OF_MEMORY)?;

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let events = collector.get(&format!("/events?since=1&until={now:.3}"))?.text();
    let events = events.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let died = events.iter().filter(|event| event["Action"] == "die");
    let codes: Vec<_> =
        died.map(|event| event["Actor"]["Attributes"]["exitCode"].as_str().unwrap_or("absent")).collect();
    let expected = ["0", "3", "139", "4", "137", "137", "137"].map(|code| vec![code; rounds]).concat();
    ensure!(codes == expected, "Docker's events have {codes:?}");
    Ok(())
}

/// What a container's processes fork, and what is executed in it from outside, may end as it likes.
fn what_is_not_the_containers_end() -> Result<()> {
    let docker = Docker::start()?;
    let collector = Collector::start(&[&format!("--docker=unix://{}", docker.socket().display())])?;
    collector.require_ebpf()?;
    let id = docker.run("for n in 1 2 3; do (exit 9); done; unshare -p -f true 2>/dev/null; sleep 600")?;
    let name = format!("/docker/{id}");
    let exec = docker.ask("POST", &format!("/containers/{id}/exec"), Some(r#"{"Cmd":["/bin/busybox","false"]}"#))?;
    let exec: Value = serde_json::from_slice(&exec.body)?;
    let exec = exec["Id"].as_str().context("an id")?;
    docker.ask("POST", &format!("/exec/{exec}/start"), Some("{}"))?;
    wait::pass(wait::millis(500));
    let [reported, _] = exits(&collector, &name)?;
    ensure!(reported.is_empty(), "it runs, and these are reported: {reported:?}");
    // In the machine's own pid namespace nothing is process 1, and the runtime knows better.
    let host = docker.run_as(&json!({
        "Image": Docker::image(),
        "Cmd": ["/bin/busybox", "sh", "-c", "sleep 1; exit 6"],
        "HostConfig": { "NetworkMode": "none", "PidMode": "host" },
    }))?;
    docker.wait(&host)?;
    let sixth = Expected { code: 6, signal: None, reason: "error", sender: None, text: "exit 6" };
    let found = wait::eventually(wait::seconds(10), || {
        let [reported, _] = exits(&collector, &format!("/docker/{host}"))?;
        let [event] = reported.as_slice() else { bail!("{} exits: {reported:?}", reported.len()) };
        event.event_data.exit.clone().context("filtered")
    })?;
    sixth.check(&found)?;
    docker.remove(&host)?;
    docker.remove(&id)?;
    let killed = Expected {
        code: 137,
        signal: Some("SIGKILL"),
        reason: "signal",
        sender: Some("process"),
        text: "killed by SIGKILL from docker",
    };
    // The shell became its last command: an exec is no end.
    let exit = all_are(&collector, &name, 1, &killed)?;
    ensure!(exit[0].process_name == "sleep" && exit[0].pid > 1, "{exit:?}");
    Ok(())
}
