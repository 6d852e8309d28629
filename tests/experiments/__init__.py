"""The experiments, small: they run, they learn, and they survive what users do."""
