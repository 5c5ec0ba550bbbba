//! `nix-cache-info`: what a client asks of a cache before anything else.

use std::fmt::Write as _;

use crate::store_path::StoreDir;

/// What a cache says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheInfo {
    /// The store whose paths it has. A client of another store refuses the cache.
    pub store_dir: StoreDir,
    /// Whether clients may ask for many paths without being told to.
    pub want_mass_query: bool,
    /// Caches with a lower one are asked first. `cache.nixos.org` has 40.
    pub priority: Option<i32>,
}

impl CacheInfo {
    /// Reads the lines. Those that have no meaning here are passed over, as Nix does.
    pub fn parse(text: &str) -> Result<Self, NotACacheInfo> {
        let mut info = Self {
            store_dir: StoreDir::default(),
            want_mass_query: false,
            priority: None,
        };
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            let wrong = || NotACacheInfo(line.chars().take(200).collect());
            match name {
                "StoreDir" => info.store_dir = StoreDir::new(value).map_err(|_| wrong())?,
                "WantMassQuery" => info.want_mass_query = value == "1",
                "Priority" => info.priority = Some(value.parse().map_err(|_| wrong())?),
                _ => {}
            }
        }
        Ok(info)
    }

    pub fn to_text(&self) -> String {
        let mut text = format!(
            "StoreDir: {}\nWantMassQuery: {}\n",
            self.store_dir,
            u8::from(self.want_mass_query)
        );
        if let Some(priority) = self.priority {
            writeln!(text, "Priority: {priority}").expect("a text takes everything");
        }
        text
    }
}

/// The line of a `nix-cache-info` that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line `{0}` of nix-cache-info means nothing")]
pub struct NotACacheInfo(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let text = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n";
        let info = CacheInfo::parse(text).unwrap();
        assert_eq!((info.want_mass_query, info.priority), (true, Some(40)));
        assert_eq!(info.to_text(), text);
        let plain = CacheInfo::parse("StoreDir: /srv/store\nWhat: ever\nnothing\n").unwrap();
        assert_eq!(CacheInfo::parse(&plain.to_text()).unwrap(), plain);
        assert_eq!((plain.want_mass_query, plain.priority), (false, None));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        for wrong in ["StoreDir: here\n", "Priority: high\n"] {
            assert!(CacheInfo::parse(wrong).is_err(), "{wrong}");
        }
    }
}
