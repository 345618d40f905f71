//! Names of objects.

/// Folder of the packs.
pub const PACKS: &str = "packs";

/// Key of a pack. Its low byte spreads packs over 256 folders, so that no directory gets huge.
#[must_use]
pub fn pack_key(id: u64) -> String {
    format!("{PACKS}/{:02x}/{id:016x}", id & 0xff)
}

/// The pack that a key names; nothing where it is no pack's key.
#[must_use]
pub fn parse_pack_key(key: &str) -> Option<u64> {
    let name = key.strip_prefix(PACKS)?.strip_prefix('/')?.get(3..)?;
    if name.len() != 16 {
        return None;
    }
    let id = u64::from_str_radix(name, 16).ok()?;
    (pack_key(id) == key).then_some(id)
}

/// Whether a key may be used: relative, no empty part, none that begins with a dot.
#[must_use]
pub fn is_valid(key: &str) -> bool {
    !key.is_empty() && key.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_key_names_its_pack() {
        let id = (7 << 40) | 0x1234;
        assert_eq!(pack_key(id), "packs/34/0000070000001234");
        assert_eq!(parse_pack_key(&pack_key(id)), Some(id));
    }

    #[test]
    fn other_names_are_no_packs() {
        for key in [
            "packs",
            "packs/",
            "packs/34",
            "packs/35/0000070000001234",
            "packs/34/0000070000001234x",
            "packs/34/000007000000123G",
            "packs/AB/00000000000000AB",
            "packs/é4/0000070000001234",
            "caudal/root.json",
        ] {
            assert_eq!(parse_pack_key(key), None, "{key}");
        }
    }

    #[test]
    fn keys_stay_below_their_root() {
        assert!(is_valid("packs/00/x"));
        for key in ["", "/x", "a//b", "../x", "a/../b", ".tmp/x", "a/", "a/\0"] {
            assert!(!is_valid(key), "{key:?}");
        }
    }
}
