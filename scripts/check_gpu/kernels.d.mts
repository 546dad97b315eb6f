/** Operations that take another way with the kernels of kernels/HOPPER.md. */
export const hopperOperations: string[];
