//! Payloads of the journal records that the core writes: DATA, ATTR and HOLE. Little-endian, fixed size, then the data.
//!
//! | kind | fields |
//! |---|---|
//! | DATA | inode u64, offset u64, time_ns i64, flags u32, reserved u32, then the data |
//! | ATTR | inode u64, mask u32, reserved u32, size u64, atime_ns i64, mtime_ns i64, ctime_ns i64 |
//! | HOLE | inode u64, offset u64, length u64 (`u64::MAX`: to the end), time_ns i64, flags u32, reserved u32 |

use thiserror::Error;

use super::MAX_SIZE;

/// Kinds of journal records.
pub const KIND_ROWS: u8 = 1;
pub const KIND_DATA: u8 = 2;
pub const KIND_ATTR: u8 = 3;
pub const KIND_HOLE: u8 = 4;

/// Length of a DATA payload before its data.
pub const DATA_HEAD: usize = 32;
const ATTR_LEN: usize = 48;
const HOLE_LEN: usize = 40;
/// HOLE as it was written before it had flags.
const HOLE_LEN_WITHOUT_FLAGS: usize = 32;

/// DATA and HOLE: the caller was not root, so the mode's privilege bits are gone.
pub const FLAG_CLEAR_PRIVILEGE: u32 = 1;

/// ATTR: which fields are set.
pub const MASK_SIZE: u32 = 1;
pub const MASK_ATIME: u32 = 2;
pub const MASK_MTIME: u32 = 4;
/// Also moves the change attribute to the record's LSN.
pub const MASK_CTIME: u32 = 8;
/// Not a field: as [`FLAG_CLEAR_PRIVILEGE`].
pub const MASK_CLEAR_PRIVILEGE: u32 = 16;

/// A write, without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHead {
    pub inode: u64,
    pub offset: u64,
    pub time_ns: i64,
    pub clear_privilege: bool,
}

/// A change of attributes that the core owns. A size implies a hole from there on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttrChange {
    pub inode: u64,
    pub size: Option<u64>,
    pub atime_ns: Option<i64>,
    pub mtime_ns: Option<i64>,
    pub ctime_ns: Option<i64>,
    pub clear_privilege: bool,
}

/// A punched range; `len` is `u64::MAX` where it has no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoleChange {
    pub inode: u64,
    pub offset: u64,
    pub len: u64,
    pub time_ns: i64,
    pub clear_privilege: bool,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("a journal record of kind {kind} has a payload of {len} bytes that is none")]
pub struct BadPayload {
    pub kind: u8,
    pub len: usize,
}

/// Reads little-endian fields one after the other from a slice whose length was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        let (head, rest) = self.0.split_at(N);
        field.copy_from_slice(head);
        self.0 = rest;
        field
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.next())
    }

    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.next())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.next())
    }
}

const fn flags(clear_privilege: bool) -> u32 {
    if clear_privilege { FLAG_CLEAR_PRIVILEGE } else { 0 }
}

impl DataHead {
    #[must_use]
    pub fn encode(&self) -> [u8; DATA_HEAD] {
        let mut out = [0; DATA_HEAD];
        out[..8].copy_from_slice(&self.inode.to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..24].copy_from_slice(&self.time_ns.to_le_bytes());
        out[24..28].copy_from_slice(&flags(self.clear_privilege).to_le_bytes());
        out
    }

    /// Head and data of a DATA payload.
    pub fn decode(payload: &[u8]) -> Result<(Self, &[u8]), BadPayload> {
        if payload.len() <= DATA_HEAD {
            return Err(BadPayload {
                kind: KIND_DATA,
                len: payload.len(),
            });
        }
        let (head, data) = payload.split_at(DATA_HEAD);
        let mut fields = Fields(head);
        let head = Self {
            inode: fields.u64(),
            offset: fields.u64(),
            time_ns: fields.i64(),
            clear_privilege: fields.u32() & FLAG_CLEAR_PRIVILEGE != 0,
        };
        match head.offset.checked_add(data.len() as u64) {
            Some(end) if end <= MAX_SIZE => Ok((head, data)),
            _ => Err(BadPayload {
                kind: KIND_DATA,
                len: payload.len(),
            }),
        }
    }
}

impl AttrChange {
    #[must_use]
    pub fn encode(&self) -> [u8; ATTR_LEN] {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        let mask = bit(self.size.is_some(), MASK_SIZE)
            | bit(self.atime_ns.is_some(), MASK_ATIME)
            | bit(self.mtime_ns.is_some(), MASK_MTIME)
            | bit(self.ctime_ns.is_some(), MASK_CTIME)
            | bit(self.clear_privilege, MASK_CLEAR_PRIVILEGE);
        let mut out = [0; ATTR_LEN];
        out[..8].copy_from_slice(&self.inode.to_le_bytes());
        out[8..12].copy_from_slice(&mask.to_le_bytes());
        out[16..24].copy_from_slice(&self.size.unwrap_or(0).to_le_bytes());
        out[24..32].copy_from_slice(&self.atime_ns.unwrap_or(0).to_le_bytes());
        out[32..40].copy_from_slice(&self.mtime_ns.unwrap_or(0).to_le_bytes());
        out[40..48].copy_from_slice(&self.ctime_ns.unwrap_or(0).to_le_bytes());
        out
    }

    pub fn decode(payload: &[u8]) -> Result<Self, BadPayload> {
        if payload.len() != ATTR_LEN {
            return Err(BadPayload {
                kind: KIND_ATTR,
                len: payload.len(),
            });
        }
        let mut fields = Fields(payload);
        let inode = fields.u64();
        let mask = fields.u32();
        fields.u32();
        let size = fields.u64();
        if size > MAX_SIZE {
            return Err(BadPayload {
                kind: KIND_ATTR,
                len: payload.len(),
            });
        }
        let [atime, mtime, ctime] = [fields.i64(), fields.i64(), fields.i64()];
        Ok(Self {
            inode,
            size: (mask & MASK_SIZE != 0).then_some(size),
            atime_ns: (mask & MASK_ATIME != 0).then_some(atime),
            mtime_ns: (mask & MASK_MTIME != 0).then_some(mtime),
            ctime_ns: (mask & MASK_CTIME != 0).then_some(ctime),
            clear_privilege: mask & MASK_CLEAR_PRIVILEGE != 0,
        })
    }
}

impl HoleChange {
    #[must_use]
    pub fn encode(&self) -> [u8; HOLE_LEN] {
        let mut out = [0; HOLE_LEN];
        out[..8].copy_from_slice(&self.inode.to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..24].copy_from_slice(&self.len.to_le_bytes());
        out[24..32].copy_from_slice(&self.time_ns.to_le_bytes());
        out[32..36].copy_from_slice(&flags(self.clear_privilege).to_le_bytes());
        out
    }

    pub fn decode(payload: &[u8]) -> Result<Self, BadPayload> {
        if payload.len() != HOLE_LEN && payload.len() != HOLE_LEN_WITHOUT_FLAGS {
            return Err(BadPayload {
                kind: KIND_HOLE,
                len: payload.len(),
            });
        }
        let mut fields = Fields(payload);
        Ok(Self {
            inode: fields.u64(),
            offset: fields.u64(),
            len: fields.u64(),
            time_ns: fields.i64(),
            clear_privilege: payload.len() == HOLE_LEN && fields.u32() & FLAG_CLEAR_PRIVILEGE != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_data() {
        let head = DataHead {
            inode: 0x0102,
            offset: 0x0304,
            time_ns: -2,
            clear_privilege: true,
        };
        let mut payload = head.encode().to_vec();
        let golden = [
            0x02, 0x01, 0, 0, 0, 0, 0, 0, 0x04, 0x03, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(payload, golden);
        payload.extend_from_slice(b"abc");
        assert_eq!(DataHead::decode(&payload).unwrap(), (head, &b"abc"[..]));
        assert!(DataHead::decode(&golden).is_err(), "a write without data is none");
    }

    #[test]
    fn golden_attr() {
        let change = AttrChange {
            inode: 7,
            size: Some(9),
            mtime_ns: Some(3),
            clear_privilege: true,
            ..Default::default()
        };
        let golden = [
            7, 0, 0, 0, 0, 0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(change.encode(), golden);
        assert_eq!(AttrChange::decode(&golden), Ok(change));
        assert!(AttrChange::decode(&golden[1..]).is_err());
    }

    #[test]
    fn golden_hole() {
        let change = HoleChange {
            inode: 7,
            offset: 8,
            len: u64::MAX,
            time_ns: 9,
            clear_privilege: true,
        };
        let golden = [
            7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 9, 0, 0,
            0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(change.encode(), golden);
        assert_eq!(HoleChange::decode(&golden), Ok(change));
        let before_flags = HoleChange {
            clear_privilege: false,
            ..change
        };
        assert_eq!(HoleChange::decode(&golden[..32]), Ok(before_flags));
        assert!(HoleChange::decode(&golden[..36]).is_err());
        assert!(HoleChange::decode(&[]).is_err());
    }

    #[test]
    fn a_change_beyond_the_largest_file_is_none() {
        let head = DataHead {
            inode: 1,
            offset: MAX_SIZE,
            time_ns: 0,
            clear_privilege: false,
        };
        assert!(DataHead::decode(&[&head.encode()[..], b"x"].concat()).is_err());
        let change = AttrChange {
            inode: 1,
            size: Some(MAX_SIZE + 1),
            ..Default::default()
        };
        assert!(AttrChange::decode(&change.encode()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_readers(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            drop((DataHead::decode(&bytes), AttrChange::decode(&bytes), HoleChange::decode(&bytes)));
        }
    }
}
