//! The escape sequences of terminals: bytes in, characters with their style and movements of the cursor out.
//!
//! The state is bounded whatever the input, and any split of the input gives the same tokens. Colours beyond the sixteen
//! become the nearest of them, because pages may not carry styles of their own.

/// Longest list of parameters of one sequence, in bytes.
const PARAMETER_LIMIT: usize = 64;

/// How a character looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    foreground: Option<u8>,
    background: Option<u8>,
    flags: u8,
}

const BOLD: u8 = 1;
const DIM: u8 = 2;
const ITALIC: u8 = 4;
const UNDERLINE: u8 = 8;
const INVERSE: u8 = 16;
const STRIKE: u8 = 32;

impl Style {
    /// No style at all.
    pub(super) const PLAIN: Self = Self {
        foreground: None,
        background: None,
        flags: 0,
    };

    /// Returns the classes that give this look, empty for plain text.
    pub(super) fn classes(self) -> String {
        let inverse = self.flags & INVERSE != 0;
        let (front, back) = if inverse {
            (self.background, self.foreground)
        } else {
            (self.foreground, self.background)
        };
        let mut classes = Vec::new();
        match front {
            Some(colour) => classes.push(format!("c{colour}")),
            None if inverse => classes.push("cx".to_owned()),
            None => {}
        }
        match back {
            Some(colour) => classes.push(format!("k{colour}")),
            None if inverse => classes.push("kx".to_owned()),
            None => {}
        }
        let flags = [
            (BOLD, "b"),
            (DIM, "d"),
            (ITALIC, "i"),
            (UNDERLINE, "u"),
            (STRIKE, "s"),
        ];
        classes.extend(
            flags
                .into_iter()
                .filter(|(flag, _)| self.flags & flag != 0)
                .map(|(_, class)| class.to_owned()),
        );
        classes.join(" ")
    }

    /// Applies the parameters of `ESC [ … m`.
    fn apply(&mut self, parameters: &str) {
        let mut numbers = parameters
            .split([';', ':'])
            .map(|it| it.parse::<u16>().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                0 => *self = Self::default(),
                1 => self.flags |= BOLD,
                2 => self.flags |= DIM,
                3 => self.flags |= ITALIC,
                4 | 21 => self.flags |= UNDERLINE,
                7 => self.flags |= INVERSE,
                9 => self.flags |= STRIKE,
                22 => self.flags &= !(BOLD | DIM),
                23 => self.flags &= !ITALIC,
                24 => self.flags &= !UNDERLINE,
                27 => self.flags &= !INVERSE,
                29 => self.flags &= !STRIKE,
                30..=37 => self.foreground = Some(low(number - 30)),
                38 => self.foreground = extended(&mut numbers),
                39 => self.foreground = None,
                40..=47 => self.background = Some(low(number - 40)),
                48 => self.background = extended(&mut numbers),
                49 => self.background = None,
                90..=97 => self.foreground = Some(low(number - 82)),
                100..=107 => self.background = Some(low(number - 92)),
                _ => {}
            }
        }
    }
}

fn low(number: u16) -> u8 {
    number.to_le_bytes()[0]
}

/// Reads `5;N` or `2;R;G;B` after 38 or 48.
fn extended(numbers: &mut impl Iterator<Item = u16>) -> Option<u8> {
    match numbers.next()? {
        5 => Some(of_256(low(numbers.next()?.min(255)))),
        2 => {
            let mut channel = || Some(low(numbers.next()?.min(255)));
            Some(nearest([channel()?, channel()?, channel()?]))
        }
        _ => None,
    }
}

fn of_256(number: u8) -> u8 {
    match number {
        0..=15 => number,
        16..=231 => {
            let cube = number - 16;
            let level = |it: u8| if it == 0 { 0 } else { 55 + 40 * it };
            nearest([level(cube / 36), level(cube / 6 % 6), level(cube % 6)])
        }
        232..=255 => nearest([8 + 10 * (number - 232); 3]),
    }
}

/// The sixteen colours as terminals commonly show them, only to measure distances.
const PALETTE: [[u8; 3]; 16] = [
    [0, 0, 0],
    [205, 49, 49],
    [13, 188, 121],
    [205, 170, 16],
    [36, 114, 200],
    [188, 63, 188],
    [17, 168, 205],
    [204, 204, 204],
    [102, 102, 102],
    [241, 76, 76],
    [35, 209, 139],
    [245, 245, 67],
    [59, 142, 234],
    [214, 112, 214],
    [41, 184, 219],
    [255, 255, 255],
];

fn nearest(rgb: [u8; 3]) -> u8 {
    let distance = |colour: &[u8; 3]| -> u32 {
        colour
            .iter()
            .zip(rgb)
            .map(|(a, b)| u32::from(a.abs_diff(b)).pow(2))
            .sum()
    };
    (0_u8..16)
        .min_by_key(|it| distance(&PALETTE[usize::from(*it)]))
        .unwrap_or(7)
}

/// What the bytes of one line mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Char(char, Style),
    /// `\r`
    Return,
    /// `\b`, or a movement to the left.
    Left(usize),
    Right(usize),
    /// A movement to a column, from 0.
    Column(usize),
    EraseToEnd,
    EraseToStart,
    EraseLine,
}

#[derive(Clone, Debug, Default)]
enum Mode {
    #[default]
    Text,
    Escape,
    /// `ESC [`, with the parameters so far.
    Sequence(Vec<u8>),
    /// `ESC ]` and the like: text for the terminal itself, until BEL or `ESC \`.
    Command,
    CommandEscape,
    /// `ESC (`: one byte more.
    Charset,
}

/// Reads bytes of a log, without line feeds, into tokens.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    mode: Mode,
    style: Style,
    /// The beginning of a character of several bytes.
    partial: Vec<u8>,
}

impl Scanner {
    /// Reads one byte.
    pub(super) fn feed(&mut self, byte: u8, emit: &mut impl FnMut(Token)) {
        match std::mem::take(&mut self.mode) {
            Mode::Text => self.text(byte, emit),
            Mode::Escape => match byte {
                b'[' => self.mode = Mode::Sequence(Vec::new()),
                b']' | b'P' | b'X' | b'^' | b'_' => self.mode = Mode::Command,
                b'(' | b')' | b'*' | b'+' | b'#' | b'%' => self.mode = Mode::Charset,
                0x1b => self.mode = Mode::Escape,
                _ => {}
            },
            Mode::Sequence(mut parameters) => match byte {
                0x20..=0x3f => {
                    if parameters.len() < PARAMETER_LIMIT {
                        parameters.push(byte);
                    }
                    self.mode = Mode::Sequence(parameters);
                }
                0x40..=0x7e => self.sequence(byte, &parameters, emit),
                // A broken sequence must not swallow what follows.
                _ => self.text(byte, emit),
            },
            Mode::Command => match byte {
                0x07 => {}
                0x1b => self.mode = Mode::CommandEscape,
                _ => self.mode = Mode::Command,
            },
            Mode::CommandEscape if byte == b'\\' => {}
            Mode::CommandEscape => self.mode = Mode::Command,
            Mode::Charset => {}
        }
    }

    /// Ends a line: nothing unfinished reaches into the next, the style does.
    pub(super) fn end_line(&mut self, emit: &mut impl FnMut(Token)) {
        self.mode = Mode::Text;
        self.end_character(emit);
    }

    fn text(&mut self, byte: u8, emit: &mut impl FnMut(Token)) {
        if !self.partial.is_empty() && matches!(byte, 0x80..=0xbf) {
            self.partial.push(byte);
            if self.partial.len() == width(self.partial[0]) {
                self.end_character(emit);
            }
            return;
        }
        self.end_character(emit);
        match byte {
            0x1b => self.mode = Mode::Escape,
            b'\r' => emit(Token::Return),
            0x08 => emit(Token::Left(1)),
            b'\t' | 0x20..=0x7e => emit(Token::Char(char::from(byte), self.style)),
            0x00..=0x1f | 0x7f => {}
            0xc2..=0xf4 => self.partial.push(byte),
            _ => emit(Token::Char(char::REPLACEMENT_CHARACTER, self.style)),
        }
    }

    fn end_character(&mut self, emit: &mut impl FnMut(Token)) {
        if self.partial.is_empty() {
            return;
        }
        let decoded = std::str::from_utf8(&self.partial)
            .ok()
            .and_then(|it| it.chars().next());
        self.partial.clear();
        let shown = decoded
            .filter(|it| !is_deceptive(*it))
            .unwrap_or(char::REPLACEMENT_CHARACTER);
        emit(Token::Char(shown, self.style));
    }

    fn sequence(&mut self, end: u8, parameters: &[u8], emit: &mut impl FnMut(Token)) {
        let text = std::str::from_utf8(parameters).unwrap_or_default();
        let first = text.split(';').next().unwrap_or_default();
        let count = first.parse::<usize>().unwrap_or(1).max(1);
        match (end, first) {
            (b'm', _) => self.style.apply(text),
            (b'K', "" | "0") => emit(Token::EraseToEnd),
            (b'K', "1") => emit(Token::EraseToStart),
            (b'K', "2") => emit(Token::EraseLine),
            (b'C', _) => emit(Token::Right(count)),
            (b'D', _) => emit(Token::Left(count)),
            (b'G', _) => emit(Token::Column(count - 1)),
            _ => {}
        }
    }
}

/// How many bytes the character has that begins with this byte.
fn width(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    }
}

/// Controls and marks that reorder text can make a log say something else than it does.
fn is_deceptive(it: char) -> bool {
    it.is_control()
        || matches!(it, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}
