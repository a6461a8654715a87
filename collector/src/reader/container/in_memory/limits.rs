//! Limits that need not be read again: kernel memory has what it had when their files were read.
//!
//! The numbers are not taken from there. What they are compared with is what was there before, so that a number which is
//! not understood cannot be a limit that is wrong, only one that is read once more.

use super::{ContainerReader, Counted, KernelMemory, ReaderContext, Scratch};
use crate::kernel::probes::counters::CounterFamily;
use crate::reader::container::reading::Reading;
use crate::sample::spec::Spec;
use crate::sample::unread::Unread;

/// Every so many times the files are read all the same.
const BELIEVED: u8 = 8;

/// What kernel memory had when limits were read.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// `None` where that is not known.
    words: Option<Box<[(CounterFamily, u64)]>>,
    /// How often the files were left alone since.
    believed: u8,
}

fn words(memory: &KernelMemory, counted: &Counted) -> Box<[(CounterFamily, u64)]> {
    let of = |family| memory.limit_words(counted, family).map(move |word| (family, word));
    CounterFamily::ALL.into_iter().flat_map(of).collect()
}

impl ContainerReader {
    /// Whether it is not known what kernel memory had when limits were read: reading them now spares doing so later.
    pub fn has_limits_to_note(&self) -> bool {
        self.in_memory.noted.words.is_none()
    }

    /// The limits as of now, by those that were read before and what kernel memory has; `None` where their files have to be
    /// read.
    pub fn limits_again(
        &mut self,
        ctx: &ReaderContext,
        counted: &Counted,
        before: Spec,
        scratch: &mut Scratch,
    ) -> Option<Spec> {
        let memory = ctx.kernel_memory().filter(|_| before.unread == Unread::default() && self.is_settled())?;
        let now = words(memory, counted);
        let noted = &mut self.in_memory.noted;
        if now.is_empty() || noted.words.as_ref() != Some(&now) || noted.believed >= BELIEVED {
            return None;
        }
        noted.believed += 1;
        let mut spec = before;
        let is_known = |family| now.iter().any(|(of, _)| *of == family);
        self.families.limits_again(
            &mut Reading::new(ctx, &self.name, self.live, &mut scratch.buffer),
            &is_known,
            &mut spec,
        );
        Some(spec)
    }

    /// Limits were just read, and this a moment before.
    pub fn note_limits(&mut self, ctx: &ReaderContext, counted: &Counted, before: &Spec, now: &Spec) {
        let Some(memory) = ctx.kernel_memory() else { return };
        let words = words(memory, counted);
        let Noted { words: noted, believed } = &mut self.in_memory.noted;
        let is_as_before = *believed > 0 && noted.as_ref() == Some(&words);
        // Of the CPUs that it may use nothing is there.
        let shares = |spec: &Spec| spec.cpu.as_ref().map(|cpu| (cpu.shares, cpu.quota, cpu.period));
        let has = |family| words.iter().any(|(of, _)| *of == family);
        let differs = has(CounterFamily::Bandwidth) && shares(before) != shares(now)
            || has(CounterFamily::Memory) && before.memory != now.memory
            || has(CounterFamily::Pids) && before.processes != now.processes;
        if is_as_before && differs {
            tracing::debug!(?before, ?now, "limits changed and kernel memory did not");
            memory.distrust_limits();
        }
        self.in_memory.noted = Noted { words: Some(words), believed: 0 };
    }
}
