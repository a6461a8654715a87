//! What the document says of itself; whether it fits the answers is tried by `api::golden_tests` and end to end.

use super::*;

#[test]
fn every_path_is_there_and_every_reference_leads_somewhere() {
    let document = document("v1", "");
    let paths = document["paths"].as_object().unwrap();
    for page in Page::ALL {
        assert!(paths.keys().any(|path| path.starts_with(page.path())), "{page:?}");
    }
    for version in &VERSIONS {
        for (request, _) in version.resources {
            assert!(paths.contains_key(&format!("/api/{}/{request}", version.name)));
        }
    }
    let text = document.to_string();
    let references = text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap());
    let mut count = 0;
    for reference in references {
        count += 1;
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    assert!(count > 50, "{count}");
    // Two types of one name would be distinguished by a number.
    let names: Vec<_> = document["components"]["schemas"].as_object().unwrap().keys().collect();
    assert!(names.iter().all(|name| !name.ends_with(|last: char| last.is_ascii_digit())), "{names:?}");
}

#[test]
fn operations_have_different_ids() {
    let document = document("v1", "");
    let mut ids: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn what_is_left_out_is_never_null_and_what_may_be_null_is_never_left_out() {
    let document = document("v1", "");
    let schema = |name: &str| &document["components"]["schemas"][name];
    let stats = schema("ContainerStats");
    assert_eq!(stats["properties"]["cpu"]["$ref"], "#/components/schemas/CpuStats");
    let required =
        |name: &str| schema(name)["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>();
    assert!(!required("ContainerStats").contains(&"cpu"));
    assert!(required("ContainerStats").contains(&"task_stats"));
    assert!(required("MachineInfo").contains(&"filesystems"));
    assert_eq!(schema("MachineInfo")["properties"]["filesystems"]["type"], json!(["array", "null"]));
    assert_eq!(schema("CpuUsage")["properties"]["total"]["format"], "uint64");
}
