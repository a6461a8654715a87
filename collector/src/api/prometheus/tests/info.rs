//! All labels on one series, when counters began, and what goes on over the lives of a name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fixture::{everything, running, snapshot, text, v1_sample, v2_sample};
use super::parsed::Parsed;
use crate::api::prometheus::{CreatedLines, Entry, ExpositionOptions, Format, Labelled, Scrape, Snapshot, render};
use crate::sample::exit::tests::killed;
use crate::sample::exit::{Exit, Sender};
use crate::sample::identity::{Identity, Runtime};
use crate::sample::spec::Spec;
use crate::store::restarts::Title;
use crate::units::WallTime;

fn labelled(number: usize) -> Entry {
    let id = format!("{number:064}");
    let labels = (0..10).map(|label| (format!("example.com/label-{label}"), format!("value of label {label}")));
    let identity = Identity {
        name: Some(format!("web-{number}")),
        image: Some("registry.example/shop/web:1.2.3".to_owned()),
        labels: labels.collect(),
        ..Identity::from_path(Runtime::Docker, id.clone())
    };
    Entry { identity: Some(Arc::new(identity)), ..running(&format!("/docker/{id}"), v2_sample()) }
}

#[test]
fn a_scrape_with_labels_on_one_series_is_two_fifths_smaller_and_says_the_same() {
    let containers = (0..100).map(labelled).chain([running("/raw", v2_sample())]).collect();
    let snapshot = Snapshot { containers, ..Snapshot::default() };
    let everywhere = text(&snapshot, &ExpositionOptions::default(), Scrape::default());
    let options = ExpositionOptions { labelled: Labelled::Info, ..ExpositionOptions::default() };
    let info = text(&snapshot, &options, Scrape::default());
    assert!(info.len() * 10 <= everywhere.len() * 6, "{} of {} bytes", info.len(), everywhere.len());
    let (everywhere, info) = (Parsed::new(&everywhere), Parsed::new(&info));
    let label = "container_label_example_com_label_7";
    let with_label = |parsed: &Parsed, family: &str| {
        parsed.of(family).filter(|series| !series.label(label).is_empty() && !series.label("image").is_empty()).count()
    };
    assert_eq!(
        [with_label(&everywhere, "container_memory_rss"), with_label(&everywhere, "container_info")],
        [100, 100]
    );
    assert_eq!([with_label(&info, "container_memory_rss"), with_label(&info, "container_info")], [0, 100]);
    assert!(info.of("container_memory_rss").all(|series| series.labels.keys().all(|key| key == "id" || key == "name")));
    // So that a join loses nothing.
    assert_eq!(info.value("container_info", &[("id", "/raw")]), Some("1"));
    assert_eq!(everywhere.value("container_info", &[("id", "/raw")]), None);
}

#[test]
fn open_metrics_says_when_counters_began_if_asked() {
    let spec = Spec { created: Some(WallTime(1_700_000_000_250_000_000)), ..Spec::default() };
    let entry = Entry { spec, ..running("/x", v2_sample()) };
    let snapshot = Snapshot { containers: vec![entry], ..Snapshot::default() };
    let scrape = Scrape { format: Format::OpenMetrics, ..Scrape::default() };
    let asked = ExpositionOptions { created: CreatedLines::On, ..ExpositionOptions::default() };
    let written = text(&snapshot, &asked, scrape);
    let lines: Vec<_> = written.lines().filter(|line| line.starts_with("container_cpu_user_seconds")).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("container_cpu_user_seconds_total{id=\"/x\"} "), "{lines:?}");
    assert_eq!(lines[1], "container_cpu_user_seconds_created{id=\"/x\"} 1700000000.250");
    assert!(!written.contains("container_oom_events_created"), "it goes on over the lives of a name");
    assert!(!text(&snapshot, &ExpositionOptions::default(), scrape).contains("_created"));
    assert!(!text(&snapshot, &asked, Scrape::default()).contains("_created{"));
}

#[test]
fn protobuf_has_the_families_of_the_text() {
    for sample in [v1_sample(), v2_sample()] {
        let snapshot = snapshot(sample);
        let mut out = Vec::new();
        let scrape = Scrape { format: Format::Protobuf, ..Scrape::default() };
        render(&snapshot, &everything(), scrape, &mut out, &mut |_| {});
        let mut rest = out.as_slice();
        let mut names = BTreeSet::new();
        while !rest.is_empty() {
            let length = prost::decode_length_delimiter(&mut rest).unwrap();
            let (message, after) = rest.split_at(length);
            let [0x0a, name_length, message @ ..] = message else { panic!("a name comes first") };
            names.insert(String::from_utf8(message[..usize::from(*name_length)].to_vec()).unwrap());
            rest = after;
        }
        let text = text(&snapshot, &everything(), Scrape::default());
        let expected: BTreeSet<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(names, expected);
    }
}

#[test]
fn restarts_are_of_a_name_and_exits_of_a_container() {
    let title = |name: &str| Title { name: name.to_owned(), ..Title::default() };
    let of_pod =
        Title { namespace: "shop".to_owned(), pod: "web-0".to_owned(), container: "web".to_owned(), ..title("") };
    let exit: Exit = killed(Sender::OomKiller);
    let ended = Entry { exit: Some(Arc::new(exit)), ..running("/gone", v2_sample()) };
    let restarts = vec![(of_pod, 20), (title("db"), 0)];
    let snapshot = Snapshot { containers: vec![ended], restarts, ..Snapshot::default() };
    let parsed = Parsed::new(&text(&snapshot, &ExpositionOptions::default(), Scrape::default()));
    let restarts = |labels: &[(&str, &str)]| parsed.value("container_restarts_total", labels).map(str::to_owned);
    assert_eq!(restarts(&[("pod", "web-0"), ("container", "web")]).as_deref(), Some("20"));
    assert_eq!(restarts(&[("name", "db")]).as_deref(), Some("0"));
    let exit = [("id", "/gone"), ("reason", "oom"), ("signal", "SIGKILL")];
    assert_eq!(parsed.value("container_last_exit_code", &exit), Some("137"));
}
