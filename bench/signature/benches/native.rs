//! The signature alone, natively. `scripts/bench` times the same work inside Envoy's V8.

#[path = "../src/work.rs"]
mod work;

use criterion::Criterion;
use work::Work;

fn main() {
    let Some(work) = Work::new() else { return };
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("cached", |bencher| bencher.iter(|| work.cached()));
    criterion.bench_function("derived", |bencher| bencher.iter(|| work.derived()));
    criterion.bench_function("hash", |bencher| bencher.iter(|| work.hash()));
    criterion.final_summary();
}
