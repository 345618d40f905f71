//! Tests of the crate from outside. One binary, so that it is linked once.

mod blocks;
mod contract;
mod faulty;
mod l2;
mod pack;
mod readahead;
mod retry;
mod scan;
mod seal;
mod shelves;
mod support;
