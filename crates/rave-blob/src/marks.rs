//! Many chunks at once: one bit for each keeps a store of terabytes within a few megabytes of memory.

/// A set of chunks' numbers, a bit for each: numbers are dense.
#[derive(Default)]
pub(crate) struct Marks(Vec<u64>);

impl Marks {
    pub(crate) fn add(&mut self, id: i64) {
        let Some((word, bit)) = Self::place(id) else {
            return;
        };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    /// A number that has no place is never taken away.
    pub(crate) fn has(&self, id: i64) -> bool {
        Self::place(id).is_none_or(|(word, bit)| self.0.get(word).is_some_and(|it| it & bit != 0))
    }

    fn place(id: i64) -> Option<(usize, u64)> {
        // A manifest that names a number beyond any table's must not take all memory.
        let id = usize::try_from(id).ok().filter(|it| *it < 1 << 36)?;
        Some((id / 64, 1 << (id % 64)))
    }
}
