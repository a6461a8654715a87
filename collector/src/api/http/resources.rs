//! Everything that is served, as tables: the router is built from them, and so is the OpenAPI document.
//!
//! Docker's API is not in them. It is a foreign one: which paths are its own depends on their version and on who asks,
//! and its answers are described by Docker's document for each version, not by ours. Its table is `Call::of` in
//! `crate::api::docker`.

use crate::api::cadvisor::v2::Resource as V2;

/// A path at the top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// The JSON API.
    Api,
    /// The flags in force.
    Config,
    Containers,
    Docker,
    /// A span of the history on disk.
    Export,
    /// What the page asks for every few seconds.
    Feed,
    Health,
    Metrics,
    /// With the labels of a kubelet.
    MetricsOfKubelet,
    /// What the metrics server reads of a kubelet.
    MetricsOfResources,
    OpenApi,
    Podman,
    Readiness,
    /// The machine, as older kubelets report it.
    Spec,
    /// What the page is made of.
    Static,
    /// The kubelet's summary, and containers as older kubelets report them.
    Stats,
    Validate,
}

impl Page {
    /// All of them.
    pub(crate) const ALL: [Self; 17] = [
        Self::Api,
        Self::Config,
        Self::Containers,
        Self::Docker,
        Self::Export,
        Self::Feed,
        Self::Health,
        Self::Metrics,
        Self::MetricsOfKubelet,
        Self::MetricsOfResources,
        Self::OpenApi,
        Self::Podman,
        Self::Readiness,
        Self::Spec,
        Self::Static,
        Self::Stats,
        Self::Validate,
    ];

    /// Its path. One that ends in a slash stands for everything that begins so.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Api => "/api/",
            Self::Config => "/config",
            Self::Containers => "/containers/",
            Self::Docker => "/docker/",
            Self::Export => "/api/export",
            Self::Feed => "/api/feed",
            Self::Health => "/healthz",
            Self::Metrics => "/metrics",
            Self::MetricsOfKubelet => "/metrics/cadvisor",
            Self::MetricsOfResources => "/metrics/resource",
            Self::OpenApi => "/api/openapi.json",
            Self::Podman => "/podman/",
            Self::Readiness => "/readyz",
            Self::Spec => "/spec/",
            Self::Static => "/static/",
            Self::Stats => "/stats/",
            Self::Validate => "/validate/",
        }
    }

    /// The page that a decoded path belongs to by its beginning.
    pub(crate) fn of(path: &[u8]) -> Option<Self> {
        let prefixes = Self::ALL.into_iter().filter(|page| page.path().ends_with('/'));
        prefixes.into_iter().find(|page| path.starts_with(page.path().as_bytes()))
    }

    /// The page that a decoded path is but for its last slash.
    pub(crate) fn without_slash(path: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.path().strip_suffix('/').is_some_and(|page| page.as_bytes() == path))
    }
}

/// What a request type of the API is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Containers,
    Docker,
    Events,
    Machine,
    Subcontainers,
    Version,
    /// What only v2 has.
    V2(V2),
}

/// A version of the API and its request types, as cAdvisor lists them.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) name: &'static str,
    pub(crate) resources: &'static [(&'static str, Resource)],
}

/// All versions.
pub(crate) const VERSIONS: [Version; 6] = {
    use Resource::{Containers, Docker, Events, Machine, Subcontainers, Version as Own};
    [
        Version { name: "v1.0", resources: &[("containers", Containers), ("machine", Machine)] },
        Version {
            name: "v1.1",
            resources: &[("containers", Containers), ("machine", Machine), ("subcontainers", Subcontainers)],
        },
        Version {
            name: "v1.2",
            resources: &[
                ("containers", Containers),
                ("docker", Docker),
                ("machine", Machine),
                ("subcontainers", Subcontainers),
            ],
        },
        Version {
            name: "v1.3",
            resources: &[
                ("containers", Containers),
                ("docker", Docker),
                ("events", Events),
                ("machine", Machine),
                ("subcontainers", Subcontainers),
            ],
        },
        Version {
            name: "v2.0",
            resources: &[
                ("appmetrics", Resource::V2(V2::AppMetrics)),
                ("attributes", Resource::V2(V2::Attributes)),
                ("events", Events),
                ("machine", Machine),
                ("ps", Resource::V2(V2::Processes)),
                ("spec", Resource::V2(V2::Spec)),
                ("stats", Resource::V2(V2::DeprecatedStats)),
                ("storage", Resource::V2(V2::Storage)),
                ("summary", Resource::V2(V2::Summary)),
                ("version", Own),
            ],
        },
        Version {
            name: "v2.1",
            resources: &[
                ("appmetrics", Resource::V2(V2::AppMetrics)),
                ("attributes", Resource::V2(V2::Attributes)),
                ("events", Events),
                ("machine", Machine),
                ("machinestats", Resource::V2(V2::MachineStats)),
                ("ps", Resource::V2(V2::Processes)),
                ("spec", Resource::V2(V2::Spec)),
                ("stats", Resource::V2(V2::Stats)),
                ("storage", Resource::V2(V2::Storage)),
                ("summary", Resource::V2(V2::Summary)),
                ("version", Own),
            ],
        },
    ]
};
