//! Values across the border: attributes and extents are plain tuples.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::types::{build, types};
use crate::attributes::Attributes;
use crate::errors::{CoreError, Result};
use crate::inode::extents::Extent;

/// An extent as Python has it: file offset, length, pack, pack offset.
pub type ExtentTuple = (u64, u64, u64, u64);

pub const fn extent_from((offset, len, pack, pack_offset): ExtentTuple) -> Extent {
    Extent {
        offset,
        len,
        pack,
        pack_offset,
    }
}

pub const fn extent_to(extent: &Extent) -> ExtentTuple {
    (extent.offset, extent.len, extent.pack, extent.pack_offset)
}

pub fn attributes_to<'py>(py: Python<'py>, a: &Attributes) -> PyResult<Bound<'py, PyAny>> {
    let values: [Bound<'py, PyAny>; 16] = [
        a.inode.into_pyobject(py)?.into_any(),
        a.generation.into_pyobject(py)?.into_any(),
        a.kind.into_pyobject(py)?.into_any(),
        a.mode.into_pyobject(py)?.into_any(),
        a.nlink.into_pyobject(py)?.into_any(),
        a.uid.into_pyobject(py)?.into_any(),
        a.gid.into_pyobject(py)?.into_any(),
        a.rdev_major.into_pyobject(py)?.into_any(),
        a.rdev_minor.into_pyobject(py)?.into_any(),
        a.size.into_pyobject(py)?.into_any(),
        a.space_used.into_pyobject(py)?.into_any(),
        a.atime_ns.into_pyobject(py)?.into_any(),
        a.mtime_ns.into_pyobject(py)?.into_any(),
        a.ctime_ns.into_pyobject(py)?.into_any(),
        a.btime_ns.into_pyobject(py)?.into_any(),
        a.change.into_pyobject(py)?.into_any(),
    ];
    build(py, &types(py)?.attributes, PyTuple::new(py, values)?)
}

/// Attributes from any tuple with their fields in their order.
pub fn attributes_from(value: &Bound<'_, PyAny>) -> PyResult<Attributes> {
    let tuple = value.cast::<PyTuple>()?;
    if tuple.len() != 16 {
        return Err(PyValueError::new_err("attributes are 16 values"));
    }
    Ok(Attributes {
        inode: tuple.get_item(0)?.extract()?,
        generation: tuple.get_item(1)?.extract()?,
        kind: tuple.get_item(2)?.extract()?,
        mode: tuple.get_item(3)?.extract()?,
        nlink: tuple.get_item(4)?.extract()?,
        uid: tuple.get_item(5)?.extract()?,
        gid: tuple.get_item(6)?.extract()?,
        rdev_major: tuple.get_item(7)?.extract()?,
        rdev_minor: tuple.get_item(8)?.extract()?,
        size: tuple.get_item(9)?.extract()?,
        space_used: tuple.get_item(10)?.extract()?,
        atime_ns: tuple.get_item(11)?.extract()?,
        mtime_ns: tuple.get_item(12)?.extract()?,
        ctime_ns: tuple.get_item(13)?.extract()?,
        btime_ns: tuple.get_item(14)?.extract()?,
        change: tuple.get_item(15)?.extract()?,
    })
}

pub fn fs_id_from(fs_id: &[u8]) -> PyResult<[u8; 16]> {
    fs_id
        .try_into()
        .map_err(|_| PyValueError::new_err("a file system id has 16 bytes"))
}

/// None where the inode is not resident.
pub fn lsn_if_resident(result: Result<u64>) -> PyResult<Option<u64>> {
    match result {
        Ok(lsn) => Ok(Some(lsn)),
        Err(CoreError::NotResident(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
