/** Element types of tensors; their order is the native one. fp8 is e4m3, which JavaScript sees as its bits. */
export const dtypes = ['f32', 'bf16', 'i32', 'u8', 'fp8'] as const;
export type DType = (typeof dtypes)[number];

/** Bytes per element. */
export const dtypeSize: Record<DType, number> = { f32: 4, bf16: 2, i32: 4, u8: 1, fp8: 1 };
/** The native number of a dtype. */
export const dtypeNumber: Record<DType, number> = { f32: 0, bf16: 1, i32: 2, u8: 3, fp8: 4 };

/** Of weights and activations where nobody names one: bf16 on a GPU, whose matrix units want it, and f32 on the CPU. */
export function defaultDtype(device: string): 'f32' | 'bf16' {
  return device.startsWith('cuda') ? 'bf16' : 'f32';
}

export type TensorData = Float32Array | Int32Array | Uint8Array;
