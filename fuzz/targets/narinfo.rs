//! Any text is a narinfo or none; one that was read is written as it was understood.
#![no_main]

use rave_nix::{CacheInfo, NarInfo, Realisation, StoreDir};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let store = StoreDir::default();
    if let Ok(narinfo) = NarInfo::parse(&store, text) {
        let written = narinfo.to_text(&store);
        assert_eq!(NarInfo::parse(&store, &written).expect("what was written"), narinfo);
        let _ = narinfo.info.is_content_addressed(&store);
    }
    let _ = CacheInfo::parse(text);
    let _ = Realisation::parse(text);
});
