//! Trees, their NARs, every way to cut these, and what is not one.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::hash::{BASE64, Sha256};

/// `nix-store --dump` of a directory with an empty file, a link and an executable one level down.
const NIX: &str = "DQAAAAAAAABuaXgtYXJjaGl2ZS0xAAAAAQAAAAAAAAAoAAAAAAAAAAQAAAAAAAAAdHlwZQAAAAAJAAAAAAAAAGRpcmVjdG9yeQAAAAAAAAAFAAAAAAAAAGVudHJ5AAAAAQAAAAAAAAAoAAAAAAAAAAQAAAAAAAAAbmFtZQAAAAAFAAAAAAAAAGVtcHR5AAAABAAAAAAAAABub2RlAAAAAAEAAAAAAAAAKAAAAAAAAAAEAAAAAAAAAHR5cGUAAAAABwAAAAAAAAByZWd1bGFyAAgAAAAAAAAAY29udGVudHMAAAAAAAAAAAEAAAAAAAAAKQAAAAAAAAABAAAAAAAAACkAAAAAAAAABQAAAAAAAABlbnRyeQAAAAEAAAAAAAAAKAAAAAAAAAAEAAAAAAAAAG5hbWUAAAAABAAAAAAAAABsaW5rAAAAAAQAAAAAAAAAbm9kZQAAAAABAAAAAAAAACgAAAAAAAAABAAAAAAAAAB0eXBlAAAAAAcAAAAAAAAAc3ltbGluawAGAAAAAAAAAHRhcmdldAAABQAAAAAAAABzdWIveAAAAAEAAAAAAAAAKQAAAAAAAAABAAAAAAAAACkAAAAAAAAABQAAAAAAAABlbnRyeQAAAAEAAAAAAAAAKAAAAAAAAAAEAAAAAAAAAG5hbWUAAAAAAwAAAAAAAABzdWIAAAAAAAQAAAAAAAAAbm9kZQAAAAABAAAAAAAAACgAAAAAAAAABAAAAAAAAAB0eXBlAAAAAAkAAAAAAAAAZGlyZWN0b3J5AAAAAAAAAAUAAAAAAAAAZW50cnkAAAABAAAAAAAAACgAAAAAAAAABAAAAAAAAABuYW1lAAAAAAEAAAAAAAAAeAAAAAAAAAAEAAAAAAAAAG5vZGUAAAAAAQAAAAAAAAAoAAAAAAAAAAQAAAAAAAAAdHlwZQAAAAAHAAAAAAAAAHJlZ3VsYXIACgAAAAAAAABleGVjdXRhYmxlAAAAAAAAAAAAAAAAAAAIAAAAAAAAAGNvbnRlbnRzAQAAAAAAAAB4AAAAAAAAAAEAAAAAAAAAKQAAAAAAAAABAAAAAAAAACkAAAAAAAAAAQAAAAAAAAApAAAAAAAAAAEAAAAAAAAAKQAAAAAAAAABAAAAAAAAACkAAAAAAAAA";
/// What `nix copy --to …?write-nar-listing=1` says of it.
const LISTING: &str = r#"{"version":1,"root":{"type":"directory","entries":{"empty":{"type":"regular","size":0,"narOffset":232},"link":{"type":"symlink","target":"sub/x"},"sub":{"type":"directory","entries":{"x":{"type":"regular","size":1,"executable":true,"narOffset":776}}}}}}"#;
const HASH: &str = "sha256:0xafl9pn4pmxs2gz1q263nhjh3ja05ngk9ssxwmzxpf9v5gs6424";

fn nix() -> Vec<u8> {
    BASE64.decode(NIX).expect("base 64")
}

/// An event that owns what it is about; the pieces of a content are one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Directory,
    Entry(Vec<u8>),
    Regular(bool, u64, u64),
    Contents(Vec<u8>),
    Symlink(Vec<u8>),
    End,
}

fn read(pieces: &[&[u8]]) -> Result<Vec<Owned>, NarError> {
    let mut parser = NarParser::new();
    let mut events = Vec::new();
    for piece in pieces {
        let mut piece = *piece;
        while let Some(event) = parser.next(&mut piece)? {
            match (event, events.last_mut()) {
                (Event::Contents(more), Some(Owned::Contents(bytes))) => {
                    bytes.extend_from_slice(more)
                }
                (Event::Contents(bytes), _) => events.push(Owned::Contents(bytes.to_vec())),
                (Event::Directory, _) => events.push(Owned::Directory),
                (Event::Entry(name), _) => events.push(Owned::Entry(name.to_vec())),
                (
                    Event::Regular {
                        executable,
                        size,
                        offset,
                    },
                    _,
                ) => {
                    events.push(Owned::Regular(executable, size, offset));
                }
                (Event::Symlink { target }, _) => events.push(Owned::Symlink(target.to_vec())),
                (Event::End, _) => events.push(Owned::End),
            }
        }
    }
    parser.finish().map(|()| events)
}

fn write(events: &[Owned]) -> Vec<u8> {
    let mut encoder = NarEncoder::new(Vec::new());
    for event in events {
        let event = match event {
            Owned::Directory => Event::Directory,
            Owned::Entry(name) => Event::Entry(name),
            Owned::Regular(executable, size, offset) => Event::Regular {
                executable: *executable,
                size: *size,
                offset: *offset,
            },
            Owned::Contents(bytes) => Event::Contents(bytes),
            Owned::Symlink(target) => Event::Symlink { target },
            Owned::End => Event::End,
        };
        encoder.write(&event).expect("memory takes everything");
    }
    encoder.finish()
}

fn digest(nar: &[u8], step: usize) -> Result<NarSummary, NarError> {
    let mut digest = NarDigest::new(1 << 20);
    for piece in nar.chunks(step) {
        digest.push(piece)?;
    }
    digest.finish()
}

#[test]
fn a_nar_of_nix_is_read_whatever_the_pieces() {
    let nar = nix();
    let whole = read(&[&nar]).unwrap();
    assert_eq!(
        whole
            .iter()
            .filter(|it| matches!(it, Owned::Entry(_)))
            .count(),
        4
    );
    for cut in 0..nar.len() {
        assert_eq!(
            read(&[&nar[..cut], &nar[cut..]]).as_ref(),
            Ok(&whole),
            "cut at {cut}"
        );
    }
    let summary = digest(&nar, 1).unwrap();
    assert_eq!(
        summary,
        NarSummary {
            nar_hash: HASH.parse().unwrap(),
            nar_size: nar.len() as u64,
            listing: Some(LISTING.to_owned()),
        }
    );
    assert_eq!(write(&whole), nar);
}

#[test]
fn a_listing_finds_content() {
    let listing = NarListing::parse(LISTING).unwrap();
    let Some(NarNode::Regular {
        size,
        executable: true,
        nar_offset: Some(at),
    }) = listing.find("sub/x")
    else {
        panic!("{listing:?}");
    };
    let at = usize::try_from(*at).unwrap();
    assert_eq!((*size, &nix()[at..at + 1]), (1, b"x".as_slice()));
    assert_eq!(listing.find("sub/y"), None);
    assert_eq!(listing.find("link/x"), None);
    assert_eq!(listing.find(""), Some(&listing.root));
}

#[test]
fn a_listing_has_a_limit_and_holds_text_only() {
    let nar = nix();
    let mut small = NarDigest::new(LISTING.len() - 1);
    small.push(&nar).unwrap();
    assert_eq!(small.finish().unwrap().listing, None);
    let mut exact = NarDigest::new(LISTING.len());
    exact.push(&nar).unwrap();
    assert_eq!(exact.finish().unwrap().listing.as_deref(), Some(LISTING));
    let odd = write(&[Owned::Symlink(vec![0xff]), Owned::End]);
    assert_eq!(digest(&odd, 9).unwrap().listing, None);
}

#[test]
fn the_smallest_nars_have_their_sizes() {
    let check = |events: &[Owned], size: usize| {
        let nar = write(events);
        assert_eq!(nar.len(), size);
        assert_eq!(read(&[&nar]).as_deref(), Ok(events));
    };
    check(&[Owned::Regular(false, 0, 96), Owned::End], 112);
    check(&[Owned::Directory, Owned::End], 96);
}

#[test]
fn what_is_no_nar_says_where_and_why() {
    let check = |events: &[Owned], message: &str| {
        let error = read(&[&write(events)]).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    let named = |name: &[u8]| {
        vec![
            Owned::Directory,
            Owned::Entry(name.to_vec()),
            Owned::Directory,
            Owned::End,
            Owned::End,
        ]
    };
    check(&named(b""), "cannot be a name");
    check(&named(b"."), "cannot be a name");
    check(&named(b".."), "cannot be a name");
    check(&named(b"a/b"), "cannot be a name");
    check(&named(b"a\0b"), "cannot be a name");
    check(&named(&[b'a'; 256]), "256 bytes is longer than the 255");
    check(
        &[Owned::Symlink(vec![b'a'; 4096]), Owned::End],
        "4096 bytes is longer than the 4095",
    );
    check(&[Owned::Symlink(Vec::new()), Owned::End], "target");
    for second in ["a", "0", ""] {
        let mut events = named(b"a");
        events.pop();
        let again = named(second.as_bytes());
        events.extend_from_slice(&again[1..]);
        check(
            &events,
            if second.is_empty() {
                "cannot be"
            } else {
                "not after the one before"
            },
        );
    }
    assert!(read(&[&write(&named(&[b'a'; 255]))]).is_ok());

    let nar = nix();
    let changed = |at: usize, byte: u8| {
        let mut nar = nar.clone();
        nar[at] = byte;
        read(&[&nar]).unwrap_err()
    };
    assert_eq!(
        changed(8, b'x').to_string(),
        "not a NAR: at byte 0 there is `xix-archive-1` where `nix-archive-1` belongs"
    );
    assert_eq!(
        changed(22, 1),
        NarError {
            offset: 0,
            problem: NarProblem::Padding
        }
    );
    assert_eq!(
        changed(777, 1),
        NarError {
            offset: 777,
            problem: NarProblem::Padding
        }
    );
    assert_eq!(
        changed(7, 0x80).problem,
        NarProblem::TooLong {
            len: (0x80 << 56) | 13,
            limit: 64
        }
    );
    assert_eq!(
        read(&[&nar[..nar.len() - 1]]).unwrap_err().problem,
        NarProblem::Truncated
    );
    let trailing = digest(&[nar.as_slice(), b"x"].concat(), 100).unwrap_err();
    assert_eq!(
        trailing,
        NarError {
            offset: nar.len() as u64,
            problem: NarProblem::Trailing
        }
    );
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| {
        let mut events = vec![Owned::Directory];
        for _ in 1..depth {
            events.extend([Owned::Entry(b"d".to_vec()), Owned::Directory]);
        }
        events.extend(std::iter::repeat_n(Owned::End, depth));
        write(&events)
    };
    assert!(read(&[&nested(MAX_DEPTH)]).is_ok());
    assert_eq!(
        read(&[&nested(MAX_DEPTH + 1)]).unwrap_err().problem,
        NarProblem::Depth
    );
}

#[test]
fn a_directory_goes_into_a_nar_and_comes_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("sub/x"), "x").unwrap();
    fs::set_permissions(tree.join("sub/x"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("sub/x", tree.join("link")).unwrap();
    let mut nar = Vec::new();
    assert_eq!(pack(&tree, &mut nar).unwrap(), nar.len() as u64);
    assert_eq!(nar, nix(), "as `nix-store --dump` packs it");

    let out = dir.path().join("out");
    unpack(&nar, &out, 13).unwrap();
    let mut again = Vec::new();
    pack(&out, &mut again).unwrap();
    assert_eq!(again, nar);
    assert!(
        matches!(unpack(&nar, &out, 13), Err(UnpackError::Write { .. })),
        "nothing is replaced"
    );
    assert!(matches!(
        unpack(&nar[..200], &dir.path().join("part"), 13),
        Err(UnpackError::Nar(_))
    ));
    assert!(matches!(
        pack(Path::new("/dev/null"), std::io::sink()),
        Err(PackError::Kind(_))
    ));
    assert!(matches!(
        pack(&dir.path().join("absent"), std::io::sink()),
        Err(PackError::Read { .. })
    ));
}

fn unpack(nar: &[u8], to: &Path, step: usize) -> Result<(), UnpackError> {
    let mut unpacker = Unpacker::new(to);
    for piece in nar.chunks(step) {
        unpacker.push(piece)?;
    }
    unpacker.finish()
}

#[test]
fn a_link_at_the_destination_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), dir.path().join("out")).unwrap();
    assert!(unpack(&nix(), &dir.path().join("out"), 4096).is_err());
    assert_eq!(
        fs::read_dir(dir.path().join("elsewhere")).unwrap().count(),
        0
    );
}

/// The events of any tree, offsets left at zero.
fn tree() -> impl Strategy<Value = Vec<Owned>> {
    let file = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(executable, content)| {
            let mut events = vec![Owned::Regular(executable, content.len() as u64, 0)];
            if !content.is_empty() {
                events.push(Owned::Contents(content));
            }
            events.push(Owned::End);
            events
        },
    );
    let link = prop::collection::vec(1_u8.., 1..20)
        .prop_map(|target| vec![Owned::Symlink(target), Owned::End]);
    let name = prop::collection::vec(any::<u8>(), 1..12).prop_filter("a name", |it| {
        !it.contains(&0) && !it.contains(&b'/') && it != b"." && it != b".."
    });
    prop_oneof![file, link].prop_recursive(4, 24, 4, move |inner| {
        prop::collection::btree_map(name.clone(), inner, 0..4).prop_map(|entries| {
            let mut events = vec![Owned::Directory];
            for (name, node) in entries {
                events.push(Owned::Entry(name));
                events.extend(node);
            }
            events.push(Owned::End);
            events
        })
    })
}

fn without_offsets(events: Vec<Owned>) -> Vec<Owned> {
    let clear = |event| match event {
        Owned::Regular(executable, size, _) => Owned::Regular(executable, size, 0),
        other => other,
    };
    events.into_iter().map(clear).collect()
}

proptest! {
    #[test]
    fn any_tree_is_read_as_it_was_written(events in tree(), step in 1..50_usize) {
        let nar = write(&events);
        let pieces: Vec<&[u8]> = nar.chunks(step).collect();
        let again = read(&pieces).expect("a NAR");
        for event in &again {
            if let Owned::Regular(_, size, offset) = event {
                prop_assert!(offset + size <= nar.len() as u64);
            }
        }
        prop_assert_eq!(without_offsets(again), events);
        prop_assert_eq!(digest(&nar, step).expect("a NAR").nar_hash, Sha256::of(&nar));
    }

    #[test]
    fn changed_bytes_are_refused_or_mean_something_else(
        events in tree(), at: prop::sample::Index, byte: u8, step in 1..50_usize,
    ) {
        let mut nar = write(&events);
        let at = at.index(nar.len());
        nar[at] = byte;
        let pieces: Vec<&[u8]> = nar.chunks(step).collect();
        let result = read(&pieces);
        prop_assert_eq!(&result, &read(&[&nar]));
        if let Ok(events) = result {
            prop_assert_eq!(write(&events), nar);
        }
    }
}
