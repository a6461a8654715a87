//! What is encoded by hand, read back by messages as the protocols declare them.

use prost::Message as _;

use super::message::{Request as Request2, WriteRequest};
use super::*;
use crate::series::{append_family, append_label, append_labels, append_series};

fn writer() -> Writer {
    Writer::new(vec![("job".to_owned(), "collector".to_owned()), ("instance".to_owned(), "node".to_owned())])
}

/// A page as it is rendered: `a|b=x|c=y` stands for a family's name, shared labels, and own labels.
fn page(series: &[(&str, f64, u64)]) -> Vec<u8> {
    let list = |text: &str| {
        let mut labels = Vec::new();
        for (name, value) in text.split(',').filter_map(|label| label.split_once('=')) {
            append_label(&mut labels, name, value.as_bytes());
        }
        labels
    };
    let parts: Vec<_> = series
        .iter()
        .map(|(text, value, millis)| {
            let mut parts = text.split('|');
            let mut next = || parts.next().unwrap_or_default();
            (next(), list(next()), list(next()), *value, *millis)
        })
        .collect();
    let mut page = Vec::new();
    append_labels(&mut page, &parts.iter().flat_map(|part| part.1.clone()).collect::<Vec<_>>());
    let mut start = 0;
    for (name, shared, own, value, millis) in parts {
        let kind = if name.ends_with("_total") { MetricType::Counter } else { MetricType::Gauge };
        append_family(&mut page, [name, ""], &format!("Help of {name}."), kind);
        let began = if kind == MetricType::Counter { 900 } else { 0 };
        append_series(&mut page, start..start + shared.len(), &own, value, [millis, began]);
        start += shared.len();
    }
    page
}

fn decoded_2(requests: &[Request]) -> Vec<Request2> {
    let decode = |request: &Request| {
        let raw = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        let message = Request2::decode(&*raw).unwrap();
        assert_eq!(request.points, message.timeseries.len() as u64);
        assert_eq!(message.symbols[0], "");
        let different: HashSet<_> = message.symbols.iter().collect();
        assert_eq!(different.len(), message.symbols.len(), "{:?}", message.symbols);
        message
    };
    requests.iter().map(decode).collect()
}

/// What version 1.0 makes of requests.
fn decoded_1(requests: &[Request]) -> Vec<(String, f64, i64)> {
    let mut all = Vec::new();
    for body in requests.iter().flat_map(|request| version_1::requests(&request.body).unwrap()) {
        let raw = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        for series in WriteRequest::decode(&*raw).unwrap().timeseries {
            let labels: Vec<_> = series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
            let [sample] = series.samples.as_slice() else { panic!("{series:?}") };
            assert_eq!(sample.start_timestamp, 0);
            all.push((labels.join(","), sample.value, sample.timestamp));
        }
    }
    all
}

/// What version 2.0 has of the same, and the metadata.
fn texts_2(requests: &[Request]) -> Vec<(String, f64, i64, i64, String)> {
    let mut all = Vec::new();
    for message in decoded_2(requests) {
        let text = |number: u32| message.symbols[number as usize].as_str();
        for series in &message.timeseries {
            let labels: Vec<_> =
                series.labels_refs.chunks(2).map(|pair| format!("{}={}", text(pair[0]), text(pair[1]))).collect();
            let [sample] = series.samples.as_slice() else { panic!("{series:?}") };
            let metadata = series.metadata.unwrap();
            let metadata = format!("{} {} {}", metadata.r#type, text(metadata.help_ref), text(metadata.unit_ref));
            all.push((labels.join(","), sample.value, sample.timestamp, sample.start_timestamp, metadata));
        }
    }
    all
}

#[test]
fn both_versions_report_whose_a_series_is() {
    let page = page(&[
        ("a|b=x\n,z=1", 5.0, 1_000_000),
        ("a_seconds_total|id=/,image=i,name=n|interface=eth0", 1500.0, 77),
        ("b_bytes", f64::INFINITY, 1),
        ("c||instance=own", 0.0, 1),
    ]);
    let requests = writer().requests(page, WallTime(1)).unwrap();
    let labels = [
        ("__name__=a,b=x\n,instance=node,job=collector,z=1", 5.0, 1_000_000),
        ("__name__=a_seconds_total,id=/,image=i,instance=node,interface=eth0,job=collector,name=n", 1500.0, 77),
        ("__name__=b_bytes,instance=node,job=collector", f64::INFINITY, 1),
        ("__name__=c,instance=own,job=collector", 0.0, 1),
    ];
    assert_eq!(decoded_1(&requests), labels.map(|(labels, value, at)| (labels.to_owned(), value, at)));
    let metadata = [
        (0, "2 Help of a. "),
        (900, "1 Help of a_seconds_total. seconds"),
        (0, "2 Help of b_bytes. bytes"),
        (0, "2 Help of c. "),
    ];
    let expected: Vec<_> = labels.iter().zip(metadata).collect();
    for (got, ((labels, value, at), (start, metadata))) in texts_2(&requests).iter().zip(expected) {
        assert_eq!(*got, ((*labels).to_owned(), *value, *at, start, metadata.to_owned()));
    }
}

#[test]
fn a_series_that_is_gone_ends() {
    let mut writer = writer();
    writer.requests(page(&[("a", 1.0, 1), ("b|id=x", 2.0, 1)]), WallTime(1_000_000)).unwrap();
    let second = page(&[("a", 3.0, 2), ("a", 4.0, 2)]);
    let second = decoded_1(&writer.requests(second, WallTime(2_000_000)).unwrap());
    assert_eq!(second.len(), 2, "a twice is reported once: {second:?}");
    assert_eq!(
        (second[1].0.as_str(), second[1].1.to_bits(), second[1].2),
        ("__name__=b,id=x,instance=node,job=collector", STALE, 2)
    );
    assert_eq!(decoded_1(&writer.requests(page(&[("a", 5.0, 3)]), WallTime(3_000_000)).unwrap()).len(), 1);
}

#[test]
fn many_series_are_several_requests() {
    let labels: Vec<String> = (0..20_001).map(|number| format!("a|id=/,n={number}")).collect();
    let series: Vec<_> = labels.iter().map(|labels| (labels.as_str(), 1.0, 1)).collect();
    let requests = writer().requests(page(&series), WallTime(1)).unwrap();
    assert_eq!(requests.iter().map(|request| request.points).collect::<Vec<_>>(), [10_000, 10_000, 1]);
    assert_eq!(version_1::requests(&requests[0].body).unwrap().len(), 5);
    let texts = texts_2(&requests);
    assert_eq!(texts.len(), 20_001);
    assert_eq!(texts[20_000].0, "__name__=a,id=/,instance=node,job=collector,n=20000");
    let long: Vec<String> = (0..5).map(|number| format!("a|n={number}{}", "x".repeat(1 << 20))).collect();
    let series: Vec<_> = long.iter().map(|labels| (labels.as_str(), 1.0, 1)).collect();
    let requests = writer().requests(page(&series), WallTime(1)).unwrap();
    assert_eq!(requests.iter().map(|request| request.points).collect::<Vec<_>>(), [2, 2, 1]);
}

/// Bytes of both versions for 200 containers with 49 series each, of which an eighth is not 0.
fn bytes(shared: impl Fn(u64) -> Vec<(&'static str, String)>) -> (usize, usize) {
    let mut page = Vec::new();
    let (mut all, mut ranges) = (Vec::new(), Vec::new());
    for container in 0..200 {
        let start = all.len();
        for (name, value) in shared(container) {
            append_label(&mut all, name, value.as_bytes());
        }
        ranges.push(start..all.len());
    }
    append_labels(&mut page, &all);
    for family in 0..49_u64 {
        let kind = if family % 2 == 0 { MetricType::Counter } else { MetricType::Gauge };
        append_family(&mut page, ["container_family_number_", &family.to_string()], "What it is about.", kind);
        for (container, range) in (0_u64..).zip(&ranges) {
            let value = if family % 8 == 0 { (container * 7919 + family) as f64 / 1000.0 } else { 0.0 };
            let began = if kind == MetricType::Counter { 1_700_000_000_000 + container * 977 } else { 0 };
            append_series(&mut page, range.clone(), &[], value, [1_700_000_100_000, began]);
        }
    }
    let requests = writer().requests(page, WallTime(1)).unwrap();
    let old = requests.iter().flat_map(|request| version_1::requests(&request.body).unwrap());
    (requests.iter().map(|request| request.body.len()).sum(), old.map(|body| body.len()).sum())
}

#[test]
fn version_2_takes_fewer_bytes() {
    // Bare cgroups are the least that 1.0 can have: a label of a few bytes. Snappy needs five bytes for each series.
    let (new, old) = bytes(|container| vec![("id", format!("/a/c{container}"))]);
    assert!(new * 10 < old * 9, "{new} of {old}");
    // Pods.
    let (new, old) = bytes(|container| {
        let hash = format!("{:016x}", (container + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).repeat(4);
        let id = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/{hash}", &hash[..32]);
        vec![
            ("container", "app".to_owned()),
            ("id", id),
            ("image", format!("registry.example.com/team/service-{}:1.2.3", container % 20)),
            ("name", hash.clone()),
            ("namespace", format!("team-{}", container % 10)),
            ("pod", format!("service-{}", &hash[..15])),
        ]
    });
    assert!(new * 2 < old, "{new} of {old}");
}

#[test]
fn what_is_no_page_is_refused() {
    let whole = page(&[("a", 1.0, 1)]);
    for page in [&b"plain"[..], &whole[..whole.len() - 2]] {
        assert!(writer().requests(page.to_vec(), WallTime(1)).is_err());
    }
    assert!(version_1::requests(b"plain").is_none());
}
