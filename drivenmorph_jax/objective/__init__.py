"""What a registration is trained for (losses, JAX) and judged by (metrics, NumPy)."""
