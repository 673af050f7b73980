"""Geometry on voxel grids: sampling, fields, filters, convolution. Pure JAX, no network."""
