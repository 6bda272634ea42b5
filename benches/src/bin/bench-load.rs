//! Our own load; see `bellhop_bench::load`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    bellhop_bench::load::main()
}
