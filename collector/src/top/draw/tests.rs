//! Screens, drawn into memory. The suite looks at real ones.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::config::SortBy;
use crate::top::look::Colours;
use crate::top::text::Letters;
use crate::top::world::tests::world;

fn app(colours: Colours) -> App {
    let look = Look { letters: Letters::Unicode, colours };
    let mut app = App::new(look, SortBy::Cpu, String::new());
    let who = r#"[{"id":1,"name":"/","created":5},{"id":2,"name":"/docker/a","container":"aaaa","runtime":"docker",
        "called":"web\u001b[2J\u202e","memory_limit":1048576,"image":"nginx"},{"id":3,"name":"/x/容器容器"},
        {"id":4,"name":"/docker/b","container":"bbbb","runtime":"docker","called":"gone","ended":999990000,"exit":"exit 3"}]"#;
    let now = r#"[{"id":[1,2,3,4],"cpu":[500,199,7,null],"memory":[90000,1000,3,null],"throttled":[null,88,null,null],
        "peak":[null,null,null,2048],"oom_kills":[0,0,0,1]}]"#;
    app.world = world(who, now, Vec::new());
    app
}

fn screen(app: &mut App, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    (0..rows).map(|row| (0..columns).map(|column| buffer[(column, row)].symbol().to_owned()).collect()).collect()
}

#[test]
fn the_list_fits_every_size() {
    for (columns, rows) in [(80, 24), (40, 8), (200, 60), (10, 3), (81, 25)] {
        let mut app = app(Colours::On);
        let lines = screen(&mut app, columns, rows);
        let all = lines.join("\n");
        assert!(!all.contains('\u{1b}') && !all.contains('\u{202e}'), "{all}");
        if rows >= 24 {
            assert!(all.contains("HURTS") && all.contains("web\\u{1b}[2J") && all.contains("88!"), "{all}");
            assert!(all.contains("gone  exit 3") && all.contains("q quit"), "{all}");
        }
    }
}

#[test]
fn colours_are_used_for_what_hurts_and_only_if_wanted() {
    use ratatui::style::Color;
    for (colours, expected) in [(Colours::On, true), (Colours::Off, false)] {
        let mut app = app(colours);
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, &mut app)).unwrap();
        let has_red = terminal.backend().buffer().content().iter().any(|cell| cell.fg == Color::Red);
        let has_any = terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!((has_red, has_any), (expected, expected));
    }
}

#[test]
fn every_view_is_drawn_at_every_size() {
    for view in
        [View::List, View::Detail(2, "/docker/a".into()), View::Detail(9, "/none".into()), View::Events, View::Help]
    {
        for columns in (1..100).step_by(7) {
            for rows in 1..30 {
                let mut app = app(Colours::On);
                app.view = view.clone();
                screen(&mut app, columns, rows);
            }
        }
    }
    let mut app = app(Colours::On);
    app.view = View::Help;
    let first = screen(&mut app, 80, 24);
    app.press(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
    assert!(first.join("\n").contains("sort by CPU"));
    assert!(screen(&mut app, 80, 24).join("\n").contains("everything it needs") || !app.world.node.degraded.is_empty());
}
