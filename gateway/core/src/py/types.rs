//! Named tuples of the module, made when it is loaded: Python's own kind, so that they pickle, print and compare as such.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};

/// The module's named tuple classes.
pub struct Types {
    pub attributes: Py<PyType>,
    pub replay_report: Py<PyType>,
    pub flushed_inode: Py<PyType>,
    pub flushed_pack: Py<PyType>,
    pub dirty_summary: Py<PyType>,
    pub pack_footer: Py<PyType>,
}

static TYPES: PyOnceLock<Types> = PyOnceLock::new();

/// The classes; they exist once the module is loaded.
pub fn types(py: Python<'_>) -> PyResult<&'static Types> {
    TYPES
        .get(py)
        .ok_or_else(|| pyo3::exceptions::PyRuntimeError::new_err("the module is not loaded"))
}

const ATTRIBUTES: &[&str] = &[
    "inode",
    "generation",
    "kind",
    "mode",
    "nlink",
    "uid",
    "gid",
    "rdev_major",
    "rdev_minor",
    "size",
    "space_used",
    "atime_ns",
    "mtime_ns",
    "ctime_ns",
    "btime_ns",
    "change",
];

struct Maker<'py> {
    module: Bound<'py, PyModule>,
    named_tuple: Bound<'py, PyAny>,
    int: Bound<'py, PyAny>,
    tuple: Bound<'py, PyAny>,
    list: Bound<'py, PyAny>,
}

impl<'py> Maker<'py> {
    /// Makes a class whose fields are ints, but for those in `others`.
    fn make(
        &self,
        name: &str,
        fields: &[&str],
        others: &[(&str, &Bound<'py, PyAny>)],
    ) -> PyResult<Py<PyType>> {
        let py = self.module.py();
        let fields: Vec<(&str, Bound<'py, PyAny>)> = fields
            .iter()
            .map(|field| {
                let kind = others
                    .iter()
                    .find(|(other, _)| other == field)
                    .map_or(&self.int, |(_, kind)| *kind);
                (*field, kind.clone())
            })
            .collect();
        let class = self.named_tuple.call1((name, PyList::new(py, fields)?))?;
        class.setattr("__module__", "gateway._core")?;
        self.module.add(name, &class)?;
        Ok(class.cast_into::<PyType>()?.unbind())
    }

    /// `tuple[int, ...]` with so many ints, or any other subscript.
    fn subscript(
        &self,
        class: &Bound<'py, PyAny>,
        of: impl IntoPyObject<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        class.get_item(of)
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let builtins = py.import("builtins")?;
    let maker = Maker {
        module: module.clone(),
        named_tuple: py.import("typing")?.getattr("NamedTuple")?,
        int: builtins.getattr("int")?,
        tuple: builtins.getattr("tuple")?,
        list: builtins.getattr("list")?,
    };
    let int = &maker.int;
    let extent = maker.subscript(&maker.tuple, PyTuple::new(py, [int; 4])?)?;
    let extents = maker.subscript(&maker.list, &extent)?;
    let sequence = py.import("collections.abc")?.getattr("Sequence")?;
    let sequence = maker.subscript(&sequence, &extent)?;
    module.add("Extent", &extent)?;
    module.add("Flushed", maker.subscript(&maker.tuple, (int, int, sequence))?)?;
    let (float, bool_) = (builtins.getattr("float")?, builtins.getattr("bool")?);
    let text_or_none = builtins.getattr("str")?.bitor(py.None())?;
    let attributes = maker.make("Attributes", ATTRIBUTES, &[])?;
    let attributes_class = attributes.bind(py).as_any().clone();
    let types = Types {
        replay_report: maker.make(
            "ReplayReport",
            &[
                "first_lsn",
                "last_lsn",
                "records",
                "bytes",
                "rows",
                "skipped",
                "torn_tail",
                "preceding_lsn",
                "lost",
            ],
            &[("torn_tail", &bool_), ("lost", &text_or_none)],
        )?,
        flushed_inode: maker.make(
            "FlushedInode",
            &["inode", "taken_lsn", "attributes", "splices"],
            &[("attributes", &attributes_class), ("splices", &extents)],
        )?,
        flushed_pack: maker.make("FlushedPack", &["id", "bytes", "live_bytes"], &[])?,
        dirty_summary: maker.make(
            "DirtySummary",
            &["bytes", "memory_bytes", "inodes", "oldest_age_s", "oldest_lsn"],
            &[("oldest_age_s", &float)],
        )?,
        pack_footer: maker.make("PackFooter", &["lsn", "entries"], &[("entries", &extents)])?,
        attributes,
    };
    // A second import into the same process finds the classes of the first.
    drop(TYPES.set(py, types));
    Ok(())
}

/// Calls a class with positional values.
pub fn build<'py>(
    py: Python<'py>,
    class: &Py<PyType>,
    values: impl pyo3::call::PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    class.bind(py).call1(values)
}

/// A plain dict from a closure that fills it.
pub fn dict<'py>(
    py: Python<'py>,
    fill: impl FnOnce(&Bound<'py, PyDict>) -> PyResult<()>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    fill(&dict)?;
    Ok(dict)
}
