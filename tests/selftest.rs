//! The tests' own tools, tried against the kernel without a collector.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::thread::CapabilitySet;

use crate::oom::Scene;
use crate::support::cgroups::{Cgroups, Layout, Set};
use crate::support::collector::Rights;
use crate::support::docker::Docker;
use crate::support::harness::{Case, Skip};
use crate::support::http;
use crate::support::metrics::Metrics;
use crate::support::network::{PACKET, SENDER};
use crate::support::stream::{End, EventStream};
use crate::support::surroundings::Surroundings;
use crate::support::time::Time;
use crate::support::workload::{Plan, Work};
use crate::support::{Context as _, Result, bytes, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("selftest::burner_uses_what_it_says", burner_uses_what_it_says),
    Case::new("selftest::holder_is_charged", holder_is_charged),
    Case::new("selftest::namespace_has_traffic", namespace_has_traffic),
    Case::new("selftest::direct_write_is_charged", direct_write_is_charged),
    Case::new("selftest::cgroups_are_removed_with_their_processes", cgroups_are_removed_with_their_processes),
    Case::new("selftest::docker_runs_a_container", docker_runs_a_container),
    Case::new("selftest::oom_scene_kills_the_victim", oom_scene_kills_the_victim),
    Case::new("selftest::oom_tracepoint_is_of_the_expected_form", oom_tracepoint_is_of_the_expected_form)
        .on_every_kernel(),
    Case::new("selftest::rights_are_taken_on", rights_are_taken_on),
    Case::new("selftest::http_bodies_are_read", http_bodies_are_read),
    Case::new("selftest::stream_is_followed", stream_is_followed),
    Case::new("selftest::times_and_metrics_are_read", times_and_metrics_are_read),
];

/// CPU time of a cgroup in nanoseconds, as the kernel counts it.
fn cpu_nanos(cgroup: &crate::support::cgroups::Cgroup<'_>) -> Result<u64> {
    if Layout::detect()?.v1("cpuacct").is_some() {
        return bytes::read_number(cgroup.v1_file("cpuacct", "cpuacct.usage")?);
    }
    Ok(bytes::read_key(cgroup.v2_file("cpu.stat")?, "usage_usec")? * 1000)
}

fn burner_uses_what_it_says() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("burner")?;
    let status = Plan::new(Work::Burn(40), &cgroup).run()?;
    ensure!(status.success(), "the burner ended with {status}");
    let used = cpu_nanos(&cgroup)?;
    // A virtual processor that is made to wait goes on counting.
    let most = wait::scaled(Duration::from_millis(80)).as_nanos();
    ensure!(used >= 40_000_000 && u128::from(used) < most, "a burner of 40 ms used {used} ns");
    cgroup.remove()
}

fn holder_is_charged() -> Result<()> {
    let cgroups = Cgroups::new(Set::Memory)?;
    let cgroup = cgroups.make("holder")?;
    let holder = Plan::new(Work::Hold(24), &cgroup).named("a holder").start_ready()?;
    let file = cgroup.v1_file("memory", "memory.usage_in_bytes").or_else(|_| cgroup.v2_file("memory.current"))?;
    let used = bytes::read_number(file)? / bytes::MIB;
    ensure!((24..40).contains(&used), "a holder of 24 MiB is charged {used} MiB");
    let comm = bytes::read(format!("/proc/{}/comm", holder.pid()))?;
    ensure!(comm == "a holder", "its command name is {comm:?}");
    holder.end()?;
    cgroup.remove()
}

fn namespace_has_traffic() -> Result<()> {
    let worker = Plan::here(Work::Network(10)).start_ready()?;
    let devices = bytes::read(format!("/proc/{}/net/dev", worker.pid()))?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix(SENDER)?.strip_prefix(':'));
    let line = line.with_context(|| format!("no {SENDER} in\n{devices}"))?;
    let sent: u64 = line.split_whitespace().nth(8).context("a ninth field")?.parse()?;
    ensure!(sent >= 10 * PACKET, "sent only {sent} bytes:\n{devices}");
    ensure!(bytes::read("/proc/self/net/dev")? != devices, "the namespace is our own");
    worker.end()
}

fn direct_write_is_charged() -> Result<()> {
    let disk = crate::support::disk::Disk::find()?;
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("writer")?;
    disk.account(&cgroup)?;
    let before = disk.bytes_written(&cgroup)?;
    let worker = Plan::new(Work::Write(disk.file(), 4), &cgroup).start_ready()?;
    let written = disk.bytes_written(&cgroup)? - before;
    ensure!(written >= 4 * bytes::MIB, "4 MiB were written, the cgroup is charged {written}");
    worker.end()
}

fn cgroups_are_removed_with_their_processes() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    let cgroup = cgroups.make("a")?;
    cgroup.delegate()?;
    let child = cgroups.make("a/b")?;
    let dirs = cgroups.at("").dirs();
    let mut worker = Plan::new(Work::Hold(1), &child).start_ready()?;
    drop(cgroups);
    let status = worker.wait()?;
    ensure!(status.signal() == Some(9), "the process ended with {status}");
    let left: Vec<_> = dirs.iter().filter(|dir| Path::exists(dir)).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

fn docker_runs_a_container() -> Result<()> {
    let docker = Docker::start()?;
    let id = docker.run("/bin/busybox sleep 100")?;
    ensure!(docker.pid(&id)? > 0, "the container has no process");
    let any = Layout::detect()?.mounts.iter().any(|mount| mount.path.join("docker").join(&id).is_dir());
    ensure!(any, "no cgroup /docker/{id}");
    docker.remove(&id)?;
    let id = docker.run("exit 0")?;
    docker.wait(&id)
}

fn oom_scene_kills_the_victim() -> Result<()> {
    let cgroups = Cgroups::new(Set::Memory)?;
    for number in 0..settings::times(20, 5) {
        let scene = Scene::new(&cgroups, number)?;
        scene.kill()?;
        scene.remove()?;
    }
    Ok(())
}

/// One kernel of the matrix is there because its tracepoint reports the victim's pid and nothing else.
fn oom_tracepoint_is_of_the_expected_form() -> Result<()> {
    let kernel =
        settings::kernel_name().ok_or_else(|| Skip::because("nothing is expected of this machine's own kernel"))?;
    // Nothing else may find it mounted: the collector does without.
    let folder = std::env::temp_dir().join(format!("collector-test-tracefs-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    rustix::mount::mount("tracefs", &folder, "tracefs", MountFlags::empty(), None).context("mount tracefs")?;
    let format = bytes::read(folder.join("events/oom/mark_victim/format"));
    rustix::mount::unmount(&folder, UnmountFlags::empty()).context("unmount tracefs")?;
    std::fs::remove_dir(&folder)?;
    let format = format?;
    let has_task = format.contains(" comm;");
    ensure!(format.contains(" pid;"), "no pid in\n{format}");
    ensure!(kernel != "5.10-pid" || !has_task, "{kernel} reports more than the pid:\n{format}");
    ensure!(!["5.10", "6.12", "7"].contains(&kernel.as_str()) || has_task, "{kernel} reports only the pid:\n{format}");
    Ok(())
}

fn rights_are_taken_on() -> Result<()> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let both = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let few = Rights { uid: Some(65534), capabilities: Some(both.bits()), open_files: Some(99) };
    let none = Rights { uid: Some(65534), ..Rights::default() };
    let root = Rights { capabilities: Some(both.bits()), ..Rights::default() };
    for (rights, uid, capabilities) in [(few, 65534, both), (none, 65534, CapabilitySet::empty()), (root, 0, both)] {
        let mut process = Plan::here(Work::Hold(0)).start_with(Surroundings::from(&rights).command(&program)?)?;
        process.wait_ready()?;
        let status = bytes::read(format!("/proc/{}/status", process.pid()))?;
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let effective = format!("{:016x}", capabilities.bits());
        ensure!(field("CapEff:") == Some(&effective), "CapEff of {rights:?}: {:?}", field("CapEff:"));
        let uids = format!("{uid}\t{uid}\t{uid}\t{uid}");
        ensure!(field("Uid:") == Some(&uids), "Uid of {rights:?}: {:?}", field("Uid:"));
        let limits = bytes::read(format!("/proc/{}/limits", process.pid()))?;
        let files = limits.lines().find(|line| line.starts_with("Max open files")).context("a limit of open files")?;
        ensure!(rights.open_files.is_none() || files.contains(" 99 "), "open files of {rights:?}: {files}");
        process.end()?;
    }
    Ok(())
}

/// Serves one connection: reads the request's head, writes these parts.
fn serve(parts: Vec<Vec<u8>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            request.extend(byte);
        }
        for part in parts {
            stream.write_all(&part)?;
            stream.flush()?;
            wait::pass(Duration::from_millis(5));
        }
        Ok(())
    });
    Ok(address)
}

fn http_bodies_are_read() -> Result<()> {
    let head = b"HTTP/1.1 200 OK\r\n";
    // The end of the head and the body, and what must be read of it.
    let table: [(&[u8], Option<&[u8]>); 7] = [
        (b"Content-Length: 5\r\n\r\nhello", Some(b"hello")),
        (b"content-length: 5\r\n\r\nhell", None),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n", Some(b"hello")),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n", None),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", None),
        (b"\r\nuntil the end", Some(b"until the end")),
        (b"Content-Length: 0\r\n\r\n", Some(b"")),
    ];
    for (answer, expected) in table {
        let address = serve(vec![head.to_vec(), answer.to_vec()])?;
        let response = http::request(TcpStream::connect(address)?, "GET", "/", None);
        let body = response.as_ref().ok().map(|response| response.body.as_slice());
        ensure!(body == expected, "{:?} was read as {response:?}", String::from_utf8_lossy(answer));
    }
    Ok(())
}

fn stream_is_followed() -> Result<()> {
    let event = |name: &str| {
        let json = format!(
            "{{\"container_name\":\"{name}\",\"timestamp\":\"2024-01-01T00:00:00.5Z\",\
             \"event_type\":\"containerCreation\",\"event_data\":{{}}}}\n"
        );
        format!("{:x}\r\n{json}\r\n", json.len()).into_bytes()
    };
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let address = serve(vec![head.clone(), event("/a"), event("/b"), b"0\r\n\r\n".to_vec()])?;
    let stream = EventStream::open(address, "/events")?;
    let events = stream.wait_for(2, wait::seconds(2))?;
    ensure!(events[1].container_name == "/b", "{events:?}");
    wait::eventually(wait::seconds(2), || {
        ensure!(stream.end() == Some(End::Clean), "the end: {:?}", stream.end());
        Ok(())
    })?;
    let address = serve(vec![head, event("/a")])?;
    let stream = EventStream::open(address, "/events")?;
    wait::eventually(wait::seconds(2), || {
        ensure!(matches!(stream.end(), Some(End::Broken(_))), "the end: {:?}", stream.end());
        Ok(())
    })
}

fn times_and_metrics_are_read() -> Result<()> {
    let zero = Time::parse("0001-01-01T00:00:00Z").context("Go's zero time")?;
    ensure!(zero.nanos == -62_135_596_800_000_000_000, "{}", zero.nanos);
    let time = Time::parse("2024-02-29T12:34:56.25+01:30").context("a time")?;
    ensure!(time.nanos == 1_709_204_696_250_000_000, "{}", time.nanos);
    let metrics = Metrics::parse("# x\na_total 3\nb{id=\"/x\\\"y,}\",k=\"v\"} 1.5 1700\nb{id=\"/z\"} 2\n");
    ensure!(metrics.value("a_total", &[]).is_some_and(|value| value > 2.9 && value < 3.1), "a_total");
    ensure!(metrics.value("b", &[("id", "/x\"y,}")]) == Some(1.5), "b");
    ensure!((metrics.sum("b") - 3.5).abs() < 1e-9, "sum of b");
    Ok(())
}
