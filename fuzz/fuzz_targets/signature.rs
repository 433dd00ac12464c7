//! See `fuzz/src/signature.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| aigw_auth_fuzz::signature::run(bytes));
