//! What the user looks at, and what keys do.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::arrange::{Choice, ListForm, ListItem, RowFilter, SortDirection, arrange};
use super::follow::{ContainerDetail, FeedNews, WantedAnswers};
use super::look::Look;
use super::world::World;
use crate::config::SortBy;

/// One key back or forth in the past.
const STEP: SignedDuration = SignedDuration::from_secs(10);
const LEAP: SignedDuration = SignedDuration::from_mins(10);

/// What fills the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    List,
    /// One container: its row, and its cgroup.
    Detail(u64, String),
    Events,
    Help,
}

/// Whether answers come.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// Nothing came yet.
    Waiting,
    Live,
    /// Since when not, and why.
    Broken(Instant, String),
}

/// What a key asked for that concerns more than what is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyRequest {
    Nothing,
    Quit,
    /// To stand aside for the shell.
    Suspend,
}

/// See the module.
#[derive(Debug)]
pub(super) struct App {
    pub(super) world: World,
    pub(super) choice: Choice,
    pub(super) view: View,
    pub(super) look: Look,
    pub(super) link: Link,
    /// Why cgroups are read within this process, if they are.
    pub(super) within: Option<String>,
    /// Where answers come from.
    pub(super) source: String,
    pub(super) paused: bool,
    /// Whether keys are letters of the search.
    pub(super) typing: bool,
    pub(super) at: Option<Timestamp>,
    pub(super) detail: Option<ContainerDetail>,
    pub(super) cursor: Cursor,
}

/// Which lines are shown, and which of them keys are about.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    /// By its key; `None` is the first.
    selected: Option<String>,
    /// Where it was last.
    position: usize,
    /// The first line that is shown, of the list or of a text.
    top: usize,
    /// Lines that are seen at once.
    page: usize,
}

impl Cursor {
    /// Where the selected line is among these, and the first that is shown if so many are.
    pub(super) fn place(&mut self, items: &[ListItem<'_>], page: usize) -> (usize, usize) {
        self.page = page.max(1);
        let found = self.selected.as_ref().and_then(|key| items.iter().position(|item| item.key() == *key));
        // One that is gone leaves its place to the next.
        let position = found.unwrap_or(if self.selected.is_some() { self.position } else { 0 });
        self.position = position.min(items.len().saturating_sub(1));
        self.top = self.top.min(self.position).max((self.position + 1).saturating_sub(self.page));
        self.top = self.top.min(items.len().saturating_sub(self.page));
        (self.position, self.top)
    }

    /// Finds the first line that is shown, of a text that is scrolled, by its length.
    pub(super) fn scrolled_to(&mut self, page: usize) -> impl FnOnce(usize) -> usize + use<'_> {
        self.page = page.max(1);
        move |length| {
            self.top = self.top.min(length.saturating_sub(self.page));
            self.top
        }
    }
}

impl App {
    pub(super) fn new(look: Look, sort: SortBy, search: String) -> Self {
        Self {
            world: World::default(),
            choice: Choice {
                sort,
                direction: SortDirection::Usual,
                search,
                form: ListForm::Flat,
                shown: RowFilter::All,
                folded: HashSet::new(),
            },
            view: View::List,
            look,
            link: Link::Waiting,
            within: None,
            source: String::new(),
            paused: false,
            typing: false,
            at: None,
            detail: None,
            cursor: Cursor::default(),
        }
    }

    /// What has to be asked for.
    pub(super) fn wanted(&self) -> WantedAnswers {
        let detail = match &self.view {
            View::Detail(id, name) => Some((*id, name.clone())),
            View::List | View::Events | View::Help => None,
        };
        WantedAnswers { paused: self.paused, detail, at: self.at }
    }

    /// Takes in what is new.
    pub(super) fn take(&mut self, news: FeedNews) {
        match news {
            // One about a moment that is left already, or of before the pause.
            FeedNews::Tick(_, _, at) if at != self.at || self.paused => {}
            FeedNews::Tick(tick, events, at) => {
                if at.is_some() {
                    // What is known of another moment did not happen yet, or is long over.
                    self.world.events.clear();
                }
                self.world.take(*tick, events);
                self.link = Link::Live;
            }
            FeedNews::Detail(detail) => self.detail = Some(detail),
            FeedNews::Trouble(why) => {
                let since = match self.link {
                    Link::Broken(since, _) => since,
                    Link::Waiting | Link::Live => Instant::now(),
                };
                self.link = Link::Broken(since, why);
            }
        }
    }

    /// How long there was no answer, and why.
    pub(super) fn trouble(&self) -> Option<(Duration, &str)> {
        match &self.link {
            Link::Broken(since, why) => Some((since.elapsed(), why)),
            Link::Waiting | Link::Live => None,
        }
    }

    /// Does what a key is for.
    pub(super) fn press(&mut self, key: KeyEvent) -> KeyRequest {
        if key.kind == KeyEventKind::Release {
            return KeyRequest::Nothing;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => KeyRequest::Quit,
                KeyCode::Char('z') => KeyRequest::Suspend,
                _ => KeyRequest::Nothing,
            };
        }
        if self.typing {
            self.typed(key.code);
            return KeyRequest::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return KeyRequest::Quit,
            KeyCode::Char('?') => self.show(if self.view == View::Help { View::List } else { View::Help }),
            KeyCode::Char('e') => self.show(if self.view == View::Events { View::List } else { View::Events }),
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Char('/') => {
                self.typing = true;
                if self.view != View::Events {
                    self.show(View::List);
                }
            }
            KeyCode::Char('<' | '>') | KeyCode::Left | KeyCode::Right => self.step(key.code),
            KeyCode::Esc if self.view == View::List => self.choice.search.clear(),
            KeyCode::Esc | KeyCode::Backspace => self.show(View::List),
            code if self.view == View::List => self.press_in_list(code),
            KeyCode::Up | KeyCode::Char('k') => self.cursor.top = self.cursor.top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.cursor.top += 1,
            KeyCode::PageUp => self.cursor.top = self.cursor.top.saturating_sub(self.cursor.page),
            KeyCode::PageDown => self.cursor.top += self.cursor.page,
            KeyCode::Home => self.cursor.top = 0,
            KeyCode::End => self.cursor.top = usize::MAX / 2,
            KeyCode::Enter if self.view == View::Help => self.show(View::List),
            _ => {}
        }
        KeyRequest::Nothing
    }

    fn show(&mut self, view: View) {
        if let View::Detail(..) = view {
            self.detail = None;
        }
        self.view = view;
        self.cursor.top = 0;
    }

    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(letter) => self.choice.search.push(letter),
            KeyCode::Backspace => drop(self.choice.search.pop()),
            KeyCode::Enter | KeyCode::Down | KeyCode::Up => self.typing = false,
            KeyCode::Esc => {
                self.choice.search.clear();
                self.typing = false;
            }
            _ => {}
        }
        self.cursor = Cursor { page: self.cursor.page, ..Cursor::default() };
    }

    fn press_in_list(&mut self, code: KeyCode) {
        let page = self.cursor.page;
        match code {
            KeyCode::Char('c') => self.sort(SortBy::Cpu),
            KeyCode::Char('m') => self.sort(SortBy::Memory),
            KeyCode::Char('n') => self.sort(SortBy::Network),
            KeyCode::Char('d') => self.sort(SortBy::Disk),
            KeyCode::Char('t') => self.sort(SortBy::Throttled),
            KeyCode::Char('p') => self.sort(SortBy::Pressure),
            KeyCode::Char('a') => self.sort(SortBy::Name),
            KeyCode::Char('g') => {
                self.choice.form = match self.choice.form {
                    ListForm::Flat => ListForm::Grouped,
                    ListForm::Grouped => ListForm::Flat,
                };
                self.cursor = Cursor { page: self.cursor.page, ..Cursor::default() };
            }
            KeyCode::Char('o') => {
                self.choice.shown = match self.choice.shown {
                    RowFilter::All => RowFilter::Suffering,
                    RowFilter::Suffering => RowFilter::All,
                };
                self.cursor = Cursor { page: self.cursor.page, ..Cursor::default() };
            }
            KeyCode::Up | KeyCode::Char('k') => self.select(|at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(|at, _| at + 1),
            KeyCode::PageUp => self.select(|at, _| at.saturating_sub(page)),
            KeyCode::PageDown => self.select(|at, _| at + page),
            KeyCode::Home => {
                (self.cursor.selected, self.cursor.position, self.cursor.top) = (None, 0, 0);
            }
            KeyCode::End => self.select(|_, last| last),
            KeyCode::Enter => self.enter(),
            _ => {}
        }
    }

    fn sort(&mut self, by: SortBy) {
        let turned = match self.choice.direction {
            SortDirection::Usual if self.choice.sort == by => SortDirection::Reversed,
            _ => SortDirection::Usual,
        };
        (self.choice.sort, self.choice.direction) = (by, turned);
        self.cursor = Cursor { page: self.cursor.page, ..Cursor::default() };
    }

    fn select(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let arranged = arrange(&self.world, &self.choice);
        let last = arranged.items.len().saturating_sub(1);
        let to = to(self.cursor.position, last).min(last);
        let key = arranged.items.get(to).map(ListItem::key);
        (self.cursor.position, self.cursor.selected) = (to, key);
    }

    fn enter(&mut self) {
        let arranged = arrange(&self.world, &self.choice);
        let found = self.cursor.selected.as_ref().and_then(|key| arranged.items.iter().find(|item| item.key() == *key));
        match found.or(arranged.items.get(self.cursor.position)) {
            Some(ListItem::Row(row)) => {
                let view = View::Detail(row.who.id, row.who.name.clone());
                self.show(view);
            }
            Some(ListItem::Group(group)) => {
                let key = group.key.clone();
                self.cursor.selected = Some(key.clone());
                if !self.choice.folded.remove(&key) {
                    self.choice.folded.insert(key);
                }
            }
            None => {}
        }
    }

    /// To another moment of the past; what is live stays so.
    fn step(&mut self, code: KeyCode) {
        let by = match code {
            KeyCode::Left => -STEP,
            KeyCode::Right => STEP,
            KeyCode::Char('<') => -LEAP,
            _ => LEAP,
        };
        if let Some(at) = self.at.and_then(|at| at.checked_add(by).ok()) {
            self.at = Some(at.min(Timestamp::now()));
            self.world.events.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::look::Colours;
    use crate::top::text::Letters;
    use crate::top::world::tests::world;

    fn app() -> App {
        let look = Look { letters: Letters::Unicode, colours: Colours::On };
        let mut app = App::new(look, SortBy::Cpu, String::new());
        let who = r#"[{"id":1,"name":"/g/a"},{"id":2,"name":"/g/b"},{"id":3,"name":"/h/c"}]"#;
        app.world = world(who, r#"[{"id":[1,2,3],"cpu":[1,2,3],"memory":[3,2,1]}]"#, Vec::new());
        app
    }

    fn press(app: &mut App, keys: &str) -> KeyRequest {
        let mut asked = KeyRequest::Nothing;
        for letter in keys.chars() {
            let code = match letter {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            asked = app.press(KeyEvent::new(code, KeyModifiers::NONE));
        }
        asked
    }

    fn selected(app: &mut App) -> String {
        let items = arrange(&app.world, &app.choice).items;
        items[app.cursor.place(&items, 10).0].key()
    }

    #[test]
    fn the_selected_container_is_followed_and_the_first_is_not() {
        let mut app = app();
        assert_eq!(selected(&mut app), "3");
        press(&mut app, "m");
        assert_eq!(selected(&mut app), "1", "by memory another one is the first");
        press(&mut app, "jm");
        assert_eq!(selected(&mut app), "3", "sorting begins at the top");
        press(&mut app, "m");
        press(&mut app, "j");
        assert_eq!(selected(&mut app), "2");
        app.choice.sort = SortBy::Cpu;
        assert_eq!(selected(&mut app), "2", "it is followed to its new place");
    }

    #[test]
    fn enter_opens_and_escape_leaves() {
        let mut app = app();
        press(&mut app, "j\n");
        assert_eq!(app.wanted().detail, Some((2, "/g/b".to_owned())));
        press(&mut app, "\u{1b}");
        assert_eq!((app.wanted().detail, &app.view), (None, &View::List));
        press(&mut app, "g\n");
        assert!(app.choice.folded.contains("cgroup /g") || app.choice.folded.contains("cgroup /h"));
        assert_eq!(press(&mut app, "q"), KeyRequest::Quit);
    }

    #[test]
    fn letters_of_the_search_are_no_keys() {
        let mut app = app();
        assert_eq!(press(&mut app, "/q\n"), KeyRequest::Nothing);
        assert_eq!((app.choice.search.as_str(), app.typing), ("q", false));
        press(&mut app, "\u{1b}");
        assert_eq!(app.choice.search, "");
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        press(&mut app, "/");
        assert_eq!(app.press(interrupt), KeyRequest::Quit);
    }

    #[test]
    fn the_past_is_walked_through() {
        let mut app = app();
        app.press(KeyEvent::new(KeyCode::Left, KeyModifiers::NONE));
        assert_eq!(app.at, None);
        let at = Timestamp::from_second(1_000_000).unwrap();
        app.at = Some(at);
        press(&mut app, "<");
        app.press(KeyEvent::new(KeyCode::Right, KeyModifiers::NONE));
        assert_eq!(app.wanted().at.unwrap().as_second(), 1_000_000 - 600 + 10);
    }
}
