//! Limits of memory.

use crate::kernel::text_formats::limit;
use crate::reader::container::places::Place;
use crate::reader::container::reading::Reading;
use crate::reader::container::rows::keys::{Base, Keys, key, whole};
use crate::reader::container::rows::{Rows, Section};
use crate::sample::container::MemorySpec;
use crate::sample::spec::MemoryLimit;
use crate::sample::unread::Part;
use crate::units::{Bytes, Limit};

use super::{fields, flat};

pub(super) fn limits(place: Option<Place>, reading: &mut Reading<'_>) -> Option<MemorySpec> {
    let read = match place {
        Some(Place::V1(position)) => reading.hierarchy(position).map(|_| MemorySpec {
            limit: memory_limit(reading, position, "memory.limit_in_bytes"),
            reservation: memory_limit(reading, position, "memory.soft_limit_in_bytes"),
            swap_limit: memory_limit(reading, position, "memory.memsw.limit_in_bytes"),
            zswap_limit: None,
        }),
        Some(Place::V2(position)) => {
            let spec = MemorySpec {
                limit: memory_limit(reading, position, "memory.max"),
                reservation: memory_limit(reading, position, "memory.min"),
                swap_limit: memory_limit(reading, position, "memory.swap.max"),
                zswap_limit: memory_limit(reading, position, "memory.zswap.max"),
            };
            // Without any of them the controller is off.
            let parts = [Part::MemoryLimit, Part::MemoryReservation, Part::SwapLimit];
            (spec != MemorySpec::default() || reading.unread.has_any(&parts)).then_some(spec)
        }
        Some(Place::Kernel(_)) | None => None,
    };
    if !reading.is_root() {
        return read;
    }
    // The root has what the machine has.
    let machine = reading.ctx.machine;
    Some(MemorySpec {
        limit: Some(MemoryLimit::Bytes(machine.memory)),
        swap_limit: Some(MemoryLimit::Bytes(machine.swap)),
        ..read.unwrap_or_default()
    })
}

fn memory_limit(reading: &mut Reading<'_>, position: usize, file: &'static str) -> Option<MemoryLimit> {
    reading.once(position, file, limit).map(|limit| match limit {
        Limit::Max => MemoryLimit::Max,
        Limit::Value(bytes) => MemoryLimit::Bytes(Bytes(bytes)),
    })
}

pub(super) fn explain_limits(section: &Section, rows: &mut Rows<'_>, memory: Option<&MemorySpec>) {
    fields!(memory => MemorySpec { limit, reservation, swap_limit, zswap_limit });
    // The root has what the machine has.
    let at_root = rows.reading.is_root();
    let or_machine =
        |file, word| if at_root { Keys::from([key("meminfo", word).of(Base::Proc)]) } else { [whole(file)].into() };
    let (v1, v2) = (or_machine("memory.limit_in_bytes", "MemTotal"), or_machine("memory.max", "MemTotal"));
    rows.add("spec.memory.limit", flat(limit), section, v1, v2);
    let (v1, v2) = ([whole("memory.soft_limit_in_bytes")], [whole("memory.min")]);
    rows.add("spec.memory.reservation", flat(reservation), section, v1, v2);
    let v1 = or_machine("memory.memsw.limit_in_bytes", "SwapTotal");
    rows.add("spec.memory.swap_limit", flat(swap_limit), section, v1, or_machine("memory.swap.max", "SwapTotal"));
    let v2 = [whole("memory.zswap.max").since("5.19")];
    rows.add("spec.memory.zswap_limit", flat(zswap_limit), section, Keys::NONE, v2);
}
