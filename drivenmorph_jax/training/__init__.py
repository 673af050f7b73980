"""Training: state, step, backends, checkpoints, the loop, and a whole run."""
