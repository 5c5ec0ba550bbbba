//! Reads a NAR that comes in pieces, strictly, and says what is in it.

use super::error::{NarError, NarProblem, show};
use super::{MAGIC, MAX_DEPTH, MAX_NAME, MAX_TARGET, padding};

/// What a NAR consists of, in order: a node begins with `Directory`, `Regular` or `Symlink` and closes with `End`; in a
/// directory each node follows its `Entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Directory,
    Entry(&'a [u8]),
    /// A file. `offset` is where in the NAR its content begins.
    Regular {
        executable: bool,
        size: u64,
        offset: u64,
    },
    /// The next piece of the file's content.
    Contents(&'a [u8]),
    Symlink {
        target: &'a [u8],
    },
    End,
}

/// A parser that is given bytes as they come and needs a few kilobytes whatever they are.
///
/// ```
/// # use rave_nix::nar::{NarError, NarParser};
/// # fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(), NarError> {
/// let mut parser = NarParser::new();
/// for mut piece in pieces {
///     while let Some(event) = parser.next(&mut piece)? {
///         println!("{event:?}");
///     }
/// }
/// parser.finish()
/// # }
/// ```
#[derive(Debug)]
pub struct NarParser {
    state: State,
    /// The string that is being read: length, bytes, padding.
    string: Vec<u8>,
    /// Whether it was read to its end, and the next begins anew.
    complete: bool,
    /// For each open directory the last name in it.
    names: Vec<Vec<u8>>,
    /// The bytes taken so far.
    offset: u64,
    executable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    NodeOpen,
    TypeKey,
    Type,
    RegularKey,
    Executable,
    ContentsKey,
    Size,
    Contents { left: u64, size: u64 },
    Padding { left: usize },
    TargetKey,
    Target,
    NodeClose,
    EntryOrClose,
    EntryOpen,
    NameKey,
    Name,
    NodeKey,
    EntryClose,
    End,
}

/// An event without what it borrows.
enum Found {
    Directory,
    Entry,
    Regular(u64),
    Target,
    End,
}

/// The longest word of the format, with room to show a wrong one.
const MAX_WORD: usize = 64;

impl Default for NarParser {
    fn default() -> Self {
        Self::new()
    }
}

impl NarParser {
    pub fn new() -> Self {
        Self {
            state: State::Magic,
            string: Vec::with_capacity(64),
            complete: true,
            names: Vec::new(),
            offset: 0,
            executable: false,
        }
    }

    /// Takes bytes from the front of `input` up to the next event. `None`: all are taken, or the NAR is complete.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, NarError> {
        let found = loop {
            match self.state {
                State::End => return Ok(None),
                State::Contents { left: 0, size } => {
                    self.state = State::Padding {
                        left: padding(size),
                    }
                }
                State::Contents { left, size } => {
                    let Some(piece) = self.take(input, left) else {
                        return Ok(None);
                    };
                    let left = left - piece.len() as u64;
                    self.state = State::Contents { left, size };
                    return Ok(Some(Event::Contents(piece)));
                }
                State::Padding { left: 0 } => self.state = State::NodeClose,
                State::Padding { left } => {
                    let offset = self.offset;
                    let Some(zeros) = self.take(input, left as u64) else {
                        return Ok(None);
                    };
                    if zeros.iter().any(|it| *it != 0) {
                        return Err(NarError {
                            offset,
                            problem: NarProblem::Padding,
                        });
                    }
                    self.state = State::Padding {
                        left: left - zeros.len(),
                    };
                }
                state => {
                    if !self.read_string(input, state)? {
                        return Ok(None);
                    }
                    if let Some(found) = self.step(state)? {
                        break found;
                    }
                }
            }
        };
        Ok(Some(match found {
            Found::Directory => Event::Directory,
            Found::Entry => Event::Entry(self.payload()),
            Found::Target => Event::Symlink {
                target: self.payload(),
            },
            Found::Regular(size) => Event::Regular {
                executable: self.executable,
                size,
                offset: self.offset,
            },
            Found::End => Event::End,
        }))
    }

    /// Whether the NAR is complete.
    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// Returns how many bytes were taken: at the end, the size of the NAR.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Fails unless the NAR is complete.
    pub fn finish(&self) -> Result<(), NarError> {
        match self.is_complete() {
            true => Ok(()),
            false => Err(NarError {
                offset: self.offset,
                problem: NarProblem::Truncated,
            }),
        }
    }

    fn take<'i>(&mut self, input: &mut &'i [u8], most: u64) -> Option<&'i [u8]> {
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
        let (piece, rest) = input.split_at(len);
        *input = rest;
        self.offset += len as u64;
        (!piece.is_empty()).then_some(piece)
    }

    /// Goes on reading a string, or of a content its size alone. Returns whether it is there.
    fn read_string(&mut self, input: &mut &[u8], state: State) -> Result<bool, NarError> {
        if self.complete {
            self.string.clear();
            self.complete = false;
        }
        if !self.fill(input, 8) {
            return Ok(false);
        }
        let len = self.len();
        if state != State::Size {
            let limit = match state {
                State::Name => MAX_NAME,
                State::Target => MAX_TARGET,
                _ => MAX_WORD,
            } as u64;
            if len > limit {
                return Err(self.error(NarProblem::TooLong { len, limit }));
            }
            let whole = 8 + len as usize + padding(len);
            if !self.fill(input, whole) {
                return Ok(false);
            }
            if self.string[8 + len as usize..].iter().any(|it| *it != 0) {
                return Err(self.error(NarProblem::Padding));
            }
        }
        self.complete = true;
        Ok(true)
    }

    fn fill(&mut self, input: &mut &[u8], to: usize) -> bool {
        let missing = to.saturating_sub(self.string.len());
        if let Some(piece) = self.take(input, missing as u64) {
            self.string.extend_from_slice(piece);
        }
        self.string.len() >= to
    }

    fn len(&self) -> u64 {
        let bytes = self.string[..8].try_into();
        u64::from_le_bytes(bytes.expect("eight bytes"))
    }

    fn payload(&self) -> &[u8] {
        &self.string[8..8 + self.len() as usize]
    }

    /// Goes on after a string.
    fn step(&mut self, state: State) -> Result<Option<Found>, NarError> {
        self.state = match state {
            State::Magic => self.word(MAGIC, "`nix-archive-1`", State::NodeOpen)?,
            State::NodeOpen => self.word(b"(", "`(`", State::TypeKey)?,
            State::TypeKey => self.word(b"type", "`type`", State::Type)?,
            State::Type => match self.payload() {
                b"regular" => {
                    self.executable = false;
                    State::RegularKey
                }
                b"symlink" => State::TargetKey,
                b"directory" if self.names.len() == MAX_DEPTH => {
                    return Err(self.error(NarProblem::Depth));
                }
                b"directory" => {
                    self.names.push(Vec::new());
                    self.state = State::EntryOrClose;
                    return Ok(Some(Found::Directory));
                }
                _ => return Err(self.unexpected("`regular`, `symlink` or `directory`")),
            },
            State::RegularKey if self.payload() == b"executable" => State::Executable,
            State::RegularKey => {
                self.word(b"contents", "`executable` or `contents`", State::Size)?
            }
            State::Executable => {
                self.executable = true;
                self.word(b"", "an empty string", State::ContentsKey)?
            }
            State::ContentsKey => self.word(b"contents", "`contents`", State::Size)?,
            State::Size => {
                let size = self.len();
                let limit = i64::MAX as u64;
                if size > limit {
                    return Err(self.error(NarProblem::TooLong { len: size, limit }));
                }
                self.state = State::Contents { left: size, size };
                return Ok(Some(Found::Regular(size)));
            }
            State::TargetKey => self.word(b"target", "`target`", State::Target)?,
            State::Target if self.payload().is_empty() || self.payload().contains(&0) => {
                return Err(self.error(NarProblem::Target));
            }
            State::Target => {
                self.state = State::NodeClose;
                return Ok(Some(Found::Target));
            }
            State::NodeClose => {
                self.word(b")", "`)`", State::End)?;
                return Ok(Some(self.close()));
            }
            State::EntryOrClose if self.payload() == b")" => {
                self.names.pop();
                return Ok(Some(self.close()));
            }
            State::EntryOrClose => self.word(b"entry", "`entry` or `)`", State::EntryOpen)?,
            State::EntryOpen => self.word(b"(", "`(`", State::NameKey)?,
            State::NameKey => self.word(b"name", "`name`", State::Name)?,
            State::Name => {
                self.check_name()?;
                self.state = State::NodeKey;
                return Ok(Some(Found::Entry));
            }
            State::NodeKey => self.word(b"node", "`node`", State::NodeOpen)?,
            State::EntryClose => self.word(b")", "`)`", State::EntryOrClose)?,
            State::Contents { .. } | State::Padding { .. } | State::End => state,
        };
        Ok(None)
    }

    fn close(&mut self) -> Found {
        self.state = match self.names.is_empty() {
            true => State::End,
            false => State::EntryClose,
        };
        Found::End
    }

    fn check_name(&mut self) -> Result<(), NarError> {
        let name = &self.string[8..8 + self.len() as usize];
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0) {
            return Err(self.error(NarProblem::Name(show(name))));
        }
        let last = self.names.last_mut().expect("names stand in directories");
        if name <= last.as_slice() {
            let problem = NarProblem::Order(show(name));
            return Err(self.error(problem));
        }
        last.clear();
        last.extend_from_slice(name);
        Ok(())
    }

    fn word(&self, word: &[u8], expected: &'static str, next: State) -> Result<State, NarError> {
        match self.payload() == word {
            true => Ok(next),
            false => Err(self.unexpected(expected)),
        }
    }

    fn unexpected(&self, expected: &'static str) -> NarError {
        let found = show(self.payload());
        self.error(NarProblem::Word { expected, found })
    }

    /// Blames the string that was read last.
    fn error(&self, problem: NarProblem) -> NarError {
        let offset = self.offset - self.string.len() as u64;
        NarError { offset, problem }
    }
}
