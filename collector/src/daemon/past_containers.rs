//! Containers of the past, from the history on disk.

use std::sync::Arc;
use std::time::SystemTime;

use super::backend::{Backend, selection};
use super::past;
use crate::api::backend::{EndedOf, Unavailable};
use crate::api::query::{Portion, StatsQuery};
use crate::api::{ContainerView, FilesystemUse, IdentityView};
use crate::archive::{ArchivedSubject, WantedSamples};
use crate::sample::container::Sample;
use crate::sample::event::{EventData, Name};
use crate::store::application::Application;

/// Samples of the past that are read at once.
const AT_ONCE: usize = 128;
/// What the readings of their applications may take; of more the newest are shown.
const READINGS: usize = 2 << 20;

impl Backend {
    /// The samples that a query selects, in parts: those that are no longer in memory from disk.
    pub(super) async fn parts_with_past(&self, name: &[u8], query: &StatsQuery) -> Vec<Portion> {
        let container = self.engine().store().get(name);
        let recent = container.as_ref().map(|container| container.stretches(selection(query))).unwrap_or_default();
        let in_memory: usize = recent.iter().map(|stretch| stretch.len()).sum();
        let recent = recent.into_iter();
        let oldest = container.as_ref().and_then(|container| container.oldest());
        // Who says since when wants what is no longer in memory, too.
        let wants_more = query.start.is_some_and(|start| oldest.is_none_or(|oldest| start < oldest));
        let Some(past) = self.past().filter(|_| wants_more) else { return recent.map(Portion::Recent).collect() };
        // Up to the first of them, whatever has left memory meanwhile.
        let first = recent.as_slice().first().zip(container.as_ref());
        let first = first.and_then(|(stretch, container)| Some(container.stretch(*stretch).first()?.at));
        let mut wanted = past::wanted(query, first);
        wanted.newest = wanted.newest.saturating_sub(in_memory);
        let name: Name = name.into();
        let pieces = past.ask(move |archive| archive.pieces(&name, wanted)).await.unwrap_or_default();
        let past = pieces.into_iter().map(|piece| {
            let WantedSamples { from, to, newest } = piece.wanted;
            Portion::Past { start: from, end: to, count: newest }
        });
        past.chain(recent.map(Portion::Recent)).collect()
    }

    /// Containers that are no more, of which there are samples of the query's time on disk.
    pub(super) async fn ended_in(&self, who: EndedOf<'_>, query: &StatsQuery) -> Vec<Name> {
        let (Some(past), Some(from)) = (self.past(), query.start) else { return Vec::new() };
        let to = query.end.unwrap_or_else(|| SystemTime::now().into());
        let found = match who {
            EndedOf::Prefix(prefix) => {
                let prefix = prefix.to_vec();
                past.ask(move |archive| archive.subjects(from, to, |subject| subject.name.starts_with(&prefix))).await
            }
            EndedOf::Runtime(runtime, alias) => {
                let alias = alias.map(<[u8]>::to_vec);
                let is_wanted = move |subject: &ArchivedSubject| {
                    let Some(identity) = subject.identity.as_ref().filter(|known| known.runtime == runtime) else {
                        return false;
                    };
                    alias.as_ref().is_none_or(|alias| identity.aliases().any(|name| name.as_bytes().starts_with(alias)))
                };
                past.ask(move |archive| archive.subjects(from, to, is_wanted)).await
            }
        };
        let names = found.into_iter().flatten().map(|subject| Arc::clone(&subject.name));
        names.filter(|name| self.engine().store().get(name).is_none()).collect()
    }

    /// A container with the samples of a part that is on disk.
    pub(super) async fn past_view(&self, view: ContainerView, part: Portion) -> ContainerView {
        let samples = self.past_samples(&view.name, part).await;
        let filesystems = self.past_filesystems(&view.name, &samples).await;
        let Application { specs, .. } = view.application;
        // What it offers is that of now, if there is anything.
        let mut application = self.past_application(&view.name, &samples).await;
        if !specs.is_empty() {
            application.specs = specs;
        }
        ContainerView { samples, filesystems, application, ..view }
    }

    /// What its application reported with these samples of the past.
    async fn past_application(&self, name: &[u8], samples: &[Arc<Sample>]) -> Application {
        let Some(past) = self.past().filter(|_| !samples.is_empty()) else { return Application::default() };
        let (name, samples): (Name, _) = (name.into(), samples.to_vec());
        let rounds = past.ask(move |archive| archive.readings(&name, &samples)).await;
        let mut rounds = rounds.unwrap_or_default();
        let mut left = READINGS;
        let fits = rounds.iter().rev().take_while(|(_, round)| {
            let bytes = round.bytes();
            let fits = bytes <= left;
            left = left.saturating_sub(bytes);
            fits
        });
        rounds.drain(..rounds.len() - fits.count());
        Application::of_past(rounds)
    }

    /// The samples of a part that is on disk.
    async fn past_samples(&self, name: &[u8], part: Portion) -> Vec<Arc<Sample>> {
        let (Some(past), Portion::Past { start: from, end: to, count: newest }) = (self.past(), part) else {
            return Vec::new();
        };
        let name: Name = name.into();
        let wanted = WantedSamples { from, to, newest };
        past.ask(move |archive| archive.samples(&name, wanted)).await.unwrap_or_default()
    }

    /// What was known of file systems at the time of each of these samples of the past.
    async fn past_filesystems(&self, name: &[u8], samples: &[Arc<Sample>]) -> Vec<FilesystemUse> {
        let Some(past) = self.past().filter(|_| !samples.is_empty()) else { return Vec::new() };
        let (name, samples): (Name, _) = (name.into(), samples.to_vec());
        let known = past.ask(move |archive| archive.storage(&name, &samples)).await.unwrap_or_default();
        let of = |storage: Option<_>| {
            storage.map_or(FilesystemUse::Unknown, |storage| FilesystemUse::Container { storage, machine: None })
        };
        known.into_iter().map(of).collect()
    }

    /// A container that is no more, if the history on disk has anything of the time that is asked about.
    pub(super) async fn ended_container(&self, name: &[u8], query: &StatsQuery) -> Result<ContainerView, Unavailable> {
        let unknown = || Unavailable::Unknown(name.into());
        let (Some(past), Some(from)) = (self.past(), query.start) else { return Err(unknown()) };
        let to = query.end.unwrap_or_else(|| SystemTime::now().into());
        let of = name.to_vec();
        let found = past.ask(move |archive| {
            let subject = archive.subjects(from, to, |subject| *subject.name == *of).pop()?;
            let mut exit = None;
            archive.events(from, to, |event| {
                if event.container == subject.name
                    && let EventData::Exit(last) | EventData::Deletion { exit: Some(last), .. } = event.data
                {
                    exit = Some(last);
                }
            });
            Some((subject, exit))
        });
        let (subject, exit) = found.await.flatten().ok_or_else(unknown)?;
        let part =
            query.part.unwrap_or(Portion::Past { start: from, end: to, count: query.count.limit().min(AT_ONCE) });
        let identity = subject.identity.as_ref();
        let samples = self.past_samples(name, part).await;
        let filesystems = self.past_filesystems(name, &samples).await;
        let application = self.past_application(name, &samples).await;
        Ok(ContainerView {
            name: Arc::clone(&subject.name),
            spec: subject.spec.clone(),
            has_filesystem: filesystems.iter().any(|known| *known != FilesystemUse::Unknown),
            filesystems,
            samples,
            application,
            identity: identity.map(|identity| IdentityView::new(identity, name)).unwrap_or_default(),
            exit,
            ..ContainerView::default()
        })
    }
}
