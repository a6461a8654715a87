//! How things look on this terminal.

use ratatui::style::{Color, Modifier, Style};

use super::columns::Mood;
use super::text::Letters;

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    On,
    /// `NO_COLOR` is set: bold and dim have to do, and the marks that are there anyway.
    Off,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) letters: Letters,
    pub(super) colours: Colours,
}

impl Look {
    /// As the environment has it.
    pub(super) fn of_environment() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { letters: Letters::of_locale(), colours: if no_colour { Colours::Off } else { Colours::On } }
    }

    const fn coloured(self, colour: Color) -> Style {
        match self.colours {
            Colours::On => Style::new().fg(colour),
            Colours::Off => Style::new(),
        }
    }

    /// What hurts.
    pub(super) const fn hurts(self) -> Style {
        self.coloured(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is missing.
    pub(super) const fn missing(self) -> Style {
        self.coloured(Color::Yellow)
    }

    /// What is well.
    pub(super) const fn well(self) -> Style {
        self.coloured(Color::Green)
    }

    /// What matters little.
    pub(super) const QUIET: Style = Style::new().add_modifier(Modifier::DIM);

    /// Headings.
    pub(super) const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

    /// The head of a table.
    pub(super) const HEAD: Style = Style::new().add_modifier(Modifier::REVERSED);

    /// The line that keys are about.
    pub(super) const AT: Style = Style::new().add_modifier(Modifier::REVERSED);

    /// Lines of graphs.
    pub(super) const fn graph(self) -> Style {
        self.coloured(Color::Cyan)
    }

    pub(super) const fn mood(self, mood: Mood) -> Style {
        match mood {
            Mood::Plain => Style::new(),
            Mood::Quiet => Self::QUIET,
            Mood::Hurts => self.hurts(),
        }
    }
}
