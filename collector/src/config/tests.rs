//! The command line as people write it.

use std::time::Duration;

use super::*;
use crate::config::sampling::all_unnamed;
use crate::discovery::filter::RawCgroups;
use crate::sample::event::EventKind;
use crate::sample::kinds::MetricKind;

/// What these flags make.
pub(super) fn config(flags: &[&str]) -> Result<Config, String> {
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
    assert_eq!(kinds(&["--disable_metrics="]).unwrap(), all_unnamed().to_string());
    let all_but_two = all_unnamed().without([MetricKind::Cpu, MetricKind::Sched]).to_string();
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
        (&["--prot=1"][..], "unexpected argument '--prot' found; tip: a similar argument exists: '--port'"),
        (&["-port=x"], "invalid value 'x' for '--port <VALUE>': invalid digit found in string"),
        (&["--port=70000"], "invalid value '70000' for '--port <VALUE>': 70000 is not in 0..=65535"),
        (&["--listen_ip=localhost"], "--listen_ip=localhost: not an IP address; try 127.0.0.1"),
        (&["--housekeeping_interval=1ms"], "--housekeeping_interval=1ms: use at least 10ms"),
        (
            &["--event_storage_age_limit=oom=x"],
            "--event_storage_age_limit=oom=x: \"x\" is not a duration such as 10s, 1m30s or 500ms",
        ),
        (
            &["--event_storage_age_limit=foo=1s"],
            "--event_storage_age_limit=foo=1s: unknown kind \"foo\"; use default, oom, oomKill, \
             containerCreation, containerDeletion, containerExit",
        ),
        (
            &["--ring_buffer_bytes=1000"],
            "--ring_buffer_bytes=1000: not a power of two of at least the page size, 4096; the default is \
             1048576",
        ),
    ] {
        assert_eq!(config(flags).unwrap_err(), expected);
    }
    let error = config(&["--enable_metrics=cpux"]).unwrap_err();
    assert!(error.starts_with("--enable_metrics=cpux: unknown metric kind \"cpux\"; the kinds are"), "{error}");
    for flags in [&["--prot=1"][..], &["--enable_metrics=x"], &["--kernel_events=maybe"]] {
        let error = config(flags).unwrap_err();
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

/// How people start cAdvisor: its image's own arguments, its manifests, and those of others.
const IN_USE: &[(&[&str], usize)] = &[
    (&["-logtostderr"], 0),
    (
        &[
            "--housekeeping_interval=10s",
            "--max_housekeeping_interval=15s",
            "--event_storage_event_limit=default=0",
            "--event_storage_age_limit=default=0",
            "--enable_metrics=app,cpu,disk,diskIO,memory,network,process",
            "--docker_only",
            "--store_container_labels=false",
            "--whitelisted_container_labels=io.kubernetes.container.name, io.kubernetes.pod.name,io.kubernetes.pod.namespace",
        ],
        0,
    ),
    (&["-logtostderr", "-docker_only"], 0),
    (
        &[
            "--housekeeping_interval=30s",
            "--docker_only=true",
            "--disable_metrics=percpu,sched,tcp,udp,disk,diskIO,accelerator,hugetlb,referenced_memory,cpu_topology,resctrl",
        ],
        0,
    ),
    (
        &[
            "-storage_driver=influxdb",
            "-storage_driver_db=cadvisor",
            "-storage_driver_host=influxdb:8086",
            "-storage_driver_user=root",
            "-storage_driver_password=hunter2",
            "-storage_driver_secure=False",
        ],
        0,
    ),
    (
        &[
            "--port=48080",
            "--v=1",
            "--vmodule=manager=4",
            "--alsologtostderr",
            "--stderrthreshold",
            "INFO",
            "--max_procs=1",
            "--url_base_prefix=/cadvisor/",
            "--prometheus_endpoint=/prom",
            "--raw_cgroup_prefix_whitelist=/docker/,/kubepods",
            "--allow_dynamic_housekeeping",
            "true",
            "--global_housekeeping_interval",
            "2m",
        ],
        2,
    ),
    (
        &[
            "--containerd=/run/k3s/containerd/containerd.sock",
            "--containerd-namespace=k8s.io",
            "--containerd_env_metadata_whitelist=APP",
            "--env_metadata_whitelist=TEAM",
            "--docker=tcp://127.0.0.1:2376",
            "--docker-tls=false",
            "--docker-tls-cert=cert.pem",
            "--docker_root=/data/docker",
            "--podman=unix:///run/podman/podman.sock",
            "--crio_client_timeout=5s",
            "--disable_root_cgroup_stats=false",
            "--log_cadvisor_usage=false",
            "--machine_id_file=/rootfs/etc/machine-id",
            "--application_metrics_count_limit=0",
            "--collector_cert=",
            "--profiling=true",
            "--mesos_agent=127.0.0.1:5051",
            "--mesos_agent_timeout=10s",
            "--resctrl_interval=0",
            "--referenced_reset_interval=0",
            "--jitter_factor=-1",
            "--initial_splay_factor=0.5",
            "--bq_secret=x",
        ],
        9,
    ),
];

#[test]
fn what_starts_cadvisor_starts_this() {
    for (flags, notes) in IN_USE {
        let config = config(flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
        assert_eq!(config.notes.len(), *notes, "{:#?}", config.notes);
        assert!(config.notes.iter().all(|note| note.contains("has no effect: ") && !note.contains("hunter2")));
    }
    let config = config(IN_USE[5].0).unwrap();
    assert_eq!((config.base_path.as_str(), config.metrics_path.as_str()), ("/cadvisor", "/prom"));
    assert!(config.runtimes.docker_tls.is_none());
    assert_eq!((config.max_procs, config.verify_every), (Some(1), Duration::from_secs(120)));
}

#[test]
fn every_flag_of_cadvisor_is_accepted() {
    // Of 0.60.5 and, where they are gone since, of earlier ones; each with another value than its default.
    let flags = "allow_dynamic_housekeeping=false application_metrics_count_limit=1 boot_id_file=/b bq_account=a \
        bq_credentials_file=a bq_id=a bq_project_id=a bq_secret=a collector_cert=a collector_key=a container_hints=/a \
        containerd=/a containerd-namespace=a containerd_env_metadata_whitelist=a crio_client_timeout=1s \
        disable_metrics=cpu disable_root_cgroup_stats=true docker=unix:///a docker-tls=true docker-tls-ca=a \
        docker-tls-cert=a docker-tls-key=a docker_env_metadata_whitelist=a docker_only=true docker_root=/a \
        enable_load_reader=true enable_metrics=cpu env_metadata_whitelist=a event_storage_age_limit=default=1h \
        event_storage_event_limit=default=1 global_housekeeping_interval=1h housekeeping_interval=2s http_auth_file=/a \
        http_auth_realm=a http_digest_file=/a http_digest_realm=a initial_splay_factor=0 jitter_factor=0 \
        listen_ip=127.0.0.1 log_cadvisor_usage=true machine_id_file=/a max_housekeeping_interval=1h max_procs=3 \
        mesos_agent=a mesos_agent_timeout=1s podman=unix:///a port=1 profiling=true \
        prometheus_endpoint=/a raw_cgroup_prefix_whitelist=/a referenced_reset_interval=1 resctrl_interval=1s \
        storage_driver=statsd storage_driver_buffer_duration=1s storage_driver_db=a storage_driver_es_enable_sniffer=true \
        storage_driver_es_host=a storage_driver_es_index=a storage_driver_es_type=a storage_driver_host=a:1 \
        storage_driver_influxdb_retention_policy=a storage_driver_kafka_broker_list=a storage_driver_kafka_ssl_ca=a \
        storage_driver_kafka_ssl_cert=a storage_driver_kafka_ssl_key=a storage_driver_kafka_ssl_verify=false \
        storage_driver_kafka_topic=a storage_driver_password=a storage_driver_secure=true storage_driver_table=a \
        storage_driver_user=a storage_duration=1h store_container_labels=false update_machine_info_interval=1h \
        url_base_prefix=/a whitelisted_container_labels=a add_dir_header=true alsologtostderr=false log_backtrace_at=a:1 \
        log_dir=/a log_file=/a log_file_max_size=1 logtostderr=false one_output=true skip_headers=true \
        skip_log_headers=true stderrthreshold=0 v=0 vmodule=a=1";
    let all: Vec<String> = flags.split_whitespace().map(|flag| format!("-{flag}")).collect();
    for flag in &all {
        config(&[flag]).unwrap_or_else(|error| panic!("{flag}: {error}"));
    }
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    config(&all).unwrap();
    // As with Go, the last one counts.
    assert_eq!(config(&["-port=1", "-port=2"]).unwrap().listen.port(), 2);
    for (flag, problem) in [
        ("--storage_driver=memory", "unknown; use influxdb, statsd or stdout"),
        ("--jitter_factor=x", "is not a number"),
        ("--mesos_agent_timeout=1", "is not a duration"),
        ("--docker-tls=maybe", "is neither true nor false"),
        ("--prometheus_endpoint=metrics", "a path begins with a slash"),
        ("--url_base_prefix=/a\"b", "only letters"),
        ("--auth_api", "there is nothing to ask for"),
        ("--tls_cert_file=/a", "needs --tls_private_key_file"),
        ("--exclude_path=/a[", "is not a glob"),
    ] {
        let error = config(&[flag]).unwrap_err();
        assert!(error.contains(problem) && error.lines().count() == 1, "{flag}: {error}");
    }
}

#[test]
fn docker_may_want_tls() {
    let runtimes = config(&["--docker=tcp://h:2376", "--docker-tls", "--docker-tls-ca=/a"]).unwrap().runtimes;
    let tls = runtimes.docker_tls.unwrap();
    assert_eq!([tls.ca, tls.certificate, tls.key], ["/a", "cert.pem", "key.pem"].map(PathBuf::from));
}

#[test]
fn the_log_follows_the_verbosity() {
    for (v, expected) in [("-1", "info"), ("2", "info"), ("4", "collector=debug,info"), ("10", "collector=trace,info")]
    {
        assert_eq!(config(&["-v", v]).unwrap().log, expected);
    }
    assert!(config(&["-v=x"]).is_err());
}

#[test]
fn who_may_ask() {
    let protected = |flags: &[&str]| config(flags).unwrap().access.protected;
    assert_eq!(protected(&[]), Protected::Nothing);
    assert_eq!(protected(&["--http_auth_file=/a", "--http_digest_file=/b"]), Protected::Pages);
    assert_eq!(protected(&["--http_digest_file=/b", "--auth_api"]), Protected::Everything);
    assert_eq!(protected(&["--bearer_token_file=/c"]), Protected::Data);
    assert_eq!(protected(&["--bearer_token_file=/c", "--http_auth_file=/a"]), Protected::Everything);
    let both = config(&["--http_auth_file=/a", "--http_digest_file=/b"]).unwrap();
    assert_eq!(both.access.settings.passwords.unwrap().file.to_string(), "--http_auth_file=/a");
}

#[test]
fn globs_may_be_repeated() {
    let filter = config(&["--exclude_path=/a", "-exclude_path", "/{b,c}", "--include_label=x=1"]).unwrap().filter;
    for path in ["/a", "/b", "/c/d"] {
        assert!(!filter.rules.want_path(path.as_bytes()), "{path}");
    }
    assert!(filter.rules.want_path(b"/d") && filter.rules.ask_who() && !filter.rules.want(None));
}
