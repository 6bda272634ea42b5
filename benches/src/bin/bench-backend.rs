//! The backend of a run; see `bellhop_bench::backend`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    bellhop_bench::backend::main()
}
