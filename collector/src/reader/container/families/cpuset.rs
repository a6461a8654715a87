//! What of the cpuset controller is a number.

use super::{Family, Mounted, Place, Reading, Rows};
use crate::kernel::file::KeptFile;
use crate::kernel::text_formats::unsigned;
use crate::reader::container::rows::Section;
use crate::reader::container::rows::keys::{Keys, whole};
use crate::sample::container::Sample;
use crate::sample::kinds::MetricKind;
use crate::sample::statistic::Absence;

/// The file, of v1 only.
const MIGRATE: &str = "cpuset.memory_migrate";

#[derive(Debug, Default)]
pub(in crate::reader::container) struct CpusetFiles {
    migrate: KeptFile,
}

impl Family for CpusetFiles {
    fn place(&self, mounted: &Mounted<'_>) -> Option<Place> {
        mounted.v1("cpuset").filter(|_| mounted.wants(MetricKind::Cpuset)).map(Place::V1)
    }

    fn each(&mut self, each: &mut dyn FnMut(&mut KeptFile)) {
        each(&mut self.migrate);
    }

    fn read(&mut self, place: Option<Place>, reading: &mut Reading<'_>, sample: &mut Sample) {
        if let Some(Place::V1(position)) = place {
            sample.cpuset_memory_migrate = reading.kept(position, MIGRATE, &mut self.migrate, unsigned);
        }
    }

    fn explain(&self, place: Option<Place>, rows: &mut Rows<'_>, sample: &Sample) {
        let sources = &rows.reading.ctx.sources;
        let section = match place {
            None if sources.unified_only.or(sources.cpuset_beside).is_some() => {
                Section::absent(Absence::NotInVersion("v2"))
            }
            place => rows.section(place, MetricKind::Cpuset, "cpuset", None),
        };
        rows.add(
            "cpuset.memory_migrate",
            sample.cpuset_memory_migrate.as_ref(),
            &section,
            [whole(MIGRATE)],
            Keys::NONE,
        );
    }
}
