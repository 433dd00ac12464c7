//! See `fuzz/src/replies.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigw_auth_fuzz::replies::run(bytes));
