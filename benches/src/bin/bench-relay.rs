//! The bare-hyper relay; see `bellhop_bench::relay`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    bellhop_bench::relay::main()
}
