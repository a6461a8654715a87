//! The event log and the event stream over HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rustix::net::{AddressFamily, SocketType};

use crate::support::api::Event;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::Collector;
use crate::support::harness::Case;
use crate::support::{Result, ensure, settings, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("events_http::filters", filters),
    Case::new("events_http::times", times),
    Case::new("events_http::limits", limits),
    Case::new("events_http::present_at_start", present_at_start),
    Case::new("events_http::stream", stream).on_every_unified_kernel(),
    Case::new("events_http::stream_of_a_subtree", stream_of_a_subtree),
    Case::new("events_http::slow_client", slow_client),
];

fn names(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.container_name.as_str()).collect()
}

/// Makes and removes these cgroups one after the other and waits until all of it is in the log.
fn live(collector: &Collector, cgroups: &Cgroups, all: &[&str]) -> Result<()> {
    for name in all {
        cgroups.make(name)?;
    }
    for name in all.iter().rev() {
        cgroups.at(name).remove()?;
    }
    wait::eventually(wait::seconds(5), || {
        let deletions = collector.events(&cgroups.name(), &["deletion_events"])?;
        ensure!(deletions.len() == all.len(), "{} of {} deletions are in the log", deletions.len(), all.len());
        Ok(())
    })
}

fn filters() -> Result<()> {
    let collector = Collector::start(&[])?;
    let cgroups = Cgroups::new(Set::One)?;
    live(&collector, &cgroups, &["a", "a/b", "a/b/c", "ab"])?;
    let top = cgroups.name();
    let ask = |below: &str, query: &str| -> Result<Vec<Event>> {
        collector.json(&format!("/api/v1.3/events{top}{below}?{query}&max_events=-1"), None)
    };
    let full = |below: &[&str]| below.iter().map(|name| format!("{top}/{name}")).collect::<Vec<_>>();
    // Where, query, what is expected below the top.
    let table: [(&str, &str, &[&str]); 6] = [
        ("/a", "creation_events=true", &["a"]),
        ("/a", "creation_events=true&subcontainers=true", &["a", "a/b", "a/b/c"]),
        ("/a/b", "deletion_events=true&subcontainers=1", &["a/b/c", "a/b"]),
        ("/a", "creation_events=true&deletion_events=true", &["a", "a"]),
        ("/ab", "all_events=true&subcontainers=true", &["ab", "ab"]),
        ("/a", "oom_events=true&oom_kill_events=true&subcontainers=true", &[]),
    ];
    for (below, query, expected) in table {
        let events = ask(below, query)?;
        ensure!(names(&events) == full(expected), "{below}?{query}: {:?}", names(&events));
        ensure!(events.windows(2).all(|pair| pair[0].timestamp <= pair[1].timestamp), "{below}?{query}: not in order");
    }
    let all: Vec<Event> = ask("", "all_events=true&subcontainers=true")?;
    ensure!(all.len() == 9, "4 creations, 4 deletions and the top's creation: {:?}", names(&all));
    let none = ask("", "subcontainers=true")?;
    ensure!(none.is_empty(), "no kind was asked for: {:?}", names(&none));
    let everywhere: Vec<Event> =
        collector.json("/api/v1.3/events/?creation_events=true&subcontainers=true&max_events=-1", None)?;
    ensure!(names(&everywhere).contains(&format!("{top}/ab").as_str()), "the root's subtree is everything");
    Ok(())
}

fn times() -> Result<()> {
    let collector = Collector::start(&[])?;
    let cgroups = Cgroups::new(Set::One)?;
    live(&collector, &cgroups, &["1", "2", "3", "4", "5"])?;
    let deletions = collector.events(&cgroups.name(), &["deletion_events"])?;
    let (second, fourth) = (&deletions[1].timestamp, &deletions[3].timestamp);
    let encode = |time: &crate::support::time::Time| time.text.replace('+', "%2B");
    let target = format!(
        "/api/v1.3/events{}?deletion_events=true&subcontainers=true&max_events=-1&start_time={}&end_time={}",
        cgroups.name(),
        encode(second),
        encode(fourth)
    );
    let ranged: Vec<Event> = collector.json(&target, None)?;
    ensure!(names(&ranged) == names(&deletions[1..4]), "both ends are inclusive: {:?}", names(&ranged));
    let target = format!("/api/v1.3/events{}?deletion_events=true&subcontainers=true&max_events=2", cgroups.name());
    let newest: Vec<Event> = collector.json(&target, None)?;
    ensure!(names(&newest) == names(&deletions[3..]), "the newest two: {:?}", names(&newest));
    let none: Vec<Event> = collector.json(&target.replace("max_events=2", "max_events=0"), None)?;
    ensure!(none.is_empty(), "max_events=0: {:?}", names(&none));
    Ok(())
}

fn limits() -> Result<()> {
    let collector = Collector::start(&["--event_storage_event_limit=default=10,containerDeletion=3"])?;
    let cgroups = Cgroups::new(Set::One)?;
    for number in 0..30 {
        cgroups.make(format!("{number}"))?.remove()?;
    }
    let last = format!("{}/29", cgroups.name());
    wait::eventually(wait::seconds(5), || {
        let deletions = collector.events("/", &["deletion_events"])?;
        ensure!(names(&deletions).last() == Some(&last.as_str()), "the last deletion is not in the log");
        Ok(())
    })?;
    let count = |kind: &str| Ok::<_, crate::support::Error>(collector.events("/", &[kind])?.len());
    ensure!(count("creation_events")? == 10, "{} creations are kept, 10 may be", count("creation_events")?);
    ensure!(count("deletion_events")? == 3, "{} deletions are kept, 3 may be", count("deletion_events")?);

    // Age is measured when an event is added.
    let collector = Collector::start(&["--event_storage_age_limit=default=24h,containerDeletion=1s"])?;
    cgroups.make("old")?.remove()?;
    let old = format!("{}/old", cgroups.name());
    wait::eventually(wait::seconds(5), || {
        ensure!(!collector.events(&old, &["deletion_events"])?.is_empty(), "no deletion");
        Ok(())
    })?;
    wait::pass(std::time::Duration::from_millis(1100));
    cgroups.make("new")?.remove()?;
    wait::eventually(wait::seconds(5), || {
        let deletions = collector.events(&cgroups.name(), &["deletion_events"])?;
        ensure!(names(&deletions) == [format!("{}/new", cgroups.name())], "kept: {:?}", names(&deletions));
        ensure!(!collector.events(&old, &["creation_events"])?.is_empty(), "the creation is gone too");
        Ok(())
    })
}

/// What was there before the collector gets a creation event too, with its real age.
fn present_at_start() -> Result<()> {
    let cgroups = Cgroups::new(Set::One)?;
    let before = crate::support::time::Time::now_nanos();
    let collector = Collector::start(&[])?;
    for name in ["/".to_owned(), cgroups.name()] {
        let events: Vec<Event> =
            collector.json(&format!("/api/v1.3/events{name}?creation_events=true&max_events=-1"), None)?;
        ensure!(events.len() == 1, "{} creations of {name}", events.len());
        ensure!(events[0].timestamp.nanos < before, "{name} was made before the start, not at {}", events[0].timestamp);
    }
    Ok(())
}

fn stream() -> Result<()> {
    let count = settings::times(1000, 200);
    let collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::One)?;
    cgroups.make("history")?;
    wait::eventually(wait::seconds(5), || {
        let known = collector.names_below(&cgroups.name())?;
        ensure!(known.len() == 2, "listed: {known:?}");
        Ok(())
    })?;
    let stream = collector.stream("/", &["creation_events", "deletion_events"])?;
    let deletions = collector.stream("/", &["deletion_events"])?;
    for number in 0..count {
        cgroups.make(format!("{number}"))?.remove()?;
    }
    let own = |events: Vec<Event>| -> Vec<(String, String)> {
        let top = format!("{}/", cgroups.name());
        let own = events.into_iter().filter(|event| event.container_name.starts_with(&top));
        own.map(|event| (event.event_type, event.container_name)).collect()
    };
    wait::eventually(wait::seconds(10), || {
        let got = own(stream.events());
        ensure!(
            got.len() >= 2 * count,
            "{} of {} events came; the stream's end: {:?}",
            got.len(),
            2 * count,
            stream.end()
        );
        Ok(())
    })?;
    let got = own(stream.events());
    let of_kind =
        |kind: &str| -> Vec<&str> { got.iter().filter(|(of, _)| of == kind).map(|(_, name)| name.as_str()).collect() };
    let expected: Vec<String> = (0..count).map(|number| format!("{}/{number}", cgroups.name())).collect();
    ensure!(of_kind("containerCreation") == expected, "the creations are not each once in order: {got:?}");
    // A deletion waits for a closing sample that is being read, and then comes after later creations.
    let mut deleted = of_kind("containerDeletion");
    deleted.sort_by_key(|name| expected.iter().position(|other| other == name));
    ensure!(deleted == expected, "the deletions are not each once: {got:?}");
    for name in &expected {
        let kinds: Vec<&str> = got.iter().filter(|(_, of)| of == name).map(|(kind, _)| kind.as_str()).collect();
        ensure!(kinds == ["containerCreation", "containerDeletion"], "{name}: {kinds:?}");
    }
    let deletions = own(deletions.wait_for(count, wait::seconds(5))?);
    ensure!(deletions.iter().all(|(kind, _)| kind == "containerDeletion"), "only deletions were asked for");
    ensure!(stream.other_lines().is_empty(), "lines that are no event: {:?}", stream.other_lines());
    ensure!(stream.end().is_none(), "the stream has ended: {:?}", stream.end());
    Ok(())
}

fn stream_of_a_subtree() -> Result<()> {
    let collector = Collector::start(&[])?;
    let cgroups = Cgroups::new(Set::One)?;
    let watched = format!("{}/watched", cgroups.name());
    let stream = collector.stream(&watched, &["creation_events"])?;
    for name in ["watched", "watched-not", "watched/child", "other"] {
        cgroups.make(name)?;
    }
    cgroups.make("watched/last")?;
    let events = stream.wait_for(3, wait::seconds(5))?;
    let expected = [watched.clone(), format!("{watched}/child"), format!("{watched}/last")];
    ensure!(names(&events) == expected, "{:?}", names(&events));
    Ok(())
}

/// Connects with a receive buffer so small that the collector soon has to wait.
fn connect_slowly(address: SocketAddr) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096)?;
    rustix::net::connect(&socket, &address)?;
    Ok(TcpStream::from(socket))
}

/// A client that does not read is cut off; others get everything meanwhile.
fn slow_client() -> Result<()> {
    const CGROUPS: usize = 15_000;
    let mut collector = Collector::start(&[])?;
    collector.require_ebpf()?;
    let cgroups = Cgroups::new(Set::One)?;
    // Its own creation is not to be among those of the streams.
    wait::eventually(wait::seconds(5), || {
        let reported = collector.events(&cgroups.name(), &["creation_events"])?;
        ensure!(!reported.is_empty(), "the creation of {} is not reported", cgroups.name());
        Ok(())
    })?;
    let kinds = "creation_events=true&deletion_events=true&subcontainers=true&stream=true";
    let mut slow = connect_slowly(collector.address())?;
    write!(
        slow,
        "GET /api/v1.3/events{}?{kinds} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        cgroups.name()
    )?;
    // The head of the response shows that the stream is open.
    slow.read_exact(&mut [0; 12])?;
    let fast = collector.stream(&cgroups.name(), &["creation_events", "deletion_events"])?;
    for number in 0..CGROUPS {
        // Long names fill the slow client's buffers.
        let name = format!("{}-{number}", "x".repeat(200));
        cgroups.make(name)?.remove()?;
        // The kernel's buffer is not the point: it holds more than this, however late the collector has its turn.
        if number % 1000 == 999 {
            fast.wait_for(2 * (number + 1), wait::seconds(15))?;
        }
    }
    let events = fast.wait_for(2 * CGROUPS, wait::seconds(15))?;
    ensure!(events.len() == 2 * CGROUPS, "{} events for {CGROUPS} cgroups", events.len());
    let lost = collector.metrics()?.sum("collector_events_lost_total");
    ensure!(lost == 0.0, "{lost} kernel events were lost");

    let mut rest = Vec::new();
    slow.set_read_timeout(Some(wait::seconds(20)))?;
    if let Err(error) = slow.read_to_end(&mut rest)
        && matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
    {
        crate::support::bail!("the slow client was not disconnected within 20 s");
    }
    let rest = String::from_utf8_lossy(&rest);
    let got = rest.matches("\"event_type\"").count();
    ensure!(got < 2 * CGROUPS, "the slow client got all events: the scene does not work");
    let note = |text: &str| {
        let text = text.to_lowercase();
        text.contains("missed") || text.contains("slow") || text.contains("fell behind") || text.contains("disconnect")
    };
    let noted = rest.lines().any(|line| !line.contains("\"event_type\"") && note(line))
        || collector.log().iter().any(|line| note(line));
    let last = rest.lines().last();
    ensure!(noted, "neither the stream nor the log has a note about the slow client; the last line: {last:?}");
    collector.check_alive()
}
