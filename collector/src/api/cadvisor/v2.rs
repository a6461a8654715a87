//! cAdvisor's API v2.0 and v2.1, in cAdvisor's key order.
//!
//! The rules of v1 for what is not known hold here too; v2.1 leaves out more. Every answer is a pure function of what
//! [`crate::api::backend`] supplies.

mod application;
mod attributes;
mod block_latency;
pub(crate) mod error;
mod filesystem;
mod network_cgroup;
mod options;
mod processes;
mod run_queue;
mod selection;
mod spec;
mod stats;
mod storage;
mod summary;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::response::Response;
use schemars::{Schema, SchemaGenerator};

pub use error::Error;
pub use options::{DurationError, NameKind, OptionsError, RequestOptions, SelectionExtent};
pub use selection::{Selection, SelectionError, select};
pub use storage::StorageError;
pub(crate) use storage::parameters as storage_parameters;

use crate::api::Count;
use crate::api::backend::{EndedOf, LimitsAge, Node, ProcessesOf};
use crate::api::http::openapi::parts::{array, map};
use crate::api::http::responses;
use crate::api::http::responses::ApiError;
use crate::api::lists;
use crate::api::lists::Form;
use crate::api::lists::element::Element;
use crate::api::query::StatsQuery;
use crate::sample::event::Name;
use crate::sample::identity::Runtime;
use processes::CgroupPaths;
use storage::Wanted;

/// What an answer takes before it is rendered, about, whose size cannot be known.
const LISTING: usize = 1 << 20;

/// What v2 serves beside what it shares with v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    AppMetrics,
    Attributes,
    /// v2.0's.
    DeprecatedStats,
    MachineStats,
    Processes,
    Spec,
    Stats,
    Storage,
    Summary,
}

/// Answers a request.
pub(crate) async fn answer<S: Node>(
    source: Arc<S>,
    resource: Resource,
    name: Name,
    options: RequestOptions,
    query: &str,
) -> Result<Response, ApiError> {
    match resource {
        Resource::AppMetrics => app_metrics(&*source, &name, &options).await,
        Resource::Attributes => Ok(responses::json(attributes::render(&source.machine(), source.version()))),
        Resource::DeprecatedStats => {
            let selected = sampled(&*source, &name, &options).await?;
            list(source, selected, options.samples(), stats::DEPRECATED).await
        }
        Resource::MachineStats => machine_stats(source, &options).await,
        Resource::Processes => processes(source, &name, &options).await,
        Resource::Spec => {
            let selected = selected(&*source, &name, &options).await?;
            let none = StatsQuery { count: Count::Newest(0), ..StatsQuery::default() };
            list(source, selected, none, spec::ELEMENT).await
        }
        Resource::Stats => {
            let mut selected = sampled(&*source, &name, &options).await?;
            // The root's samples are the machine's.
            selected.names.retain(|name| **name != *b"/");
            list(source, selected, options.samples(), stats::ELEMENT).await
        }
        Resource::Storage => {
            let wanted = Wanted::parse(query);
            Ok(responses::json(storage::render(&*source.filesystems().await, &wanted).map_err(Error::Storage)?))
        }
        Resource::Summary => summaries(source, &name, &options).await,
    }
}

/// The containers of a request, sampled anew where their samples are older than the request allows.
async fn selected<S: Node>(source: &S, name: &Name, options: &RequestOptions) -> Result<Selection, Error> {
    let selection = select(source, name, options)?;
    if let Some(max_age) = options.max_age {
        source.refresh(&selection.names, max_age).await;
    }
    Ok(selection)
}

/// The same, with the containers that are no more, of which the history on disk has samples of the time that is asked about.
async fn sampled<S: Node>(source: &S, name: &Name, options: &RequestOptions) -> Result<Selection, Error> {
    let selected = selected(source, name, options).await;
    let is_whole = options.extent == SelectionExtent::Itself && selected.is_ok();
    if options.start.is_none() || is_whole {
        return selected;
    }
    let Some(who) = ended(name, options) else { return selected };
    let mut ended = source.ended(who, &options.samples()).await;
    if options.name_kind == NameKind::Full && options.extent == SelectionExtent::Itself {
        ended.retain(|other| other == name);
    }
    match selected {
        Ok(mut selection) => {
            selection.names.extend(ended);
            selection.names.sort_unstable();
            Ok(selection)
        }
        Err(_) if !ended.is_empty() => Ok(Selection { names: ended, limits: LimitsAge::Recent }),
        unknown => unknown,
    }
}

/// Whom of those that are no more a request may mean; nobody where it cannot be answered.
fn ended<'a>(name: &'a Name, options: &RequestOptions) -> Option<EndedOf<'a>> {
    let runtime = match options.name_kind {
        NameKind::Full => return Some(EndedOf::Prefix(name)),
        NameKind::Docker => Runtime::Docker,
        NameKind::Podman => Runtime::Podman,
    };
    match options.extent {
        SelectionExtent::Itself => Some(EndedOf::Runtime(runtime, Some(name.strip_prefix(b"/").unwrap_or(name)))),
        SelectionExtent::Recursive => (**name == *b"/").then_some(EndedOf::Runtime(runtime, None)),
    }
}

/// Containers as an object with a key for each.
async fn list<S: Node>(
    source: Arc<S>,
    selection: Selection,
    query: StatsQuery,
    element: Element,
) -> Result<Response, ApiError> {
    lists::containers(source, selection.names, query, selection.limits, Form::map(element)).await
}

async fn machine_stats<S: Node>(source: Arc<S>, options: &RequestOptions) -> Result<Response, ApiError> {
    let root: Name = b"/".as_slice().into();
    let selection = selected(&*source, &root, options).await?;
    // A runtime's containers, all of them, are none or do not have the root among them.
    let named = || Error::Selection(SelectionError::Unknown(Name::clone(&root)));
    if !selection.names.contains(&root) {
        return Err(named().into());
    }
    let query = options.samples();
    let answered = lists::container(source, Name::clone(&root), query, LimitsAge::Current, stats::MACHINE).await?;
    Ok(answered.map_err(|_| named())?)
}

async fn summaries<S: Node>(source: Arc<S>, name: &Name, options: &RequestOptions) -> Result<Response, ApiError> {
    let share = source.budget().reserve(responses::OPEN).await?;
    let names = selected(&*source, name, options).await?.names;
    let of = Arc::clone(&source);
    let append = move |out: &mut Vec<u8>, name: Name| summary::append(out, &name, of.summary(&name));
    responses::pieces(share, responses::object(names, append)).await
}

async fn processes<S: Node>(source: Arc<S>, name: &Name, options: &RequestOptions) -> Result<Response, ApiError> {
    let options = RequestOptions { extent: SelectionExtent::Itself, ..*options };
    let selection = select(&*source, name, &options).map_err(Error::ProcessesOf)?;
    let root = selection.names.iter().any(|name| **name == *b"/");
    let (of, paths) = match selection.names.into_iter().next() {
        Some(name) if !root => (ProcessesOf::Container(name), CgroupPaths::Blank),
        _ => (ProcessesOf::Machine, CgroupPaths::Shown),
    };
    let mut share = source.budget().reserve(LISTING).await?;
    let list = source.processes(of).await.map_err(Error::Processes)?;
    source.budget().grow(&mut share, LISTING + processes::bytes(&list)).await?;
    responses::pieces(share, processes::pieces(list, paths)).await
}

/// What a resource is, and the schema of its answer.
pub(crate) fn schema(resource: Resource, schemas: &mut SchemaGenerator) -> (&'static str, Schema) {
    match resource {
        Resource::AppMetrics => {
            ("What the container's application reports about itself.", map(&application::schema(schemas)))
        }
        Resource::Attributes => ("The versions on the machine, and what it has.", attributes::schema(schemas)),
        Resource::DeprecatedStats => ("Samples by container.", map(&stats::deprecated_schema(schemas))),
        Resource::MachineStats => ("The machine's samples.", stats::machine_schema(schemas)),
        Resource::Processes => ("The container's own processes.", array(&processes::schema(schemas))),
        Resource::Spec => ("Limits by container.", map(&spec::schema(schemas))),
        Resource::Stats => ("Limits and samples by container, without the root.", map(&stats::schema(schemas))),
        Resource::Storage => ("The machine's file systems.", storage::schema(schemas)),
        Resource::Summary => ("What containers used lately.", map(&summary::schema(schemas))),
    }
}

/// As in cAdvisor there is one key, the name that was asked for, however many containers that selects.
async fn app_metrics<S: Node>(source: &S, name: &Name, options: &RequestOptions) -> Result<Response, ApiError> {
    let Selection { names, limits } = selected(source, name, options).await?;
    let mut share = source.budget().reserve(LISTING).await?;
    let query = StatsQuery { count: options.count, ..StatsQuery::default() };
    let mut last = None;
    // The last one counts; a container that ended meanwhile does not.
    for container in names.iter().rev() {
        let samples: usize = source.parts(container, &query).await.iter().map(|part| part.len()).sum();
        source.budget().grow(&mut share, samples * lists::SAMPLE).await?;
        if let Ok(view) = source.container(container, &query, limits).await {
            last = Some(view);
            break;
        }
    }
    responses::pieces(share, application::pieces(Name::clone(name), last)).await
}
