//! A terminal for the time of one view: its alternate screen, keys read as they are pressed, its size.
//!
//! Plain escape sequences that every terminal since the VT100 knows, so that it works over ssh. What was changed is
//! set back when the screen is dropped.

use std::io::{self, IsTerminal, Read, Write};
use std::thread;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// The terminal, taken over.
pub(super) struct Screen {
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal over; `None` where standard output is none.
    pub(super) fn take() -> io::Result<Option<Self>> {
        if !io::stdout().is_terminal() {
            return Ok(None);
        }
        let input = io::stdin();
        let before = tcgetattr(&input).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            tcsetattr(&input, OptionalActions::Now, &raw)?;
        }
        let screen = Self { before };
        write(ENTER)?;
        Ok(Some(screen))
    }

    /// Returns columns and lines.
    pub(super) fn size() -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    /// Draws a text over what was there; lines are cut to the width, and left out below the bottom.
    pub(super) fn draw(text: &str) -> io::Result<()> {
        let (columns, lines) = Self::size();
        let mut frame = String::from(HOME);
        for (place, line) in text.lines().take(lines).enumerate() {
            if place > 0 {
                frame.push_str("\r\n");
            }
            frame.extend(line.chars().take(columns));
            frame.push_str(REST_OF_LINE);
        }
        frame.push_str(REST_OF_SCREEN);
        write(&frame)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to set back.
        drop(write(LEAVE));
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Tells when `q`, Escape, Ctrl-C or Ctrl-D is pressed; never where there are no keys to press.
pub(super) fn quit_key() -> mpsc::Receiver<()> {
    let (pressed, told) = mpsc::channel(1);
    // Ends with the process: a read of a terminal cannot be called off.
    thread::spawn(move || {
        for byte in io::stdin().lock().bytes().map_while(Result::ok) {
            if matches!(byte, b'q' | b'Q' | 0x1b | 0x03 | 0x04) {
                let _ = pressed.blocking_send(());
                return;
            }
        }
    });
    told
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The alternate screen without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[2J";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";
