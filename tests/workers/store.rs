//! Shared data as the host keeps it: `src/shared_data.cc` of proxy-wasm-cpp-host.

use aigw_auth::cache::SharedStore;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// See the module.
#[derive(Default)]
pub(crate) struct Data {
    values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    swap: Cell<u32>,
    /// The keys that were written, in order.
    written: RefCell<Vec<String>>,
}

impl Data {
    /// Writes whatever is there.
    pub(crate) fn put(&self, key: &str, value: &[u8]) {
        self.swap.set(self.swap.get() + 1);
        self.values.borrow_mut().insert(key.to_owned(), (value.to_vec(), self.swap.get()));
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.values.borrow().keys().cloned().collect()
    }

    pub(crate) fn take_written(&self) -> Vec<String> {
        self.written.take()
    }
}

impl SharedStore for Data {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.values.borrow().get(key).cloned()
    }

    fn set(&self, key: &str, value: &[u8], swap: u32) -> bool {
        // A key that is not there takes any number, and no number at all is obeyed always.
        let number = self.get(key).map(|(_, number)| number);
        if number.is_some_and(|number| swap != 0 && swap != number) {
            return false;
        }
        self.put(key, value);
        self.written.borrow_mut().push(key.to_owned());
        true
    }
}
