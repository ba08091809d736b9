"""Tools that parts of the benchmark share: options, statistics, the machine, processes."""
