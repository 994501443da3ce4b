#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tercet_fuzz::http1::run(data));
