//! What the thread is sent by others.

use std::sync::mpsc::Sender;

use super::Scan;
use crate::discovery::filter::Filter;
use crate::kernel::probes::Waker;
use crate::sample::event::Name;

/// Ends the thread.
#[derive(Debug)]
pub struct Stop {
    messages: Sender<Message>,
    waker: Waker,
}

impl Stop {
    pub(super) fn new(messages: Sender<Message>, waker: Waker) -> Self {
        Self { messages, waker }
    }

    /// Ends the thread after what it is doing.
    pub fn stop(&self) {
        // The thread may have ended already.
        let _ = self.messages.send(Message::Stop);
        self.waker.wake();
    }

    /// What notifies the thread of what was learnt elsewhere.
    pub fn news(&self) -> News {
        News { messages: self.messages.clone(), waker: self.waker.clone() }
    }
}

/// Notifies the thread of what was learnt elsewhere.
#[derive(Clone, Debug)]
pub struct News {
    messages: Sender<Message>,
    waker: Waker,
}

impl News {
    /// It is known now who these are.
    pub fn identified(&self, names: Vec<Name>) {
        let _ = self.messages.send(Message::Identified(names));
        self.waker.wake();
    }

    /// From now on this is what is listed.
    pub fn filter(&self, filter: Filter) {
        let _ = self.messages.send(Message::Filter(Box::new(filter)));
        self.waker.wake();
    }
}

#[derive(Debug)]
pub(super) enum Message {
    Scanned(Scan),
    Identified(Vec<Name>),
    Filter(Box<Filter>),
    Stop,
}
