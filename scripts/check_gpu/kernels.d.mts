/** What turns on the kernels of kernels/HOPPER.md. */
export const hopperOn: { COMPRESS_DISTILL_HOPPER_KERNELS: string };
/** Operations that take another way with them. */
export const hopperOperations: string[];
