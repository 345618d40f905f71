//! `Quotas`: where the namespace opens accounts for directories with limits, and says which of its files are in them.
//!
//! The namespace calls with its lock held, so that rows and names stand still; writes go on meanwhile.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLockWriteGuard};
use pyo3::prelude::*;

use super::convert::{ExtentTuple, attributes_from, extent_from};
use super::core::Core;
use crate::engine::Engine;
use crate::errors::CoreError;
use crate::inode::state::State;
use crate::quota::{Account, Limits, UNLIMITED, common};

#[pyclass(module = "gateway._core", frozen)]
pub struct Quotas {
    engine: Arc<Engine>,
    accounts: Mutex<HashMap<u64, Arc<Account>>>,
}

impl Quotas {
    fn account(&self, directory: u64) -> Result<Arc<Account>, CoreError> {
        let accounts = self.accounts.lock();
        accounts
            .get(&directory)
            .cloned()
            .ok_or(CoreError::Misuse("the directory has no account"))
    }

    fn optional(&self, directory: Option<u64>) -> Result<Option<Arc<Account>>, CoreError> {
        directory.map(|directory| self.account(directory)).transpose()
    }

    /// Runs `f` on a resident inode's state under its lock.
    fn resident<T>(&self, inode: u64, f: impl FnOnce(&mut RwLockWriteGuard<'_, State>) -> T) -> Option<T> {
        let live = self.engine.table.get(inode)?;
        let mut state = live.state.write();
        (!state.gone).then(|| f(&mut state))
    }

    fn now_ns(&self) -> i64 {
        self.engine.clock.now_ns()
    }
}

#[pymethods]
impl Quotas {
    #[new]
    fn new(core: &Core) -> Self {
        Self {
            engine: core.engine.clone(),
            accounts: Mutex::default(),
        }
    }

    #[pyo3(signature = (directory, parent))]
    fn open(&self, directory: u64, parent: Option<u64>) -> PyResult<()> {
        let parent = self.optional(parent)?;
        let account = Arc::new(Account::new(directory, parent));
        self.accounts.lock().insert(directory, account);
        Ok(())
    }

    fn close(&self, directory: u64) -> PyResult<()> {
        let account = self.account(directory)?;
        let parent = account.parent();
        let now_ns = self.now_ns();
        for other in self.accounts.lock().values() {
            if other
                .parent()
                .is_some_and(|around| Arc::ptr_eq(&around, &account))
            {
                other.relink(parent.clone(), false, now_ns);
            }
        }
        for live in self.engine.table.all() {
            let mut state = live.state.write();
            if state
                .charge
                .account
                .as_ref()
                .is_some_and(|its| Arc::ptr_eq(its, &account))
            {
                state.charge.account.clone_from(&parent);
            }
        }
        self.accounts.lock().remove(&directory);
        Ok(())
    }

    fn enclose(&self, directory: u64, parent: u64) -> PyResult<()> {
        let parent = self.account(parent)?;
        self.account(directory)?.relink(Some(parent), true, self.now_ns());
        Ok(())
    }

    fn attach(&self, inode: u64, directory: u64) -> PyResult<bool> {
        let account = self.account(directory)?;
        let now_ns = self.now_ns();
        let attached = self.resident(inode, |state| {
            account.add_here(state.attributes.space_used as i64, now_ns);
            state.charge.account = Some(account.clone());
        });
        Ok(attached.is_some())
    }

    fn live(&self) -> Vec<u64> {
        self.engine.table.all().iter().map(|live| live.inode).collect()
    }

    #[pyo3(signature = (directory, bytes, *, alone = false))]
    fn add(&self, directory: u64, bytes: i64, alone: bool) -> PyResult<()> {
        let account = self.account(directory)?;
        if alone {
            account.add_here(bytes, self.now_ns());
        } else {
            account.add(bytes, self.now_ns());
        }
        Ok(())
    }

    #[pyo3(signature = (directory, *, hard_bytes, soft_bytes, grace_ns, since_ns))]
    fn limit(
        &self,
        directory: u64,
        hard_bytes: Option<i64>,
        soft_bytes: Option<i64>,
        grace_ns: i64,
        since_ns: i64,
    ) -> PyResult<()> {
        let limits = Limits {
            hard: hard_bytes.unwrap_or(UNLIMITED),
            soft: soft_bytes.unwrap_or(UNLIMITED),
            grace_ns,
            since_ns,
        };
        self.account(directory)?.set_limits(&limits, self.now_ns());
        Ok(())
    }

    fn usage(&self, directory: u64) -> PyResult<(i64, i64)> {
        Ok(self.account(directory)?.usage())
    }

    fn available(&self, directory: u64) -> PyResult<i64> {
        Ok(self.account(directory)?.available(self.now_ns()))
    }

    #[pyo3(signature = (attributes, extents, directory))]
    fn activate(
        &self,
        attributes: &Bound<'_, PyAny>,
        extents: Vec<ExtentTuple>,
        directory: Option<u64>,
    ) -> PyResult<()> {
        let attributes = attributes_from(attributes)?;
        let account = self.optional(directory)?;
        let extents = extents.into_iter().map(extent_from);
        Ok(self.engine.activate_in(attributes, extents, account)?)
    }

    fn forget(&self, py: Python<'_>, inode: u64) -> bool {
        // What is to be freed may be much.
        self.engine.table.get(inode).is_some() && py.detach(|| self.engine.forget(inode))
    }

    /// The charge of a file that moves: refused where the trees that it comes into have no room for it.
    #[pyo3(signature = (inode, bytes, source, target, *, needed = false))]
    fn carry(
        &self,
        inode: u64,
        bytes: i64,
        source: Option<u64>,
        target: Option<u64>,
        needed: bool,
    ) -> PyResult<()> {
        let (source, target) = (self.optional(source)?, self.optional(target)?);
        let end = common(source.as_ref(), target.as_ref());
        let now_ns = self.now_ns();
        let carry = |bytes: i64| -> Result<(), CoreError> {
            if let Some(target) = &target {
                if needed {
                    target.add_below(bytes, now_ns, end);
                } else {
                    target.charge_below(bytes, now_ns, end)?;
                }
            }
            if let Some(source) = &source {
                source.add_below(-bytes, now_ns, end);
            }
            Ok(())
        };
        let moved = self.resident(inode, |state| {
            carry(state.attributes.space_used as i64)?;
            state.charge.account.clone_from(&target);
            Ok::<(), CoreError>(())
        });
        Ok(moved.unwrap_or_else(|| carry(bytes))?)
    }
}
