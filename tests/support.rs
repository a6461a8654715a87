//! What the tests stand on: a running collector, cgroups and processes to watch, clients, deadlines.
//!
//! Nothing here knows how the collector works inside. Everything goes through system calls and HTTP, so that the same
//! binary runs inside a virtual machine that holds little more than a kernel.

pub(crate) mod api;
pub(crate) mod bpf_stats;
pub(crate) mod bytes;
pub(crate) mod cadvisor;
pub(crate) mod cgroups;
pub(crate) mod collector;
pub(crate) mod compare;
pub(crate) mod compose;
pub(crate) mod contained;
pub(crate) mod containerd;
pub(crate) mod cri;
pub(crate) mod deployed;
pub(crate) mod disk;
pub(crate) mod docker;
pub(crate) mod engine;
pub(crate) mod fake_cri;
pub(crate) mod fuse;
pub(crate) mod grafana;
pub(crate) mod grpc;
pub(crate) mod h2;
pub(crate) mod harness;
pub(crate) mod helm;
pub(crate) mod http;
pub(crate) mod kubernetes;
pub(crate) mod leftovers;
pub(crate) mod loop_mount;
pub(crate) mod manifests;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod nonsense;
pub(crate) mod openapi;
pub(crate) mod peers;
pub(crate) mod pod;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod runtime;
pub(crate) mod settings;
pub(crate) mod stalls;
pub(crate) mod stream;
pub(crate) mod surroundings;
pub(crate) mod tar;
pub(crate) mod terminal;
pub(crate) mod time;
pub(crate) mod wait;
pub(crate) mod workload;

pub(crate) use anyhow::{Context, Error, Result, bail, ensure};
