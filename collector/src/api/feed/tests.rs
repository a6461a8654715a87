//! What is sent of a table, and which queries are understood.

use expect_test::expect;

use super::*;
use crate::api::backend::Validation;
use crate::api::backend::feed::{FeedFigures, FeedSubject, Tick};
use crate::sample::identity::{Identity, Runtime};
use crate::units::{Bytes, WallTime};

fn row(id: u64, name: &str, subject_changed: u64, figures_changed: u64) -> Arc<FeedRow> {
    let subject = FeedSubject {
        name: name.as_bytes().into(),
        memory_limit: (id == 2).then_some(Bytes(1 << 20)),
        identity: (id == 2).then(|| {
            let identity = Identity::from_path(Runtime::Docker, "ab".to_owned());
            Arc::new(Identity { name: Some("<web>".to_owned()), ..identity })
        }),
        ended: (id == 3).then_some(WallTime(5_000_000_000)),
        ..FeedSubject::default()
    };
    let figures = FeedFigures { cpu: Some(id * 10), memory: None, oom_kills: id, ..FeedFigures::default() };
    Arc::new(FeedRow { id, subject: Arc::new(subject), subject_changed, figures, figures_changed })
}

fn text(since: Option<u64>, rows: Vec<Arc<FeedRow>>, gone: Vec<u64>) -> String {
    let tick =
        Tick { cursor: Cursor { run: 255, version: 9 }, since, rows, gone, host: "n1".to_owned(), ..Tick::default() };
    let shortcomings = vec!["no PSI: boot with psi=1".to_owned()];
    let validation =
        Validation { hierarchies: "v2", kernel_events: "ebpf", shortcomings, containers: 3, lost_events: Some(7) };
    let mut append = wire::pieces(&tick, &wire::Collector { version: "v1".to_owned(), validation });
    let mut out = Vec::new();
    while append(&mut out) == responses::More::Follows {}
    serde_json::from_slice::<Value>(&out).unwrap();
    String::from_utf8(out).unwrap().replace("},", "},\n").replace("\"gone\"", "\n\"gone\"")
}

#[test]
fn a_first_answer_has_everything() {
    let rows = vec![row(1, "/", 1, 1), row(2, "/docker/ab", 2, 8), row(3, "/x", 3, 3)];
    expect![[r#"
        {"cursor":"ff.9","full":true,"at":0,"node":{"host":"n1","kernel":"","version":"v1","cpus":0,"memory":null,"events":"ebpf","lost_events":7,"hierarchies":"v2","degraded":["no PSI: boot with psi=1"],"disks":[]},

        "gone":[],"who":[{"id":1,"name":"/"},
        {"id":2,"name":"/docker/ab","runtime":"docker","container":"ab","called":"\u003cweb\u003e","memory_limit":1048576},
        {"id":3,"name":"/x","ended":5000}],"now":[{"id":[1,2,3],"cpu":[10,20,30],"throttled":[null,null,null],"memory":[null,null,null],"peak":[null,null,null],"cpu_pressure":[null,null,null],"memory_pressure":[null,null,null],"io_pressure":[null,null,null],"received":[null,null,null],"sent":[null,null,null],"read":[null,null,null],"written":[null,null,null],"tasks":[null,null,null],"oom_kills":[1,2,3]}]}"#]]
    .assert_eq(&text(None, rows, Vec::new()));
}

#[test]
fn a_later_one_has_what_changed() {
    let rows = vec![row(1, "/", 1, 1), row(2, "/docker/ab", 2, 8), row(3, "/x", 6, 3)];
    let text = text(Some(4), rows, vec![7, 8]);
    assert!(text.contains("\"full\":false") && text.contains("\"gone\":[7,8]"), "{text}");
    assert!(text.contains("\"who\":[{\"id\":3,\"name\":\"/x\",\"ended\":5000}]"), "{text}");
    assert!(text.contains("\"now\":[{\"id\":[2],\"cpu\":[20],"), "{text}");
    let nothing = self::text(Some(9), Vec::new(), Vec::new());
    assert!(nothing.ends_with("\"who\":[],\"now\":[]}"), "{nothing}");
}

#[test]
fn many_rows_are_valid_json_however_they_are_cut() {
    for count in [1, 255, 256, 257, 1000] {
        let rows = (1..=count).map(|id| row(id, "/x", 1, 1)).collect();
        let parsed: Value = serde_json::from_str(&text(None, rows, Vec::new())).unwrap();
        assert_eq!(parsed["who"].as_array().unwrap().len(), count as usize);
        let columns = parsed["now"].as_array().unwrap().iter();
        assert_eq!(columns.map(|columns| columns["id"].as_array().unwrap().len()).sum::<usize>(), count as usize);
    }
}

#[test]
fn queries() {
    let since = |run, version| Ok(Query::Tick(Some(Cursor { run, version })));
    assert_eq!(Query::parse(""), Ok(Query::Tick(None)));
    assert_eq!(Query::parse("since=&other=1"), Ok(Query::Tick(None)));
    assert_eq!(Query::parse("since=ff.12"), since(255, 12));
    assert_eq!(Query::parse("trends=1,22"), Ok(Query::Trends(vec![1, 22])));
    let message = |query: &str| Query::parse(query).unwrap_err().to_string();
    assert_eq!(message("since=12"), "since: \"12\" is no cursor: give the one of the answer before, or none");
    assert_eq!(
        message("trends=1,x"),
        "trends: \"x\" is not the number of a row: give up to 200 of them with commas between"
    );
    let many = format!("trends={}1", "1,".repeat(200));
    assert_eq!(message(&many), "trends: 201 rows are too many: 200 can be asked for at once");
}
