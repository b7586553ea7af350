//! Numbers in, numbers out: block formats, kernels, and the program that runs them.
