//! The OpenAPI document of everything that is served.
//!
//! Paths come from the tables that the router is built from, and schemas from the types that are written: what one
//! knows the other knows. Shapes that are read or written by hand have their schema beside the code that does it.

mod operations;
pub(crate) mod parts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::resources::{Page, VERSIONS};

/// Where a schema of the document lies.
const SCHEMAS: &str = "/components/schemas";

const DESCRIPTION: &str = "\
Resources of the containers of one node, in the shapes of cAdvisor's API v1.0 to v2.1. The method is never looked at: \
what is listed for GET or POST is answered for any. A container's name is its cgroup's path; its slashes may be written \
as they are or as %2F. Numbers are integers of up to 64 bits without a sign, more than a double can hold. A key that is \
not required is left out when it is empty, zero or not known. There is no 404 in the JSON API: what cannot be answered \
is 500 with a line of text, and an incomplete path is 400 with a listing. Keys may be added.";

/// The document of a collector of this version, whose paths are below this prefix.
pub(crate) fn document(version: &str, base: &str) -> Value {
    let mut schemas = generator();
    let mut paths: BTreeMap<String, Value> = BTreeMap::new();
    let listed = Page::ALL.into_iter().flat_map(|page| operations::of_page(page, &mut schemas)).collect::<Vec<_>>();
    for (path, operation) in listed {
        paths.insert(path, operation.into_item());
    }
    for version in &VERSIONS {
        for (request, resource) in version.resources {
            let path = format!("/api/{}/{request}", version.name);
            let id = format!("{}.{request}", version.name);
            for (suffix, operation) in operations::of_resource(*resource, &id, &mut schemas) {
                paths.insert(format!("{path}{suffix}"), operation.into_item());
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "collector",
            "version": version,
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        "servers": [{ "url": if base.is_empty() { "/" } else { base } }],
        "paths": paths,
        "components": { "schemas": schemas.take_definitions(true) },
    })
}

/// Makes the schemas of what is written, in JSON Schema's words as OpenAPI 3.1 has them.
fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = SCHEMAS.into();
    settings.meta_schema = None;
    settings.with_transform(RecursiveTransform(AbsentIsNotNull)).into_generator()
}

/// A key that is left out when there is no value is never `null`.
#[derive(Clone, Debug)]
struct AbsentIsNotNull;

impl Transform for AbsentIsNotNull {
    fn transform(&mut self, schema: &mut Schema) {
        let required: Vec<String> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(text).collect();
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
        for (_, property) in properties.iter_mut().filter(|(name, _)| !required.contains(name)) {
            if let Some(property) = property.as_object_mut() {
                never_null(property);
            }
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn never_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    choices.retain(|choice| *choice != json!({ "type": "null" }));
    if let [Value::Object(only)] = choices.as_slice() {
        let only = only.clone();
        schema.remove("anyOf");
        for (key, value) in only {
            schema.entry(key).or_insert(value);
        }
    }
}
