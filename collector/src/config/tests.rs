//! The command line as people write it.

use std::time::Duration;

use super::*;
use crate::sample::event::EventKind;
use crate::sample::kinds::MetricKind;
use crate::sampler::filter::RawCgroups;

fn config(flags: &[&str]) -> Result<Config, String> {
    let args = std::iter::once("collector").chain(flags.iter().copied()).map(Into::into);
    match invocation::Invocation::from_command_line(args).map_err(|error| error.to_string())? {
        invocation::Invocation::Run(config) => Ok(*config),
        command => panic!("flags alone are {command:?}"),
    }
}

#[test]
fn the_defaults_are_cadvisors() {
    let config = config(&[]).unwrap();
    assert_eq!(config.listen.port(), 8080);
    assert!(config.listen.ip().is_unspecified());
    assert_eq!(config.interval, Duration::from_secs(1));
    assert_eq!(config.pace, Pace::Dynamic { max: Duration::from_secs(60) });
    assert_eq!(config.store.history.age, Duration::from_secs(120));
    assert_eq!(config.store.events.default.age, Duration::from_secs(86_400));
    assert_eq!(config.store.events.default.count, Some(100_000));
    assert_eq!(config.kinds, KindSet::default());
    assert_eq!(config.filter, Filter::default());
}

#[test]
fn both_spellings_are_understood() {
    for flags in [
        ["-port=9", "-docker_only", "-listen_ip", "127.0.0.1", "-housekeeping_interval=1m30s"],
        ["--port=9", "--docker_only=true", "--listen_ip", "127.0.0.1", "--housekeeping_interval=90s"],
    ] {
        let config = config(&flags).unwrap();
        assert_eq!(config.listen, "127.0.0.1:9".parse().unwrap());
        assert_eq!(config.filter.raw, RawCgroups::Skip);
        assert_eq!(config.interval, Duration::from_secs(90));
    }
}

#[test]
fn metric_kinds_replace_the_default() {
    let kinds = |flags: &[&str]| config(flags).map(|config| config.kinds.to_string());
    assert_eq!(kinds(&["--disable_metrics="]).unwrap(), KindSet::all().to_string());
    let all_but_two = KindSet::all().without([MetricKind::Cpu, MetricKind::Sched]).to_string();
    assert_eq!(kinds(&["--disable_metrics=cpu,sched"]).unwrap(), all_but_two);
    assert_eq!(kinds(&["--disable_metrics=cpu", "--enable_metrics=memory,cpu"]).unwrap(), "cpu,memory");
}

#[test]
fn event_limits_are_per_kind() {
    let config = config(&["--event_storage_event_limit=default=5,oom=-1,containerCreation=0"]).unwrap();
    let count = |kind| config.store.events.kinds[&kind].count;
    assert_eq!(count(EventKind::Oom), None);
    assert_eq!(count(EventKind::OomKill), Some(5));
    assert_eq!(count(EventKind::ContainerCreation), Some(0));
}

#[test]
fn mistakes_are_named_on_one_line() {
    for (flags, expected) in [
        (&["--prot=1"][..], "error: unexpected argument '--prot' found; tip: a similar argument exists: '--port'"),
        (&["-port=x"], "error: invalid value 'x' for '--port <PORT>': invalid digit found in string"),
        (&["--port=70000"], "error: invalid value '70000' for '--port <PORT>': 70000 is not in 0..=65535"),
        (&["--listen_ip=localhost"], "error: --listen_ip=localhost: not an IP address; try 127.0.0.1"),
        (&["--housekeeping_interval=1ms"], "error: --housekeeping_interval=1ms: use at least 10ms"),
        (
            &["--event_storage_age_limit=oom=x"],
            "error: --event_storage_age_limit=oom=x: \"x\" is not a duration such as 10s, 1m30s or 500ms",
        ),
        (
            &["--event_storage_age_limit=foo=1s"],
            "error: --event_storage_age_limit=foo=1s: unknown kind \"foo\"; use default, oom, oomKill, \
             containerCreation, containerDeletion",
        ),
        (
            &["--ring_buffer_bytes=1000"],
            "error: --ring_buffer_bytes=1000: not a power of two of at least the page size, 4096; the default is \
             1048576",
        ),
    ] {
        assert_eq!(config(flags).unwrap_err(), expected);
    }
    let error = config(&["--enable_metrics=cpux"]).unwrap_err();
    assert!(error.starts_with("error: --enable_metrics=cpux: unknown metric kind \"cpux\"; the kinds are"), "{error}");
    for flags in [&["--prot=1"][..], &["--enable_metrics=x"], &["--kernel_events=maybe"]] {
        let error = config(flags).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
