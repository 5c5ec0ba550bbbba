//! Any bytes are a NAR or none, in one piece as in many; one that was read is written as it was.
#![no_main]

use rave_nix::nar::{NarDigest, NarEncoder, NarParser};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut encoder = NarEncoder::new(Vec::new());
    let mut parser = NarParser::new();
    let mut rest = bytes;
    let mut whole = Ok(());
    loop {
        match parser.next(&mut rest) {
            Ok(Some(event)) => encoder.write(&event).expect("memory takes everything"),
            Ok(None) => break,
            Err(error) => {
                whole = Err(error);
                break;
            }
        }
    }
    let whole = whole.and_then(|()| parser.finish());
    let taken = bytes.len() - rest.len();
    if whole.is_ok() {
        assert_eq!(encoder.finish(), &bytes[..taken]);
    }
    let mut digest = NarDigest::new(1 << 16);
    let pieces = bytes[..taken].chunks(7).try_for_each(|it| digest.push(it));
    assert_eq!(pieces.and_then(|()| digest.finish()).is_ok(), whole.is_ok());
});
