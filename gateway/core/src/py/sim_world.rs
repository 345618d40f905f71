//! `SimWorld`: a simulated machine and store for tests, on which a core does everything on the thread that calls it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use caudal_base::failpoint;
use caudal_blocks::seal::KeyRing;
use caudal_blocks::store::Troubles;
use caudal_journal::simulated::Fault;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::core::Core;
use crate::engine::{Config, Engine};
use crate::errors::Result;
use crate::fence::Fence;
use crate::ground::{Ground, World};
use crate::packs;

#[pyclass(module = "gateway._core", frozen)]
pub struct SimWorld(pub Arc<World>);

/// An engine on the machine itself and the store of the URL, or in a simulated world.
pub fn open_engine(
    config: Config,
    store_url: &str,
    store_options: &HashMap<String, String>,
    keys: Option<Arc<KeyRing>>,
    fence: Arc<Fence>,
    world: Option<Arc<World>>,
) -> Result<Arc<Engine>> {
    let patience = config.store_wait;
    let mut ground = match world {
        Some(world) => world.ground(patience),
        None => {
            let gate = Some(fence.clone() as _);
            let store = caudal_blocks::open_gated_store(store_url, store_options, patience, gate)?;
            Ground {
                fence,
                ..Ground::real(store)
            }
        }
    };
    ground.store = packs::keyed(ground.store, keys);
    Engine::open(config, ground)
}

#[pymethods]
impl SimWorld {
    #[new]
    fn new(seed: u64) -> Self {
        Self(Arc::new(World::new(seed)))
    }

    #[getter]
    fn now_ns(&self) -> i64 {
        self.0.now_ns()
    }

    fn advance(&self, ns: i64) {
        self.0.advance(ns);
    }

    #[getter]
    fn alive(&self) -> bool {
        self.0.fate.alive()
    }

    #[getter]
    fn steps(&self) -> u64 {
        self.0.fate.steps()
    }

    #[getter]
    fn digest(&self) -> u64 {
        self.0.fate.digest()
    }

    fn keep_trace(&self) {
        self.0.fate.keep_trace();
    }

    fn take_trace(&self) -> Vec<String> {
        self.0.fate.take_trace()
    }

    fn note(&self, text: &str) {
        self.0.fate.note(format_args!("{text}"));
    }

    #[pyo3(signature = (after_steps, *, effect))]
    fn die(&self, after_steps: u64, effect: bool) {
        self.0.fate.die(after_steps, effect);
    }

    /// Takes back a death that has not come yet.
    fn live(&self) {
        self.0.fate.live();
    }

    #[pyo3(signature = (*, without_power, survives))]
    fn restart(&self, without_power: bool, survives: f64) {
        self.0.restart(without_power, survives);
    }

    #[pyo3(signature = (directory, *, after_accesses))]
    fn break_disk(&self, directory: &str, after_accesses: u64) {
        let fault = Fault::ErrorAfter(after_accesses);
        self.0.disk().fail(Path::new(directory), fault);
    }

    fn forget_syncs(&self, directory: &str) {
        self.0.disk().fail(Path::new(directory), Fault::Forgetful);
    }

    fn heal_disk(&self, directory: &str) {
        self.0.disk().heal(Path::new(directory));
    }

    fn replace_disk(&self, directory: &str) {
        self.0.fate.note(format_args!("{directory} is empty"));
        self.0.disk().replace(Path::new(directory));
    }

    #[pyo3(signature = (**troubles))]
    fn set_troubles(&self, troubles: Option<HashMap<String, f64>>) -> PyResult<()> {
        let mut set = Troubles::default();
        for (name, value) in troubles.unwrap_or_default() {
            match name.as_str() {
                "fails" => set.fails = value,
                "lost_reply" => set.lost_reply = value,
                "late" => set.late = value,
                "slow" => set.slow = value,
                "short" => set.short = value,
                "corrupt" => set.corrupt = value,
                "throttled" => set.throttled = value,
                "away" => set.away = value > 0.0,
                _ => return Err(PyValueError::new_err(format!("no such trouble: {name}"))),
            }
        }
        self.0.store.set_troubles(set);
        Ok(())
    }

    fn lose_puts(&self, probability: f64) {
        self.0.store.lose_puts(probability);
    }

    fn objects(&self) -> Vec<String> {
        self.0.store.keys_of_all()
    }

    /// Passing a failpoint is a step of this world from now on, until another world asks for it.
    fn watch_failpoints(&self) {
        let fate = self.0.fate.clone();
        failpoint::watch(Some(Arc::new(move |name: &str| {
            fate.act(format_args!("{name}"), || Ok(()))
        })));
    }

    #[staticmethod]
    fn unwatch_failpoints() {
        failpoint::watch(None);
    }

    #[pyo3(signature = (core, *, sync))]
    fn write_journal(&self, py: Python<'_>, core: &Core, sync: bool) -> PyResult<()> {
        let journal = core.engine.journal()?.clone();
        py.detach(|| journal.write_out(sync));
        Ok(())
    }

    fn tend_mirrors(&self, py: Python<'_>, core: &Core) -> PyResult<()> {
        let journal = core.engine.journal()?.clone();
        py.detach(|| journal.tend_mirrors());
        Ok(())
    }
}
