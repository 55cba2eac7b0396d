"""The CUDA toolkit that builds want: nvcc from wheels, of the distribution, or of NVIDIA's repository."""
