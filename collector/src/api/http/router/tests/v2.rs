//! The resources of v2.

use super::*;

/// The names and how many samples each has.
async fn stats(path: &str) -> Vec<(String, usize)> {
    let (status, kind, body) = ask("POST", path, "{not looked at").await;
    assert_eq!((status, &*kind), (200, "application/json"), "{path}: {body}");
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&body).unwrap();
    let samples = |value: &serde_json::Value| {
        let list = if value.is_array() { value.as_array() } else { value["stats"].as_array() };
        list.map_or(0, Vec::len)
    };
    map.iter().map(|(name, value)| (name.clone(), samples(value))).collect()
}

fn each(names: &[&str], samples: usize) -> Vec<(String, usize)> {
    names.iter().map(|name| ((*name).to_owned(), samples)).collect()
}

#[tokio::test]
async fn names_counts_and_recursion() {
    assert_eq!(stats("/api/v2.0/stats/a").await, each(&["/a"], 64));
    assert_eq!(stats("/api/v2.1/stats/a//b/").await, each(&["/a/b"], 64));
    assert_eq!(stats("/api/v2.0/stats/a?recursive=true&count=2").await, each(&["/a", "/a/b", "/ab"], 2));
    assert_eq!(stats("/api/v2.0/stats/a?recursive=1&count=-1").await, each(&["/a"], 100));
    assert_eq!(stats("/api/v2.1/stats/a/?count=0").await, each(&["/a"], 0));
    let mut all = each(&["/", "/a", "/a/b", "/ab"], 1);
    all.push(("/q \"\n\u{fffd}".to_owned(), 1));
    assert_eq!(stats("/api/v2.0/stats?recursive=true&count=1").await, all);
    // The root is the machine's in v2.1, and a container without a sample is left out.
    assert_eq!(stats("/api/v2.1/stats?recursive=true&count=1").await, all[1..]);
    assert_eq!(get("/api/v2.1/stats/").await, (200, "{}".to_owned()));
    assert_eq!(get("/api/v2.0/stats/unsampled").await, (200, "{}".to_owned()));
    let (_, body) = get("/api/v2.0/stats/a?count=0").await;
    assert_eq!(body, r#"{"/a":[]}"#);
    let (_, body) = get("/api/v2.0/spec/a?recursive=true").await;
    let specs: BTreeMap<String, serde_json::Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(specs.keys().collect::<Vec<_>>(), ["/a", "/a/b", "/ab"]);
    assert_eq!(specs["/a"]["processes"], serde_json::json!({}));
}

#[tokio::test]
async fn a_runtimes_containers() {
    for runtime in ["docker", "podman"] {
        for version in ["v2.0", "v2.1"] {
            let ask = async |rest: &str| stats(&format!("/api/{version}/stats{rest}&type={runtime}")).await;
            assert_eq!(ask("/web?count=3").await, each(&["/a"], 3));
            assert_eq!(ask("?recursive=true&count=1").await, each(&["/a", "/a/b", "/ab"], 1));
            assert_eq!(ask("/?recursive=true&count=1").await, each(&["/a", "/a/b", "/ab"], 1));
        }
        for resource in ["spec", "summary"] {
            let (status, body) = get(&format!("/api/v2.1/{resource}/web?type={runtime}")).await;
            let map: BTreeMap<String, serde_json::Value> = serde_json::from_str(&body).unwrap();
            assert!(status == 200 && map.keys().eq(["/a"]), "{resource}: {body}");
        }
    }
}

#[tokio::test]
async fn errors_have_cadvisors_texts() {
    let cases = [
        ("/api/v2.0/stats/x", "unknown container \"/x\""),
        ("/api/v2.1/stats/x?recursive=true", "unknown container: \"/x\""),
        ("/api/v2.0/spec/x%0A", "unknown container \"/x\\n\""),
        ("/api/v2.0/summary/x", "unknown container \"/x\""),
        ("/api/v2.0/appmetrics/x", "unknown container \"/x\""),
        ("/api/v2.0/ps/x", "process listing failed: unknown container \"/x\""),
        ("/api/v2.0/ps/a", "process listing failed: no procfs"),
        ("/api/v2.1/ps/abc?type=docker", {
            "process listing failed: unable to find container \"abc\" in \"docker\" namespace"
        }),
        ("/api/v2.0/ps/web?type=docker", "process listing failed: no procfs"),
        ("/api/v2.0/stats/abc?type=docker", "unable to find container \"abc\" in \"docker\" namespace"),
        ("/api/v2.1/stats/?type=podman", "unable to find container \"\" in \"podman\" namespace"),
        ("/api/v2.0/stats/w?type=docker", {
            "unable to find container in \"docker\" namespace. Container \"w\" is not unique"
        }),
        ("/api/v2.1/ps/w?type=podman", {
            "process listing failed: unable to find container in \"podman\" namespace. Container \"w\" is not unique"
        }),
        ("/api/v2.0/spec/a/b?type=podman", "unable to find container \"a/b\" in \"podman\" namespace"),
        ("/api/v2.0/spec/a?type=docker&recursive=true", {
            "invalid request for docker container \"/a\" with subcontainers"
        }),
        ("/api/v2.1/machinestats?type=docker", "unable to find container \"\" in \"docker\" namespace"),
        ("/api/v2.1/machinestats?type=docker&recursive=true", "unknown container \"/\""),
        ("/api/v2.0/storage?label=x", "non-existent label \"x\""),
        ("/api/v2.0/storage?label=root&uuid=x", "cadvisor: no such device"),
        // Options are read before anything else.
        ("/api/v2.0/version?count=x", "failed to parse 'count' option: x"),
        ("/api/v2.1/machine?type=rkt", "unknown 'type' \"rkt\""),
        ("/api/v2.1/events?max_age=1", "failed to parse 'max_age' option: time: missing unit in duration \"1\""),
        ("/api/v2.0/nothing?count=-5", "invalid 'count' option: only -1 and larger values allowed, not -5"),
    ];
    for (path, text) in cases {
        let expected = (500, "text/plain; charset=utf-8".to_owned(), format!("{text}\n"));
        assert_eq!(ask("GET", path, "").await, expected, "{path}");
    }
    assert_eq!(get("/api/v1.3/machine?count=x").await.0, 200, "v1 has no options");
}

#[tokio::test]
async fn small_answers_of_v2() {
    assert_eq!(get("/api/v2.0/appmetrics/a?recursive=true").await, (200, r#"{"/a":{}}"#.to_owned()));
    assert_eq!(get("/api/v2.0/appmetrics/web?type=docker").await, (200, r#"{"/web":{}}"#.to_owned()));
    assert_eq!(get("/api/v2.1/ps").await, (200, "[]".to_owned()));
    assert_eq!(get("/api/v2.1/machinestats?count=0").await, (200, "null".to_owned()));
    let (_, body) = get("/api/v2.1/machinestats?count=2&recursive=true").await;
    let list: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    assert_eq!((list.len(), list[0].get("cpu_inst")), (2, None));
    assert_eq!(list[1]["cpu_inst"]["usage"]["total"], 1);
    let (_, body) = get("/api/v2.0/attributes").await;
    assert!(body.starts_with(r#"{"kernel_version":"6.1","container_os_version":"Unknown","docker_version":"","#));
    let (_, body) = get("/api/v2.0/storage?uuid=12-AB&label=x").await;
    assert!(body.starts_with(r#"{"timestamp":"1970-01-01T00:00:00Z","device":"/dev/sda1","#), "{body}");
    let (_, body) = get("/api/v2.0/storage?label=root").await;
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&body).unwrap().len(), 1);
    let (_, body) = get("/api/v2.0/summary/a?recursive=true").await;
    let map: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((map.as_object().unwrap().len(), &map["/ab"]["latest_usage"]["cpu"]), (3, &serde_json::json!(5)));
}

#[tokio::test]
async fn an_age_is_asked_of_what_is_selected() {
    let ask = async |path: &str| {
        let node = node();
        let refreshed = Arc::clone(&node.refreshed);
        let status = respond(node, Request::get(path).body(Body::empty()).unwrap()).await.status();
        let asked = refreshed.lock().unwrap().clone();
        (status.as_u16(), asked)
    };
    let second = Duration::from_secs(1);
    assert_eq!(ask("/api/v2.0/stats/a?recursive=true&max_age=1s").await, (200, vec![(3, second)]));
    assert_eq!(ask("/api/v2.0/stats?type=docker&recursive=true&max_age=1s").await, (200, vec![(3, second)]));
    assert_eq!(ask("/api/v2.1/machinestats?max_age=-1s").await, (200, vec![(1, Duration::ZERO)]));
    for resource in ["summary", "spec", "appmetrics", "stats"] {
        assert_eq!(ask(&format!("/api/v2.1/{resource}/a?max_age=1s")).await, (200, vec![(1, second)]), "{resource}");
    }
    assert_eq!(ask("/api/v2.0/stats/a").await, (200, vec![]));
    assert_eq!(ask("/api/v2.0/stats/x?max_age=1s").await, (500, vec![]));
}
