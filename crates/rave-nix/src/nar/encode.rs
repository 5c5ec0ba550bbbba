//! Writes a NAR of its events.

use std::io::{self, Write};

use super::{Event, MAGIC, padding};

/// Turns events back into the bytes that [`super::NarParser`] read them from.
///
/// It does not judge: whoever gives it nodes in the wrong order or another number of bytes than announced gets a
/// NAR that no reader takes.
#[derive(Debug)]
pub struct NarEncoder<W> {
    out: W,
    written: u64,
    /// The nodes that are open.
    depth: usize,
    /// What follows the content of the open file.
    padding: usize,
}

impl<W: Write> NarEncoder<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            written: 0,
            depth: 0,
            padding: 0,
        }
    }

    pub fn write(&mut self, event: &Event<'_>) -> io::Result<()> {
        match event {
            Event::Directory => self.node(b"directory"),
            Event::Regular {
                executable, size, ..
            } => {
                self.node(b"regular")?;
                if *executable {
                    self.strings(&[b"executable", b""])?;
                }
                self.strings(&[b"contents"])?;
                self.padding = padding(*size);
                self.raw(&size.to_le_bytes())
            }
            Event::Contents(bytes) => self.raw(bytes),
            Event::Symlink { target } => {
                self.node(b"symlink")?;
                self.strings(&[b"target", target])
            }
            Event::Entry(name) => self.strings(&[b"entry", b"(", b"name", name, b"node"]),
            Event::End => {
                let zeros = std::mem::take(&mut self.padding);
                self.raw(&[0; 8][..zeros])?;
                self.depth -= 1;
                // The node's own bracket, and its entry's.
                let brackets: &[&[u8]] = &[b")", b")"];
                self.strings(&brackets[usize::from(self.depth == 0)..])
            }
        }
    }

    /// Returns how many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn finish(self) -> W {
        self.out
    }

    fn node(&mut self, kind: &[u8]) -> io::Result<()> {
        if self.depth == 0 {
            self.strings(&[MAGIC])?;
        }
        self.depth += 1;
        self.strings(&[b"(", b"type", kind])
    }

    fn strings(&mut self, strings: &[&[u8]]) -> io::Result<()> {
        for string in strings {
            let len = string.len() as u64;
            self.raw(&len.to_le_bytes())?;
            self.raw(string)?;
            self.raw(&[0; 8][..padding(len)])?;
        }
        Ok(())
    }

    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
