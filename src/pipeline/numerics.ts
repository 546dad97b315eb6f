/**
 * What the kernels compute, as a fingerprint of bits: a small forward and backward pass over fixed numbers. Two builds with
 * the same fingerprint give the same rows; one whose kernels sum in another order does not, whatever its version says.
 */
import { createHash } from 'node:crypto';
import { attention } from '../ops/attention.js';
import { crossEntropy } from '../ops/cross_entropy.js';
import { linear } from '../ops/matmul.js';
import { reshape } from '../ops/reshape.js';
import { rmsNorm } from '../ops/rms_norm.js';
import { siluMul } from '../ops/silu_mul.js';
import type { Device } from '../tensor/device.js';
import { scope } from '../tensor/scope.js';
import { Tape } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { uniform } from '../training/philox.js';

// Odd sizes, so that the ends of vectors and tiles count too. T tokens, E hidden size, H heads, D head size, V vocabulary.
const [T, H, D, V] = [37, 3, 24, 131];
const E = H * D;

/** `cpu avx512 1f2e3d4c`: device, instruction set and the fingerprint. */
export async function numericsOf(device: Device, dtype: 'f32' | 'bf16'): Promise<string> {
  const hash = createHash('sha256');
  const results = scope(() => {
    let stream = 0;
    const random = (...shape: number[]) => {
      const size = shape.reduce((product, length) => product * length, 1);
      return Tensor.from(device, uniform(1, 1, ++stream, size, -1, 1), shape, dtype);
    };
    const x = random(T, E);
    const weight = random(E, E);
    weight.requiresGrad = true;
    using tape = new Tape();
    const loss = tape.run(() => {
      const q = reshape(linear(rmsNorm(x, random(E), 1e-5), weight), [T, H, D]);
      const attended = attention(q, q, q, Tensor.from(device, Int32Array.of(0, 5, T)), { scale: 0.2 });
      const hidden = siluMul(reshape(attended, [T, E]), x);
      const targets = Tensor.from(
        device,
        Int32Array.from({ length: T }, (_, index) => (index * 7) % V),
      );
      return crossEntropy(hidden, random(V, E), targets, Tensor.full(device, [T], 1 / T));
    });
    tape.backward(loss);
    return [loss, weight.grad!];
  });
  for (const tensor of results) {
    hash.update(await tensor.readBytes());
    tensor.dispose();
  }
  const { instructionSet } = device.statistics();
  return `${device.name.split(':')[0]} ${instructionSet} ${hash.digest('hex').slice(0, 8)}`;
}
