"""One run on a bare machine with a GPU: correctness first, then times, in a few minutes.

The machine has JAX and PyTorch, no network, and not all that `benchmarks run` needs. Each
step runs in a process of its own with its own time limit, and writes what it finds as JSON
lines at once. So a crash, a hang or a cut loses one step, and `report` turns the lines of
any run into tables.
"""
