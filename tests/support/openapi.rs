//! The collector's OpenAPI document, and whether answers are what it says.

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::collector::Collector;
use super::{Context as _, Result, bail, ensure};

/// The document, in which no object may have a key that is not listed.
pub(crate) struct Document {
    document: Value,
}

/// What can be asked under a path.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// With parameters in braces.
    pub(crate) path: String,
    /// `GET` or `POST`.
    pub(crate) method: String,
    /// Names of the parameters of the query string.
    pub(crate) query: Vec<String>,
    /// Names of the keys of the body.
    pub(crate) body: Vec<String>,
    responses: Map<String, Value>,
}

impl Document {
    /// Asks a collector for it.
    pub(crate) fn of(collector: &Collector) -> Result<Self> {
        let mut document: Value = collector.json("/api/openapi.json", None)?;
        forbid_more(document.pointer_mut("/components/schemas").context("the document has no schemas")?);
        Ok(Self { document })
    }

    /// All operations.
    pub(crate) fn operations(&self) -> Result<Vec<Operation>> {
        let paths = self.document["paths"].as_object().context("the document has no paths")?;
        let mut operations = Vec::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().context("a path has no operations")? {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let named = parameters.filter(|parameter| parameter["in"] == "query");
                let body = &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
                operations.push(Operation {
                    path: path.clone(),
                    method: method.to_uppercase(),
                    query: named.filter_map(|parameter| parameter["name"].as_str()).map(str::to_owned).collect(),
                    body: body.as_object().into_iter().flat_map(Map::keys).cloned().collect(),
                    responses: operation["responses"].as_object().context("no responses")?.clone(),
                });
            }
        }
        Ok(operations)
    }

    /// The schema with this name.
    pub(crate) fn schema_mut(&mut self, name: &str) -> Result<&mut Value> {
        self.document["components"]["schemas"].get_mut(name).with_context(|| format!("no schema {name}"))
    }

    fn validator(&self, schema: &Value) -> Result<Validator> {
        let root = json!({ "components": self.document["components"], "allOf": [schema] });
        jsonschema::options().should_validate_formats(true).build(&root).context("a schema of the document")
    }

    /// Checks an answer: its status, its content type, and where that is JSON its content.
    pub(crate) fn check(&self, operation: &Operation, status: u16, kind: Option<&str>, body: &[u8]) -> Result<()> {
        let response = operation.responses.get(&status.to_string());
        let response = response.with_context(|| format!("{status} is not documented"))?;
        let Some(content) = response["content"].as_object() else { return Ok(()) };
        let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default();
        let Some(content) = content.get(kind) else { bail!("{status} with {kind:?} is not documented") };
        if kind == "application/json" {
            let value = serde_json::from_slice(body).context("the answer is not JSON")?;
            fits(&self.validator(&content["schema"])?, &value)?;
        }
        Ok(())
    }

    /// Checks a line of a stream.
    pub(crate) fn check_line(&self, operation: &Operation, line: &str) -> Result<()> {
        let schema = &operation.responses["200"]["x-stream-line"];
        ensure!(schema.is_object(), "{} is no stream", operation.path);
        fits(&self.validator(schema)?, &serde_json::from_str(line).context("the line is not JSON")?)
    }
}

fn fits(validator: &Validator, value: &Value) -> Result<()> {
    let errors = validator.iter_errors(value).take(5);
    let errors: Vec<_> = errors.map(|error| format!("{}: {:.300}", error.instance_path(), error.to_string())).collect();
    ensure!(errors.is_empty(), "not as documented: {errors:#?}");
    Ok(())
}

fn forbid_more(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            let is_empty_object = members.len() <= 2 && members.get("type").is_some_and(|kind| kind == "object");
            if members.contains_key("properties") || (is_empty_object && !members.contains_key("additionalProperties"))
            {
                members.entry("additionalProperties").or_insert(Value::Bool(false));
            }
            members.values_mut().for_each(forbid_more);
        }
        Value::Array(list) => list.iter_mut().for_each(forbid_more),
        _ => {}
    }
}
