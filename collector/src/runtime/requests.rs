//! What the lookup is asked for and has not got to yet. A container that ends before it was looked at leaves nothing, so
//! that no more waits here than there are containers, however many come and go meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::cgroup_names;
use crate::sample::event::Name;

/// Names the containers there are to the lookup. Cheap, never waits.
#[derive(Clone, Debug)]
pub struct Requests(Arc<Sender>);

/// Closes the list when the last [`Requests`] is gone.
#[derive(Debug)]
struct Sender(Arc<SharedRequests>);

/// The lookup's end of the list.
#[derive(Debug)]
pub(super) struct Waiting(Arc<SharedRequests>);

#[derive(Debug, Default)]
struct SharedRequests {
    list: Mutex<List>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct List {
    requests: HashMap<Name, Request>,
    is_closed: bool,
}

/// What became of a container since the lookup last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// It began.
    Begin,
    /// It ended, and one of the same name began.
    Again,
    /// It ended.
    End,
}

/// A list and its two ends.
pub(super) fn list() -> (Requests, Waiting) {
    let shared = Arc::new(SharedRequests::default());
    (Requests(Arc::new(Sender(Arc::clone(&shared)))), Waiting(shared))
}

impl Requests {
    /// A cgroup appeared. Nothing happens if it cannot be a container's.
    pub fn begin(&self, name: &Name) {
        self.add(name, |before| match before {
            None | Some(Request::Begin) => Some(Request::Begin),
            Some(Request::Again | Request::End) => Some(Request::Again),
        });
    }

    /// A cgroup is gone.
    pub fn end(&self, name: &Name) {
        self.add(name, |before| match before {
            Some(Request::Begin) => None,
            None | Some(Request::Again | Request::End) => Some(Request::End),
        });
    }

    fn add(&self, name: &Name, merge: impl FnOnce(Option<Request>) -> Option<Request>) {
        if !cgroup_names::may_be_container(name) {
            return;
        }
        let shared = &self.0.0;
        let mut list = shared.lock();
        // Without a lookup nobody wants to know.
        if list.is_closed {
            return;
        }
        let before = list.requests.get(name).copied();
        match merge(before) {
            Some(request) => _ = list.requests.insert(Name::clone(name), request),
            None => _ = list.requests.remove(name),
        }
        drop(list);
        shared.wake.notify_one();
    }
}

impl Waiting {
    /// Waits for requests; `None` when there will be none.
    pub(super) async fn next(&self) -> Option<HashMap<Name, Request>> {
        loop {
            {
                let mut list = self.0.lock();
                if !list.requests.is_empty() {
                    return Some(std::mem::take(&mut list.requests));
                }
                if list.is_closed {
                    return None;
                }
            }
            self.0.wake.notified().await;
        }
    }
}

impl SharedRequests {
    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.wake.notify_one();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut list = self.0.lock();
        *list = List { is_closed: true, ..List::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> Name {
        format!("/docker/{number:064x}").into_bytes().into()
    }

    fn waiting(waiting: &Waiting) -> usize {
        waiting.0.lock().requests.len()
    }

    #[test]
    fn a_storm_that_nobody_looks_at_leaves_nothing() {
        let (requests, list) = list();
        for number in 0..10_000 {
            requests.begin(&name(number));
            requests.end(&name(number));
        }
        assert_eq!(waiting(&list), 0);
    }

    #[tokio::test]
    async fn what_became_of_a_container_is_passed_on_as_one_request() {
        let (requests, list) = list();
        requests.begin(&name(1));
        requests.begin(&b"/user.slice".as_slice().into());
        let got = list.next().await.unwrap();
        assert_eq!((got.len(), got[&name(1)]), (1, Request::Begin));

        requests.end(&name(1));
        requests.begin(&name(1));
        assert_eq!(list.next().await.unwrap()[&name(1)], Request::Again);
        requests.end(&name(1));
        requests.begin(&name(1));
        requests.end(&name(1));
        requests.begin(&name(2));
        let got = list.next().await.unwrap();
        assert_eq!(got[&name(1)], Request::End);
        drop(requests);
        assert_eq!(list.next().await, None);
    }

    #[tokio::test]
    async fn one_inside_of_another_is_passed_on_too() {
        let (requests, list) = list();
        let inner: Name = [&*name(1), &*name(2)].concat().into();
        requests.begin(&inner);
        assert_eq!(list.next().await.unwrap().into_iter().collect::<Vec<_>>(), [(inner, Request::Begin)]);
    }

    #[test]
    fn without_a_lookup_nothing_is_kept() {
        let (requests, list) = list();
        let shared = Arc::clone(&list.0);
        drop(list);
        requests.begin(&name(1));
        assert!(shared.lock().requests.is_empty());
    }
}
