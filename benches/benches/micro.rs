//! Single steps of a request, by time: `cargo bench -p bellhop-bench`. See `bellhop_bench::micro`.

use bellhop_bench::micro::Case;

fn main() {
    divan::main();
}

#[divan::bench(args = [
    Case::BaggageKeyed, Case::BaggageUnkeyed, Case::BaggageLong, Case::DecideRoute, Case::DecideUnknown,
    Case::DecideNoKey, Case::Put, Case::ReadUnit,
])]
fn step(bencher: divan::Bencher<'_, '_>, case: Case) {
    match case.bed() {
        Ok(bed) => bencher.bench_local(|| bed.once()),
        Err(error) => eprintln!("{case:?}: {error:#}"),
    }
}
