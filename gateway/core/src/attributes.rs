//! Attributes of an inode, as the core holds them and as C sees them.

/// Bits of a mode that a write by another user than root takes away.
pub const S_ISUID: u32 = 0o4000;
pub const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o0010;

/// All attributes; times in nanoseconds since 1970, `kind` the `S_IFMT` part of a mode, `mode` its permission bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub inode: u64,
    pub generation: u64,
    pub kind: u32,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub size: u64,
    pub space_used: u64,
    pub atime_ns: i64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
    pub btime_ns: i64,
    pub change: u64,
}

/// What remains of a mode when its file is written by another user than root: set-group-id without the group's
/// execute bit means mandatory locking, not a privilege, and stays.
#[must_use]
pub const fn without_privilege(mode: u32) -> u32 {
    if mode & S_IXGRP != 0 {
        mode & !(S_ISUID | S_ISGID)
    } else {
        mode & !S_ISUID
    }
}

/// What a row transaction says of a resident inode. The row owns all of it, but for the mode's privilege bits, which the
/// core may have cleared since.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub ctime_ns: i64,
    pub lsn: u64,
}

impl Attributes {
    pub fn set_names(&mut self, names: &Names) {
        self.mode = names.mode;
        self.uid = names.uid;
        self.gid = names.gid;
        self.nlink = names.nlink;
        self.ctime_ns = self.ctime_ns.max(names.ctime_ns);
        self.change = self.change.max(names.lsn);
    }

    /// Whether a read at `now_ns` moves the access time: it is not after the last change, or it is older than a day.
    #[must_use]
    pub const fn atime_is_due(&self, now_ns: i64) -> bool {
        const DAY_NS: i64 = 24 * 3600 * 1_000_000_000;
        self.atime_ns <= self.mtime_ns
            || self.atime_ns <= self.ctime_ns
            || now_ns.saturating_sub(self.atime_ns) > DAY_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privilege_goes_but_mandatory_locking_stays() {
        assert_eq!(without_privilege(0o6755), 0o755);
        assert_eq!(without_privilege(0o6745), 0o2745);
        assert_eq!(without_privilege(0o644), 0o644);
    }

    #[test]
    fn names_never_move_time_or_change_back() {
        let mut a = Attributes {
            ctime_ns: 50,
            change: 9,
            mode: 0o600,
            ..Default::default()
        };
        a.set_names(&Names {
            mode: 0o644,
            uid: 1,
            gid: 2,
            nlink: 3,
            ctime_ns: 40,
            lsn: 8,
        });
        assert_eq!(
            (a.mode, a.uid, a.gid, a.nlink, a.ctime_ns, a.change),
            (0o644, 1, 2, 3, 50, 9)
        );
        a.set_names(&Names {
            mode: 0o644,
            uid: 1,
            gid: 2,
            nlink: 3,
            ctime_ns: 60,
            lsn: 10,
        });
        assert_eq!((a.ctime_ns, a.change), (60, 10));
    }

    #[test]
    fn atime_follows_changes_and_otherwise_once_a_day() {
        let day = 24 * 3600 * 1_000_000_000;
        let mut a = Attributes {
            atime_ns: 10,
            mtime_ns: 10,
            ctime_ns: 5,
            ..Default::default()
        };
        assert!(a.atime_is_due(11));
        a.atime_ns = 11;
        assert!(!a.atime_is_due(12));
        assert!(a.atime_is_due(12 + day));
    }
}
