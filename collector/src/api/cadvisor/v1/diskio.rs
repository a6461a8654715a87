//! `DiskIoStats`: block devices.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use super::pressure::Psi;
use crate::sample::container::{DeviceIo, Io, IoStat};

/// Block devices, a list for each statistic; times as the kernel counts them.
#[derive(Default, JsonSchema, Serialize)]
pub(crate) struct DiskIoStats<'a> {
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_service_bytes: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_serviced: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_queued: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    sectors: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_service_time: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_wait_time: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_merged: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_time: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_cost_usage: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_cost_wait: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_cost_indebt: Devices<'a>,
    #[serde(skip_serializing_if = "Devices::is_empty")]
    io_cost_indelay: Devices<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

impl<'a> From<&'a Io> for DiskIoStats<'a> {
    fn from(io: &'a Io) -> Self {
        let list = |stat| Devices { all: &io.devices, stat };
        Self {
            io_service_bytes: list(IoStat::ServiceBytes),
            io_serviced: list(IoStat::Serviced),
            io_queued: list(IoStat::Queued),
            sectors: list(IoStat::Sectors),
            io_service_time: list(IoStat::ServiceTime),
            io_wait_time: list(IoStat::WaitTime),
            io_merged: list(IoStat::Merged),
            io_time: list(IoStat::Time),
            io_cost_usage: list(IoStat::CostUsage),
            io_cost_wait: list(IoStat::CostWait),
            io_cost_indebt: list(IoStat::CostIndebt),
            io_cost_indelay: list(IoStat::CostIndelay),
            psi: io.pressure.map(Psi::from),
        }
    }
}

/// The entries of one statistic.
struct Devices<'a> {
    all: &'a [DeviceIo],
    stat: IoStat,
}

impl Default for Devices<'_> {
    fn default() -> Self {
        Self { all: &[], stat: IoStat::ServiceBytes }
    }
}

impl<'a> Devices<'a> {
    fn iter(&self) -> impl Iterator<Item = &'a DeviceIo> {
        let stat = self.stat;
        self.all.iter().filter(move |device| device.stat == stat)
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

impl JsonSchema for Devices<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Devices".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<PerDiskStats<'_>>::json_schema(generator)
    }
}

impl Serialize for Devices<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|device| PerDiskStats {
            device: &device.device,
            major: device.major,
            minor: device.minor,
            stats: &device.operations,
        }))
    }
}

/// One device's counters by operation: `Read`, `Write`, `Total` and the like, or `Count`.
#[derive(JsonSchema, Serialize)]
struct PerDiskStats<'a> {
    device: &'a str,
    major: u32,
    minor: u32,
    #[serde(serialize_with = "operations")]
    #[schemars(with = "BTreeMap<String, u64>")]
    stats: &'a [(&'static str, u64)],
}

fn operations<S: Serializer>(operations: &[(&'static str, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    let mut sorted = operations.to_vec();
    sorted.sort_by_key(|(operation, _)| *operation);
    serializer.collect_map(sorted)
}
