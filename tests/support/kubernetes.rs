//! What Kubernetes' API accepts, by facts in `kubernetes.txt`: objects are checked against each release's fields, and patches
//! are merged as its lists ask for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{Context as _, Result, ensure};

/// The releases that the facts are about: minor versions of 1.
pub(crate) const RELEASES: [u32; 5] = [33, 34, 35, 36, 37];

/// Types by their names; kinds, such as `apps/v1 DaemonSet`, by theirs.
static TYPES: LazyLock<BTreeMap<&'static str, Fields>> =
    LazyLock::new(|| include_str!("kubernetes.txt").lines().filter_map(read_type).collect());

type Fields = BTreeMap<&'static str, Field>;

/// What there is to know of a field.
#[derive(Debug)]
struct Field {
    /// `string`, `[Container]`, `{string}`, ...
    kind: &'static str,
    required: bool,
    /// The field by which the items of a list are told apart; `None` where a list is replaced.
    key: Option<&'static str>,
    since: u32,
    /// The first release that no longer has it.
    until: u32,
}

/// How much of an object is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Whole,
    /// What is left out stays as it is.
    Patch,
}

fn read_type(line: &'static str) -> Option<(&'static str, Fields)> {
    let (name, fields) = line.split_once(": ").filter(|(name, _)| !name.starts_with('#'))?;
    Some((name, fields.split(' ').map(read_field).collect()))
}

/// Reads `name:type!/key@1.34-1.36`.
fn read_field(text: &'static str) -> (&'static str, Field) {
    let release = |text: &str| text.strip_prefix("1.").and_then(|minor| minor.parse::<u32>().ok());
    let (text, until) = text.split_once('-').map_or((text, None), |(text, until)| (text, release(until)));
    let (text, since) = text.split_once('@').map_or((text, None), |(text, since)| (text, release(since)));
    let (text, key) = text.split_once('/').map_or((text, None), |(text, key)| (text, Some(key)));
    let (text, required) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
    let (name, kind) = text.split_once(':').unwrap_or((text, "string"));
    (name, Field { kind, required, key, since: since.unwrap_or(0), until: until.unwrap_or(u32::MAX) })
}

/// The kind of an object, as the facts name it.
fn kind_of(object: &Value) -> String {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    format!("{} {}", text("apiVersion"), text("kind"))
}

/// Fails unless every release accepts an object and knows all of it.
pub(crate) fn check(object: &Value) -> Result<()> {
    RELEASES.into_iter().try_for_each(|release| check_in(object, release))
}

/// The same for one release.
fn check_in(object: &Value, release: u32) -> Result<()> {
    check_extent(object, release, Extent::Whole)
}

fn check_extent(object: &Value, release: u32, extent: Extent) -> Result<()> {
    let kind = kind_of(object);
    ensure!(TYPES.contains_key(kind.as_str()), "no facts are known about {kind}");
    let mut fields = object.clone();
    fields.as_object_mut().context("no object")?.retain(|key, _| key != "apiVersion" && key != "kind");
    let mut wrong = Vec::new();
    Check { release, extent }.value("", &kind, &fields, &mut wrong);
    ensure!(wrong.is_empty(), "{kind} in Kubernetes 1.{release}: {}", wrong.join("; "));
    Ok(())
}

/// One look at an object.
struct Check {
    release: u32,
    extent: Extent,
}

impl Check {
    fn value(&self, place: &str, kind: &str, value: &Value, wrong: &mut Vec<String>) {
        let fits = match kind {
            // `null` where it is not known, as Kubernetes itself writes it.
            "Time" => value.is_string() || value.is_null(),
            "string" | "Quantity" | "ByteString" => value.is_string(),
            "bool" => value.is_boolean(),
            "int" => value.is_i64(),
            "IntOrString" => value.is_i64() || value.is_string(),
            "any" => !value.is_null(),
            _ => {
                if let Some(of) = within(kind, '[', ']') {
                    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.value(&format!("{place}[{at}]"), of, item, wrong);
                    }
                    value.is_array()
                } else if let Some(of) = within(kind, '{', '}') {
                    for (key, item) in value.as_object().into_iter().flatten() {
                        self.value(&format!("{place}.{key}"), of, item, wrong);
                    }
                    value.is_object()
                } else {
                    return self.object(place, kind, value, wrong);
                }
            }
        };
        if !fits {
            wrong.push(format!("{place} is {value}, not of type {kind}"));
        }
    }

    fn object(&self, place: &str, kind: &str, value: &Value, wrong: &mut Vec<String>) {
        // Lists hold objects of the kinds that have a line of their own.
        let Some(fields) = TYPES.get(kind).or_else(|| TYPES.get(format!("v1 {kind}").as_str())) else {
            return wrong.push(format!("{place}: no facts are known about {kind}"));
        };
        let Some(object) = value.as_object() else { return wrong.push(format!("{place} is {value}, no {kind}")) };
        let known = |field: &Field| (field.since..field.until).contains(&self.release);
        for (key, value) in object {
            let place = format!("{place}.{key}");
            match fields.get(key.as_str()).filter(|field| known(field)) {
                Some(field) => self.value(&place, field.kind, value, wrong),
                None => wrong.push(format!("{place} is not known")),
            }
        }
        if self.extent == Extent::Whole {
            let required = fields.iter().filter(|(_, field)| field.required && known(field));
            let missing = required.filter(|(key, _)| !object.contains_key(**key));
            wrong.extend(missing.map(|(key, _)| format!("{place}.{key} is missing")));
        }
    }
}

/// What is between a type's brackets.
fn within(kind: &str, open: char, close: char) -> Option<&str> {
    kind.strip_prefix(open)?.strip_suffix(close)
}

/// An object with a patch of the same kind, as the API server merges them: objects by their fields, lists by their keys.
pub(crate) fn merge(object: &mut Value, patch: &Value) -> Result<()> {
    let newest = RELEASES[RELEASES.len() - 1];
    check_extent(patch, newest, Extent::Patch)?;
    let kind = kind_of(object);
    ensure!(kind == kind_of(patch), "a patch of {} for {kind}", kind_of(patch));
    merge_fields(object, patch, &kind);
    Ok(())
}

fn merge_fields(object: &mut Value, patch: &Value, kind: &str) {
    let (Some(into), Some(patch)) = (object.as_object_mut(), patch.as_object()) else { return };
    for (key, value) in patch {
        let field = TYPES.get(kind).and_then(|fields| fields.get(key.as_str()));
        // Maps of plain values have no type of their own.
        let inner = field.map_or("", |field| field.kind);
        match (into.get_mut(key), field.and_then(|field| field.key)) {
            (Some(Value::Array(items)), Some(by)) => {
                let of = within(inner, '[', ']').unwrap_or_default();
                for item in value.as_array().into_iter().flatten() {
                    match items.iter_mut().find(|there| there[by] == item[by]) {
                        Some(there) => merge_fields(there, item, of),
                        None => items.push(item.clone()),
                    }
                }
            }
            (Some(there @ Value::Object(_)), None) => merge_fields(there, value, inner),
            _ => drop(Map::insert(into, key.clone(), value.clone())),
        }
    }
}
