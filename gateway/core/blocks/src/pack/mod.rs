//! Packs: what they look like, how they are built, put, read and checked.

pub mod builder;
pub mod format;
pub mod reader;
