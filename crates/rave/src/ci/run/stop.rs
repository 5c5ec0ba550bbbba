//! How a person ends a run: by a signal, or by a key where that was offered.

use std::io::{IsTerminal as _, Read as _};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use crate::up::Signals;

/// What ends a run.
pub(super) struct Stop {
    signals: Signals,
    keys: Option<Keys>,
}

impl Stop {
    pub(super) fn by_signal() -> anyhow::Result<Self> {
        Ok(Self {
            signals: Signals::new()?,
            keys: None,
        })
    }

    /// Listens to the key `q`, too, if there is a keyboard.
    pub(super) fn by_key() -> anyhow::Result<Self> {
        Ok(Self {
            signals: Signals::new()?,
            keys: Keys::listen(),
        })
    }

    /// Waits until the person wants an end. May be dropped while it waits.
    pub(super) async fn wait(&mut self) {
        let key = async {
            if let Some(keys) = &mut self.keys
                && keys.pressed.recv().await.is_some()
            {
                return;
            }
            std::future::pending().await
        };
        tokio::select! {
            () = self.signals.wait() => {}
            () = key => {}
        }
    }
}

/// The keyboard, whose keys come at once and unseen until this is dropped.
struct Keys {
    pressed: mpsc::Receiver<()>,
    before: Termios,
}

impl Keys {
    fn listen() -> Option<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return None;
        }
        let before = tcgetattr(&input).ok()?;
        let mut now = before.clone();
        now.local_flags
            .remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(&input, SetArg::TCSANOW, &now).ok()?;
        let (sender, pressed) = mpsc::channel(2);
        // It sits in a system call until the next key, and goes with the process.
        let listener = move || {
            for key in std::io::stdin().lock().bytes() {
                match key {
                    Ok(b'q' | b'Q') if sender.blocking_send(()).is_ok() => {}
                    Ok(b'q' | b'Q') | Err(_) => return,
                    Ok(_) => {}
                }
            }
        };
        let listening = std::thread::Builder::new()
            .name("keys".to_owned())
            .spawn(listener);
        let keys = Self { pressed, before };
        listening.ok().map(|_| keys)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.before);
    }
}
