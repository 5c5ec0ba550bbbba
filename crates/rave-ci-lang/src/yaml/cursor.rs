//! A place in a text, and what YAML's grammar asks of the characters there.

/// Where a character is; all counts are of characters and from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) index: usize,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Walks over a text without control characters. Nothing is read beyond the end: there, every byte is 0.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
    mark: Mark,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            mark: Mark::default(),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    /// Returns the byte offset, for [`Cursor::since`].
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// Returns the text from an earlier offset up to here.
    pub(super) fn since(&self, offset: usize) -> &'a str {
        &self.text[offset..self.at]
    }

    pub(super) fn slice(&self, from: usize, to: usize) -> &'a str {
        &self.text[from..to]
    }

    pub(super) fn byte(&self) -> u8 {
        self.byte_at(0)
    }

    pub(super) fn byte_at(&self, ahead: usize) -> u8 {
        self.text
            .as_bytes()
            .get(self.at + ahead)
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn is_end(&self) -> bool {
        self.at == self.text.len()
    }

    pub(super) fn is_blank(&self) -> bool {
        matches!(self.byte(), b' ' | b'\t')
    }

    /// Returns how many bytes the line break has that begins `ahead` bytes from here; 0 if none does.
    fn break_len_at(&self, ahead: usize) -> usize {
        match self.byte_at(ahead) {
            b'\r' if self.byte_at(ahead + 1) == b'\n' => 2,
            b'\r' | b'\n' => 1,
            0xC2 if self.byte_at(ahead + 1) == 0x85 => 2,
            0xE2 if self.byte_at(ahead + 1) == 0x80
                && matches!(self.byte_at(ahead + 2), 0xA8 | 0xA9) =>
            {
                3
            }
            _ => 0,
        }
    }

    pub(super) fn is_break(&self) -> bool {
        self.is_break_at(0)
    }

    pub(super) fn is_break_at(&self, ahead: usize) -> bool {
        self.break_len_at(ahead) > 0
    }

    /// Returns whether here is a line break or the end.
    pub(super) fn is_line_end(&self) -> bool {
        self.is_end() || self.is_break()
    }

    /// Returns whether a token that is `ahead` bytes long may end there: blank, line break or end of the text.
    pub(super) fn is_blank_or_end_at(&self, ahead: usize) -> bool {
        match self.byte_at(ahead) {
            b' ' | b'\t' => true,
            0 => self.at + ahead >= self.text.len(),
            _ => self.is_break_at(ahead),
        }
    }

    pub(super) fn is_blank_or_end(&self) -> bool {
        self.is_blank_or_end_at(0)
    }

    /// Returns whether a line here is `---` or `...`.
    pub(super) fn is_document_indicator(&self) -> bool {
        self.mark.column == 0
            && (self.rest().starts_with("---") || self.rest().starts_with("..."))
            && self.is_blank_or_end_at(3)
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Passes one character that is no line break.
    pub(super) fn skip(&mut self) {
        let width = match self.byte() {
            0..0x80 => usize::from(!self.is_end()),
            0x80..0xE0 => 2,
            0xE0..0xF0 => 3,
            0xF0.. => 4,
        };
        self.at += width;
        self.mark.index += 1;
        self.mark.column += 1;
    }

    /// Passes characters of one byte each, none of them a line break.
    pub(super) fn skip_ascii(&mut self, count: u32) {
        self.at += count as usize;
        self.mark.index += count as usize;
        self.mark.column += count;
    }

    /// Passes ASCII characters up to the first that `stops`. None that passes may be a line break.
    pub(super) fn skip_ascii_until(&mut self, stops: impl Fn(u8) -> bool) {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().position(|it| !it.is_ascii() || stops(*it));
        let count = count.unwrap_or(rest.len());
        self.at += count;
        self.mark.index += count;
        self.mark.column = self
            .mark
            .column
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Passes blanks.
    pub(super) fn skip_blanks(&mut self) {
        while self.is_blank() {
            self.skip_ascii(1);
        }
    }

    /// Passes what remains of the line, without its break.
    pub(super) fn skip_to_line_end(&mut self) {
        loop {
            self.skip_ascii_until(|it| matches!(it, b'\n' | b'\r'));
            if self.is_line_end() {
                return;
            }
            self.skip();
        }
    }

    /// Passes a line break, if here is one, and returns the character that stands for it in a scalar.
    pub(super) fn skip_break(&mut self) -> Option<char> {
        let width = self.break_len_at(0);
        let kept = match (width, self.byte_at(2)) {
            (0, _) => return None,
            (3, 0xA8) => '\u{2028}',
            (3, _) => '\u{2029}',
            _ => '\n',
        };
        self.mark.index += 1 + usize::from(self.byte() == b'\r' && width == 2);
        self.mark.line += 1;
        self.mark.column = 0;
        self.at += width;
        Some(kept)
    }

    /// The end of a text is a place of its own, on a line after the last that has anything.
    pub(super) fn move_to_line_after_end(&mut self) {
        if self.mark.column > 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
    }
}
